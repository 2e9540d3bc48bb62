"""Reads the single values of a pattern, and says what is wrong with those it cannot read."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, date, datetime
from enum import StrEnum
from typing import Final, NamedTuple

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
            _second(int(clock[4:])),
            tzinfo=UTC if utc else None,
        )
    except ValueError:
        raise InvalidRecurrence(
            f"{name} holds {quoted(value)}, which is not a date and time that exists."
        ) from None


def quoted(text: str) -> str:
    """Show what the user wrote in a reason, cut so that a hostile pattern makes no long answer."""
    return repr(text if len(text) <= _SHOWN else text[:_SHOWN] + "...")


def read_frequency(_name: str, value: str) -> Frequency:
    """Read FREQ; refuse the sub-daily ones."""
    if value in _SUB_DAILY:
        raise InvalidRecurrence(
            f"FREQ={value} is not supported; use FREQ=DAILY with BYHOUR or BYMINUTE instead."
        )
    if value not in Frequency.__members__:
        raise InvalidRecurrence(
            f"FREQ must be DAILY, WEEKLY, MONTHLY or YEARLY, not {quoted(value)}."
        )
    return Frequency(value)


def read_positive(name: str, value: str) -> int:
    """Read a number of at least 1, of at most ten digits."""
    number = int(value) if _POSITIVE.fullmatch(value) else 0
    if number == 0:
        raise InvalidRecurrence(
            f"{name} must be a whole number of at least 1 and at most ten digits, "
            f"not {quoted(value)}."
        )
    return number


def read_week_start(name: str, value: str) -> int:
    """Read WKST, as 0 for Monday to 6 for Sunday."""
    if value not in WEEKDAYS:
        raise InvalidRecurrence(
            f"{name} must be one of {', '.join(WEEKDAYS)}, not {quoted(value)}."
        )
    return WEEKDAYS.index(value)


def read_by_day(name: str, value: str) -> tuple[ByDay, ...]:
    """Read BYDAY, sorted and without repeats."""
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


def read_seconds(name: str, value: str) -> tuple[int, ...]:
    """Read BYSECOND, sorted and without repeats."""
    return tuple(sorted({_second(number) for number in _zero_to_sixty(name, value)}))


def read_numbers(
    low: int, high: int, *, signed: bool = False
) -> Callable[[str, str], tuple[int, ...]]:
    """Make a reader of a list of numbers, sorted and without repeats; `signed` ones count back."""
    number = re.compile(r"[+-]?[0-9]{1,3}" if signed else r"[0-9]{1,3}")
    bounds = f"between {low} and {high}" + (f" or between -{high} and -{low}" if signed else "")

    def read(name: str, value: str) -> tuple[int, ...]:
        numbers = set()
        for item in value.split(","):
            if not number.fullmatch(item) or not low <= abs(int(item)) <= high:
                raise InvalidRecurrence(
                    f"{name} must hold whole numbers {bounds}, separated by commas, "
                    f"not {quoted(item)}."
                )
            numbers.add(int(item))
        return tuple(sorted(numbers))

    return read


def _second(number: int) -> int:
    # Who has no leap seconds "SHOULD interpret the second 60 as equivalent to the second 59"
    # (RFC 5545, 3.3.12).
    return 59 if number == 60 else number


_zero_to_sixty: Final = read_numbers(0, 60)
_SHOWN: Final = 40
_MOMENT: Final = re.compile(r"([0-9]{8})(?:T([0-9]{6})(Z)?)?")
_SUB_DAILY: Final = ("HOURLY", "MINUTELY", "SECONDLY")
_BY_DAY: Final = re.compile(r"([+-]?[0-9]{1,2})?(MO|TU|WE|TH|FR|SA|SU)")
_POSITIVE: Final = re.compile(r"[0-9]{1,10}")
_MAX_WEEK: Final = 53
