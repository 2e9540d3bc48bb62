"""Reads a recurrence pattern into a `Series`, and refuses what could not be expanded later."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo

from eventmanager.recurrence.lines import DateLine, instants, read_pattern
from eventmanager.recurrence.rule import Rule, parse_rule
from eventmanager.recurrence.series import LATEST, SLACK, Series, rule_starts
from eventmanager.recurrence.values import InvalidRecurrence
from eventmanager.recurrence.walk import make_walk, nth
from eventmanager.recurrence.wallclock import (
    FIRST_YEAR,
    LAST_YEAR,
    as_utc,
    end_of_time,
    first_midnight,
    instant_of,
)


def parse(
    pattern: str, *, start: datetime, end: datetime, time_zone: ZoneInfo, all_day: bool = False
) -> Series:
    """Read `pattern` for an event from `start` to `end` (aware instants, `end` exclusive).

    The pattern is one `RRULE:` line or a bare rule, with optional `RDATE` and `EXDATE` lines. An
    all-day event starts and ends at local midnights. Raises InvalidRecurrence if RFC 5545 (3.3.10,
    3.8.5) forbids the pattern, if it never occurs, or if `start` is outside of years 1900 to 2200;
    a naive `start` or `end` is a plain ValueError.
    """
    lines = read_pattern(pattern)
    start, end = as_utc(start), as_utc(end)
    _check_times(start, end, time_zone, all_day=all_day)
    rdates = _dates(lines.rdates, time_zone, start=start, all_day=all_day)
    series = Series(
        start=start,
        time_zone=time_zone,
        all_day=all_day,
        duration=end - start,
        days=(_day(end, time_zone) - _day(start, time_zone)).days,
        walk=None,
        until=None,
        last=end_of_time(time_zone),
        rdates=rdates,
        exdates=frozenset(),
    )
    if lines.rule is None:
        series = replace(series, rdates=rdates | {start})
    else:
        series = _ruled(series, parse_rule(lines.rule))
        # RDATE lines do not excuse a rule that is dead: it cannot be what its author meant.
        if next(rule_starts(series, start=start, end=LATEST), None) is None:
            raise InvalidRecurrence(
                "The rule never occurs: no date matches all of its parts from the start "
                f"of the event to the end of year {LAST_YEAR}; change or remove parts."
            )
    exdates = _dates(lines.exdates, time_zone, start=start, all_day=all_day)
    if not exdates:
        return series
    series = replace(series, exdates=exdates)
    if exdates.issuperset(series.rdates) and (
        next(rule_starts(series, start=start, end=LATEST), None) is None
    ):
        raise InvalidRecurrence(
            "The series never occurs: EXDATE removes every occurrence; keep at least one."
        )
    return series


def _check_times(start: datetime, end: datetime, zone: ZoneInfo, *, all_day: bool) -> None:
    # A margin of two years lets the zone conversions below never leave Python's calendar.
    if not (
        FIRST_YEAR - 2 < start.year < LAST_YEAR + 2
        and FIRST_YEAR <= start.astimezone(zone).year <= LAST_YEAR
    ):
        raise InvalidRecurrence(
            f"A recurring event must start in the years {FIRST_YEAR} to {LAST_YEAR}, "
            f"not in {start.year}."
        )
    if end < start or (all_day and end == start):
        raise InvalidRecurrence("The event ends before it starts; give an end after the start.")
    if end.year > LAST_YEAR + 1:
        raise InvalidRecurrence(f"The event ends after the year {LAST_YEAR}; give an earlier end.")
    if all_day:
        for name, instant in (("start", start), ("end", end)):
            if first_midnight(_day(instant, zone), zone) != instant:
                raise InvalidRecurrence(
                    f"The {name} of an all-day event must be midnight in {zone.key}."
                )


def _day(instant: datetime, zone: ZoneInfo) -> date:
    return instant.astimezone(zone).date()


def _dates(
    lines: Iterable[DateLine], zone: ZoneInfo, *, start: datetime, all_day: bool
) -> frozenset[datetime]:
    return frozenset(
        instant for line in lines for instant in instants(line, zone, start=start, all_day=all_day)
    )


def _ruled(series: Series, rule: Rule) -> Series:
    """Give `series` its rule, with the bounds that COUNT or UNTIL set."""
    zone = series.time_zone
    local = series.start.astimezone(zone)
    if series.all_day:
        # These "MUST be ignored" where DTSTART is a date, as older programs write them (3.3.10).
        rule = replace(rule, by_hour=(), by_minute=(), by_second=())
        # The day may begin later than at midnight, where midnight falls in a gap.
        local = local.replace(hour=0, minute=0, second=0)
    walk = make_walk(rule, local)
    if rule.count is not None:
        # COUNT is settled once, here, so that a window may start anywhere without counting again.
        last = nth(walk, rule.count, series.last)
        return replace(series, walk=walk, last=last or series.last)
    if rule.until is None or rule.until.year > LAST_YEAR:
        return replace(series, walk=walk)
    until = _until(rule.until, zone, start=series.start, all_day=series.all_day)
    if until < series.start:
        raise InvalidRecurrence("The rule never occurs: UNTIL is before the start of the event.")
    last = min(series.last, until.astimezone(zone) + SLACK)
    return replace(series, walk=walk, until=until, last=last)


def _until(moment: date | datetime, zone: ZoneInfo, *, start: datetime, all_day: bool) -> datetime:
    """Return the last instant at which an occurrence may start (UNTIL is inclusive).

    UNTIL is UTC whenever DTSTART has a TZID (RFC 5545, 3.3.10), so timed events compare instants;
    we also read a date as the whole local day, and a time without Z as a wall clock.
    """
    if moment.year < FIRST_YEAR:
        return _BEFORE_ALL
    if not isinstance(moment, datetime):
        if all_day:
            return first_midnight(moment, zone)
        return first_midnight(moment + timedelta(days=1), zone) - timedelta(microseconds=1)
    if all_day:
        # RFC 5545 wants a date here; programs that add a time mean the date they wrote.
        return first_midnight(moment.date(), zone)
    return moment if moment.tzinfo else instant_of(moment, zone, start=start)


_BEFORE_ALL: Final = datetime.min.replace(tzinfo=UTC)
