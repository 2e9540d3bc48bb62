"""PURE: an event as its owner writes it: what it means, and what a change makes of it."""

from collections.abc import Mapping
from typing import Any, Final

from eventmanager.core.errors import Invalid
from eventmanager.core.time import read_moment
from eventmanager.events.models import Status, Transparency
from eventmanager.events.schemas import EventCreate
from eventmanager.events.timing import Loc, Timing, read_timing

_COLUMNS: Final = (
    "title",
    "description",
    "location",
    "start_time",
    "end_time",
    "time_zone",
    "all_day",
    "recurrence_pattern",
    "status",
    "transparency",
)


def is_busy(draft: EventCreate) -> bool:
    """Tell whether an event takes up its owner's time."""
    return draft.status != Status.CANCELLED and draft.transparency == Transparency.OPAQUE


def timing_of(draft: EventCreate, *, loc: Loc = ("body",)) -> Timing:
    """Return when a draft that stands at `loc` of the request takes place; raises `Invalid`."""
    return read_timing(
        start=draft.start_time,
        end=draft.end_time,
        time_zone=draft.time_zone,
        all_day=draft.all_day,
        recurrence_pattern=draft.recurrence_pattern,
        loc=loc,
    )


def merge(event: Mapping[str, Any], fields: Mapping[str, Any]) -> EventCreate:
    """Return the stored event, a row, with the sent fields put over it; raises `Invalid`."""
    merged = {name: event[name] for name in _COLUMNS}
    if event["all_day"]:
        merged |= {"start_time": event["start_date"], "end_time": event["end_date"]}
    if fields.keys() >= {"start_time", "end_time"}:
        # Whether new times make an all-day event is theirs to say, unless the client does.
        merged["all_day"] = None
    is_recurring = fields.get("is_recurring")
    if is_recurring is False and "recurrence_pattern" not in fields:
        merged["recurrence_pattern"] = None
    merged |= {name: value for name, value in fields.items() if name != "is_recurring"}
    recurs = merged["recurrence_pattern"] is not None
    if is_recurring is not None and is_recurring != recurs:
        raise Invalid(
            f"is_recurring is {str(is_recurring).lower()} but the event would have "
            f"{'a' if recurs else 'no'} recurrence_pattern",
            loc=("body", "is_recurring"),
            type="recurrence_mismatch",
        )
    return EventCreate.model_construct(**merged)


def from_version(data: Mapping[str, Any]) -> EventCreate:
    """Return the event that a version's `data` describes."""
    past = {name: data[name] for name in _COLUMNS}
    past |= {name: read_moment(data[name]) for name in ("start_time", "end_time")}
    return EventCreate.model_construct(**past)


def columns_of(draft: EventCreate, timing: Timing) -> dict[str, Any]:
    """Return the columns of an event that its owner writes."""
    return {
        "title": draft.title,
        "description": draft.description,
        "location": draft.location,
        "start_time": timing.start_time,
        "end_time": timing.end_time,
        "time_zone": timing.time_zone,
        "all_day": timing.all_day,
        "start_date": timing.start_date,
        "end_date": timing.end_date,
        "recurrence_pattern": timing.recurrence_pattern,
        "status": draft.status,
        "transparency": draft.transparency,
    }
