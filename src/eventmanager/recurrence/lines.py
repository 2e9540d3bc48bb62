"""The lines of a pattern: at most one rule, any number of RDATE and EXDATE (RFC 5545, 3.8.5)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime
from typing import Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from eventmanager.recurrence.values import InvalidRecurrence, parse_moment, quoted
from eventmanager.recurrence.wallclock import FIRST_YEAR, LAST_YEAR, first_midnight, instant_of

MAX_LENGTH: Final = 4_000


@dataclass(frozen=True, slots=True)
class DateLine:
    """One RDATE or EXDATE line; `zone` is its TZID, or None for the event's own zone."""

    name: str
    zone: ZoneInfo | None
    value_type: str | None
    values: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Pattern:
    """The lines of a pattern, told apart but not yet read as dates."""

    rule: str | None
    rdates: tuple[DateLine, ...]
    exdates: tuple[DateLine, ...]


def read_pattern(pattern: str) -> Pattern:
    """Tell the lines of `pattern` apart; raise InvalidRecurrence for lines that do not belong."""
    if len(pattern) > MAX_LENGTH:
        raise InvalidRecurrence(
            f"The pattern has {len(pattern):,} characters; it may have at most {MAX_LENGTH:,}."
        )
    # Python would read other scripts' digits as numbers, and upper() can make ASCII of non-ASCII.
    if not pattern.isascii():
        raise InvalidRecurrence("The pattern may hold ASCII characters only.")
    rule: str | None = None
    dates: list[DateLine] = []
    # A line that begins with a blank goes on with the one before (RFC 5545, 3.1).
    unfolded = _FOLD.sub("", pattern.replace("\r\n", "\n").strip(_BLANKS))
    for line in unfolded.split("\n"):
        if not line.strip(_BLANKS):
            continue
        name, parameters, value = _split(line.strip(_BLANKS))
        if name in _DATE_LINES:
            dates.append(_date_line(name, parameters, value))
        elif name != "RRULE":
            raise InvalidRecurrence(_unknown_line(name))
        elif rule is not None:
            raise InvalidRecurrence(
                "The pattern has two rules; give one RRULE line, and RDATE lines for other dates."
            )
        elif parameters:
            raise InvalidRecurrence("RRULE takes no parameters; write RRULE:FREQ=... instead.")
        else:
            rule = value
    rdates = tuple(line for line in dates if line.name == "RDATE")
    if rule is None and not rdates:
        raise InvalidRecurrence(
            "The pattern has neither a rule nor an RDATE line; give one of them."
        )
    return Pattern(rule, rdates, tuple(line for line in dates if line.name == "EXDATE"))


def instants(
    line: DateLine, zone: ZoneInfo, *, start: datetime, all_day: bool
) -> Iterator[datetime]:
    """Yield the instants of a line in UTC; `zone` and `start` are the event's own.

    An all-day event takes dates, any other takes dates with times (RFC 5545, 3.8.5.1 and 3.8.5.2).
    """
    for value in line.values:
        moment = parse_moment(line.name, value)
        _check_moment(line, value, moment, all_day=all_day)
        if not isinstance(moment, datetime):
            yield first_midnight(moment, zone)
        elif moment.tzinfo is None:
            yield instant_of(moment, line.zone or zone, start=start)
        else:
            yield moment


def _check_moment(line: DateLine, value: str, moment: date, *, all_day: bool) -> None:
    timed = isinstance(moment, datetime)
    if line.value_type is not None and timed != (line.value_type == "DATE-TIME"):
        raise InvalidRecurrence(
            f"{line.name} has VALUE={line.value_type} but holds {quoted(value)}; make them agree."
        )
    if timed and all_day:
        raise InvalidRecurrence(
            f"{line.name} holds {quoted(value)}; the event is all-day, "
            "so give a date without a time, such as 20250131."
        )
    if not timed and not all_day:
        raise InvalidRecurrence(
            f"{line.name} holds {quoted(value)}; the event has a time of day, "
            "so give one here too, such as 20250131T093000."
        )
    if line.zone is not None and (not timed or value.endswith("Z")):
        raise InvalidRecurrence(
            f"{line.name} has a TZID, which {quoted(value)} does not need; leave the TZID out."
        )
    if not FIRST_YEAR <= moment.year <= LAST_YEAR:
        raise InvalidRecurrence(
            f"{line.name} holds a date in {moment.year}; years may be {FIRST_YEAR} to {LAST_YEAR}."
        )


