"""Grants as clients write and read them."""

from typing import Annotated, Self
from uuid import UUID

from pydantic import BaseModel, ConfigDict, StringConstraints, model_validator
from pydantic_core import PydanticCustomError

from eventmanager.sharing.models import Role

SHARE_MAX = 100

_Name = Annotated[str, StringConstraints(min_length=1, max_length=254, pattern="^[^\\x00]*$")]


class ShareWith(BaseModel):
    """Whom to share with, by exactly one of id, username and email, and in which role."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {"user_id": "01936b0e-0000-7b1f-8a2d-3c4e5f607182", "role": "Editor"},
                {"email": "grace@example.com", "role": "Viewer"},
            ]
        },
    )

    user_id: UUID | None = None
    username: _Name | None = None
    email: _Name | None = None
    role: Role

    @model_validator(mode="after")
    def _one_name(self) -> Self:
        if sum(name is not None for name in (self.user_id, self.username, self.email)) != 1:
            raise PydanticCustomError(
                "user_not_named", "name the user by exactly one of user_id, username and email"
            )
        return self


class RoleChange(BaseModel):
    """The new role."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"role": "Viewer"}]})

    role: Role


class Permission(BaseModel):
    """One user's role on the event."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"user_id": "01936b0e-0000-7b1f-8a2d-3c4e5f607182", "role": "Editor"}]
        }
    )

    user_id: UUID
    role: Role
