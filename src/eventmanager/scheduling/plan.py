"""PURE: what an event takes of its owner's time, and how far ahead that is stored."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Self

from eventmanager.recurrence import Occurrence, Series, expand, is_finished

HORIZON_YEARS: Final = 2
CAP_YEARS: Final = 10
_STRETCH: Final = timedelta(days=366)


@dataclass(frozen=True, slots=True)
class Plan:
    """When an event takes place, worked out up to its horizon; all instants in UTC.

    `occurrences` are those that start before `horizon`; a single event has exactly one.
    """

    series: Series | None
    busy: bool
    horizon: datetime
    occurrences: list[Occurrence]

    @classmethod
    def once(cls, *, start: datetime, end: datetime, busy: bool, now: datetime) -> Self:
        """Plan an event that takes place once.

        What it might clash with must be known up to its end, or up to the cap.
        """
        horizon = month_after(min(end, cap(now))) if busy else now
        return cls(None, busy, horizon, [Occurrence(start, start, end)])

    @classmethod
    def recurring(cls, series: Series, *, busy: bool, now: datetime) -> Self:
        """Plan a series up to two years past now or past its start, whichever is later.

        Raises `recurrence.InvalidRecurrence` when it has more than 5,000 occurrences until then.
        """
        ahead = years_after(max(now, series.start), HORIZON_YEARS)
        horizon = month_after(min(ahead, cap(now)))
        # An RDATE may lie before the start.
        first = min(series.rdates | {series.start})
        occurrences = expand(series, start=first, end=horizon)
        return cls(series, busy, horizon, occurrences)

    def until(self, end: datetime) -> list[Occurrence]:
        """Return the occurrences that start before `end`, which is not before the horizon."""
        if self.series is None:
            return self.occurrences
        return self.occurrences + between(self.series, start=self.horizon, end=end)

    def continues(self, *, at: datetime) -> bool:
        """Tell whether there may be occurrences that start at or after `at`."""
        return self.series is not None and not is_finished(self.series, at=at)


def between(series: Series, *, start: datetime, end: datetime) -> list[Occurrence]:
    """Return the occurrences of a planned series that start in [start, end), however many.

    The limit on their number holds for one expansion, so a long time is expanded year by year.
    """
    found: list[Occurrence] = []
    while start < end:
        pause = min(start + _STRETCH, end)
        found += expand(series, start=start, end=pause)
        start = pause
    return found


def cap(now: datetime) -> datetime:
    """Return the end of what may be asked for: ten years from now."""
    return years_after(now, CAP_YEARS)


def years_after(instant: datetime, years: int) -> datetime:
    """Return the same day some years later; 29 February becomes 1 March."""
    try:
        return instant.replace(year=instant.year + years)
    except ValueError:
        return instant.replace(year=instant.year + years, month=3, day=1)


def month_after(instant: datetime) -> datetime:
    """Return the first midnight of the month after `instant`.

    Horizons lie on these, so that what is stored grows by whole months and not at every write.
    """
    first = instant.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    return (first + timedelta(days=32)).replace(day=1)


@dataclass(frozen=True, slots=True)
class Wanted:
    """An occurrence to be booked, and the number of the plan it comes from."""

    plan: int
    occurrence: Occurrence


def overlaps(wanted: Sequence[Wanted]) -> list[tuple[Wanted, Wanted]]:
    """Return pairs (earlier, later) that intersect, for each later one at most one.

    `wanted` is ordered by start. Two that merely touch do not intersect: intervals are half-open.
    """
    pairs: list[tuple[Wanted, Wanted]] = []
    longest: Wanted | None = None
    for item in wanted:
        if longest is not None and item.occurrence.start < longest.occurrence.end:
            pairs.append((longest, item))
        if longest is None or item.occurrence.end > longest.occurrence.end:
            longest = item
    return pairs
