"""Cuts a pattern in two at one of its slots, for edits of "this and following"."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from itertools import chain
from typing import Final

from eventmanager.recurrence.anchors import Anchor, own_clock, series_at, shown_clock
from eventmanager.recurrence.lines import read_pattern
from eventmanager.recurrence.rule import Rule, parse_rule
from eventmanager.recurrence.series import EARLIEST, LATEST, SLACK, Series, rule_starts
from eventmanager.recurrence.walk import Walk, make_walk, nth
from eventmanager.recurrence.wallclock import as_utc
from eventmanager.recurrence.writing import joined, replaced, rule_line, write_dates


@dataclass(frozen=True, slots=True)
class Halves:
    """A series in two: `before` belongs to the old start, `after` to `after_start` (UTC)."""

    before: str
    after: str
    after_start: datetime


def split(pattern: str, *, anchor: Anchor, at: datetime) -> Halves:
    """Cut the series of `pattern` in two at its slot `at`, which must not be its first.

    `before` has exactly the slots before `at`, `after` the others, and `parse` accepts both.
    `after_start` is `at`, or the next slot of the rule where the rule cannot begin at `at`, as when
    only an RDATE puts a slot there: then `at` is an RDATE of `after`. Raises InvalidRecurrence if a
    half grows beyond MAX_LENGTH, ValueError if `at` is no slot or the first one.
    """
    at = as_utc(at)
    series = series_at(pattern, anchor)
    if not _any(_slots(series, at, at + _TICK)):
        raise ValueError("A series can only be cut at one of its slots.")
    if not _any(_slots(series, EARLIEST, at)):
        raise ValueError("A series cannot be cut at its first slot.")
    rdates, exdates = series.rdates, series.exdates
    before = _Half(
        anchor,
        rdates=frozenset(day for day in rdates if day < at),
        exdates=frozenset(day for day in exdates if day < at),
    )
    after = _Half(
        replace(anchor, start=at),
        rdates=frozenset(day for day in rdates if day >= at),
        exdates=frozenset(day for day in exdates if day >= at),
    )
    value, line = read_pattern(pattern).rule, rule_line(pattern)
    if value is None or line is None or series.walk is None:
        return Halves(_without_rule(before).written(), after.written(), at)
    rule = parse_rule(value)
    before = _first_half(before, series, line, rule, at=at)
    after = _second_half(after, series, line, rule, walk=series.walk)
    return Halves(before.written(), after.written(), after.anchor.start)


_TICK: Final = timedelta(microseconds=1)
# Days before a slot in which its predecessor is looked for: dense series have one nearby.
_LOOKS_BACK: Final = (2, 40, 400, 4_000, None)


@dataclass(frozen=True, slots=True)
class _Half:
    """A half in the making; `line` is its rule, as it will be written."""

    anchor: Anchor
    rdates: frozenset[datetime]
    exdates: frozenset[datetime]
    line: str | None = None

    def written(self) -> str:
        lines = [] if self.line is None else [self.line]
        if self.rdates:
            lines.append(write_dates("RDATE", self.rdates, self.anchor))
        if self.exdates:
            lines.append(write_dates("EXDATE", self.exdates, self.anchor))
        return joined(lines)


def _first_half(half: _Half, series: Series, line: str, rule: Rule, *, at: datetime) -> _Half:
    every = replace(series, exdates=frozenset())
    if not _any(rule_starts(every, start=EARLIEST, end=at)):
        return _without_rule(half)
    if _any(rule_starts(every, start=at, end=LATEST)):
        line = replaced(line, replace(rule, count=None, until=_last_before(every, at, half.anchor)))
    return _corrected(replace(half, line=line), series, at - 2 * SLACK, at)


def _second_half(half: _Half, series: Series, line: str, rule: Rule, *, walk: Walk) -> _Half:
    at = half.anchor.start
    begin = _begin(series, walk, half.anchor)
    if begin is None:
        left = frozenset(rule_starts(series, start=at, end=LATEST))
        return replace(half, rdates=half.rdates | left)
    anchor = replace(half.anchor, start=begin)
    begun = _begun(rule, walk, shown_clock(begin, anchor), own_clock(walk, begin, anchor))
    if begun != rule:
        line = replaced(line, begun)
    return _corrected(replace(half, anchor=anchor, line=line), series, at, begin + 2 * SLACK)


def _without_rule(half: _Half) -> _Half:
    """Return the half of RDATE lines only, in which DTSTART is a slot just if it was one."""
    # Without a rule the engine takes DTSTART for a slot, and it may be one of the other half.
    start = half.anchor.start
    return half if start in half.rdates else replace(half, exdates=half.exdates | {start})


def _last_before(every: Series, at: datetime, anchor: Anchor) -> date | datetime:
    """Return the UNTIL that ends a rule with its last slot before `at`."""
    last = at
    for days in _LOOKS_BACK:
        since = EARLIEST if days is None else at - timedelta(days=days)
        last = max(rule_starts(every, start=since, end=at), default=at)
        if last < at:
            break
    if anchor.all_day:
        return shown_clock(last, anchor).date()
    # UNTIL has no fraction, and all slots of the rule share that of DTSTART.
    return at.replace(microsecond=0) if last.microsecond else last


def _begin(series: Series, walk: Walk, anchor: Anchor) -> datetime | None:
    """Return the slot from `anchor` on where the rule can begin again, or None if none is left."""
    at, interval = anchor.start, walk.rule.interval
    # The slots of a DST gap are not in order, and none is better than `at` itself.
    here = rule_starts(series, start=at, end=at + _TICK)
    for begin in chain(here, rule_starts(series, start=at, end=LATEST)):
        own, shown = own_clock(walk, begin, anchor), shown_clock(begin, anchor)
        # A gap before midnight shows the slot on another day, from which INTERVAL must not count.
        if interval == 1 or own.date() == shown.date():
            # In a gap the slot's own clock is before the new DTSTART, and a rule needs a slot.
            later = rule_starts(series, start=begin, end=LATEST)
            clocks = (own_clock(walk, slot, anchor) for slot in later)
            return begin if any(shown <= clock <= series.last for clock in clocks) else None
    return None


def _begun(rule: Rule, walk: Walk, shown: datetime, own: datetime) -> Rule:
    """Return `rule` as it goes on from the wall clock `shown`, its slot there being `own`."""
    if shown != own:
        start = walk.start
        rule = replace(
            rule,
            by_hour=rule.by_hour or (start.hour,),
            by_minute=rule.by_minute or (start.minute,),
            by_second=rule.by_second or (start.second,),
        )
        old, new = walk.rule, make_walk(rule, shown).rule
        if _days(old) != _days(new):
            rule = replace(
                rule, by_month=old.by_month, by_month_day=old.by_month_day, by_day=old.by_day
            )
    if rule.count is not None:
        rule = replace(rule, count=rule.count - _number_before(shown, walk, rule.count))
    return rule


def _days(rule: Rule) -> tuple[object, ...]:
    return rule.by_month, rule.by_month_day, rule.by_day


def _number_before(clock: datetime, walk: Walk, most: int) -> int:
    """Return how many of the first `most` instances of the rule are before the wall clock."""

    def reached(number: int) -> bool:
        instance = nth(walk, number, clock)
        return instance is None or instance >= clock

    days = (clock.date() - walk.start.date()).days + 1
    most = min(most, days * len(walk.times))
    return bisect_left(range(1, most + 1), True, key=reached)


def _corrected(half: _Half, series: Series, since: datetime, until: datetime) -> _Half:
    """Return the half with exactly the slots of `series` from `since` to before `until`.

    Elsewhere its rule has them anyway. Where the clock jumps, slots are not in the order of their
    wall clocks, which is what COUNT and DTSTART go by.
    """
    wanted = set(_slots(series, since, until))
    found = set(_slots(series_at(half.written(), half.anchor), since, until))
    return replace(
        half,
        rdates=half.rdates | (wanted - found),
        exdates=half.exdates | (found - wanted),
    )


def _slots(series: Series, start: datetime, end: datetime) -> Iterator[datetime]:
    """Yield the slots s where start <= s < end, in no order, perhaps twice."""
    for day in series.rdates - series.exdates:
        if start <= day < end:
            yield day
    yield from rule_starts(series, start=start, end=end)


def _any(slots: Iterable[datetime]) -> bool:
    return any(True for _ in slots)
