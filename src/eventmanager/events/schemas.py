"""Events and occurrences as clients write and read them."""

from datetime import date, datetime
from typing import Annotated, Any, Self
from uuid import UUID

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError

from eventmanager.core.bodies import Body
from eventmanager.core.time import Instant, Moment, ZoneName
from eventmanager.events.models import Status, Transparency
from eventmanager.reminders.schemas import Reminder, Reminders
from eventmanager.sharing.models import Role
from eventmanager.sharing.schemas import Permission

TITLE_MAX = 255
LOCATION_MAX = 500
DESCRIPTION_MAX = 20_000
BATCH_MAX = 1_000


def _storable(value: str) -> str:
    """Refuse what PostgreSQL's text can't hold."""
    if "\x00" in value:
        raise PydanticCustomError("invalid_text", "must not contain NUL characters")
    return value


_Text = AfterValidator(_storable)
Title = Annotated[
    str, StringConstraints(strip_whitespace=True, min_length=1, max_length=TITLE_MAX), _Text
]
Description = Annotated[str, StringConstraints(max_length=DESCRIPTION_MAX), _Text]
Location = Annotated[str, StringConstraints(max_length=LOCATION_MAX), _Text]
Pattern = Annotated[str, _Text]
Words = Annotated[str, StringConstraints(min_length=1, max_length=200), _Text]

_STANDUP: dict[str, Any] = {
    "title": "Daily standup",
    "start_time": "2026-12-01T09:00:00",
    "end_time": "2026-12-01T09:15:00",
    "time_zone": "Europe/Berlin",
    "recurrence_pattern": "RRULE:FREQ=DAILY",
    "reminders": [{"minutes_before": 10, "channel": "notification"}],
}
_MEETING: dict[str, Any] = {
    "title": "Team meeting",
    "description": "Weekly sync-up",
    "start_time": "2026-12-01T14:00:00Z",
    "end_time": "2026-12-01T15:00:00Z",
    "location": "Zoom",
}


class EventCreate(Body):
    """A new event.

    A time without an offset is wall clock in `time_zone`; dates instead of times make it all-day.
    """

    model_config = ConfigDict(json_schema_extra={"examples": [_MEETING, _STANDUP]})

    title: Title
    description: Description | None = None
    location: Location | None = None
    start_time: Moment = Field(description="When the first occurrence begins.")
    end_time: Moment = Field(description="When it ends; for all-day events the day after the last.")
    time_zone: ZoneName = Field("UTC", description="Where the wall clock of a series is.")
    all_day: bool | None = Field(None, description="Whole days; by default true if dates are sent.")
    is_recurring: bool | None = Field(
        None, description="May be left out: an event with a recurrence_pattern recurs."
    )
    recurrence_pattern: Pattern | None = Field(
        None,
        description="RFC 5545: an RRULE, with or without `RRULE:`, and RDATE or EXDATE lines. "
        "At most 5,000 occurrences in the first two years, and in any year after.",
        examples=["RRULE:FREQ=WEEKLY;BYDAY=MO"],
    )
    status: Status = Status.CONFIRMED
    transparency: Transparency = Field(
        Transparency.OPAQUE, description="`transparent` events take up no time."
    )
    reminders: Reminders = Field([], description="Yours; each reader has their own.")

    @model_validator(mode="after")
    def _recurs_or_not(self) -> Self:
        _agree(self.is_recurring, has_pattern=self.recurrence_pattern is not None)
        return self


class EventBatch(Body):
    """Up to 1,000 events that are created together or not at all."""

    events: list[EventCreate] = Field(min_length=1, max_length=BATCH_MAX)


class EventUpdate(Body):
    """The fields to change; those left out stay as they are, and null clears what may be empty."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"title": "Updated title"}]})

    title: Title | None = None
    description: Description | None = None
    location: Location | None = None
    start_time: Moment | None = None
    end_time: Moment | None = None
    time_zone: ZoneName | None = None
    all_day: bool | None = None
    is_recurring: bool | None = None
    recurrence_pattern: Pattern | None = None
    status: Status | None = None
    transparency: Transparency | None = None
    reminders: Reminders | None = Field(
        None,
        description="Yours instead of those you had; no part of the event, so every reader may.",
    )

    @field_validator(
        "title",
        "start_time",
        "end_time",
        "time_zone",
        "status",
        "transparency",
        "reminders",
        mode="before",
    )
    @classmethod
    def _not_null(cls, value: object) -> object:
        if value is None:
            raise PydanticCustomError("not_nullable", "may be left out, but not null")
        return value

    def changes(self) -> dict[str, Any]:
        """Return the fields of the event that were sent."""
        return {name: getattr(self, name) for name in self.model_fields_set - {"reminders"}}


class BulkFilter(Body):
    """Events as the list of events finds them; with several conditions, those that meet all."""

    q: Words | None = Field(None, description="Words in title, description or location.")
    role: Role | None = Field(None, description="Only where this is your role.")
    start: Instant | None = Field(None, description="Only with an occurrence after it.")
    end: Instant | None = Field(None, description="Only with an occurrence before it.")


class BulkSelection(Body):
    """Up to 1,000 events, by their ids or by a filter."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"filter": {"q": "standup"}}]})

    ids: list[UUID] | None = Field(
        None, min_length=1, max_length=BATCH_MAX, description="Which events."
    )
    filter: BulkFilter | None = Field(None, description="Which events, if not by `ids`.")

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        chosen = self.filter is not None and self.filter.model_fields_set
        if (self.ids is None) == (not chosen):
            raise PydanticCustomError(
                "events_not_named", "name the events by ids or by a filter with a condition"
            )
        return self


