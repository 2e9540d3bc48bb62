"""What every body that clients send has in common."""

from typing import Final

from pydantic import BaseModel, ConfigDict, model_validator
from pydantic_core import PydanticCustomError

# Several times as many as any has.
MEMBERS_MAX: Final = 50


class Body(BaseModel):
    """An object that clients send. Members that it doesn't have are refused, each by its name.

    Where there are too many to be mistakes, that is all that is said, before anything is looked at:
    pydantic makes an error of each, for a second or more.
    """

    model_config = ConfigDict(extra="forbid")

    @model_validator(mode="before")
    @classmethod
    def _refuse_heaps(cls, given: object) -> object:
        if isinstance(given, dict) and len(given) > MEMBERS_MAX:
            raise PydanticCustomError(
                "too_many_members",
                "Object should have at most {max_members} members",
                {"max_members": MEMBERS_MAX},
            )
        return given
