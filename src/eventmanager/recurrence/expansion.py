"""Expands a series into its occurrences, always within a window."""

from __future__ import annotations

from datetime import datetime
from itertools import islice
from typing import NamedTuple

from eventmanager.recurrence.series import EARLIEST, LATEST, Series, rule_starts
from eventmanager.recurrence.values import InvalidRecurrence
from eventmanager.recurrence.walk import MAX_OCCURRENCES, crowded_year
from eventmanager.recurrence.wallclock import as_utc, days_later


class Occurrence(NamedTuple):
    """One occurrence, in UTC; `recurrence_id` names it even if an override moves it later."""

    recurrence_id: datetime
    start: datetime
    end: datetime


def expand(
    series: Series, *, start: datetime, end: datetime, limit: int | None = MAX_OCCURRENCES
) -> list[Occurrence]:
    """Return the occurrences whose own start s satisfies `start` <= s < `end`, ascending, in UTC.

    A timed occurrence lasts as long as the first in elapsed time (RFC 5545, 3.8.5.3), an all-day
    one as many days on the wall clock. An RDATE may lie before the start of the series. Raises
    InvalidRecurrence if there are more than `limit`, ValueError if a bound is naive.
    """
    start, end = _clamped(start), _clamped(end)
    found = {day for day in series.rdates if start <= day < end} - series.exdates
    starts = rule_starts(series, start=start, end=end)
    # Two wall clocks may be one instant, so what is left over is looked at again.
    while batch := list(islice(starts, MAX_OCCURRENCES + 1)):
        found.update(batch)
        if limit is not None and len(found) > limit:
            raise InvalidRecurrence(
                f"The series has more than {limit:,} occurrences in the span; "
                "limit it with COUNT or UNTIL, or make it repeat less often."
            )
    if not series.all_day:
        duration = series.duration
        return [Occurrence(moment, moment, moment + duration) for moment in sorted(found)]
    days, zone = series.days, series.time_zone
    return [Occurrence(moment, moment, days_later(moment, days, zone)) for moment in sorted(found)]


def refuse_crowded(series: Series) -> None:
    """Raise InvalidRecurrence if the rule has more than MAX_OCCURRENCES in any year, however far.

    A window shows only how often a rule occurs within it: with an INTERVAL, years of few may be
    followed by one of very many. What is counted is the rule's wall clocks, those in EXDATE too.
    """
    if series.walk is None:
        return
    last = series.last
    if series.until is not None:
        last = min(last, series.until.astimezone(series.time_zone))
    year = crowded_year(series.walk, last)
    if year is not None:
        raise InvalidRecurrence(
            f"The rule has more than {MAX_OCCURRENCES:,} occurrences in the year {year}; "
            "limit it with COUNT or UNTIL, or make it repeat less often."
        )


def is_finished(series: Series, *, at: datetime) -> bool:
    """Return whether no occurrence starts at or after the instant `at`."""
    at = _clamped(at)
    if any(day >= at and day not in series.exdates for day in series.rdates):
        return False
    return next(rule_starts(series, start=at, end=LATEST), None) is None


def begins(series: Series) -> datetime:
    """Return the first instant at which the series has an occurrence."""
    first = next(rule_starts(series, start=series.start, end=LATEST), LATEST)
    return min(first, min(series.rdates - series.exdates, default=LATEST))


def _clamped(instant: datetime) -> datetime:
    return min(max(as_utc(instant), EARLIEST), LATEST)
