"""Notifications: a message as its recipient reads it."""

from collections.abc import Mapping
from datetime import datetime, time
from typing import Annotated, Any, Final, Self
from uuid import UUID

import orjson
from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from eventmanager.core.bodies import Body
from eventmanager.core.time import ZoneName, rfc3339
from eventmanager.messages.letters import Letter
from eventmanager.messages.positions import Position, write_position
from eventmanager.messages.quiet import QuietHours
from eventmanager.messages.types import NotificationType

MAX_CURSOR: Final = 200
TimeOfDay = Annotated[str, Field(pattern="^([01][0-9]|2[0-3]):[0-5][0-9]$")]
_PERMISSION: Final = "permission_"
# What happened, to `{title}`; for permissions, by whether it happened to the recipient.
_SENTENCES: Final[Mapping[str, str]] = {
    "event_created": "{title} was created.",
    "event_updated": "{title} was changed.",
    "event_deleted": "{title} was deleted.",
    "event_restored": "{title} was restored.",
    "event_rolled_back": "{title} was rolled back to an earlier version.",
    "series_split": "{title} was split: its later occurrences are a series of their own.",
    "late_clash": "{title} overlaps another event of yours from {first} on.",
    "reminder": "{title} {when}.",
    "webhook_disabled": "Your webhook {url} was disabled: {why}.",
}
_WHY_DISABLED: Final[Mapping[str, str]] = {
    "gone": "it answers that it is gone",
    "backlog": "too many deliveries were waiting for it",
}
_YOURS: Final[Mapping[str, str]] = {
    "permission_granted": "{title} was shared with you. Your role is {role}.",
    "permission_updated": "Your role on {title} is now {role}.",
    "permission_revoked": "{title} is no longer shared with you.",
}
_OTHERS: Final[Mapping[str, str]] = {
    "permission_granted": "{title} was shared with another user, whose role is {role}.",
    "permission_updated": "Another user's role on {title} is now {role}.",
    "permission_revoked": "{title} is no longer shared with another user.",
}


class Notification(BaseModel):
    """One thing that happened to an event its recipient reads, or read until then."""

    id: UUID = Field(description="The same for all who are told of one change.")
    cursor: str = Field(description="Where this stands in the order of what its recipient reads.")
    type: str = Field(examples=["event_updated", "event_deleted", "permission_granted"])
    event_id: UUID | None = Field(description="Null where it is about no event.")
    initiator_id: UUID | None = Field(description="The user who did it; null is the server.")
    user_id: UUID | None = Field(None, description="Of `permission_*`: whose role it is.")
    role: str | None = Field(None, description="Of `permission_*`: the role.")
    message: str = Field(description="For people.")
    occurred_at: datetime
    data: dict[str, Any] = Field(description="The facts; which ones depends on the type.")


class ReadUpTo(Body):
    """How far the caller has read."""

    cursor: str = Field(
        max_length=MAX_CURSOR,
        description="The `cursor` of the last notification that was read.",
        examples=["AAAAAAAAAyAAAAAAAAAACQ"],
    )


class QuietTime(Body):
    """When not to be disturbed, every day."""

    start: Annotated[TimeOfDay, Field(description="Wall clock, `HH:MM`.", examples=["22:00"])]
    end: Annotated[
        TimeOfDay,
        Field(
            description="Wall clock, `HH:MM`; before `start`, on the next day.", examples=["07:00"]
        ),
    ]
    time_zone: Annotated[ZoneName, Field(description="IANA name.", examples=["Europe/Berlin"])]

    @model_validator(mode="after")
    def _refuse_nothing(self) -> Self:
        if self.start == self.end:
            raise PydanticCustomError("invalid_quiet_hours", "`start` and `end` must differ")
        return self

    @classmethod
    def of(cls, hours: QuietHours) -> Self:
        """Return hours as clients read them."""
        return cls(
            start=f"{hours.start:%H:%M}", end=f"{hours.end:%H:%M}", time_zone=hours.time_zone
        )

    def plain(self) -> QuietHours:
        """Return these hours without their wire format."""
        start, end = time.fromisoformat(self.start), time.fromisoformat(self.end)
        return QuietHours(start, end, self.time_zone)


