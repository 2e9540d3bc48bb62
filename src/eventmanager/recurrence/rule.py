"""The grammar of one recurrence rule (RFC 5545, 3.3.10), from text to a checked `Rule`."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime
from enum import StrEnum
from typing import Any, Final, NamedTuple

WEEKDAYS: Final = ("MO", "TU", "WE", "TH", "FR", "SA", "SU")


class InvalidRecurrence(ValueError):
    """A recurrence pattern cannot be used; `reason` is a sentence that says why and what to do."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Frequency(StrEnum):
    """The periods a rule may repeat by; sub-daily ones are refused."""

    DAILY = "DAILY"
    WEEKLY = "WEEKLY"
    MONTHLY = "MONTHLY"
    YEARLY = "YEARLY"


class ByDay(NamedTuple):
    """One BYDAY value: `weekday` 0 is Monday; `ordinal` 0 means every such weekday."""

    ordinal: int
    weekday: int


@dataclass(frozen=True, slots=True)
class Rule:
    """One RRULE as written, checked against RFC 5545 3.3.10; lists are sorted, without repeats.

    `until` keeps the form it was written in, since that decides how it is compared: a date, a naive
    date-time (wall clock) or an aware one (UTC). An empty tuple is a part that was not given.
    """

    frequency: Frequency
    interval: int = 1
    count: int | None = None
    until: date | datetime | None = None
    week_start: int = 0
    by_month: tuple[int, ...] = ()
    by_week_no: tuple[int, ...] = ()
    by_year_day: tuple[int, ...] = ()
    by_month_day: tuple[int, ...] = ()
    by_day: tuple[ByDay, ...] = ()
    by_hour: tuple[int, ...] = ()
    by_minute: tuple[int, ...] = ()
    by_second: tuple[int, ...] = ()
    by_set_pos: tuple[int, ...] = ()


def parse_rule(text: str) -> Rule:
    """Read the value of an RRULE; raise InvalidRecurrence if RFC 5545 3.3.10 forbids it."""
    fields: dict[str, Any] = {}
    # One closing semicolon is a common slip of other programs, and cannot be misread.
    for part in text.upper().removesuffix(";").split(";"):
        name, equals, value = part.partition("=")
        if not name or not equals:
            raise InvalidRecurrence(
                f"{quoted(part)} is not a part of a recurrence rule; write NAME=value, "
                "separated by single semicolons, such as FREQ=WEEKLY;BYDAY=MO."
            )
        if name not in _PARTS:
            raise InvalidRecurrence(_unknown_part(name))
        field, read = _PARTS[name]
        if field in fields:
            raise InvalidRecurrence(f"{name} is given twice; give every part once.")
        if not value:
            raise InvalidRecurrence(f"{name} has no value; give one or leave {name} out.")
        fields[field] = read(name, value)
    if "frequency" not in fields:
        raise InvalidRecurrence(
            "FREQ is missing; a rule must say FREQ=DAILY, WEEKLY, MONTHLY or YEARLY."
        )
    rule = Rule(**fields)
    _check_combination(rule)
    return rule


def parse_moment(name: str, value: str) -> date | datetime:
    """Read a DATE or DATE-TIME (RFC 5545, 3.3.4 and 3.3.5): aware if it ends in Z, else naive."""
    match = _MOMENT.fullmatch(value)
    if match is None:
        raise InvalidRecurrence(
            f"{name} holds {quoted(value)}, which is neither a date such as 20250131 "
            "nor a date and time such as 20250131T093000 or 20250131T093000Z."
        )
    day, clock, utc = match.groups()
    try:
        if clock is None:
            return date(int(day[:4]), int(day[4:6]), int(day[6:]))
        return datetime(
            int(day[:4]),
            int(day[4:6]),
            int(day[6:]),
            int(clock[:2]),
            int(clock[2:4]),
            int(clock[4:]),
            tzinfo=UTC if utc else None,
        )
    except ValueError:
        raise InvalidRecurrence(
            f"{name} holds {quoted(value)}, which is not a date and time that exists."
        ) from None


def quoted(text: str) -> str:
    """Show what the user wrote in a reason, cut so that a hostile pattern makes no long answer."""
    return repr(text if len(text) <= _SHOWN else text[:_SHOWN] + "...")


_SHOWN: Final = 40
_MOMENT: Final = re.compile(r"([0-9]{8})(?:T([0-9]{6})(Z)?)?")
_SUB_DAILY: Final = ("HOURLY", "MINUTELY", "SECONDLY")
_BY_DAY: Final = re.compile(r"([+-]?[0-9]{1,2})?(MO|TU|WE|TH|FR|SA|SU)")
_NUMBER: Final = re.compile(r"([+-]?)([0-9]{1,3})")
_POSITIVE: Final = re.compile(r"[0-9]{1,10}")
_MAX_WEEK: Final = 53


def _unknown_part(name: str) -> str:
    if name in {"RSCALE", "SKIP"}:
        return f"{name} (RFC 7529) is not supported: the calendar is Gregorian; leave it out."
    if name.startswith("X-"):
        return f"{quoted(name)} is an extension and is not supported; leave it out."
    if name in {"DTSTART", "DTEND", "DURATION"}:
        return f"{name} does not belong in a rule; give the start and end of the event."
    return f"{quoted(name)} is not a part of a recurrence rule (RFC 5545, 3.3.10); leave it out."


def _frequency(_name: str, value: str) -> Frequency:
    if value in _SUB_DAILY:
        raise InvalidRecurrence(
            f"FREQ={value} is not supported; use FREQ=DAILY with BYHOUR or BYMINUTE instead."
        )
    if value not in Frequency.__members__:
        raise InvalidRecurrence(
            f"FREQ must be DAILY, WEEKLY, MONTHLY or YEARLY, not {quoted(value)}."
        )
    return Frequency(value)


