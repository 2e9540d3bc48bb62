"""Instants, dates, time zones and windows, as clients write them."""

import zoneinfo
from dataclasses import dataclass
from datetime import UTC, date, datetime
from functools import lru_cache
from importlib.metadata import version
from typing import Annotated, Final
from zoneinfo import ZoneInfo

from pydantic import BeforeValidator, WithJsonSchema
from pydantic_core import PydanticCustomError

# The zones come from the `tzdata` wheel alone, so that every machine expands a series alike.
zoneinfo.reset_tzpath(to=())

ZONE_DATA: Final = version("tzdata")
"""The version of the time zone data, such as 2026.2."""

FIRST_YEAR: Final = 1900
LAST_YEAR: Final = 2200


@lru_cache
def zone_names() -> frozenset[str]:
    """Return every IANA time zone name."""
    return frozenset(zoneinfo.available_timezones())


def zone(name: str) -> ZoneInfo:
    """Return the IANA time zone `name`; `KeyError` when there is none."""
    if name not in zone_names():
        raise KeyError(name)
    return ZoneInfo(name)


def _read_zone_name(value: object) -> str:
    if isinstance(value, str) and value in zone_names():
        return value
    raise PydanticCustomError(
        "invalid_time_zone", "must be an IANA time zone name such as Europe/Berlin"
    )


ZoneName = Annotated[
    str,
    BeforeValidator(_read_zone_name),
    WithJsonSchema({"type": "string", "description": "IANA name", "examples": ["Europe/Berlin"]}),
]


def read_moment(value: object) -> datetime | date:
    """Read an RFC 3339 date-time, with or without offset, or a full date.

    Raises a pydantic error that says what is wrong; the years are 1900 to 2200.
    """
    if isinstance(value, datetime | date):
        return value
    if not isinstance(value, str):
        raise PydanticCustomError("invalid_time", "must be a string in RFC 3339 form")
    text = value.strip()
    try:
        if "\x00" in text:
            raise ValueError("it contains a NUL character")
        is_date = len(text) == len("2026-01-31") and "T" not in text.upper()
        read = date.fromisoformat(text) if is_date else datetime.fromisoformat(text)
    except ValueError as error:
        raise PydanticCustomError(
            "invalid_time",
            "must be an RFC 3339 date-time such as 2026-05-23T14:00:00Z, or a date: {reason}",
            {"reason": str(error)},
        ) from None
    if not FIRST_YEAR <= read.year <= LAST_YEAR:
        raise PydanticCustomError("invalid_time", "must be in the years 1900 to 2200")
    return read


Moment = Annotated[
    datetime | date,
    BeforeValidator(read_moment),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string", "format": "date-time"},
                {"type": "string", "format": "date"},
                {"type": "string", "pattern": r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d$"},
            ],
        }
    ),
]


def _read_instant(value: object) -> datetime:
    # An unescaped + in a query string arrives as a space.
    text = value.replace(" ", "+") if isinstance(value, str) and "T" in value else value
    read = read_moment(text)
    if not isinstance(read, datetime):
        return datetime(read.year, read.month, read.day, tzinfo=UTC)
    return read.astimezone(UTC) if read.tzinfo else read.replace(tzinfo=UTC)


Instant = Annotated[
    datetime,
    BeforeValidator(_read_instant),
    WithJsonSchema({"type": "string", "format": "date-time", "examples": ["2026-06-01T00:00:00Z"]}),
]
"""An instant in a query; without an offset it is UTC, a bare date is its midnight."""


def rfc3339(instant: datetime) -> str:
    """Write an instant in UTC with `Z`, with a fraction only where there is one."""
    return instant.astimezone(UTC).isoformat().removesuffix("+00:00") + "Z"


def shown(instant: datetime, *, time_zone: str, all_day: bool) -> str:
    """Write an instant of an event as clients read it: in UTC, or as a date in the event's zone."""
    if all_day:
        return instant.astimezone(zone(time_zone)).date().isoformat()
    return rfc3339(instant)


@dataclass(frozen=True, slots=True)
class Window:
    """The half-open stretch of time from `start` to `end`, both instants."""

    start: datetime
    end: datetime
