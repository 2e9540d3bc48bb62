"""Booking an owner's time: lock it, know it far enough ahead, refuse what clashes, store it."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from eventmanager.core.database import Database, Reading, Transaction
from eventmanager.core.errors import WindowTooFar
from eventmanager.core.ids import EventId, UserId
from eventmanager.core.time import Window, rfc3339, zone
from eventmanager.recurrence import Occurrence, is_finished, parse
from eventmanager.scheduling import queries
from eventmanager.scheduling.plan import (
    HORIZON_YEARS,
    Plan,
    Wanted,
    between,
    cap,
    month_after,
    overlaps,
    years_after,
)

MAX_CLASHES: Final = 50
STORED_AT_ONCE: Final = 5_000


@dataclass(frozen=True, slots=True)
class Clash:
    """A wanted occurrence and what it intersects.

    That is either a stored occurrence of `event_id`, or one of the other wanted ones, of the plan
    number `other_plan`.
    """

    wanted: Wanted
    existing: Occurrence
    event_id: EventId | None
    other_plan: int | None


@dataclass(frozen=True, slots=True)
class Reservation:
    """What to store for each plan, once the owner's time is locked and known far enough ahead.

    `wanted` are the busy ones of all plans by their start, `overlapping` the pairs of them that
    intersect: such plans can't be booked whatever else is stored. `seen` is how many bookings the
    timeline had, None under the owner's lock.
    """

    occurrences: list[list[Occurrence]]
    stored_until: datetime
    seen: int | None
    wanted: list[Wanted]
    overlapping: list[tuple[Wanted, Wanted]]


async def glance(read: Reading, *, owner_id: UserId, plans: Sequence[Plan]) -> Reservation | None:
    """Return a reservation without a lock, if the owner's time is known far enough ahead.

    It is worth something only to a statement that does nothing once others have booked since.
    """
    row = await read.first(queries.TIMELINE, owner_id=owner_id)
    if row is None or row["stored_until"] < max(plan.horizon for plan in plans):
        return None
    return _reservation(plans, stored_until=row["stored_until"], seen=row["bookings"])


async def reserve(
    tx: Transaction, *, owner_id: UserId, plans: Sequence[Plan], now: datetime
) -> Reservation:
    """Lock the owner's time until the commit, and store what the owner's series lack of it.

    The statement that then books the plans refuses what clashes, with `queries.is_taken`.
    """
    stored_until = await hold(tx, owner_id=owner_id, now=now)
    needed = max(plan.horizon for plan in plans)
    if needed > stored_until:
        await _extend(tx, owner_id=owner_id, start=stored_until, end=needed)
        stored_until = needed
    return _reservation(plans, stored_until=stored_until, seen=None)


async def clashes(
    tx: Transaction, *, owner_id: UserId, reservation: Reservation
) -> tuple[list[Clash], int]:
    """Return at most 50 clashes of what could not be booked, and how many there are in all."""
    wanted = reservation.wanted
    found = [
        Clash(later, earlier.occurrence, event_id=None, other_plan=earlier.plan)
        for earlier, later in reservation.overlapping[:MAX_CLASHES]
    ]
    rows = await tx.all(
        queries.CLASHES,
        owner_id=owner_id,
        **times([item.occurrence for item in wanted]),
        limit=MAX_CLASHES,
    )
    for row in rows[: MAX_CLASHES - len(found)]:
        existing = Occurrence(row["recurrence_id"], row["start_time"], row["end_time"])
        item = wanted[row["number"] - 1]
        found.append(Clash(item, existing, event_id=row["event_id"], other_plan=None))
    return found, len(reservation.overlapping) + (rows[0]["total"] if rows else 0)


async def hold(tx: Transaction, *, owner_id: UserId, now: datetime) -> datetime:
    """Take the owner's lock and return how far ahead the owner's series are stored."""
    row = await tx.first(queries.LOCK_TIMELINE, owner_id=owner_id)
    if row is None:
        ahead = month_after(years_after(now, HORIZON_YEARS))
        await tx.first(queries.CREATE_TIMELINE, owner_id=owner_id, stored_until=ahead)
        row = await tx.first(queries.LOCK_TIMELINE, owner_id=owner_id)
        assert row is not None
    stored_until: datetime = row["stored_until"]
    return stored_until


async def free(tx: Transaction, *, event_id: EventId) -> None:
    """Forget all the time that an event takes; the caller holds its owner's lock."""
    await tx.first(queries.CLEAR, event_id=event_id)


async def know(db: Database, *, reader_id: UserId, window: Window, now: datetime) -> None:
    """See to it that all that `reader_id` may read is stored up to the end of the window.

    Raises `WindowTooFar` when that is more than ten years ahead.
    """
    limit = cap(now)
    if window.end > limit:
        raise WindowTooFar(
            f"The window may end at {rfc3339(limit)} at the latest, ten years from now",
            loc=["query", "end"],
            type="window_too_far",
            limit=rfc3339(limit),
        )
    async with db.reading() as read:
        behind = await read.all(queries.BEHIND, reader_id=reader_id, until=window.end)
    for row in behind:
        await _know_one(db, owner_id=row["owner_id"], until=month_after(window.end), now=now)


def _reservation(plans: Sequence[Plan], *, stored_until: datetime, seen: int | None) -> Reservation:
    occurrences = [plan.until(stored_until) for plan in plans]
    wanted = [
        Wanted(number, occurrence)
        for number, plan in enumerate(plans)
        if plan.busy
        for occurrence in occurrences[number]
    ]
    wanted.sort(key=lambda item: item.occurrence.start)
    return Reservation(occurrences, stored_until, seen, wanted, overlaps(wanted))


def times(occurrences: Sequence[Occurrence]) -> dict[str, list[datetime]]:
    """Return the starts and ends of occurrences, as statements take them."""
    return {
        "starts": [occurrence.start for occurrence in occurrences],
        "ends": [occurrence.end for occurrence in occurrences],
    }


async def _know_one(db: Database, *, owner_id: UserId, until: datetime, now: datetime) -> None:
    async def extend(tx: Transaction) -> None:
        stored_until = await hold(tx, owner_id=owner_id, now=now)
        if until > stored_until:
            await _extend(tx, owner_id=owner_id, start=stored_until, end=until)

    await db.transaction(extend)


async def _extend(tx: Transaction, *, owner_id: UserId, start: datetime, end: datetime) -> None:
    """Store the occurrences of all the owner's series that start in [start, end)."""
    finished: list[EventId] = []
    event_ids: list[EventId] = []
    found: list[Occurrence] = []

    async def store() -> None:
        await tx.first(queries.STORE, event_ids=event_ids, **times(found))
        event_ids.clear()
        found.clear()

    for row in await tx.all(queries.SERIES_OF, owner_id=owner_id):
        series = parse(
            row["recurrence_pattern"],
            start=row["start_time"],
            end=row["end_time"],
            time_zone=zone(row["time_zone"]),
            all_day=row["all_day"],
        )
        found += between(series, start=start, end=end)
        event_ids += [row["event_id"]] * (len(found) - len(event_ids))
        if is_finished(series, at=end):
            finished.append(row["event_id"])
        if len(found) >= STORED_AT_ONCE:
            await store()
        # An owner may have thousands of series; others are served in between.
        await asyncio.sleep(0)
    await store()
    await tx.first(queries.DROP_FINISHED, event_ids=finished)
    await tx.first(queries.MOVE_TIMELINE, owner_id=owner_id, stored_until=end)
