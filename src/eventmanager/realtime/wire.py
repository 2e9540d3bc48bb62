"""What goes over the WebSocket beside notifications, and which facts each type of these carries.

`asyncapi` describes the socket from these models, and `speaking` reads by them.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Final, Literal
from uuid import UUID

import orjson
from pydantic import BaseModel, ConfigDict, Field

from eventmanager.realtime.schemas import MAX_CURSOR
from eventmanager.realtime.types import NotificationType

MAX_ID: Final = 64
MAX_FILTERED_EVENTS: Final = 1000
MAX_PRESENT: Final = 100
_CURSOR: Final = "AAAAAAAAAyAAAAAAAAAACQ"
_EVENT: Final = "01936b0e-7c00-7a4e-9d3c-0f6a2b1c4d5e"
_OTHER_EVENT: Final = "01936b0e-7c00-7c52-a17e-2b8d9e0f1a2c"
_USER: Final = "01936b0e-7c00-7b1a-8f2d-5c6e7a8b9c0d"

RequestId = Annotated[
    str, Field(max_length=MAX_ID, description="Comes back in the answer, or in the error.")
]
State = Literal["viewing", "editing"]
Role = Literal["Owner", "Editor", "Viewer"]


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


# The `data` of each type of notification. More members may come.


def _example(**data: Any) -> ConfigDict:
    return ConfigDict(json_schema_extra={"examples": [data]})


class FieldChange(BaseModel):
    """One field that is no longer what it was; of an override it is `overrides/<its slot>`."""

    field: str
    before: Any
    after: Any


class EventCreated(BaseModel):
    """An event was created."""

    model_config = _example(version=1, title="Standup")

    version: int = Field(description="The event's version with the change.")
    title: str


class EventChanged(EventCreated):
    """An event was changed, deleted, restored or rolled back."""

    model_config = _example(
        version=4,
        title="Standup",
        changes=[{"field": "location", "before": None, "after": "Room 2"}],
    )

    changes: list[FieldChange]
    recurrence_id: str | None = Field(
        None, description="With `scope`: the occurrence that was changed, by its original start."
    )
    scope: Literal["this", "following", "all"] | None = Field(
        None, description="Which occurrences were meant, where one of them was named."
    )
    zone_data: str | None = Field(
        None, description="The time zone data by which the server has moved it, such as 2026.2."
    )


class SeriesSplit(EventChanged):
    """A series ends earlier, and what came later is a series of its own."""

    model_config = _example(
        version=5,
        title="Standup",
        changes=[
            {
                "field": "recurrence_pattern",
                "before": "RRULE:FREQ=DAILY",
                "after": "RRULE:FREQ=DAILY;UNTIL=20270305T090000Z",
            }
        ],
        recurrence_id="2027-03-06T09:00:00Z",
        scope="following",
        new_event_id=_OTHER_EVENT,
    )

    new_event_id: UUID = Field(description="The series of what comes later.")


class LateClash(BaseModel):
    """Two events of the recipient clash in time that was not looked at when they were made."""

    model_config = _example(
        title="Standup",
        other_event_id=_OTHER_EVENT,
        other_title="Retrospective",
        clashes=2,
        first="2029-04-02T07:00:00Z",
    )

    title: str | None
    other_event_id: UUID
    other_title: str | None
    clashes: int = Field(description="How often they clash in the time that was added.")
    first: datetime = Field(description="When they clash first.")


class PermissionChanged(BaseModel):
    """A user was given a role, or another one, or has lost it."""

    model_config = _example(user_id=_USER, role="Editor", title="Standup")

    user_id: UUID
    role: Role = Field(description="The role; of `permission_revoked`, the former one.")
    title: str


class Reminder(BaseModel):
    """An occurrence begins soon."""

    model_config = _example(
        title="Standup",
        recurrence_id="2027-03-01T08:00:00Z",
        start_time="2027-03-01T08:00:00Z",
        end_time="2027-03-01T08:15:00Z",
        time_zone="Europe/Berlin",
        all_day=False,
        location=None,
        minutes_before=10,
        due_at="2027-03-01T07:50:00Z",
        when="starts in 10 minutes, at 09:00",
    )

    title: str
    recurrence_id: str | None = Field(description="Of a series: the occurrence.")
    start_time: str = Field(description="An instant; of all-day events a date.")
    end_time: str
    time_zone: str
    all_day: bool
    location: str | None
    minutes_before: int
    due_at: datetime = Field(description="When this was to be told.")
    when: str = Field(description="For people.")


class WebhookDisabled(BaseModel):
    """A webhook is not called any more."""

    model_config = _example(
        webhook_id=_OTHER_EVENT, url="https://hooks.example.com/events", reason="failing"
    )

    webhook_id: UUID
    url: str
    reason: Literal["failing", "gone", "backlog"] | None = Field(
        None,
        description="It failed for a day, answered 410, or was so slow that too much waited.",
    )


DATA: Final[Mapping[NotificationType, type[BaseModel]]] = {
    NotificationType.EVENT_CREATED: EventCreated,
    NotificationType.EVENT_UPDATED: EventChanged,
    NotificationType.EVENT_DELETED: EventChanged,
    NotificationType.EVENT_RESTORED: EventChanged,
    NotificationType.EVENT_ROLLED_BACK: EventChanged,
    NotificationType.SERIES_SPLIT: SeriesSplit,
    NotificationType.LATE_CLASH: LateClash,
    NotificationType.PERMISSION_GRANTED: PermissionChanged,
    NotificationType.PERMISSION_UPDATED: PermissionChanged,
    NotificationType.PERMISSION_REVOKED: PermissionChanged,
    NotificationType.REMINDER: Reminder,
    NotificationType.WEBHOOK_DISABLED: WebhookDisabled,
}
