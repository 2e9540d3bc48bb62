"""What each type of notification says: the facts in its `data`. More members may come."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from eventmanager.messages.types import NotificationType

_OTHER_EVENT: Final = "01936b0e-7c00-7c52-a17e-2b8d9e0f1a2c"
_USER: Final = "01936b0e-7c00-7b1a-8f2d-5c6e7a8b9c0d"

Role = Literal["Owner", "Editor", "Viewer"]


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
