"""PURE: the hours in which people work, each on their own wall clock, as stretches of time."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Final
from zoneinfo import ZoneInfo

MINUTES_A_DAY: Final = 24 * 60

Stretch = tuple[int, int]
"""A half-open stretch of time, in whole seconds since the epoch."""


@dataclass(frozen=True, slots=True)
class WorkingHours:
    """The minutes past midnight from which and to which work goes on, on some days of the week.

    Day 0 is Monday. An end that is not after the start lies on the next day, so 00:00 as an end,
    like 24:00, is the end of the day.
    """

    zone: ZoneInfo
    days: frozenset[int]
    start: int
    end: int


def open_stretches(hours: Sequence[WorkingHours], *, start: int, end: int) -> list[Stretch]:
    """Return when somebody works in every zone that `hours` name, within [start, end), in order.

    Hours in one zone add up. Without any hours all of the time is open. A time of day that a change
    of the clocks skips or repeats is read as RFC 5545, 3.3.5 says.
    """
    found: list[Stretch] = [(start, end)]
    for zone in dict.fromkeys(item.zone for item in hours):
        stretches = [
            stretch
            for item in hours
            if item.zone is zone
            for stretch in _stretches(item, start=start, end=end)
        ]
        found = _in_both(found, merged(stretches))
    return found


def merged(stretches: Iterable[Stretch]) -> list[Stretch]:
    """Return the same time as stretches that neither overlap nor touch, in order."""
    found: list[Stretch] = []
    for start, end in sorted(stretches):
        if found and start <= found[-1][1]:
            found[-1] = (found[-1][0], max(end, found[-1][1]))
        else:
            found.append((start, end))
    return found


def _stretches(hours: WorkingHours, *, start: int, end: int) -> list[Stretch]:
    # Hours past midnight began on the day before.
    first = datetime.fromtimestamp(start, hours.zone).date() - timedelta(days=1)
    last = datetime.fromtimestamp(end, hours.zone).date()
    until = hours.end if hours.end > hours.start else hours.end + MINUTES_A_DAY
    found: list[Stretch] = []
    for number in range((last - first).days + 1):
        day = first + timedelta(days=number)
        if day.weekday() in hours.days:
            begins = _instant(day, hours.start, hours.zone)
            ends = _instant(day, until, hours.zone)
            # Where the clocks skip the whole of them there are none.
            if begins < ends:
                found.append((begins, ends))
    return found


def _instant(day: date, minutes: int, zone: ZoneInfo) -> int:
    # fold=0, the default, is what RFC 5545, 3.3.5 asks for: a time in a gap is read with the offset
    # before it, one in an overlap is the first of the two.
    days, minutes = divmod(minutes, MINUTES_A_DAY)
    local = datetime.combine(
        day + timedelta(days=days), time(minutes // 60, minutes % 60), tzinfo=zone
    )
    return int(local.astimezone(UTC).timestamp())


def _in_both(ones: Sequence[Stretch], others: Sequence[Stretch]) -> list[Stretch]:
    """Return the time that lies in both; each is in order and without overlaps."""
    found: list[Stretch] = []
    n = m = 0
    while n < len(ones) and m < len(others):
        start = max(ones[n][0], others[m][0])
        end = min(ones[n][1], others[m][1])
        if start < end:
            found.append((start, end))
        if ones[n][1] < others[m][1]:
            n += 1
        else:
            m += 1
    return found
