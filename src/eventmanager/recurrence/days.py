"""Which days of one year a rule selects: Gregorian set arithmetic, no time of day, no zone.

Days are offsets from 1 January (0 to 365). All BY parts of days meet as an intersection: that is
the expand and limit table of RFC 5545 3.3.10, once the parts a rule leaves out are filled from
DTSTART.
"""

from __future__ import annotations

from calendar import isleap
from collections.abc import Iterable, Iterator, Sequence
from datetime import date
from itertools import accumulate, pairwise
from typing import Final

from eventmanager.recurrence.rule import Rule
from eventmanager.recurrence.values import Frequency

ALL_MONTHS: Final = tuple(range(1, 13))
_MOST_IN_MONTH: Final = 5
_COMMON: Final = (0, *accumulate((31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)))
_LEAP: Final = (0, *accumulate((31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)))


def new_year(year: int) -> int:
    """Return the proleptic ordinal of 1 January, as `date.toordinal` counts."""
    return date(year, 1, 1).toordinal()


def month_bounds(year: int) -> Sequence[int]:
    """Return 13 offsets: month m holds the days from item m - 1 up to, not including, item m."""
    return _LEAP if isleap(year) else _COMMON


def kind_of_year(year: int) -> tuple[int, bool, bool, bool]:
    """Return what alone decides the answer of `days_of_year`, so that callers can remember it.

    The neighbours matter because the first and last days may lie in a week of another year.
    """
    return new_year(year) % 7, isleap(year - 1), isleap(year), isleap(year + 1)


def days_of_year(rule: Rule, year: int, months: Sequence[int]) -> tuple[int, ...]:
    """Return the offsets of the days of `year`, within `months`, that every BY part selects."""
    bounds = month_bounds(year)
    days = {day for month in months for day in range(bounds[month - 1], bounds[month])}
    if rule.by_month_day:
        days &= set(_month_days(rule.by_month_day, bounds))
    if rule.by_year_day:
        length = bounds[-1]
        days &= {day - 1 if day > 0 else length + day for day in rule.by_year_day}
    if rule.by_week_no:
        days &= set(_week_days(rule, year))
    if rule.by_day:
        days &= _weekdays(rule, year, months)
    return tuple(sorted(days))


def _month_days(numbers: Iterable[int], bounds: Sequence[int]) -> Iterator[int]:
    for first, after in pairwise(bounds):
        for number in numbers:
            day = first + number - 1 if number > 0 else after + number
            # A 31st of a 30-day month is ignored, never moved (RFC 5545, 3.3.10).
            if first <= day < after:
                yield day


def _week_days(rule: Rule, year: int) -> Iterator[int]:
    """Yield the days of the numbered weeks, including those a neighbouring year lends this one.

    RFC 5545 does not say to which year's recurrence the days of week 1 before 1 January belong;
    like other engines, we let every day belong to its calendar year, which INTERVAL and BYSETPOS
    see.
    """
    first = new_year(year)
    length = month_bounds(year)[-1]
    for week_year in (year - 1, year, year + 1):
        week_1 = _week_1(week_year, rule.week_start)
        weeks = (_week_1(week_year + 1, rule.week_start) - week_1) // 7
        for number in rule.by_week_no:
            week = number if number > 0 else weeks + 1 + number
            if 1 <= week <= weeks:
                begin = week_1 + 7 * (week - 1) - first
                yield from range(max(begin, 0), min(begin + 7, length))


def _week_1(year: int, week_start: int) -> int:
    """Return the ordinal on which week 1 begins: the first week with four days in `year`."""
    fourth = new_year(year) + 3
    return fourth - (fourth - 1 - week_start) % 7


def _weekdays(rule: Rule, year: int, months: Sequence[int]) -> set[int]:
    """Return the days BYDAY selects; plain and numbered weekdays in one list are a union."""
    bounds = month_bounds(year)
    # A number counts within the month for MONTHLY, and for YEARLY when BYMONTH is given (Note 2).
    monthly = rule.frequency is Frequency.MONTHLY or bool(rule.by_month)
    spans = (
        [(bounds[month - 1], bounds[month]) for month in months] if monthly else [(0, bounds[-1])]
    )
    shift = (new_year(year) - 1) % 7
    days: set[int] = set()
    for ordinal, weekday in rule.by_day:
        # No month has a sixth Monday: hundreds of such values must not cost a look at each month.
        if monthly and abs(ordinal) > _MOST_IN_MONTH:
            continue
        for first, after in spans:
            same = range(first + (weekday - shift - first) % 7, after, 7)
            if ordinal == 0:
                days.update(same)
            elif abs(ordinal) <= len(same):
                days.add(same[ordinal - 1 if ordinal > 0 else ordinal])
    return days
