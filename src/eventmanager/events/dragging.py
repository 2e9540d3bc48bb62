"""PURE: what becomes of a series that is edited from one of its occurrences."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, Final

from eventmanager.core.time import read_moment, zone
from eventmanager.events import drafts
from eventmanager.events.drafts import Revision
from eventmanager.events.overrides import EXCLUDED, TIMES, named, with_own
from eventmanager.events.timing import Timing, instant_named, invalid_rrule
from eventmanager.recurrence import (
    Drag,
    InvalidRecurrence,
    Occurrence,
    cannot_be_dragged,
    expand,
    split,
)

_INSTANT: Final = timedelta(microseconds=1)
_OF_TIME: Final = frozenset({*TIMES, "time_zone", "all_day"})
_NOT_THERE: Final = frozenset({*TIMES, *EXCLUDED})


def halves(event: Revision, at: datetime) -> tuple[Revision, Revision]:
    """Return a series up to the slot at `at`, and from it on; raises `Invalid`."""
    timing = event.timing
    assert timing.recurrence_pattern is not None
    try:
        cut = split(timing.recurrence_pattern, anchor=timing.anchor, at=at)
    except InvalidRecurrence as error:
        raise invalid_rrule(error) from error
    assert timing.series is not None
    [first] = expand(timing.series, start=cut.after_start, end=cut.after_start + _INSTANT)
    earlier: dict[str, Mapping[str, Any]] = {}
    later: dict[str, Mapping[str, Any]] = {}
    for key, own in event.overrides.items():
        half = earlier if named(key, time_zone=timing.time_zone) < at else later
        half[key] = own
    return (
        drafts.with_pattern(event, cut.before, overrides=earlier),
        drafts.with_pattern(event, cut.after, overrides=later, start=first.start, end=first.end),
    )


def edited_from(series: Revision, slot: Occurrence, fields: dict[str, Any]) -> Revision:
    """Return a series after a change of the occurrence of `slot` that concerns all of them.

    Raises `Invalid`, also where the rule cannot bring that one where it was put.
    """
    key = series.name(slot.recurrence_id)
    own, seen, said = series.overrides.get(key), slot, set(fields)
    if said.intersection(TIMES):
        said.update(TIMES)
        seen = _seen(slot, own or {}, series.timing)
    if own:
        # What is said of the occurrence now holds for it too, whatever it had of its own.
        kept = {name: value for name, value in own.items() if name not in said}
        series = replace(series, overrides=with_own(series.overrides, key, kept))
    if not said.intersection(_OF_TIME):
        return drafts.revise(series, fields)
    here = drafts.moved(series, start=seen.start, end=seen.end, fields=fields)
    drag = Drag(slot.recurrence_id, here.start_time)
    after = drafts.revise(series, fields | _begun(series.timing, slot, here), dragged=drag)
    # A start that was put on another slot of its rule finds there what that one has of its own.
    there = after.overrides.get(after.name(here.start_time), {})
    if said.issuperset(TIMES) and there.keys() & _NOT_THERE and "recurrence_pattern" not in fields:
        raise invalid_rrule(cannot_be_dragged())
    return after


def _seen(slot: Occurrence, own: Mapping[str, Any], timing: Timing) -> Occurrence:
    """Return the occurrence of a slot where clients see it: at times of its own if it has any."""
    if not own.keys() >= set(TIMES):
        return slot
    start, end = (
        instant_named(read_moment(own[name]), time_zone=timing.time_zone) for name in TIMES
    )
    return Occurrence(slot.recurrence_id, start, end)


def _begun(old: Timing, slot: Occurrence, here: Timing) -> dict[str, Any]:
    """Return where a series begins once the occurrence of one of its slots is `here`."""
    away = _local(here.start_time, here) - _local(slot.start, old)
    first = _local(old.start_time, old)
    # Where the clock shows a time twice, a start at the second stays there.
    start = (first + away).replace(fold=first.fold)
    if here.start_date is not None and here.end_date is not None:
        day = start.date()
        times: Sequence[datetime | date] = (day, day + (here.end_date - here.start_date))
    else:
        begin = start.replace(tzinfo=zone(here.time_zone)).astimezone(UTC)
        times = (begin, begin + (here.end_time - here.start_time))
    return {
        "start_time": times[0],
        "end_time": times[1],
        "time_zone": here.time_zone,
        "all_day": here.all_day,
    }


def _local(instant: datetime, timing: Timing) -> datetime:
    """Return the wall clock of an event at an instant; midnight if it is all-day."""
    local = instant.astimezone(zone(timing.time_zone)).replace(tzinfo=None)
    return datetime.combine(local.date(), time.min) if timing.all_day else local