class Wishes(Body):
    """What a user wants to be told, and when not to be disturbed."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "types": ["event_updated", "event_deleted", "reminder"],
                    "quiet_hours": {
                        "start": "22:00",
                        "end": "07:00",
                        "time_zone": "Europe/Berlin",
                    },
                }
            ]
        },
    )

    types: Annotated[
        list[NotificationType] | None,
        Field(
            max_length=len(NotificationType) * 2,
            description="The wanted ones; null is all of them.",
        ),
    ] = None
    quiet_hours: Annotated[
        QuietTime | None, Field(description="The end may lie on the next day; null is none.")
    ] = None


class Unread(BaseModel):
    """How many notifications wait for the caller."""

    unread: int = Field(description="At most 1,000 are counted.", examples=[3])
    more: bool = Field(description="Whether there are more than that.", examples=[False])
    cursor: str = Field(
        description="Up to where they were counted, and where one who has none yet goes on: as"
        " `after`, it is followed by all that comes later.",
        examples=["AAAAAAAAAyB__________w"],
    )


class Message:
    """A row of `messages`, and the JSON of the `Notification` that each of its recipients reads.

    Written without pydantic and once for all who read the same, since each reader of each change
    gets one.
    """

    def __init__(self, row: Mapping[str, Any]) -> None:
        self.place = Position(row["transaction_id"], row["position"])
        self.id: UUID = row["id"]
        self.type: str = row["type"]
        self.event_id: UUID | None = row["event_id"]
        self.session_id: UUID | None = row.get("session_id")
        self._row = row
        self._data: dict[str, Any] = orjson.loads(row["data"])
        self._is_of_permission = row["type"].startswith(_PERMISSION)
        self._written: dict[bool, Letter] = {}

    def json(self, recipient_id: UUID) -> bytes:
        """Return what this recipient reads."""
        return self.letter(recipient_id).json

    def letter(self, recipient_id: UUID) -> Letter:
        """Return what this recipient is sent."""
        # A role is spoken of differently to the user whose it is.
        is_yours = self._is_of_permission and self._data.get("user_id") == str(recipient_id)
        if is_yours not in self._written:
            self._written[is_yours] = Letter(self._write(is_yours=is_yours))
        return self._written[is_yours]

    def _write(self, *, is_yours: bool) -> bytes:
        row, data = self._row, self._data
        whose: dict[str, Any] = {name: data[name] for name in ("user_id", "role") if name in data}
        written = {
            "id": str(row["id"]),
            "cursor": write_position(*self.place),
            "type": row["type"],
            "event_id": str(row["event_id"]) if row["event_id"] else None,
            "initiator_id": str(row["initiator_id"]) if row["initiator_id"] else None,
            **(whose if self._is_of_permission else {}),
            "message": sentence(row["type"], data, is_yours=is_yours),
            "occurred_at": rfc3339(row["occurred_at"]),
            "data": data,
        }
        return orjson.dumps(written)


def sentence(kind: str, data: Mapping[str, Any], *, is_yours: bool = False) -> str:
    """Return what a message says to people."""
    sentences = _SENTENCES
    if kind.startswith(_PERMISSION):
        sentences = _YOURS if is_yours else _OTHERS
    title = f"\u201c{data['title']}\u201d" if data.get("title") else "An event"
    template = sentences.get(kind, "{title}: " + kind.replace("_", " ") + ".")
    written = template.format(
        title=title,
        role=data.get("role", "unknown"),
        first=data.get("first", "now"),
        when=data.get("when", "starts"),
        url=f"\u201c{data.get('url')}\u201d",
        why=_WHY_DISABLED.get(data.get("reason", ""), "nothing could be delivered to it"),
    )
    return written[0].upper() + written[1:]