class BulkChange(BulkSelection):
    """The same change for each of some events."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"filter": {"q": "standup"}, "changes": {"location": "Zoom"}}]
        },
    )

    changes: EventUpdate = Field(description="The fields to change.")


def _agree(is_recurring: bool | None, *, has_pattern: bool) -> None:
    """Refuse a flag that contradicts the pattern; which of the two was meant can't be guessed."""
    if is_recurring is None or is_recurring == has_pattern:
        return
    wrong = "needs a recurrence_pattern" if is_recurring else "contradicts the recurrence_pattern"
    raise PydanticCustomError(
        "recurrence_mismatch",
        "is_recurring is {value} and {wrong}",
        {"value": str(is_recurring).lower(), "wrong": wrong},
    )


class EventData(BaseModel):
    """An event without its permissions, as its versions hold it."""

    id: UUID
    owner_id: UUID
    title: str
    description: str | None
    location: str | None
    start_time: datetime | date = Field(description="An instant in UTC; a date if all-day.")
    end_time: datetime | date
    time_zone: str
    all_day: bool
    is_recurring: bool
    recurrence_pattern: str | None
    recurrence_text: str | None = Field(None, description="The pattern in plain English.")
    overrides: dict[str, dict[str, Any]] = Field(
        {},
        description="What single occurrences have of their own, by `recurrence_id`;"
        ' `{"excluded": true}` is one that was deleted.',
    )
    split_from: UUID | None = Field(None, description="The series that this one continues.")
    status: Status
    transparency: Transparency
    version: int = Field(description="1 at creation, one more at each change; also the ETag.")
    created_at: datetime
    updated_at: datetime


class Taken(BaseModel):
    """Fields that a merge has taken from one side; `times` are start, end, zone and rule."""

    mine: list[str]
    theirs: list[str]


class EventRead(EventData):
    """An event."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "id": "01936b0e-7c00-7a4e-9d3c-0f6a2b1c4d5e",
                    "owner_id": "01936b0e-0000-7b1f-8a2d-3c4e5f607182",
                    **_MEETING,
                    "time_zone": "UTC",
                    "all_day": False,
                    "is_recurring": True,
                    "recurrence_pattern": "RRULE:FREQ=WEEKLY",
                    "recurrence_text": "every week on Tuesday",
                    "overrides": {"2026-12-22T14:00:00Z": {"excluded": True}},
                    "split_from": None,
                    "status": "confirmed",
                    "transparency": "opaque",
                    "version": 1,
                    "created_at": "2026-11-22T20:00:00.125Z",
                    "updated_at": "2026-11-22T20:00:00.125Z",
                    "permissions": [
                        {"user_id": "01936b0e-0000-7b1f-8a2d-3c4e5f607182", "role": "Owner"}
                    ],
                    "reminders": [{"minutes_before": 10, "channel": "notification"}],
                }
            ]
        }
    )

    permissions: list[Permission]
    reminders: list[Reminder] = Field(description="Yours; each reader has their own.")
    dropped_overrides: list[str] = Field(
        [],
        description="Only after a change of a series, if there are any: overrides that are gone,"
        " since the series no longer takes place then, or they had nothing but times of a kind that"
        " it has no more.",
    )
    merged: bool = Field(
        False, description="Only with `base_version`: whether others had changed it since then."
    )
    taken: Taken | None = Field(
        None, description="Only with `base_version`: which changed fields came from whom."
    )


class BulkResult(BaseModel):
    """What became of one of many events."""

    id: UUID
    status: int = Field(description="The status that a request for it alone would have had.")
    event: EventRead | None = Field(None, description="It as it is then, unless it was deleted.")
    problem: dict[str, Any] | None = Field(None, description="Why it was refused.")


class OccurrenceRead(BaseModel):
    """One time that an event takes place."""

    event_id: UUID
    recurrence_id: datetime | date = Field(
        description="Names this occurrence within its event: its original start."
    )
    start_time: datetime | date
    end_time: datetime | date
    all_day: bool
    title: str
    description: str | None
    location: str | None
    time_zone: str
    status: Status
    transparency: Transparency
    is_recurring: bool
    is_override: bool = Field(description="Whether this occurrence differs from its series.")


class Occupied(BaseModel):
    """A busy occurrence of yours."""

    event_id: UUID
    title: str | None = Field(description="Null when you may not read that event any more.")
    recurrence_id: datetime
    start_time: datetime
    end_time: datetime


class Clash(BaseModel):
    """Two busy occurrences that overlap, the one that starts earlier first."""

    earlier: Occupied
    later: Occupied


def _side(**named: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of one of the two intervals of a clash."""
    instant = {"type": "string", "format": "date-time"}
    times = dict.fromkeys(("recurrence_id", "start_time", "end_time"), instant)
    return {"type": "object", "properties": named | times, "required": [*times]}


_INDEX: dict[str, Any] = {"type": "integer", "description": "The place in the batch, from 0."}

TIME_CONFLICT: dict[str, Any] = {
    "allOf": [
        {"$ref": "#/components/schemas/Problem"},
        {
            "type": "object",
            "properties": {
                "total": {"type": "integer", "description": "How many pairs there are."},
                "conflicts": {
                    "type": "array",
                    "maxItems": 50,
                    "description": "What was asked for, and what it would overlap.",
                    "items": {
                        "type": "object",
                        "properties": {
                            "requested": _side(index=_INDEX),
                            "existing": _side(
                                index=_INDEX,
                                event_id={"type": "string", "format": "uuid"},
                                title={
                                    "type": ["string", "null"],
                                    "description": "Null when you may not read that event.",
                                },
                            ),
                        },
                        "required": ["requested", "existing"],
                    },
                },
            },
            "required": ["total", "conflicts"],
        },
    ]
}
