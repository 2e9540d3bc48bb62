"""The grammar of one recurrence rule (RFC 5545, 3.3.10), from text to a checked `Rule`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Final

from eventmanager.recurrence.values import (
    ByDay,
    Frequency,
    InvalidRecurrence,
    parse_moment,
    quoted,
    read_by_day,
    read_frequency,
    read_numbers,
    read_positive,
    read_seconds,
    read_week_start,
)


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


def _unknown_part(name: str) -> str:
    if name in {"RSCALE", "SKIP"}:
        return f"{name} (RFC 7529) is not supported: the calendar is Gregorian; leave it out."
    if name.startswith("X-"):
        return f"{quoted(name)} is an extension and is not supported; leave it out."
    if name in {"DTSTART", "DTEND", "DURATION"}:
        return f"{name} does not belong in a rule; give the start and end of the event."
    return f"{quoted(name)} is not a part of a recurrence rule (RFC 5545, 3.3.10); leave it out."


_PARTS: Final[dict[str, tuple[str, Callable[[str, str], object]]]] = {
    "FREQ": ("frequency", read_frequency),
    "INTERVAL": ("interval", read_positive),
    "COUNT": ("count", read_positive),
    "UNTIL": ("until", parse_moment),
    "WKST": ("week_start", read_week_start),
    "BYMONTH": ("by_month", read_numbers(1, 12)),
    "BYWEEKNO": ("by_week_no", read_numbers(1, 53, signed=True)),
    "BYYEARDAY": ("by_year_day", read_numbers(1, 366, signed=True)),
    "BYMONTHDAY": ("by_month_day", read_numbers(1, 31, signed=True)),
    "BYDAY": ("by_day", read_by_day),
    "BYHOUR": ("by_hour", read_numbers(0, 23)),
    "BYMINUTE": ("by_minute", read_numbers(0, 59)),
    "BYSECOND": ("by_second", read_seconds),
    "BYSETPOS": ("by_set_pos", read_numbers(1, 366, signed=True)),
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
