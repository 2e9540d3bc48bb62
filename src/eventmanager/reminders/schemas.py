"""Reminders as clients write and read them."""

from typing import Annotated, Final

from pydantic import AfterValidator, ConfigDict, Field
from pydantic_core import PydanticCustomError

from eventmanager.core.bodies import Body
from eventmanager.reminders.models import Channel

MINUTES_MAX: Final = 40_320
REMINDERS_MAX: Final = 5


class Reminder(Body):
    """That the caller is told of each occurrence of an event some time before it starts."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"minutes_before": 10, "channel": "notification"}]},
    )

    minutes_before: int = Field(
        ge=0,
        le=MINUTES_MAX,
        description="Before the start; before 00:00 in the event's time zone if it is all-day.",
    )
    channel: Channel = Field(description="`email` needs a server that can send it.")


def _each_once(reminders: list[Reminder]) -> list[Reminder]:
    if len({(item.minutes_before, item.channel) for item in reminders}) < len(reminders):
        raise PydanticCustomError("duplicate_reminder", "must not hold the same reminder twice")
    return reminders


Reminders = Annotated[list[Reminder], Field(max_length=REMINDERS_MAX), AfterValidator(_each_once)]
