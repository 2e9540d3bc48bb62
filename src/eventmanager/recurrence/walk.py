"""Walks the instances of a rule on the wall clock, always between two bounds.

Wall clocks here are aware datetimes of one zone object: Python adds to and compares such datetimes
by what the clock shows, never by instant, which is just what RFC 5545 asks.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from math import prod
from typing import Final, NamedTuple

from eventmanager.recurrence.periods import periods, years
from eventmanager.recurrence.rule import Rule
from eventmanager.recurrence.values import ByDay, Frequency, InvalidRecurrence

MAX_OCCURRENCES: Final = 5_000
# The offsets of a block never reach beyond a year, so their timedeltas can be made once.
_DAYS: Final = tuple(timedelta(days=day) for day in range(366))


@dataclass(frozen=True, slots=True)
class Walk:
    """A rule made whole: what it left out is filled from DTSTART, as RFC 5545 3.3.10 asks.

    `start` is DTSTART as a wall clock; `times` are the seconds after midnight of each chosen day,
    ascending; `rule` has its day parts filled and keeps BYSETPOS only where a period has many days.
    """

    rule: Rule
    start: datetime
    times: Sequence[int] = field(repr=False)


class Block(NamedTuple):
    """Instances of one or more periods: `picks` index the days, each with all times, in order.

    Pick p is the day `days[p // n]` after the ordinal `base` at time number `p % n` of n.
    """

    base: int
    days: Sequence[int]
    picks: Sequence[int]


def make_walk(rule: Rule, start: datetime) -> Walk:
    """Fill `rule` from the wall clock `start`; refuse more than MAX_OCCURRENCES a day."""
    hours = rule.by_hour or (start.hour,)
    minutes = rule.by_minute or (start.minute,)
    seconds = rule.by_second or (start.second,)
    rule = _with_days(rule, start)
    if not rule.by_set_pos and prod(map(len, (hours, minutes, seconds))) > MAX_OCCURRENCES:
        raise InvalidRecurrence(
            f"The rule has more than {MAX_OCCURRENCES:,} occurrences in a single day; "
            "give fewer BYHOUR, BYMINUTE or BYSECOND values."
        )
    times = [
        hour * 3600 + minute * 60 + second
        for hour in hours
        for minute in minutes
        for second in seconds
    ]
    if rule.by_set_pos and rule.frequency is Frequency.DAILY:
        # The set of a DAILY period is one day, so BYSETPOS chooses the same times every day.
        times = [times[pick] for pick in _positions(rule.by_set_pos, len(times))]
        rule = replace(rule, by_set_pos=())
    return Walk(rule, start, tuple(times))


def instances(walk: Walk, since: datetime, until: datetime) -> Iterator[datetime]:
    """Yield the wall clocks of the rule from `since` to `until`, both inclusive, ascending.

    Nothing before DTSTART is yielded; the microseconds of DTSTART are kept.
    """
    since = max(since, walk.start)
    times, count = walk.times, len(walk.times)
    for block in _blocks(walk, since.toordinal(), until.toordinal()):
        midnight, days = _midnight(walk, block.base), block.days
        picks = block.picks[_place(walk, block, since) :]
        if count == 1:
            # Most rules have one time a day: then a pick is a day, and one addition is enough.
            first = midnight + timedelta(0, times[0])
            found = (first + _DAYS[days[pick]] for pick in picks)
        else:
            found = (
                midnight + _DAYS[days[pick // count]] + timedelta(0, times[pick % count])
                for pick in picks
            )
        for instance in found:
            if instance > until:
                return
            yield instance


def nth(walk: Walk, number: int, until: datetime) -> datetime | None:
    """Return the `number`-th instance from DTSTART (1 is the first), or None if after `until`."""
    for block in _blocks(walk, walk.start.toordinal(), until.toordinal()):
        place = _place(walk, block, walk.start) + number - 1
        if place < len(block.picks):
            day, time = divmod(block.picks[place], len(walk.times))
            midnight = _midnight(walk, block.base)
            instance = midnight + timedelta(block.days[day], walk.times[time])
            return instance if instance <= until else None
        number = place - len(block.picks) + 1
    return None


def crowded_year(walk: Walk, until: datetime) -> int | None:
    """Return the first year that has more than MAX_OCCURRENCES instances up to `until`, or None.

    They are counted and not made, so that two centuries cost little. A week of which BYSETPOS
    chooses counts for the year in which it begins.
    """
    if len(walk.times) * len(_DAYS) <= MAX_OCCURRENCES:
        return None
    after = until + timedelta(seconds=1)
    first, last = walk.start.toordinal(), until.toordinal()
    counts = Counter[int]()
    for block in _blocks(walk, first, last):
        year = date.fromordinal(block.base).year
        if first < block.base and block.base + block.days[-1] < last:
            counts[year] += len(block.picks)
        else:
            counts[year] += _place(walk, block, after) - _place(walk, block, walk.start)
        if counts[year] > MAX_OCCURRENCES:
            return year
    return None


def _with_days(rule: Rule, start: datetime) -> Rule:
    """Fill the day parts a rule leaves out (RFC 5545, 3.3.10: "derived from DTSTART")."""
    if rule.frequency is Frequency.DAILY or rule.by_day or rule.by_month_day or rule.by_year_day:
        return rule
    if rule.frequency is Frequency.WEEKLY or rule.by_week_no:
        return replace(rule, by_day=(ByDay(0, start.weekday()),))
    if rule.frequency is Frequency.MONTHLY or rule.by_month:
        return replace(rule, by_month_day=(start.day,))
    return replace(rule, by_month=(start.month,), by_month_day=(start.day,))


def _positions(by_set_pos: Sequence[int], size: int) -> list[int]:
    """Return the zero-based places that BYSETPOS names in a set of `size`, ascending."""
    places = {number - 1 if number > 0 else size + number for number in by_set_pos}
    return sorted(place for place in places if 0 <= place < size)


def _midnight(walk: Walk, ordinal: int) -> datetime:
    """Return midnight of the day `ordinal`, and on it the microseconds every instance shares."""
    ahead = timedelta(days=ordinal - walk.start.toordinal())
    return walk.start.replace(hour=0, minute=0, second=0, fold=0) + ahead


def _place(walk: Walk, block: Block, since: datetime) -> int:
    """Return how many picks of `block` come before `since`."""
    day = since.toordinal() - block.base
    if block.days[0] > day:
        return 0
    index = bisect_left(block.days, day)
    before = index * len(walk.times)
    if index < len(block.days) and block.days[index] == day:
        second = since.hour * 3600 + since.minute * 60 + since.second
        before += bisect_left(walk.times, second)
    return bisect_left(block.picks, before)


def _blocks(walk: Walk, first: int, last: int) -> Iterator[Block]:
    """Yield blocks of all periods that touch the ordinals `first` to `last`; none is empty.

    With BYSETPOS a block is one period, and the set is that of the whole period even where it
    begins before DTSTART: what is too early is dropped by the caller, not chosen around.
    """
    rule = walk.rule
    if not walk.times:
        return
    if not rule.by_set_pos:
        for base, days in years(rule, walk.start, first, last):
            yield Block(base, days, range(len(days) * len(walk.times)))
        return
    picked: dict[int, list[int]] = {}
    for base, days in periods(rule, walk.start, first, last):
        size = len(days) * len(walk.times)
        if size not in picked:
            picked[size] = _positions(rule.by_set_pos, size)
        if picked[size]:
            yield Block(base, days, picked[size])
