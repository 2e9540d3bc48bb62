"""The periods a rule repeats by, and the days chosen in each; INTERVAL is applied here.

Work is bounded by the calendar, not by the rule: at most 301 years, each looked at once.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from datetime import date
from itertools import pairwise
from typing import TypeAlias

from eventmanager.recurrence.days import (
    ALL_MONTHS,
    days_of_year,
    kind_of_year,
    month_bounds,
    new_year,
)
from eventmanager.recurrence.rule import Rule
from eventmanager.recurrence.values import Frequency

# The ordinal of a day, and the chosen days as offsets from it, ascending.
Days: TypeAlias = tuple[int, Sequence[int]]


def years(rule: Rule, start: date, first: int, last: int) -> Iterator[Days]:
    """Yield the ordinal of 1 January and the offsets of the chosen days, of years that have any.

    INTERVAL is applied here: a year without a period of the rule is stepped over.
    """
    known: dict[object, tuple[int, ...]] = {}
    year, step = _year(first), 1
    if rule.frequency is Frequency.YEARLY:
        step = rule.interval
        year += (start.year - year) % step
    for current in range(year, _year(last) + 1, step):
        months = _months(rule, start, current)
        key = (kind_of_year(current), months)
        if key not in known:
            known[key] = days_of_year(rule, current, months)
        base = new_year(current)
        days = _thinned(rule, start, base, known[key])
        if days:
            yield base, days


def periods(rule: Rule, start: date, first: int, last: int) -> Iterator[Days]:
    """Yield the chosen days of each period as `years` does; none is empty."""
    if rule.frequency is Frequency.WEEKLY:
        yield from _weeks(rule, start, first, last)
        return
    for base, days in years(rule, start, first, last):
        if rule.frequency is Frequency.YEARLY:
            yield base, days
            continue
        for begin, after in pairwise(month_bounds(_year(base))):
            month = days[bisect_left(days, begin) : bisect_left(days, after)]
            if month:
                yield base, month


def _weeks(rule: Rule, start: date, first: int, last: int) -> Iterator[Days]:
    """Yield the chosen days of each week, joining the halves that 1 January cuts a week into."""
    known: dict[object, list[tuple[int, list[int]]]] = {}
    held_base, held = 0, list[int]()
    # A week may begin in the year before, and end in the year after, the days asked for.
    for base, days in years(rule, start, first - 6, last + 6):
        key = (base % 7, tuple(days))
        if key not in known:
            known[key] = _cut_into_weeks(days, (base - _week_origin(rule, start)) % 7)
        for ahead, week in known[key]:
            if base + ahead == held_base:
                held = held + week
                continue
            if held:
                yield held_base, held
            held_base, held = base + ahead, week
    if held:
        yield held_base, held


def _cut_into_weeks(days: Sequence[int], passed: int) -> list[tuple[int, list[int]]]:
    """Group `days` of a year whose first day has `passed` days of its week before it.

    Each week has its first day relative to 1 January, and its chosen days relative to that.
    """
    weeks: list[tuple[int, list[int]]] = []
    for day in days:
        begin = day - (day + passed) % 7
        if not weeks or weeks[-1][0] != begin:
            weeks.append((begin, []))
        weeks[-1][1].append(day - begin)
    return weeks


def _week_origin(rule: Rule, start: date) -> int:
    """Return the ordinal of the first day of DTSTART's week, by WKST."""
    ordinal = start.toordinal()
    return ordinal - (ordinal - 1 - rule.week_start) % 7


def _year(ordinal: int) -> int:
    return date.fromordinal(ordinal).year


def _months(rule: Rule, start: date, year: int) -> tuple[int, ...]:
    """Return the months of `year` that BYMONTH, and INTERVAL of a MONTHLY rule, leave."""
    months = rule.by_month or ALL_MONTHS
    interval = rule.interval
    if interval == 1 or rule.frequency is not Frequency.MONTHLY:
        return months
    ahead = (year - start.year) * 12 - start.month
    return tuple(month for month in months if (ahead + month) % interval == 0)


def _thinned(rule: Rule, start: date, base: int, days: tuple[int, ...]) -> Sequence[int]:
    """Keep the days that INTERVAL leaves of a DAILY or WEEKLY rule."""
    interval = rule.interval
    if interval > 1 and rule.frequency is Frequency.DAILY:
        ahead = base - start.toordinal()
        return [day for day in days if (ahead + day) % interval == 0]
    if interval > 1 and rule.frequency is Frequency.WEEKLY:
        ahead = base - _week_origin(rule, start)
        return [day for day in days if (ahead + day) // 7 % interval == 0]
    return days
