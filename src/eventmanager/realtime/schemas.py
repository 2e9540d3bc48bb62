"""Notifications: a message as its recipient reads it."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import orjson
from pydantic import BaseModel, ConfigDict, Field

from eventmanager.core.time import rfc3339
from eventmanager.realtime.positions import Position, write_position

MAX_CURSOR: Final = 200
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


class ReadUpTo(BaseModel):
    """How far the caller has read."""

    model_config = ConfigDict(extra="forbid")

    cursor: str = Field(
        max_length=MAX_CURSOR,
        description="The `cursor` of the last notification that was read.",
        examples=["AAAAAAAAAyAAAAAAAAAACQ"],
    )


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
        self._row = row
        self._data: dict[str, Any] = orjson.loads(row["data"])
        self._is_of_permission = row["type"].startswith(_PERMISSION)
        self._written: dict[bool, bytes] = {}

    def json(self, recipient_id: UUID) -> bytes:
        """Return what this recipient reads."""
        # A role is spoken of differently to the user whose it is.
        is_yours = self._is_of_permission and self._data.get("user_id") == str(recipient_id)
        if is_yours not in self._written:
            self._written[is_yours] = self._write(is_yours=is_yours)
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
            "message": _sentence(row["type"], data, is_yours=is_yours),
            "occurred_at": rfc3339(row["occurred_at"]),
            "data": data,
        }
        return orjson.dumps(written)


def _sentence(kind: str, data: Mapping[str, Any], *, is_yours: bool) -> str:
    sentences = _SENTENCES
    if kind.startswith(_PERMISSION):
        sentences = _YOURS if is_yours else _OTHERS
    title = f"\u201c{data['title']}\u201d" if data.get("title") else "An event"
    sentence = sentences.get(kind, "{title}: " + kind.replace("_", " ") + ".")
    written = sentence.format(
        title=title, role=data.get("role", "unknown"), first=data.get("first", "now")
    )
    return written[0].upper() + written[1:]