def _positive(name: str, value: str) -> int:
    number = int(value) if _POSITIVE.fullmatch(value) else 0
    if number == 0:
        raise InvalidRecurrence(
            f"{name} must be a whole number of at least 1 and at most ten digits, "
            f"not {quoted(value)}."
        )
    return number


def _week_start(name: str, value: str) -> int:
    if value not in WEEKDAYS:
        raise InvalidRecurrence(
            f"{name} must be one of {', '.join(WEEKDAYS)}, not {quoted(value)}."
        )
    return WEEKDAYS.index(value)


def _by_day(name: str, value: str) -> tuple[ByDay, ...]:
    days = set()
    for item in value.split(","):
        match = _BY_DAY.fullmatch(item)
        if match is None:
            raise InvalidRecurrence(
                f"{name} holds {quoted(item)}; write weekdays as {', '.join(WEEKDAYS)}, "
                "with a number in front for the n-th one, such as 1MO or -1FR."
            )
        ordinal, weekday = match.groups()
        if ordinal is not None and not 1 <= abs(int(ordinal)) <= _MAX_WEEK:
            raise InvalidRecurrence(
                f"{name} holds {quoted(item)}; the number before a weekday must be "
                "between 1 and 53 or between -53 and -1."
            )
        days.add(ByDay(int(ordinal or 0), WEEKDAYS.index(weekday)))
    return tuple(sorted(days))


def _numbers(low: int, high: int) -> Callable[[str, str], tuple[int, ...]]:
    """Make a reader of a list of numbers; a list that starts at 1 and may count back has -1 too."""

    def read(name: str, value: str) -> tuple[int, ...]:
        signed = name in _SIGNED
        numbers = set()
        for item in value.split(","):
            match = _NUMBER.fullmatch(item)
            number = int(item) if match else None
            if (
                match is None
                or number is None
                or (bool(match[1]) and not signed)
                or not low <= (abs(number) if signed else number) <= high
            ):
                also = f" or between -{high} and -{low}" if signed else ""
                raise InvalidRecurrence(
                    f"{name} must hold whole numbers between {low} and {high}{also}, "
                    f"separated by commas, not {quoted(item)}."
                )
            numbers.add(number)
        return tuple(sorted(numbers))

    return read


_SIGNED: Final = frozenset({"BYWEEKNO", "BYYEARDAY", "BYMONTHDAY", "BYSETPOS"})
_PARTS: Final[dict[str, tuple[str, Callable[[str, str], object]]]] = {
    "FREQ": ("frequency", _frequency),
    "INTERVAL": ("interval", _positive),
    "COUNT": ("count", _positive),
    "UNTIL": ("until", parse_moment),
    "WKST": ("week_start", _week_start),
    "BYMONTH": ("by_month", _numbers(1, 12)),
    "BYWEEKNO": ("by_week_no", _numbers(1, 53)),
    "BYYEARDAY": ("by_year_day", _numbers(1, 366)),
    "BYMONTHDAY": ("by_month_day", _numbers(1, 31)),
    "BYDAY": ("by_day", _by_day),
    "BYHOUR": ("by_hour", _numbers(0, 23)),
    "BYMINUTE": ("by_minute", _numbers(0, 59)),
    # RFC 5545 allows BYSECOND=60 for leap seconds, which no clock of ours can show.
    "BYSECOND": ("by_second", _numbers(0, 59)),
    "BYSETPOS": ("by_set_pos", _numbers(1, 366)),
}


def _check_combination(rule: Rule) -> None:
    """Refuse parts that RFC 5545 3.3.10 does not allow together."""
    frequency = rule.frequency
    yearly = frequency is Frequency.YEARLY
    numbered = any(day.ordinal for day in rule.by_day)
    by_parts = (rule.by_month, rule.by_week_no, rule.by_year_day, rule.by_month_day, rule.by_day)
    by_times = (rule.by_hour, rule.by_minute, rule.by_second)
    checks = (
        (
            rule.count is not None and rule.until is not None,
            "COUNT and UNTIL may not be given together; keep one of them.",
        ),
        (
            bool(rule.by_week_no) and not yearly,
            f"BYWEEKNO is only allowed with FREQ=YEARLY, not with FREQ={frequency}.",
        ),
        (
            bool(rule.by_year_day) and not yearly,
            f"BYYEARDAY is only allowed with FREQ=YEARLY, not with FREQ={frequency}.",
        ),
        (
            bool(rule.by_month_day) and frequency is Frequency.WEEKLY,
            "BYMONTHDAY is not allowed with FREQ=WEEKLY; use FREQ=MONTHLY or FREQ=DAILY.",
        ),
        (
            numbered and frequency in {Frequency.DAILY, Frequency.WEEKLY},
            "BYDAY may hold a number, such as 1MO, only with FREQ=MONTHLY or FREQ=YEARLY, "
            f"not with FREQ={frequency}.",
        ),
        (
            numbered and bool(rule.by_week_no),
            "BYDAY may not hold a number, such as 1MO, together with BYWEEKNO; "
            "write the weekday alone.",
        ),
        (
            bool(rule.by_set_pos) and not any((*by_parts, *by_times)),
            "BYSETPOS needs another BY part to choose from, such as BYDAY=MO,TU,WE,TH,FR.",
        ),
    )
    for forbidden, reason in checks:
        if forbidden:
            raise InvalidRecurrence(reason)
