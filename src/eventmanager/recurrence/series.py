"""A `Series`: a pattern that was read, in its zone, and where its rule lands on the time line."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo

from eventmanager.recurrence.walk import Walk, instances
from eventmanager.recurrence.wallclock import FIRST_YEAR, LAST_YEAR

# No occurrence starts outside of these instants, whatever its zone.
EARLIEST: Final = datetime(FIRST_YEAR - 1, 12, 1, tzinfo=UTC)
LATEST: Final = datetime(LAST_YEAR + 1, 2, 1, tzinfo=UTC)
# No zone ever moved its clock by more than a day at once (Pacific/Apia skipped one), so a wall
# clock and its instant never disagree about "before" by more than this.
SLACK: Final = timedelta(hours=25)


@dataclass(frozen=True, slots=True)
class Series:
    """A pattern that was read and is known to occur; made by `parse`, used by `expand`.

    Instants are in UTC. `walk` is None if the pattern has no rule, only RDATE lines; `rdates` then
    has `start` among them. `duration` is elapsed time; an all-day series uses `days` instead. The
    rule ends at `last`, a wall clock in `time_zone` (COUNT, or the end of year 2200), and at the
    instant `until`, both inclusive.
    """

    start: datetime
    time_zone: ZoneInfo
    all_day: bool
    duration: timedelta
    days: int
    walk: Walk | None
    until: datetime | None
    last: datetime
    rdates: frozenset[datetime]
    exdates: frozenset[datetime]


def rule_starts(series: Series, *, start: datetime, end: datetime) -> Iterator[datetime]:
    """Yield the starts s of the rule without those in EXDATE, in UTC, where start <= s < end.

    They ascend, but for a wall clock in a DST gap: it lands among those after it, and may be one.
    """
    start, end = max(start, series.start), min(end, LATEST)
    if series.walk is None or start >= end:
        return
    zone, exdates, all_day, dtstart = series.time_zone, series.exdates, series.all_day, series.start
    since = start.astimezone(zone) - SLACK
    until = min(series.last, end.astimezone(zone) + SLACK)
    if series.until is not None:
        end = min(end, series.until + timedelta.resolution)
    for local in instances(series.walk, since, until):
        # A local time in a gap is read with the offset before it, one in an overlap is the first
        # of the two (RFC 5545, 3.3.5): PEP 495 does that for fold=0, which arithmetic gives.
        instant = local.astimezone(UTC)
        if instant < dtstart:
            # DTSTART is the second of two equal wall clocks, so this one is a second one too.
            instant = local.replace(fold=1).astimezone(UTC)
        if not start <= instant < end or (exdates and instant in exdates):
            continue
        # A day that the zone left out, as Apia did 2011-12-30, cannot be an all-day occurrence.
        if all_day and instant.astimezone(zone).day != local.day:
            continue
        yield instant
