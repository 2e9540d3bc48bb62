"""Says a pattern in plain English: lower case, no full stop, dates as 1 March 2027. Pure.

Every part that changes the meaning is said: an odd rule reads long-winded, but never wrong. Only a
list too long to read is cut, and then says how many values it has left out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, time
from itertools import islice, product
from math import prod
from typing import Final, NamedTuple
from zoneinfo import ZoneInfo

from eventmanager.recurrence.days import ALL_MONTHS
from eventmanager.recurrence.lines import DateLine, instants, read_pattern
from eventmanager.recurrence.rule import Rule, parse_rule
from eventmanager.recurrence.values import ByDay, Frequency
from eventmanager.recurrence.walk import instances, make_walk
from eventmanager.recurrence.wallclock import LAST_YEAR, as_utc, instant_of
from eventmanager.recurrence.words import (
    MONTHS,
    ROOM,
    cut,
    date_in_words,
    joined,
    moment_in_words,
    nth,
    numbers_in_words,
    ordinal,
)


def describe(pattern: str, *, start: datetime, time_zone: ZoneInfo, all_day: bool = False) -> str:
    """Say a pattern that `parse` accepted as people would, in one short line.

    `start` is the aware instant of DTSTART; dates and times are shown in `time_zone`. What a rule
    leaves out is said as DTSTART fills it (RFC 5545, 3.3.10): FREQ=WEEKLY from a Monday is "every
    week on Monday". A pattern that `parse` refuses raises InvalidRecurrence or reads oddly.
    """
    lines = read_pattern(pattern)
    start = as_utc(start)
    local = start.astimezone(time_zone)

    def moments(dates: Iterable[DateLine]) -> set[datetime]:
        return {
            moment.astimezone(time_zone)
            for line in dates
            for moment in instants(line, time_zone, start=start, all_day=all_day)
        }

    omitted = moments(lines.exdates)
    added = moments(lines.rdates)
    if lines.rule is None:
        # Without a rule, DTSTART is the first of the dates (RFC 5545, 3.8.5.2).
        dates = (added | {local}) - omitted
        return _dates(dates, clocks=not all_day and _at_other_times(dates, local))
    rule = parse_rule(lines.rule)
    if all_day:
        # Whole days have no times: the engine ignores these parts (RFC 5545, 3.3.10).
        rule = replace(rule, by_hour=(), by_minute=(), by_second=())
    # EXDATE takes away one time of a day, so where a day has others the time must be said.
    clocks = not all_day and (_has_times(rule) or _at_other_times(added | omitted, local))
    text = _rule(rule, local) + _bound(rule, local, all_day=all_day)
    if added - omitted:
        text += ", and " + _dates(added - omitted, clocks=clocks, more=True)
    return text + (", except " + _dates(omitted, clocks=clocks) if omitted else "")


class _Phrase(NamedTuple):
    """A rule but for its times, which are said between `days` and `limits`."""

    days: str
    limits: str = ""


def _rule(rule: Rule, start: datetime) -> str:
    """Say all of a rule but COUNT and UNTIL; `start` is DTSTART as a wall clock."""
    # The times have no part in which days are filled, and could be very many.
    untimed = replace(rule, by_hour=(), by_minute=(), by_second=(), by_set_pos=())
    filled = make_walk(untimed, start).rule
    ordinals = _setpos_as_ordinals(rule)
    phrase = _PHRASES[rule.frequency](filled, ordinals)
    text = phrase.days + _times(rule, start) + phrase.limits
    if rule.by_set_pos and not ordinals:
        places = numbers_in_words(rule.by_set_pos, lambda place: f"the {ordinal(place)}")
        text += f", only {places} of these each {_UNITS[rule.frequency]}"
    if _week_start_matters(filled, start, chosen=bool(rule.by_set_pos)):
        text += f", with weeks starting on {_WEEKDAYS[rule.week_start]}"
    return text


def _setpos_as_ordinals(rule: Rule) -> tuple[int, ...]:
    """Return BYSETPOS if it can be said as "the last weekday", else nothing.

    That needs a set of plain weekdays, each at one time, and a span that has one name: BYSETPOS of
    a YEARLY rule counts through all its months together.
    """
    spans = {Frequency.MONTHLY: len(ALL_MONTHS), Frequency.YEARLY: 1}
    simple = (
        len(rule.by_month) <= spans.get(rule.frequency, -1)
        and not (rule.by_week_no or rule.by_year_day or rule.by_month_day)
        and bool(rule.by_day)
        and not any(day.ordinal for day in rule.by_day)
        and _times_a_day(rule) == 1
    )
    return rule.by_set_pos if simple else ()


def _week_start_matters(rule: Rule, start: datetime, *, chosen: bool) -> bool:
    """Return whether WKST may change the dates; `chosen` is whether the rule has BYSETPOS."""
    if rule.by_week_no:
        return rule.week_start != 0
    if rule.frequency is not Frequency.WEEKLY or (rule.interval == 1 and not chosen):
        return False
    weekdays = {day.weekday for day in rule.by_day}
    if rule.interval > 1:
        weekdays.add(start.weekday())
    # WKST matters only where it moves some of these weekdays to another week than the rest.
    return len({(weekday - rule.week_start) % 7 - weekday for weekday in weekdays}) > 1


def _daily(rule: Rule, _ordinals: tuple[int, ...]) -> _Phrase:
    """Say a DAILY rule: all of its parts limit."""
    falls_on = _month_days(rule.by_month_day, "or") + " of the month" if rule.by_month_day else ""
    if rule.interval == 1:
        days = f"every {_plain(rule.by_day)}" if rule.by_day else "every day"
        days += f" that falls on {falls_on}" if falls_on else ""
        return _Phrase(days, _in_months(rule, " in "))
    limit = ""
    if len({day.weekday for day in rule.by_day}) in range(1, 7):
        limit = f", only on {_plain(rule.by_day, several='weekdays')}"
        limit += f" that falls on {falls_on}" if falls_on else ""
    elif falls_on:
        limit = f", only on {falls_on}"
    return _Phrase(_every(rule), limit + _in_months(rule))


def _weekly(rule: Rule, _ordinals: tuple[int, ...]) -> _Phrase:
    """Say a WEEKLY rule."""
    names = _plain(rule.by_day)
    if rule.interval > 1:
        names = _plain(rule.by_day, several="weekdays", every="every day")
        return _Phrase(f"{_every(rule)} on {names}", _in_months(rule))
    days = f"every {names}" if names in {"day", "weekday"} else f"every week on {names}"
    return _Phrase(days, _in_months(rule, " in "))


def _monthly(rule: Rule, ordinals: tuple[int, ...]) -> _Phrase:
    """Say a MONTHLY rule; its months can only be a limit."""
    days = _weekdays(rule.by_day, ordinals) if rule.by_day else _month_days(rule.by_month_day)
    if rule.by_day and rule.by_month_day:
        days += f" that falls on {_month_days(rule.by_month_day, 'or')}"
    return _Phrase(f"{_every(rule)} on {days}", _in_months(rule))


def _yearly(rule: Rule, ordinals: tuple[int, ...]) -> _Phrase:
    """Say a YEARLY rule: one part says the days, the others what they must fall on."""
    text = _every(rule)
    if rule.by_week_no:
        text += f" in {numbers_in_words(rule.by_week_no, _week)}{_of_the_year(rule.by_week_no)}"
    if rule.by_day:
        text += f" on {_yearly_weekdays(rule, ordinals)}"
    elif rule.by_month_day:
        text += f" on {_yearly_month_days(rule)}"
    falls_on = []
    if rule.by_day and rule.by_month_day:
        falls_on.append(_month_days(rule.by_month_day, "or") + " of the month")
    if rule.by_year_day:
        year_days = numbers_in_words(
            rule.by_year_day, _year_day, "or" if _has_days(rule) else "and"
        )
        falls_on.append(year_days + _of_the_year(rule.by_year_day))
    if falls_on:
        text += (" that falls on " if _has_days(rule) else " on ") + " and on ".join(falls_on)
    named = _has_days(rule) and not rule.by_week_no
    return _Phrase(text, "" if named else _in_months(rule))


def _yearly_weekdays(rule: Rule, ordinals: tuple[int, ...]) -> str:
    """Say BYDAY of a YEARLY rule, with the span its numbers count in (RFC 5545, Note 2)."""
    if rule.by_week_no:
        return _plain(rule.by_day, several="weekdays", every="every day")
    counted = bool(ordinals) or any(day.ordinal for day in rule.by_day)
    span = f" of {_months(rule)}" if rule.by_month else " of the year" if counted else ""
    return _weekdays(rule.by_day, ordinals) + span


def _yearly_month_days(rule: Rule) -> str:
    """Say BYMONTHDAY of a YEARLY rule that has no BYDAY."""
    if rule.by_week_no:
        return f"{_month_days(rule.by_month_day)} of the month"
    if len(rule.by_month) == len(rule.by_month_day) == 1 and rule.by_month_day[0] > 0:
        return f"{rule.by_month_day[0]} {_months(rule)}"
    return f"{_month_days(rule.by_month_day)} of {_months(rule)}"


_PHRASES: Final[dict[Frequency, Callable[[Rule, tuple[int, ...]], _Phrase]]] = {
    Frequency.DAILY: _daily,
    Frequency.WEEKLY: _weekly,
    Frequency.MONTHLY: _monthly,
    Frequency.YEARLY: _yearly,
}


def _every(rule: Rule) -> str:
    """Say FREQ and INTERVAL."""
    unit = _UNITS[rule.frequency]
    return f"every {unit}" if rule.interval == 1 else f"every {rule.interval:,} {unit}s"


def _has_days(rule: Rule) -> bool:
    return bool(rule.by_day or rule.by_month_day)


def _of_the_year(numbers: Sequence[int]) -> str:
    """Return what "the last week" needs and "week 20" does not."""
    return " of the year" if numbers[0] < 0 else ""


def _months(rule: Rule) -> str:
    """Name the months of BYMONTH, or every one."""
    if len(rule.by_month) in {0, len(ALL_MONTHS)}:
        return "every month"
    return joined([MONTHS[month] for month in rule.by_month])


def _in_months(rule: Rule, word: str = ", only in ") -> str:
    """Say BYMONTH as a limit, if it is one."""
    limits = len(rule.by_month) in range(1, len(ALL_MONTHS))
    return word + _months(rule) if limits else ""


def _plain(
    days: Sequence[ByDay], *, several: str = "weekday", every: str = "day", word: str = "and"
) -> str:
    """Name weekdays without numbers; `several` is for Monday to Friday, `every` for all seven."""
    weekdays = tuple(day.weekday for day in days)
    if weekdays == _MONDAY_TO_FRIDAY:
        return several
    if len(weekdays) == len(_WEEKDAYS):
        return every
    return joined([_WEEKDAYS[weekday] for weekday in weekdays], word)


def _weekdays(days: Sequence[ByDay], ordinals: tuple[int, ...] = ()) -> str:
    """Say BYDAY within a month or year: "the last Friday", "every Monday"; lists are unions."""
    if ordinals:
        return f"the {numbers_in_words(ordinals, ordinal)} {_plain(days, word='or')}"
    plain = [day for day in days if not day.ordinal]
    counted = [day for day in _forward_first(days) if day.ordinal]
    if not plain and len({day.weekday for day in counted}) == 1:
        words = numbers_in_words([day.ordinal for day in counted], ordinal)
        return f"the {words} {_WEEKDAYS[counted[0].weekday]}"
    if not counted:
        return f"every {_plain(plain)}"
    items = [(f"the {ordinal(day.ordinal)} {_WEEKDAYS[day.weekday]}", 1) for day in counted]
    return cut([*items, *((f"every {_WEEKDAYS[day.weekday]}", 1) for day in plain)])


def _forward_first(days: Sequence[ByDay]) -> list[ByDay]:
    return sorted(days, key=lambda day: (day.ordinal < 0, day))


def _month_days(numbers: Sequence[int], word: str = "and") -> str:
    return numbers_in_words(numbers, _month_day, word)


def _month_day(number: int) -> str:
    return f"the {nth(number)}" if number > 0 else f"the {ordinal(number)} day"


def _year_day(number: int) -> str:
    return f"day {number}" if number > 0 else f"the {ordinal(number)} day"


def _week(number: int) -> str:
    return f"week {number}" if number > 0 else f"the {ordinal(number)} week"


def _has_times(rule: Rule) -> bool:
    return bool(rule.by_hour or rule.by_minute or rule.by_second)


def _times_a_day(rule: Rule) -> int:
    return prod(len(part) or 1 for part in (rule.by_hour, rule.by_minute, rule.by_second))


def _times(rule: Rule, start: datetime) -> str:
    """Say BYHOUR, BYMINUTE and BYSECOND as clocks; the time of DTSTART alone is not said."""
    if not _has_times(rule):
        return ""
    seconds = rule.by_second or (start.second,)
    chosen = product(rule.by_hour or (start.hour,), rule.by_minute or (start.minute,), seconds)
    # No more than these fit, and hostile rules have 86,400.
    clocks = [time(*clock) for clock in islice(chosen, ROOM)]
    form = "%H:%M" if seconds == (0,) else "%H:%M:%S"
    items = [(f"{clock:{form}}", 1) for clock in clocks]
    return " at " + cut(items, unread=_times_a_day(rule) - len(items))


def _bound(rule: Rule, start: datetime, *, all_day: bool) -> str:
    """Say COUNT or UNTIL."""
    if rule.count is not None:
        return ", once" if rule.count == 1 else f", {rule.count:,} times"
    if rule.until is None:
        return ""
    if not isinstance(rule.until, datetime) or all_day or rule.until.year > LAST_YEAR:
        # A date is one in the zone of the event, and one beyond the calendar bounds nothing.
        return f", until {date_in_words(rule.until)}"
    zone = start.tzinfo
    assert isinstance(zone, ZoneInfo)
    until = rule.until
    if until.tzinfo is None:
        until = instant_of(until, zone, start=start)
    local = until.astimezone(zone)
    return f", until {moment_in_words(local, clock=_cuts_its_day(rule, start, local))}"


def _cuts_its_day(rule: Rule, start: datetime, until: datetime) -> bool:
    """Return whether the day of UNTIL has occurrences after it, so that its date would mislead."""
    if _times_a_day(rule) > ROOM:
        return True
    midnight = until.replace(hour=0, minute=0, second=0, microsecond=0, fold=0)
    night = until.replace(hour=23, minute=59, second=59, microsecond=999_999, fold=0)
    end = until.astimezone(UTC)
    found = instances(make_walk(rule, start), midnight, night)
    return any(instance.astimezone(UTC) > end for instance in found)


def _at_other_times(moments: Iterable[datetime], start: datetime) -> bool:
    """Return whether any of these wall clocks is not at the time of day of DTSTART."""
    clock = start.time().replace(microsecond=0)
    return any(moment.time().replace(microsecond=0) != clock for moment in moments)


def _dates(moments: Iterable[datetime], *, clocks: bool, more: bool = False) -> str:
    """Say the dates of RDATE or EXDATE, or how many they are; `more` is for "also"."""
    found = sorted(moments)
    if len(found) > _MOST_DATES:
        # Some of them may be of one day.
        noun = "occasions" if clocks else "dates"
        return f"on {len(found)} {'other ' if more else ''}{noun}"
    said = joined([moment_in_words(moment, clock=clocks) for moment in found])
    return f"{'also ' if more else ''}on {said}"


_MOST_DATES: Final = 3
_MONDAY_TO_FRIDAY: Final = (0, 1, 2, 3, 4)
_WEEKDAYS: Final = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_UNITS: Final = {
    Frequency.DAILY: "day",
    Frequency.WEEKLY: "week",
    Frequency.MONTHLY: "month",
    Frequency.YEARLY: "year",
}
