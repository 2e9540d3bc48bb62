"""What goes over the WebSocket beside notifications.

`asyncapi` describes the socket from these models, and `speaking` reads by them.
"""

from datetime import datetime
from typing import Annotated, Final, Literal
from uuid import UUID

import orjson
from pydantic import BaseModel, ConfigDict, Field

from eventmanager.messages.schemas import MAX_CURSOR
from eventmanager.messages.types import NotificationType

MAX_ID: Final = 64
MAX_FILTERED_EVENTS: Final = 1000
MAX_PRESENT: Final = 100
_CURSOR: Final = "AAAAAAAAAyAAAAAAAAAACQ"
_EVENT: Final = "01936b0e-7c00-7a4e-9d3c-0f6a2b1c4d5e"
_USER: Final = "01936b0e-7c00-7b1a-8f2d-5c6e7a8b9c0d"

RequestId = Annotated[
    str, Field(max_length=MAX_ID, description="Comes back in the answer, or in the error.")
]
State = Literal["viewing", "editing"]


# What clients may say.


class _Said(BaseModel):
    model_config = ConfigDict(extra="forbid")

    id: RequestId | None = None


class Subscribe(_Said):
    """Hear from now on only of what meets every given filter; it replaces the one before.

    The presence on each of the `events` that one may read comes at once, and whenever it changes.
    The filter is the socket's alone: the list of notifications, `after` and `ack` know nothing of
    it, and a client that connects again sends it again. What is sent until then is not filtered.
    """

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"type": "subscribe", "events": [_EVENT], "id": "1"}]}
    )

    type: Literal["subscribe"]
    events: list[UUID] | None = Field(
        None,
        max_length=MAX_FILTERED_EVENTS,
        description="Only what is about one of these events; null or left out for all.",
    )
    types: list[NotificationType] | None = Field(
        None,
        max_length=len(NotificationType) * 2,
        description="Only notifications of these types; null or left out for all.",
    )


class Ack(_Said):
    """Mark everything up to a cursor as read, as `POST /api/notifications/read` does."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"type": "ack", "cursor": _CURSOR, "id": "2"}]}
    )

    type: Literal["ack"]
    cursor: str = Field(
        max_length=MAX_CURSOR, description="The `cursor` of the last notification that was read."
    )


class Announce(_Said):
    """Say what one does with an event; until the socket closes, or one is `away` from it."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"type": "presence", "event_id": _EVENT, "state": "editing"}]
        }
    )

    type: Literal["presence"]
    event_id: UUID
    state: Literal["viewing", "editing", "away"]


ClientMessage = Annotated[Subscribe | Ack | Announce, Field(discriminator="type")]


# What is sent beside notifications.


class Frame(BaseModel):
    """What the server says beside notifications; members that were not given are left out."""

    def json_bytes(self) -> bytes:
        """Return it as JSON."""
        return orjson.dumps(self.model_dump(mode="json", exclude_unset=True))


class _Answer(Frame):
    id: RequestId | None = None


class Subscribed(_Answer):
    """The filter that holds from now on."""

    type: Literal["subscribed"]
    events: list[UUID] | None
    types: list[NotificationType] | None


class Acked(_Answer):
    """Everything up to this cursor is read."""

    type: Literal["acked"]
    cursor: str


class Announced(_Answer):
    """It is known what the client does with the event."""

    type: Literal["announced"]
    event_id: UUID
    state: Literal["viewing", "editing", "away"]


class Present(BaseModel):
    """A user who is at an event now."""

    user_id: UUID
    username: str
    state: State = Field(description="What the user does with the event.")
    since: datetime = Field(description="Since when the user does this.")


class Presence(Frame):
    """Who is at an event now: the whole list, which replaces the one before.

    A user with several sockets is listed once, as editing if that is said on one of them.
    """

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "type": "presence",
                    "event_id": _EVENT,
                    "present": [
                        {
                            "user_id": _USER,
                            "username": "alice",
                            "state": "editing",
                            "since": "2026-12-01T09:00:00Z",
                        }
                    ],
                    "total": 1,
                }
            ]
        }
    )

    type: Literal["presence"]
    event_id: UUID
    present: list[Present] = Field(
        max_length=MAX_PRESENT,
        description=f"At most {MAX_PRESENT}: those who edit first, then who came first.",
    )
    total: int = Field(description="How many users there are.")


class Fault(BaseModel):
    """Where in a client's message something is wrong."""

    loc: list[str | int] = Field(description="Where the value is.")
    msg: str = Field(description="What is wrong with it.")
    type: str = Field(description="Stable, for programs.")


class Error(_Answer):
    """A message was not understood or not followed; the socket stays open.

    Only `too_many_messages` may be followed by a close.
    """

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "type": "error",
                    "code": "forbidden",
                    "detail": "You may not read this event, or there is none",
                    "id": "3",
                }
            ]
        }
    )

    type: Literal["error"]
    code: str = Field(
        description="Stable, for programs: `invalid_message`, `invalid_cursor`, `cursor_expired`,"
        " `forbidden`, `too_many_events`, `too_many_messages`, `unavailable`."
    )
    detail: str = Field(description="What is wrong, for people.")
    errors: list[Fault] | None = Field(None, description="What is wrong where, if that is known.")


FRAMES: Final[tuple[type[Frame], ...]] = (Subscribed, Acked, Announced, Presence, Error)
