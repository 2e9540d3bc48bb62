"""PURE: an event as its owner writes it: what it means, and what a change makes of it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Final

import orjson

from eventmanager.core.errors import Invalid
from eventmanager.core.time import read_moment, shown, zone
from eventmanager.events.overrides import Overrides, carried, planned, takes_time
from eventmanager.events.schemas import EventCreate
from eventmanager.events.timing import Loc, Timing, invalid_rrule, read_timing
from eventmanager.recurrence import Drag, InvalidRecurrence, move
from eventmanager.scheduling.plan import Plan

Row = Mapping[str, Any]

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
_TIMES: Final = ("start_time", "end_time", "time_zone", "all_day")
_DAILY: Final = "FREQ=DAILY"


@dataclass(frozen=True, slots=True)
class Revision:
    """An event as it is to be.

    `lost` names the overrides that no longer mean anything, `old_names` has the names that others
    had before the series moved. A series that was `admitted` before is not refused for what it has
    grown to since.
    """

    draft: EventCreate
    timing: Timing
    overrides: Overrides = field(default_factory=dict)
    admitted: bool = False
    lost: Sequence[str] = ()
    old_names: Mapping[str, str] = field(default_factory=dict)

    def plan(self, *, now: datetime) -> Plan:
        """Work out when it takes place; raises `Invalid`."""
        return self.timing.plan(
            busy=takes_time(self.draft.status, self.draft.transparency),
            now=now,
            overrides=planned(self.overrides, self.draft, time_zone=self.timing.time_zone),
            admitted=self.admitted,
        )

    def columns(self, plan: Plan) -> dict[str, Any]:
        """Return the columns of the event, with those overrides that the plan has a slot for."""
        timing, draft = self.timing, self.draft
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
            "recurrence_text": timing.recurrence_text,
            "overrides": {self.name(at): own.fields for at, own in sorted(plan.overrides.items())},
            "status": draft.status,
            "transparency": draft.transparency,
            "busy": plan.busy,
        }

    def name(self, instant: datetime) -> str:
        """Write the name of an occurrence as clients read it."""
        return shown(instant, time_zone=self.timing.time_zone, all_day=self.timing.all_day)

    def dropped(self, plan: Plan) -> list[str]:
        """Name the overrides whose occurrences the plan no longer has."""
        names = map(self.name, plan.dropped)
        return sorted([*self.lost, *(self.old_names.get(name, name) for name in names)])


def new(draft: EventCreate, *, loc: Loc = ("body",)) -> Revision:
    """Return a new event, whose draft stands at `loc` of the request; raises `Invalid`."""
    return Revision(draft, _timing_of(draft, loc=loc))


def current(event: Row) -> Revision:
    """Return a stored event, a row, as it is."""
    stored = {name: event[name] for name in _COLUMNS}
    if event["all_day"]:
        stored |= {"start_time": event["start_date"], "end_time": event["end_date"]}
    draft = EventCreate.model_construct(**stored)
    overrides = _as_object(event["overrides"])
    return Revision(draft, _timing_of(draft), overrides, admitted=True)


def past(data: Row) -> Revision:
    """Return the event that a version's `data` describes."""
    stored = {name: data[name] for name in _COLUMNS}
    stored |= {name: read_moment(data[name]) for name in ("start_time", "end_time")}
    draft = EventCreate.model_construct(**stored)
    return Revision(draft, _timing_of(draft), data.get("overrides", {}), admitted=True)


def composed(state: Row, *, current: Row, earlier: Row) -> Revision:
    """Return the event of a state that was composed of the current one and an earlier one.

    If one of these is all-day and the other is not, those overrides that are not of the one with
    the times come over as in `revise`: they stay on their day, without times of their own. Where
    both have one of a slot then, that of the current state stays.
    """
    event = past(state)
    new = event.timing
    if new.series is None:
        return replace(event, overrides={}, lost=list(event.overrides))
    other = next((it for it in (current, earlier) if it["all_day"] != new.all_day), None)
    if other is None:
        return event
    here: dict[str, Any] = {}
    there: dict[str, Any] = {}
    for key, own in event.overrides.items():
        is_instant = isinstance(read_moment(key), datetime)
        (here if is_instant != new.all_day else there)[key] = own
    old = past(other).timing
    slot = move(_DAILY, old=old.anchor, new=new.anchor).slot
    came, old_names, lost = carried(there, slot, old=old, new=new)
    twice = here.keys() & came.keys()
    if other is current:
        return replace(event, overrides={**here, **came}, lost=[*lost, *twice], old_names=old_names)
    lost += [old_names.pop(name) for name in twice]
    return replace(event, overrides={**came, **here}, lost=lost, old_names=old_names)


