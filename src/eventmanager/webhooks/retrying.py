"""PURE. When a delivery that failed is attempted again, and when it is given up."""

import random
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Final

TRIED_FOR: Final = timedelta(hours=24)
_PAUSES: Final = tuple(
    timedelta(seconds=seconds)
    for seconds in (5, 30, 120, 600, 1800, 3600, 2 * 3600, 4 * 3600, 8 * 3600)
)
_JITTER: Final = 0.2
# The last attempt is made when the time is over; what comes as close before it is the last too.
_NEARLY: Final = timedelta(minutes=1)
_ASKED_MAX: Final = timedelta(hours=6)
_PATIENT: Final = {429, 503}


def next_pause(
    *, failures: int, queued_at: datetime, now: datetime, asked: timedelta | None
) -> timedelta | None:
    """Return how long to wait after so many failures since `queued_at`; None is not to try again.

    `asked` is for how long the receiver wants to be left alone.
    """
    left = queued_at + TRIED_FOR - now
    if left <= _NEARLY:
        return None
    pause = _PAUSES[min(failures, len(_PAUSES)) - 1]
    # Receivers that were away should not have everything at once when they are back.
    pause *= random.uniform(1 - _JITTER, 1 + _JITTER)  # noqa: S311  # no secret
    if asked is not None:
        pause = max(pause, min(asked, _ASKED_MAX))
    return min(pause, left)


def retry_after(status: int, headers: Mapping[str, str], *, now: datetime) -> timedelta | None:
    """Return how long a 429 or 503 asks to be left alone (RFC 9110, 10.2.3)."""
    value = headers.get("retry-after", "").strip()
    if status not in _PATIENT or not value:
        return None
    if value.isascii() and value.isdigit():
        return timedelta(seconds=min(int(value[:9]), int(_ASKED_MAX.total_seconds())))
    try:
        until = parsedate_to_datetime(value)
    except (ValueError, OverflowError):
        return None
    if until.tzinfo is None:
        until = until.replace(tzinfo=UTC)
    return max(until - now, timedelta())
