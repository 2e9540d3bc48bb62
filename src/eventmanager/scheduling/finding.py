"""Finding a time at which people can meet.

Errors: `NotFound`, `FreeBusyHidden`, `Invalid`.
"""

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from math import ceil, floor
from typing import Final

from eventmanager.core.database import Database
from eventmanager.core.errors import FreeBusyHidden, Invalid, NotFound
from eventmanager.core.ids import UserId
from eventmanager.core.time import Window
from eventmanager.scheduling import busy_queries
from eventmanager.scheduling.availability import Found, Meeting, Slot, find_slots, found_in
from eventmanager.scheduling.freebusy import busy_rows
from eventmanager.scheduling.working_hours import Stretch, WorkingHours, open_stretches

# A leap year in steps of five minutes.
MAX_STARTS: Final = 366 * 24 * 12


@dataclass(frozen=True, slots=True)
class FoundSlot:
    """A time to meet, and who is busy then."""

    start: datetime
    end: datetime
    missing: list[UserId]
    missing_optional: list[UserId]


@dataclass(frozen=True, slots=True)
class People:
    """Who is to meet, and when each of them is busy; to be read once."""

    user_ids: list[UserId]
    busy: list[Iterable[Stretch]]


async def find_a_time(
    db: Database,
    *,
    caller_id: UserId,
    required: Sequence[str],
    optional: Sequence[str],
    window: Window,
    meeting: Meeting,
    working_hours: Sequence[WorkingHours],
    limit: int,
    now: datetime,
) -> tuple[Found, list[FoundSlot]]:
    """Return the best times for a meeting in the window, none of them in the past.

    Raises `NotFound` and `FreeBusyHidden`, which name the users they are about, and `Invalid` when
    the meeting could begin at too many times to try each.
    """
    start = ceil(max(window.start, now).timestamp())
    end = floor(window.end.timestamp())
    if (end - start) // meeting.step > MAX_STARTS:
        raise Invalid(
            f"A meeting could begin at more than {MAX_STARTS:,} times: "
            "make step larger or the window shorter",
            loc=("body", "step"),
            type="too_many_starts",
            limit=MAX_STARTS,
        )
    # What is past is of no interest, and what lies within the buffer around the window is.
    buffer = timedelta(seconds=meeting.buffer)
    needed = Window(max(window.start, now) - buffer, window.end + buffer)
    must, may = await _people(
        db,
        caller_id=caller_id,
        required=required,
        optional=optional,
        window=needed,
        now=now,
    )

    def find() -> list[Slot]:
        stretches = open_stretches(working_hours, start=start, end=end) if start < end else []
        return find_slots(
            meeting, stretches=stretches, required=must.busy, optional=may.busy, limit=limit
        )

    # With a hundred calendars it takes long enough for others to notice.
    slots = await asyncio.to_thread(find)
    return found_in(slots), [
        FoundSlot(
            start=datetime.fromtimestamp(slot.start, UTC),
            end=datetime.fromtimestamp(slot.end, UTC),
            missing=[must.user_ids[position] for position in slot.missing],
            missing_optional=[may.user_ids[position] for position in slot.missing_optional],
        )
        for slot in slots
    ]


async def _people(
    db: Database,
    *,
    caller_id: UserId,
    required: Sequence[str],
    optional: Sequence[str],
    window: Window,
    now: datetime,
) -> tuple[People, People]:
    """Return those who are required and those who are optional; who is both is required."""
    names = list(dict.fromkeys([*required, *optional]))
    needed = set(required)
    rows = await busy_rows(
        db, busy_queries.BUSY_SECONDS, caller_id=caller_id, names=names, window=window, now=now
    )
    by_name = list(zip(names, rows, strict=True))
    if unknown := [name for name, row in by_name if row["user_id"] is None]:
        raise NotFound("There is no such user", users=unknown)
    if hidden := [name for name, row in by_name if not row["allowed"]]:
        raise FreeBusyHidden(users=hidden)
    must, may = People([], []), People([], [])
    seen: set[UserId] = set()
    for name, row in by_name:
        if row["user_id"] not in seen:
            seen.add(row["user_id"])
            people = must if name in needed else may
            people.user_ids.append(row["user_id"])
            people.busy.append(zip(row["starts"] or (), row["ends"] or (), strict=True))
    return must, may
