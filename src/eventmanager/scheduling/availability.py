"""PURE: from the busy time of some people to the best times at which they could meet.

All times are whole seconds since the epoch. A meeting may begin at multiples of its step, and each
such start has a number. Each busy interval takes away a run of these numbers, so who is free when
costs one pass over the intervals and one over the starts, however many people there are.
"""

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from heapq import nsmallest
from itertools import accumulate
from operator import itemgetter

from eventmanager.scheduling.working_hours import Stretch

Run = tuple[int, int]
"""Starts from one number up to, and without, another."""


@dataclass(frozen=True, slots=True)
class Meeting:
    """What a time is looked for.

    Everybody has to be free from `buffer` before its start until `buffer` after its end.
    """

    duration: int
    step: int
    buffer: int = 0


class Found(StrEnum):
    """Whether there are times for all, for some of those who are required, or none at all."""

    ALL = "all"
    PARTIAL = "partial"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class Slot:
    """A time for the meeting, and who is busy then, by their positions among those asked for."""

    start: int
    end: int
    missing: tuple[int, ...]
    missing_optional: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class _Starts:
    """The starts from number 0, at the instant `first`, to number `count` - 1."""

    meeting: Meeting
    first: int
    count: int

    def at(self, number: int) -> int:
        return self.first + number * self.meeting.step

    def not_before(self, instant: int) -> int:
        """Return the number of the first start at or after an instant."""
        return min(max(-((self.first - instant) // self.meeting.step), 0), self.count)


def find_slots(
    meeting: Meeting,
    *,
    stretches: Sequence[Stretch],
    required: Sequence[Iterable[Stretch]],
    optional: Sequence[Iterable[Stretch]] = (),
    limit: int,
) -> list[Slot]:
    """Return at most `limit` slots: by the fewest missing, the fewest optional ones, then time.

    The meeting lies within one of the `stretches`, which are in order and neither overlap nor
    touch. Each of `required` and `optional` is what a person is busy with, ordered by start. If
    there are slots for all required people only these are returned; otherwise those that at least
    one of them can attend.
    """
    starts = _starts(meeting, stretches)
    taken = [_taken(starts, busy) for busy in required]
    taken_optional = [_taken(starts, busy) for busy in optional]
    missing = _totals(starts, taken)
    missing_optional = _totals(starts, taken_optional)
    # One number says it all: how many are missing, how many optional ones, and which start it is.
    ranks = [
        (missing[number] * (len(optional) + 1) + missing_optional[number]) * starts.count + number
        for begin, end in stretches
        for number in range(starts.not_before(begin), starts.not_before(end - meeting.duration + 1))
        if missing[number] < len(required)
    ]
    best = [rank % starts.count for rank in nsmallest(limit, ranks)]
    for_all = [number for number in best if missing[number] == 0]
    return [
        Slot(
            start=starts.at(number),
            end=starts.at(number) + meeting.duration,
            missing=_who(taken, number),
            missing_optional=_who(taken_optional, number),
        )
        for number in for_all or best
    ]


def found_in(slots: Sequence[Slot]) -> Found:
    """Tell what `find_slots` has found."""
    if not slots:
        return Found.NONE
    return Found.PARTIAL if slots[0].missing else Found.ALL


def _starts(meeting: Meeting, stretches: Sequence[Stretch]) -> _Starts:
    if not stretches:
        return _Starts(meeting, first=0, count=0)
    first = -(-stretches[0][0] // meeting.step) * meeting.step
    last = stretches[-1][1] - meeting.duration
    return _Starts(meeting, first, count=max((last - first) // meeting.step + 1, 0))


def _taken(starts: _Starts, busy: Iterable[Stretch]) -> list[Run]:
    """Return the runs of starts at which somebody can't attend; they don't overlap."""
    step, count = starts.meeting.step, starts.count
    # A start is taken if it is after `begin` - before and before `end` + after.
    before = starts.first + starts.meeting.duration + starts.meeting.buffer
    after = starts.first - starts.meeting.buffer
    runs: list[Run] = []
    reached = 0
    for begin, end in busy:
        low = max((begin - before) // step + 1, reached)
        high = min((end - after - 1) // step + 1, count)
        if low < high:
            runs.append((low, high))
            reached = high
    return runs


def _totals(starts: _Starts, taken: Sequence[Sequence[Run]]) -> list[int]:
    """Return for each start how many people can't attend."""
    changes = [0] * (starts.count + 1)
    for runs in taken:
        for low, high in runs:
            changes[low] += 1
            changes[high] -= 1
    return list(accumulate(changes))


def _who(taken: Sequence[Sequence[Run]], number: int) -> tuple[int, ...]:
    """Return the positions of those who can't attend at a start."""
    return tuple(position for position, runs in enumerate(taken) if _holds(runs, number))


def _holds(runs: Sequence[Run], number: int) -> bool:
    before = bisect_right(runs, number, key=itemgetter(0))
    return before > 0 and number < runs[before - 1][1]
