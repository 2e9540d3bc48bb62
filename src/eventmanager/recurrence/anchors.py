"""Where a series is anchored, and the wall clock that its own rule has for a slot.

A *slot* is the instant, in UTC, at which a pattern has an occurrence: its recurrence id.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from eventmanager.recurrence.parsing import parse
from eventmanager.recurrence.series import SLACK, Series
from eventmanager.recurrence.walk import Walk, instances
from eventmanager.recurrence.wallclock import days_later


@dataclass(frozen=True, slots=True)
class Anchor:
    """What a pattern is read against: the instant of DTSTART in UTC, its zone, and its kind."""

    start: datetime
    time_zone: ZoneInfo
    all_day: bool


def series_at(pattern: str, anchor: Anchor) -> Series:
    """Read `pattern` as `parse` does, for an event that lasts no time, or one day if all-day."""
    start, zone = anchor.start, anchor.time_zone
    end = days_later(start, 1, zone) if anchor.all_day else start
    return parse(pattern, start=start, end=end, time_zone=zone, all_day=anchor.all_day)


def shown_clock(instant: datetime, anchor: Anchor) -> datetime:
    """Return what the clock shows at `instant`, aware in the zone; midnight if all-day."""
    local = instant.astimezone(anchor.time_zone)
    # A day may begin later than at midnight, where midnight falls in a gap.
    return local.replace(hour=0, minute=0, second=0, fold=0) if anchor.all_day else local


def own_clock(walk: Walk | None, instant: datetime, anchor: Anchor) -> datetime:
    """Return the wall clock, aware, by which the rule of `walk` has a slot at `instant`.

    It is what the clock shows, except in a DST gap: 02:30 is read as 03:30 there (RFC 5545, 3.3.5),
    and the rule still means 02:30.
    """
    shown = shown_clock(instant, anchor)
    hidden = None if walk is None or anchor.all_day else _hidden_clock(shown)
    if walk is None or hidden is None or has(walk, shown) or not has(walk, hidden):
        return shown
    return hidden


def has(walk: Walk, clock: datetime) -> bool:
    """Return whether the rule has an instance at the wall clock `clock`, which is aware.

    The rule is also asked about the time before its start: all of it if INTERVAL is 1, which needs
    no alignment, else the first day.
    """
    if clock < walk.start:
        if walk.rule.interval > 1 and clock.date() < walk.start.date():
            return False
        walk = replace(walk, start=clock.replace(fold=0, microsecond=walk.start.microsecond))
    return next(instances(walk, clock, clock), None) == clock


def _hidden_clock(shown: datetime) -> datetime | None:
    """Return the wall clock in a DST gap that is read as `shown`, or None where there is none."""
    instant = shown.astimezone(UTC)
    earlier = (instant - SLACK).astimezone(shown.tzinfo)
    jump = (shown.utcoffset() or timedelta()) - (earlier.utcoffset() or timedelta())
    hidden = (shown - jump).replace(fold=0)
    return hidden if jump > timedelta() and hidden.astimezone(UTC) == instant else None