def state_of(event: Revision) -> dict[str, Any]:
    """Return an event as its version would hold it, without what its owner doesn't write."""
    timing, draft = event.timing, event.draft
    return {
        "title": draft.title,
        "description": draft.description,
        "location": draft.location,
        "start_time": event.name(timing.start_time),
        "end_time": event.name(timing.end_time),
        "time_zone": timing.time_zone,
        "all_day": timing.all_day,
        "recurrence_pattern": timing.recurrence_pattern,
        "status": str(draft.status),
        "transparency": str(draft.transparency),
        "overrides": dict(event.overrides),
    }


def times_of(state: Row) -> dict[str, Any]:
    """Return all the times of a state as fields that a client might send."""
    moments = {name: read_moment(state[name]) for name in ("start_time", "end_time")}
    return {name: state[name] for name in (*_TIMES, "recurrence_pattern")} | moments


def revise(before: Revision, fields: Row, *, dragged: Drag | None = None) -> Revision:
    """Return an event with the sent fields put over it; raises `Invalid`.

    When a series moves, its rule moves with it unless a new one is sent, and so do its overrides;
    if it is `dragged` by one of its occurrences, it moves as a whole, or not at all.
    """
    draft = _merged(before.draft, fields)
    old = before.timing
    bare = _timing_of(draft.model_copy(update={"recurrence_pattern": None}))
    if draft.recurrence_pattern is None:
        return Revision(draft, bare, lost=list(before.overrides))
    if old.recurrence_pattern is None:
        return Revision(draft, _timing_of(draft))
    given = "recurrence_pattern" in fields
    if old.anchor == bare.anchor:
        same = draft.recurrence_pattern == old.recurrence_pattern
        timing = old if same and _ends_alike(old, bare) else _timing_of(draft)
        return Revision(draft, timing, before.overrides, admitted=same)
    try:
        # A rule of its own says itself where the slots are: an override stays on its day.
        moved = move(
            _DAILY if given else old.recurrence_pattern,
            old=old.anchor,
            new=bare.anchor,
            dragged=None if given else dragged,
        )
    except InvalidRecurrence as error:
        raise invalid_rrule(error) from error
    if not given:
        draft = draft.model_copy(update={"recurrence_pattern": moved.pattern})
    timing = _timing_of(draft)
    overrides, old_names, lost = carried(before.overrides, moved.slot, old=old, new=timing)
    return Revision(draft, timing, overrides, lost=lost, old_names=old_names)


def with_pattern(
    event: Revision,
    pattern: str,
    *,
    overrides: Overrides,
    start: datetime | None = None,
    end: datetime | None = None,
) -> Revision:
    """Return a series with another pattern, and perhaps another start."""
    draft = event.draft.model_copy(update={"recurrence_pattern": pattern})
    if start is not None and end is not None:
        draft = draft.model_copy(update=_times(event.timing, start, end))
    return Revision(draft, _timing_of(draft), overrides, admitted=True)


def moved(event: Revision, *, start: datetime, end: datetime, fields: Row) -> Timing:
    """Return when an occurrence that is from `start` to `end` takes place after a change."""
    single = _times(event.timing, start, end) | {"recurrence_pattern": None}
    changed = {name: value for name, value in fields.items() if name in _TIMES}
    return _timing_of(_merged(event.draft.model_copy(update=single), changed))


def _times(timing: Timing, start: datetime, end: datetime) -> dict[str, Any]:
    """Return times in the form of the event's own: dates if it is all-day."""
    if not timing.all_day:
        return {"start_time": start, "end_time": end}
    zone_info = zone(timing.time_zone)
    return {
        "start_time": start.astimezone(zone_info).date(),
        "end_time": end.astimezone(zone_info).date(),
    }


def _merged(draft: EventCreate, fields: Row) -> EventCreate:
    merged = {name: getattr(draft, name) for name in _COLUMNS}
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


def _timing_of(draft: EventCreate, *, loc: Loc = ("body",)) -> Timing:
    return read_timing(
        start=draft.start_time,
        end=draft.end_time,
        time_zone=draft.time_zone,
        all_day=draft.all_day,
        recurrence_pattern=draft.recurrence_pattern,
        loc=loc,
    )


def _ends_alike(old: Timing, new: Timing) -> bool:
    return (old.end_time, old.end_date) == (new.end_time, new.end_date)


def _as_object(overrides: str | Overrides) -> Overrides:
    """Read overrides as the driver returns jsonb."""
    if isinstance(overrides, str):
        read: Overrides = orjson.loads(overrides)
        return read
    return overrides