_BLANKS: Final = " \t\n"
_FOLD: Final = re.compile(r"\n[ \t]")
_DATE_LINES: Final = ("RDATE", "EXDATE")
_ZONE_NAME: Final = re.compile(r"[A-Za-z][A-Za-z0-9_+-]*(?:/[A-Za-z0-9_+-]+){0,2}")


def _split(line: str) -> tuple[str, list[str], str]:
    """Split a line into name, parameters and value; a bare rule gets the name it left out."""
    head, colon, value = line.partition(":")
    name, *parameters = head.split(";")
    # A bare rule may hold a colon by mistake, as in UNTIL=2025-01-31T09:30:00Z, and a rule reader
    # can explain that better than "unknown line".
    if "=" in name or (not colon and name.upper() not in {*_DATE_LINES, "RRULE"}):
        return "RRULE", [], line
    if not colon:
        raise InvalidRecurrence(f"{name.upper()} has no value; write {name.upper()}:... instead.")
    # "Applications MUST ignore x-param values they do not recognize" (RFC 5545, 3.2).
    known = [item for item in parameters if not item.upper().startswith("X-")]
    return name.upper(), known, value.lstrip(_BLANKS)


def _unknown_line(name: str) -> str:
    if name == "EXRULE":
        return (
            "EXRULE is deprecated and not supported; list the dates to leave out in EXDATE lines."
        )
    if name in {"DTSTART", "DTEND", "DURATION"}:
        return f"{name} does not belong in the pattern; give the start and end of the event."
    return f"{quoted(name)} is not a line of a pattern; use RRULE, RDATE and EXDATE lines only."


def _date_line(name: str, parameters: list[str], value: str) -> DateLine:
    zone: ZoneInfo | None = None
    value_type: str | None = None
    seen: set[str] = set()
    for parameter in parameters:
        key, _, setting = parameter.partition("=")
        key = key.upper()
        if key in seen:
            raise InvalidRecurrence(f"{name} has {key} twice; give it once.")
        seen.add(key)
        if key == "TZID":
            zone = _zone(name, setting.strip('"'))
        elif key == "VALUE":
            value_type = _value_type(name, setting.upper())
        else:
            raise InvalidRecurrence(
                f"{name} has the parameter {quoted(key)}; only TZID and VALUE are supported."
            )
    values = tuple(value.upper().split(","))
    if "" in values:
        raise InvalidRecurrence(
            f"{name} has an empty value; give dates separated by single commas."
        )
    if any("/" in item for item in values):
        raise InvalidRecurrence(_PERIOD.format(name=name))
    return DateLine(name, zone, value_type, values)


_PERIOD: Final = "{name} holds a PERIOD, which is not supported; give the start of each date only."


def _value_type(name: str, setting: str) -> str:
    if setting == "PERIOD":
        raise InvalidRecurrence(_PERIOD.format(name=name))
    if setting not in {"DATE", "DATE-TIME"}:
        raise InvalidRecurrence(
            f"{name} has VALUE={quoted(setting)}; it may be DATE or DATE-TIME only."
        )
    return setting


def _zone(name: str, key: str) -> ZoneInfo:
    # The trees "posix" and "right" of some systems are not IANA names, and "right" counts leap
    # seconds.
    if _ZONE_NAME.fullmatch(key) and not key.startswith(("posix", "right")):
        try:
            return ZoneInfo(key)
        except (ZoneInfoNotFoundError, OSError, ValueError):
            # A folder such as "America" is an OSError on some systems, and means the same.
            pass
    raise InvalidRecurrence(
        f"{name} has TZID={quoted(key)}, which is not an IANA time zone such as Europe/Berlin."
    )
