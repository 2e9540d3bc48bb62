"""PURE: what an event takes of its owner's time, and how far ahead that is stored."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple, Self

from eventmanager.recurrence import Occurrence, Series, expand, is_finished, refuse_crowded

HORIZON_YEARS: Final = 2
CAP_YEARS: Final = 10


@dataclass(frozen=True, slots=True)
class Override:
    """One occurrence that is not as its series says (RFC 5545, 3.8.4.4); instants in UTC.

    It takes place at `start` and `end` if these are given, and not at all if it is `excluded`.
    `fields` is all it has of its own, as it is stored beside it.
    """

    start: datetime | None
    end: datetime | None
    excluded: bool
    busy: bool
    fields: Mapping[str, Any]


Overrides = Mapping[datetime, Override]
"""Overrides by their `recurrence_id`."""


@dataclass(frozen=True, slots=True)
class Plan:
    """When an event takes place, worked out up to its horizon; all instants in UTC.

    `occurrences` are those whose `recurrence_id` lies before `horizon`, in its order and where
    their overrides put them; a single event has exactly one. `overrides` are those whose occurrence
    exists, `dropped` are the names of the others.
    """

    series: Series | None
    busy: bool
    horizon: datetime
    occurrences: list[Occurrence]
    overrides: Overrides
    dropped: Sequence[datetime]

    @classmethod
    def once(cls, *, start: datetime, end: datetime, busy: bool, now: datetime) -> Self:
        """Plan an event that takes place once.

        What it might clash with must be known up to its end, or up to the cap.
        """
        horizon = month_after(min(end, cap(now))) if busy else now
        return cls(None, busy, horizon, [Occurrence(start, start, end)], {}, ())

    @classmethod
    def recurring(
        cls,
        series: Series,
        *,
        busy: bool,
        now: datetime,
        overrides: Overrides,
        admitted: bool = False,
    ) -> Self:
        """Plan a series up to two years past now or past its start, and past its overrides.

        Raises `recurrence.InvalidRecurrence` when it has more than 5,000 occurrences until then,
        or in any year after, unless it was `admitted` before: then it may have grown since.
        """
        ahead = years_after(max(now, series.start), HORIZON_YEARS)
        horizon = month_after(min(ahead, cap(now)))
        # An RDATE may lie before the start.
        first = min(series.rdates | {series.start})
        if admitted:
            occurrences = between(series, start=first, end=horizon)
        else:
            occurrences = expand(series, start=first, end=horizon)
            refuse_crowded(series)
        if not overrides:
            return cls(series, busy, horizon, occurrences, {}, ())
        # Where an occurrence goes, and whence, must be known as far as what it might clash with.
        reach = max(max(name, item.end or name) for name, item in overrides.items())
        further = month_after(min(reach, cap(now)))
        if further > horizon:
            occurrences += between(series, start=horizon, end=further)
            horizon = further
        slots = {occurrence.recurrence_id for occurrence in occurrences}
        return cls(
            series,
            busy,
            horizon,
            [placed for item in occurrences for placed in _placed(item, overrides)],
            {name: item for name, item in overrides.items() if name in slots},
            sorted(name for name in overrides if name not in slots),
        )

    def until(self, end: datetime) -> list[Occurrence]:
        """Return the occurrences that start before `end`, which is not before the horizon."""
        if self.series is None:
            return self.occurrences
        return self.occurrences + between(self.series, start=self.horizon, end=end)

    def is_busy(self, occurrence: Occurrence) -> bool:
        """Tell whether an occurrence takes up time."""
        own = self.overrides.get(occurrence.recurrence_id)
        return self.busy if own is None else own.busy

    def continues(self, *, at: datetime) -> bool:
        """Tell whether there may be occurrences that start at or after `at`."""
        return self.series is not None and not is_finished(self.series, at=at)


def _placed(occurrence: Occurrence, overrides: Overrides) -> Sequence[Occurrence]:
    """Return an occurrence where its override puts it, or nothing if that takes it out."""
    own = overrides.get(occurrence.recurrence_id)
    if own is None:
        return (occurrence,)
    if own.excluded:
        return ()
    if own.start is None or own.end is None:
        return (occurrence,)
    return (Occurrence(occurrence.recurrence_id, own.start, own.end),)


def between(series: Series, *, start: datetime, end: datetime) -> list[Occurrence]:
    """Return the occurrences of a planned series that start in [start, end), however many."""
    return expand(series, start=start, end=end, limit=None)


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


class Wanted(NamedTuple):
    """Busy time to be booked, and the number of the plan it comes from.

    It is `fresh` if its event did not take that time before.
    """

    plan: int
    occurrence: Occurrence
    fresh: bool


def overlaps(wanted: Sequence[Wanted]) -> list[tuple[Wanted, Wanted]]:
    """Return pairs (earlier, later) that intersect, for each later one at most one.

    `wanted` is ordered by start. Two that merely touch do not intersect: intervals are half-open.
    Two of which neither is fresh stood so before.
    """
    pairs: list[tuple[Wanted, Wanted]] = []
    longest: Wanted | None = None
    longest_fresh: Wanted | None = None
    for item in wanted:
        start, end = item.occurrence.start, item.occurrence.end
        earlier = longest if item.fresh else longest_fresh
        if earlier is not None and start < earlier.occurrence.end:
            pairs.append((earlier, item))
        if longest is None or end > longest.occurrence.end:
            longest = item
        if item.fresh and (longest_fresh is None or end > longest_fresh.occurrence.end):
            longest_fresh = item
    return pairs
