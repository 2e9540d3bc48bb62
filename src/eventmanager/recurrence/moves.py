"""Moves a whole series to another start, zone or kind, and says where each of its slots went."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import date, datetime, time, timedelta
from typing import Final

from eventmanager.recurrence.anchors import Anchor, has, own_clock, series_at, shown_clock
from eventmanager.recurrence.expansion import expand
from eventmanager.recurrence.lines import DateLine, instants, read_pattern
from eventmanager.recurrence.reanchoring import (
    cannot_be_dragged,
    cannot_be_moved,
    is_every_day,
    keeps_days,
    with_day,
    with_time,
    without_time,
)
from eventmanager.recurrence.rule import Rule, parse_rule
from eventmanager.recurrence.series import LATEST, Series, rule_starts
from eventmanager.recurrence.values import Frequency
from eventmanager.recurrence.walk import Walk, instances, make_walk
from eventmanager.recurrence.wallclock import end_of_time, first_midnight, instant_of
from eventmanager.recurrence.writing import LineName, joined, raw_lines, replaced, write_dates


@dataclass(frozen=True, slots=True)
class Drag:
    """The slot by which a series is moved, and where it was put; both in UTC."""

    slot: datetime
    to: datetime


@dataclass(frozen=True, slots=True)
class Move:
    """A series at its new start: the `pattern` to read there, and the way of its slots."""

    pattern: str
    shift: Shift

    def slot(self, instant: datetime) -> datetime:
        """Return, in UTC, where the slot `instant` of the old series went."""
        return self.shift.slot(instant)

    def brings(self, drag: Drag) -> bool:
        """Return whether the series has a slot where one was put, and that one went there.

        The start alone may be put on another slot of its rule, whose days then stay.
        """
        if drag.slot != self.shift.old.start and self.slot(drag.slot) != drag.to:
            return False
        series = series_at(self.pattern, self.shift.new)
        return bool(expand(series, start=drag.to, end=drag.to + _TICK))


def move(pattern: str, *, old: Anchor, new: Anchor, dragged: Drag | None = None) -> Move:
    """Move the series of `pattern` from `old` to `new` on the wall clock.

    If the rule has the day of the new start, its days stay and only the time of day moves;
    otherwise its day parts follow the start. A series that is `dragged` by one of its slots moves
    as a whole, so a rule of every day follows by days as well. UNTIL, RDATE and EXDATE go where the
    slots go, and COUNT stays. Raises InvalidRecurrence if the rule cannot have an occurrence at the
    new start though it had one at the old, if it cannot have the dragged one where that was put, or
    if the pattern grows beyond MAX_LENGTH.
    """
    if old == new:
        return Move(pattern, Shift(old, new))
    moved = _moved(pattern, old, new, dragged=dragged is not None)
    if dragged is not None and not moved.brings(dragged):
        raise cannot_be_dragged()
    return moved


@dataclass(frozen=True, slots=True)
class Shift:
    """The way from the slots of a series at `old` to those at `new`, on the wall clock.

    Each slot moves by `days` and `time`. A rule of months or years has no such constant: its slots
    move from one period to the one `periods` later, first to first and so on; None if that is not
    needed. `before` and `after` are the rule at either end, None without a rule.
    """

    old: Anchor
    new: Anchor
    days: int = 0
    time: timedelta = timedelta()
    periods: int | None = None
    before: Walk | None = None
    after: Walk | None = None

    @property
    def still(self) -> bool:
        """Whether every slot stays where it is."""
        return (
            not (self.days or self.time or self.periods is not None)
            and self.old.time_zone == self.new.time_zone
            and self.old.all_day == self.new.all_day
        )

    def slot(self, instant: datetime) -> datetime:
        """Return, in UTC, where the slot `instant` of the old series went."""
        if self.still:
            return instant
        clock = _naive(own_clock(self.before, instant, self.old))
        moved = clock + timedelta(days=self.days) + self.time
        if self.periods is not None and self.before and self.after:
            moved = self._in_period(clock, moved, self.before, self.after)
        if self.new.all_day:
            return first_midnight(moved.date(), self.new.time_zone)
        return instant_of(moved, self.new.time_zone, start=self.new.start)

    def _in_period(self, clock: datetime, moved: datetime, before: Walk, after: Walk) -> datetime:
        """Return `moved`, or where that is no slot, the slot at the same place of its period."""
        # BYDAY=2MO and 2TU are one day apart in most months only, and six back in the others.
        if has(after, moved.replace(tzinfo=self.new.time_zone)):
            return moved
        begin = _period(before.rule.frequency, clock.date(), 0)
        old = _days(before, begin)
        new = _days(after, _period(before.rule.frequency, begin, self.periods or 0))
        if len(old) != len(new) or clock.date() not in old:
            return moved
        return datetime.combine(new[old.index(clock.date())], clock.time()) + self.time


_TICK: Final = timedelta(microseconds=1)
_SECOND: Final = timedelta(seconds=1)
_DAY: Final = timedelta(days=1)


def _naive(clock: datetime) -> datetime:
    return clock.replace(tzinfo=None, fold=0)


def _moved(pattern: str, old: Anchor, new: Anchor, *, dragged: bool) -> Move:
    series, lines = series_at(pattern, old), read_pattern(pattern)
    if lines.rule is None or series.walk is None:
        delta = _naive(shown_clock(new.start, new)) - _naive(shown_clock(old.start, old))
        shift = Shift(old, new, days=delta.days, time=delta - timedelta(days=delta.days))
        return Move(_rewritten(pattern, shift, None), shift)
    rule = parse_rule(lines.rule)
    target, shift = _reanchored(rule, series.walk, old, new, dragged=dragged)
    if series.until is not None:
        target = replace(target, until=_until(rule, series, series.until, shift))
    return Move(_rewritten(pattern, shift, None if target == rule else target), shift)


def _reanchored(
    rule: Rule, walk: Walk, old: Anchor, new: Anchor, *, dragged: bool
) -> tuple[Rule, Shift]:
    """Return the rule to read at `new`, but for UNTIL, and the shift that it makes."""
    was, to = own_clock(walk, old.start, old), shown_clock(new.start, new)
    # Days and times of day are compared by what the clock shows, so one zone does for both.
    then = was.replace(tzinfo=to.tzinfo, fold=0)
    on_rule = has(walk, was)
    target = without_time(rule) if new.all_day else with_time(rule, to) if on_rule else rule
    days, periods = 0, None
    if dragged and not on_rule:
        raise cannot_be_moved()
    if dragged and is_every_day(rule):
        days = (to.date() - then.date()).days
    elif not on_rule:
        # The start was beside the rule, so nobody can say where in the rule it should be now.
        days, periods = _drift(target, then, to)
    elif not keeps_days(target, then, to):
        days, periods = (to.date() - then.date()).days, _periods_between(target, then, to)
        target = with_day(target, then.date(), to.date())
    after = make_walk(target, to)
    if on_rule and not has(after, to):
        raise cannot_be_moved()
    if target.count is not None and on_rule:
        # A start in a gap is there by RDATE, and COUNT left it out; at the new start it is counted.
        target = replace(target, count=target.count + _hidden(walk, was))
    spent = _first_time(target, to) - _first_time(rule, then)
    return target, Shift(old, new, days, spent, periods, walk, after)


def _hidden(walk: Walk, clock: datetime) -> int:
    """Return how many instances there would be from `clock` on before the start of the rule."""
    earlier = instances(replace(walk, start=clock), clock, walk.start)
    return sum(found < walk.start for found in earlier) if clock < walk.start else 0


def _first_time(rule: Rule, start: datetime) -> timedelta:
    """Return the time after midnight of the first choice of BYHOUR, BYMINUTE and BYSECOND."""
    return timedelta(
        hours=min(rule.by_hour, default=start.hour),
        minutes=min(rule.by_minute, default=start.minute),
        seconds=min(rule.by_second, default=start.second),
        microseconds=start.microsecond,
    )


def _drift(rule: Rule, old: datetime, new: datetime) -> tuple[int, int | None]:
    """Return the days and periods by which the slots move when only the start of `rule` does.

    What the rule leaves out, and INTERVAL, are counted from its start even if that is no slot.
    """
    days, interval = (new.date() - old.date()).days, rule.interval
    if rule.frequency is Frequency.DAILY:
        return (days if days % interval else 0), None
    if rule.frequency is Frequency.WEEKLY:
        if not rule.by_day:
            return days, None
        into = [(day.weekday() - rule.week_start) % 7 for day in (old, new)]
        weeks = (days - into[1] + into[0]) // 7
        return (7 * weeks if weeks % interval else 0), None
    periods = _periods_between(rule, old, new) or 0
    return 0, (periods if periods % interval else 0)


def _periods_between(rule: Rule, old: date, new: date) -> int | None:
    """Return how many months or years of the rule are between; None if it goes by days or weeks."""
    if rule.frequency is Frequency.YEARLY:
        return new.year - old.year
    if rule.frequency is Frequency.MONTHLY:
        return (new.year - old.year) * 12 + new.month - old.month
    return None


def _period(frequency: Frequency, day: date, ahead: int) -> date:
    """Return the first day of the month or year that is `ahead` of the one `day` is in."""
    if frequency is Frequency.YEARLY:
        return date(day.year + ahead, 1, 1)
    year, month = divmod(day.year * 12 + day.month - 1 + ahead, 12)
    return date(year, month + 1, 1)


def _days(walk: Walk, begin: date) -> list[date]:
    """Return the days of the rule in the period from `begin`, those before its start included."""
    frequency, zone = walk.rule.frequency, walk.start.tzinfo
    origin = datetime.combine(_period(frequency, walk.start.date(), 0), time(), tzinfo=zone)
    # Without BYSETPOS one time a day will do, where there could be thousands.
    walk = replace(walk, start=origin, times=walk.times if walk.rule.by_set_pos else (0,))
    first = datetime.combine(begin, time(), tzinfo=zone)
    after = datetime.combine(_period(frequency, begin, 1), time(), tzinfo=zone)
    return sorted({found.date() for found in instances(walk, first, after - _SECOND)})


def _until(rule: Rule, series: Series, until: datetime, shift: Shift) -> date | datetime | None:
    """Return UNTIL where the slots went; what was the last one is the last one still."""
    old, new = shift.old, shift.new
    if shift.still or shift.after is None:
        return rule.until
    if new.all_day:
        moved: date | datetime = shown_clock(shift.slot(until), new).date()
    elif old.all_day or isinstance(rule.until, datetime):
        moved = _whole(shift.slot(until))
    else:
        moved = shown_clock(until, old).date() + timedelta(days=shift.days)
    every = replace(series, until=None, last=end_of_time(old.time_zone), exdates=frozenset())
    following = next(rule_starts(every, start=until + _TICK, end=LATEST), None)
    if following is not None:
        limit = shift.slot(following)
        fresh = replace(
            every,
            start=new.start,
            time_zone=new.time_zone,
            all_day=new.all_day,
            walk=shift.after,
            last=end_of_time(new.time_zone),
        )
        last = _reading(moved, new)
        beyond = next(rule_starts(fresh, start=last + _TICK, end=LATEST), limit)
        # The clocks of two zones jump at different times, and months differ in length: where that
        # loses or adds a slot, UNTIL is just before the first that is not to be.
        if not last < limit <= beyond:
            is_time = isinstance(moved, datetime)
            moved = _whole(limit) - _SECOND if is_time else shown_clock(limit, new).date() - _DAY
    return rule.until if _reads_as(rule.until, moved, shift) else moved


def _whole(instant: datetime) -> datetime:
    """Return the first whole second from `instant` on."""
    return instant.replace(microsecond=0) + (_SECOND if instant.microsecond else timedelta())


def _reading(until: date | datetime, anchor: Anchor) -> datetime:
    """Return the last instant that UNTIL, in UTC or a date, lets in."""
    if isinstance(until, datetime):
        return until
    if anchor.all_day:
        return first_midnight(until, anchor.time_zone)
    return first_midnight(until + _DAY, anchor.time_zone) - _TICK


def _reads_as(until: date | datetime | None, moved: date | datetime, shift: Shift) -> bool:
    """Return whether UNTIL as it was written would be read as `moved` at the new start."""
    new = shift.new
    if not isinstance(until, datetime):
        return until == moved
    if not isinstance(moved, datetime):
        return shift.old.all_day and until.date() == moved
    return moved == (until if until.tzinfo else instant_of(until, new.time_zone, start=new.start))


def _rewritten(pattern: str, shift: Shift, rule: Rule | None) -> str:
    """Write the pattern with another rule, if there is one, and its dates where they went."""
    lines = read_pattern(pattern)
    dates: dict[LineName, str | None] = {
        "RDATE": _dates("RDATE", lines.rdates, shift),
        "EXDATE": _dates("EXDATE", lines.exdates, shift),
    }
    if rule is None and not any(dates.values()):
        return joined([pattern])
    written: list[str] = []
    for name, text in raw_lines(pattern):
        if name == "RRULE":
            written.append(text if rule is None else replaced(text, rule))
        elif dates[name] is None:
            written.append(text)
        elif dates[name] not in written:
            written.append(dates[name] or "")
    return joined(written)


def _dates(name: LineName, lines: Iterable[DateLine], shift: Shift) -> str | None:
    """Return the line of all dates where they went, or None if the lines may stay as they are."""
    moved = {shift.slot(slot) for slot in _read(lines, shift.old)}
    if shift.old.all_day == shift.new.all_day and moved == _read(lines, shift.new):
        return None
    return write_dates(name, moved, shift.new)


def _read(lines: Iterable[DateLine], anchor: Anchor) -> set[datetime]:
    zone, start, all_day = anchor.time_zone, anchor.start, anchor.all_day
    return {slot for line in lines for slot in instants(line, zone, start=start, all_day=all_day)}
