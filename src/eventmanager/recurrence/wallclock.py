"""From wall clocks to instants and back, where the RFC 5545 3.3.5 rules for DST live."""

from __future__ import annotations

from datetime import MAXYEAR, MINYEAR, UTC, date, datetime, time, timedelta
from typing import Final
from zoneinfo import ZoneInfo

FIRST_YEAR: Final = 1900
LAST_YEAR: Final = 2200


def instant_of(local: datetime, zone: ZoneInfo, *, start: datetime) -> datetime:
    """Return the instant, in UTC, of the naive wall clock `local` in a series from `start`.

    A time in a gap is read with the offset before it, one in an overlap is the first of the two
    (RFC 5545, 3.3.5), which PEP 495 calls fold=0; but a series that starts in the second of two
    equal hours means the second one there, too.
    """
    aware = local.replace(tzinfo=zone)
    instant = aware.astimezone(UTC)
    if instant < start:
        second = aware.replace(fold=1).astimezone(UTC)
        return second if second >= start else instant
    return instant


def first_midnight(day: date, zone: ZoneInfo) -> datetime:
    """Return the instant at which the local `day` begins, also where midnight falls in a gap."""
    return datetime.combine(day, time(), tzinfo=zone).astimezone(UTC)


def end_of_time(zone: ZoneInfo) -> datetime:
    """Return the last wall clock of the last year: every rule ends here."""
    return datetime(LAST_YEAR, 12, 31, 23, 59, 59, 999_999, tzinfo=zone)


def days_later(instant: datetime, days: int, zone: ZoneInfo) -> datetime:
    """Return the instant, in UTC, at which the local day begins `days` after that of `instant`."""
    local = instant.astimezone(zone)
    if local.hour or local.minute or local.second:
        return first_midnight(local.date() + timedelta(days=days), zone)
    return (local + timedelta(days=days)).astimezone(UTC)


def as_utc(instant: datetime) -> datetime:
    """Return `instant` in UTC; a naive one is a ValueError, as the host's zone would be read in."""
    if instant.tzinfo is None or instant.utcoffset() is None:
        raise ValueError("An instant must be an aware datetime.")
    # The first and last day of Python's calendar cannot be moved between zones.
    if instant.year == MINYEAR:
        return datetime.min.replace(tzinfo=UTC)
    if instant.year == MAXYEAR:
        return datetime.max.replace(tzinfo=UTC)
    return instant.astimezone(UTC)
