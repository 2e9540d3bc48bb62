"""Makes the parts of a rule follow DTSTART to another day or time of day."""

from __future__ import annotations

from calendar import monthrange
from collections.abc import Sequence
from dataclasses import replace
from datetime import date, datetime

from eventmanager.recurrence.anchors import has
from eventmanager.recurrence.rule import Rule
from eventmanager.recurrence.values import ByDay, Frequency, InvalidRecurrence
from eventmanager.recurrence.walk import make_walk


def cannot_be_moved() -> InvalidRecurrence:
    """Return the error for a rule that no rule of ours says about another start."""
    return InvalidRecurrence(
        "The rule cannot be moved there: it has no occurrence at the new start, and more than one "
        "value that could follow it; send a recurrence_pattern together with the new start."
    )


def cannot_be_dragged() -> InvalidRecurrence:
    """Return the error for a series that cannot be moved by one of its slots as a whole."""
    return InvalidRecurrence(
        "The rule cannot be moved so that this occurrence is there and the others move as far; "
        "send scope=following to move it and those after it, scope=this to move it alone, or a "
        "recurrence_pattern together with the new times."
    )


def with_time(rule: Rule, new: datetime) -> Rule:
    """Let BYHOUR, BYMINUTE and BYSECOND follow to the time of `new`, where each is one value."""
    return replace(
        rule,
        by_hour=_single(rule.by_hour, new.hour),
        by_minute=_single(rule.by_minute, new.minute),
        by_second=_single(rule.by_second, new.second),
    )


def without_time(rule: Rule) -> Rule:
    """Take BYHOUR, BYMINUTE and BYSECOND away, which an all-day event may not have."""
    times = (rule.by_hour, rule.by_minute, rule.by_second)
    if any(len(values) > 1 for values in times):
        raise cannot_be_moved()
    rule = replace(rule, by_hour=(), by_minute=(), by_second=())
    days = (rule.by_month, rule.by_week_no, rule.by_year_day, rule.by_month_day, rule.by_day)
    # BYSETPOS needs another BY part (RFC 5545, 3.3.10); of one time a day it chose that one.
    return rule if any(days) else replace(rule, by_set_pos=())


def with_day(rule: Rule, old: date, new: date) -> Rule:
    """Let the day parts follow from the day `old`, which the rule has, to the day `new`.

    The result may still not have that day: what has more than one meaning is left as it is.
    """
    rule = replace(
        rule,
        by_month_day=_numbers(rule.by_month_day, _in_month(old), _in_month(new), most=31),
        by_year_day=_numbers(rule.by_year_day, _in_year(old), _in_year(new), most=366),
    )
    if rule.frequency in {Frequency.DAILY, Frequency.WEEKLY}:
        return _with_weekdays(rule, (new - old).days)
    return replace(
        rule,
        by_month=_single(rule.by_month, new.month),
        by_day=(_by_day(rule, new),) if len(rule.by_day) == 1 else rule.by_day,
    )


def is_every_day(rule: Rule) -> bool:
    """Return whether `rule` chooses days by counting alone, so that it can begin on any."""
    parts = (rule.by_month, rule.by_month_day, rule.by_day)
    return rule.frequency is Frequency.DAILY and not any(parts)


def keeps_days(rule: Rule, old: datetime, new: datetime) -> bool:
    """Return whether `rule` from `new` on has the days that it has from `old` on.

    Both are wall clocks of one zone. True if the day stays, or is another one of the rule.
    """
    if old.date() == new.date():
        return True
    then = datetime.combine(old.date(), new.timetz())
    walk = make_walk(rule, new)
    if not has(walk, new):
        return False
    # Asked from the earlier start, as INTERVAL cannot be counted back.
    return has(walk, then) if new < then else has(make_walk(rule, then), new)


def _single(values: tuple[int, ...], new: int) -> tuple[int, ...]:
    return (new,) if len(values) == 1 else values


def _in_month(day: date) -> tuple[int, int]:
    """Return the day's number in its month, counted from the front (1) and the end (-1)."""
    length = monthrange(day.year, day.month)[1]
    return day.day, day.day - length - 1


def _in_year(day: date) -> tuple[int, int]:
    """Return the day's number in its year, counted from the front (1) and the end (-1)."""
    first, after = date(day.year, 1, 1), date(day.year + 1, 1, 1)
    return (day - first).days + 1, (day - after).days


def _numbers(
    values: Sequence[int], old: tuple[int, int], new: tuple[int, int], *, most: int
) -> tuple[int, ...]:
    """Shift numbers from the day `old` to `new`, each counted from its own side.

    Several that would not all stay within 1 to `most` are left alone.
    """
    if len(values) == 1:
        return (new[0] if values[0] > 0 else new[1],)
    ahead, back = new[0] - old[0], new[1] - old[1]
    shifted = [(value, value + (ahead if value > 0 else back)) for value in values]
    if all(1 <= (after if value > 0 else -after) <= most for value, after in shifted):
        return tuple(sorted(after for _, after in shifted))
    return tuple(values)


def _with_weekdays(rule: Rule, days: int) -> Rule:
    """Shift every weekday, and the start of the week where the week is a unit."""
    by_day = tuple(sorted(ByDay(0, (day.weekday + days) % 7) for day in rule.by_day))
    weekly = rule.frequency is Frequency.WEEKLY and len(by_day) > 1
    if weekly and (rule.interval > 1 or rule.by_set_pos):
        return replace(rule, by_day=by_day, week_start=(rule.week_start + days) % 7)
    return replace(rule, by_day=by_day)


def _by_day(rule: Rule, new: date) -> ByDay:
    """Return the weekday of `new`, counted from the same side and within the same as before."""
    ordinal = rule.by_day[0].ordinal
    if ordinal == 0:
        return ByDay(0, new.weekday())
    # A number counts within the month for MONTHLY, and for YEARLY when BYMONTH is given (Note 2).
    monthly = rule.frequency is Frequency.MONTHLY or bool(rule.by_month)
    ahead, back = _in_month(new) if monthly else _in_year(new)
    return ByDay((ahead + 6) // 7 if ordinal > 0 else -((6 - back) // 7), new.weekday())
