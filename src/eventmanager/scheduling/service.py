"""Booking an owner's time: lock it, know it far enough ahead, refuse what clashes, store it."""

import asyncio
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, NamedTuple
from uuid import UUID

import asyncpg
import orjson
import structlog

from eventmanager.core.database import Database, Reading, Transaction
from eventmanager.core.errors import Unavailable, WindowTooFar
from eventmanager.core.ids import EventId, UserId, uuid7
from eventmanager.core.time import ZONE_DATA, Window, rfc3339, zone
from eventmanager.recurrence import InvalidRecurrence, Occurrence, is_finished, parse
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
_OWNERS_AT_ONCE: Final = 100
_NO_OWNER: Final = UserId(UUID(int=0))

_log = structlog.get_logger("app")


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


class LatePair(NamedTuple):
    """Two events that clash though nobody was refused, how often, and from when on."""

    event_id: EventId
    other_id: EventId
    clashes: int
    first: datetime


@dataclass(frozen=True, slots=True)
class Reservation:
    """What to store for each plan, once the owner's time is locked and known far enough ahead.

    `wanted` are the busy ones of all plans by their start, `overlapping` the pairs of them that
    intersect: such plans can't be booked whatever else is stored. `gone` names what the event whose
    time was given up for this has to let go. `seen` is how many bookings the timeline had, None
    under the owner's lock.
    """

    plans: Sequence[Plan]
    occurrences: list[list[Occurrence]]
    stored_until: datetime
    seen: int | None
    wanted: list[Wanted]
    overlapping: list[tuple[Wanted, Wanted]]
    gone: list[datetime]

    def continues(self, plan: int) -> bool:
        """Tell whether a plan's series goes on after what is stored."""
        return self.plans[plan].continues(at=self.stored_until)


async def glance(read: Reading, *, owner_id: UserId, plans: Sequence[Plan]) -> Reservation | None:
    """Return a reservation without a lock, if the owner's time is known far enough ahead.

    It is worth something only to a statement that does nothing once others have booked since.
    """
    row = await read.first(queries.TIMELINE, owner_id=owner_id)
    if row is None or row["stored_until"] < max(plan.horizon for plan in plans):
        return None
    return _reservation(plans, stored_until=row["stored_until"], seen=row["bookings"], stored=[])


async def reserve(
    tx: Transaction,
    *,
    owner_id: UserId,
    plans: Sequence[Plan],
    now: datetime,
    instead_of: EventId | None = None,
    since: datetime | None = None,
) -> Reservation:
    """Lock the owner's time until the commit, and store what the owner's series lack of it.

    The first plan is one for the event `instead_of`, if that is given: what the event holds already
    is neither stored nor checked again, and what no plan keeps of it is freed; occurrences before
    `since` stay as they are. The statement that then books the plans refuses what clashes, with
    `queries.is_taken`.
    """
    needed = max(plan.horizon for plan in plans)
    stored_until = await reach(tx, owner_id=owner_id, until=needed, now=now)
    stored = [] if instead_of is None else await held(tx, event_id=instead_of)
    reservation = _reservation(
        plans, stored_until=stored_until, seen=None, stored=stored, since=since
    )
    if instead_of is not None:
        await tx.first(queries.FREE, event_id=instead_of, gone=reservation.gone)
    return reservation


def rows(reservation: Reservation, event_ids: Mapping[int, EventId]) -> dict[str, Any]:
    """Return what is to be stored for some of the plans, each one's event given by its number."""
    plain: list[tuple[EventId, datetime, datetime, bool]] = []
    own: list[tuple[EventId, datetime, datetime, datetime, bool, bool, str]] = []
    held = {(item.plan, item.occurrence) for item in reservation.wanted if not item.fresh}
    for number, event_id in event_ids.items():
        overrides = reservation.plans[number].overrides
        for item in reservation.occurrences[number]:
            fresh = (number, item) not in held if held else True
            override = overrides.get(item.recurrence_id) if overrides else None
            if override is None:
                plain.append((event_id, item.start, item.end, fresh))
                continue
            fields = orjson.dumps(override.fields).decode()
            own.append(
                (event_id, item.recurrence_id, item.start, item.end, override.busy, fresh, fields)
            )
    names = ("event_ids", "starts", "ends", "fresh")
    own_names = ("event_ids", "recurrence_ids", "starts", "ends", "busy", "fresh", "overrides")
    given: dict[str, Any] = dict(
        zip(names, map(_literal, _columns(plain, len(names))), strict=True)
    )
    for name, column in zip(own_names, _columns(own, len(own_names)), strict=True):
        given[f"own_{name}"] = column
    return given


async def clashes(
    read: Reading, *, owner_id: UserId, reservation: Reservation
) -> tuple[list[Clash], int]:
    """Return at most 50 clashes of what could not be booked, and how many there are in all."""
    wanted = [item for item in reservation.wanted if item.fresh]
    found = [
        Clash(later, earlier.occurrence, event_id=None, other_plan=earlier.plan)
        for earlier, later in reservation.overlapping[:MAX_CLASHES]
    ]
    rows = await read.all(
        queries.CLASHES,
        owner_id=owner_id,
        starts=[item.occurrence.start for item in wanted],
        ends=[item.occurrence.end for item in wanted],
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
        await tx.first(
            queries.CREATE_TIMELINE, owner_id=owner_id, stored_until=ahead, zone_data=ZONE_DATA
        )
        row = await tx.first(queries.LOCK_TIMELINE, owner_id=owner_id)
        assert row is not None
    stored_until: datetime = row["stored_until"]
    return stored_until


async def reach(tx: Transaction, *, owner_id: UserId, until: datetime, now: datetime) -> datetime:
    """Take the owner's lock, store the owner's series up to `until`, and say how far they are."""
    stored_until = await hold(tx, owner_id=owner_id, now=now)
    if until <= stored_until:
        return stored_until
    await _extend(tx, owner_id=owner_id, start=stored_until, end=until, now=now)
    return until


async def held(tx: Transaction, *, event_id: EventId) -> Sequence[asyncpg.Record]:
    """Return what is stored of an event."""
    return await tx.all(queries.STORED, event_id=event_id)


async def free(tx: Transaction, *, event_id: EventId) -> None:
    """Forget all the time that an event takes; the caller holds its owner's lock."""
    await tx.first(queries.CLEAR, event_id=event_id)


def refuse_beyond_cap(end: datetime, *, loc: Sequence[str], now: datetime) -> None:
    """Raise `WindowTooFar` for what lies more than ten years ahead."""
    limit = cap(now)
    if end > limit:
        raise WindowTooFar(
            f"What is known ends at {rfc3339(limit)}, ten years from now",
            loc=loc,
            type="window_too_far",
            limit=rfc3339(limit),
        )


async def know(db: Database, *, reader_id: UserId, window: Window, now: datetime) -> None:
    """See to it that all that `reader_id` may read is stored up to the end of the window.

    An owner with a stored rule that can't be read is logged, and the others' time is there all the
    same. Raises `WindowTooFar` when that is more than ten years ahead.
    """
    refuse_beyond_cap(window.end, loc=["query", "end"], now=now)
    async with db.reading() as read:
        behind = await read.all(queries.BEHIND, reader_id=reader_id, until=window.end)
    for row in behind:
        try:
            await _know_one(db, owner_id=row["owner_id"], until=month_after(window.end), now=now)
        except InvalidRecurrence as error:
            _log_failure("horizon_not_extended", owner_id=row["owner_id"], error=error)


def _reservation(
    plans: Sequence[Plan],
    *,
    stored_until: datetime,
    seen: int | None,
    stored: Sequence[asyncpg.Record],
    since: datetime | None = None,
) -> Reservation:
    occurrences = [plan.until(stored_until) for plan in plans]
    if since is not None:
        occurrences = [
            [item for item in every if item.recurrence_id >= since] for every in occurrences
        ]
        stored = [row for row in stored if row["recurrence_id"] >= since]
    gone: list[datetime] = []
    if stored:
        gone, occurrences[0] = _difference(plans[0], occurrences[0], stored)
    # Time that an occurrence of the event gives up for another is its own, even where a clash was
    # allowed there; time that one of its occurrences keeps is taken.
    freed = set(gone)
    given_up = Counter(
        (row["start_time"], row["end_time"])
        for row in stored
        if row["busy"] and row["recurrence_id"] in freed
    )
    wanted: list[Wanted] = []
    for number, plan in enumerate(plans):
        for item in occurrences[number]:
            if not (plan.is_busy(item) if plan.overrides else plan.busy):
                continue
            fresh = not given_up or not given_up[item.start, item.end]
            if not fresh:
                given_up[item.start, item.end] -= 1
            wanted.append(Wanted(number, item, fresh))
    wanted.sort(key=_by_start)
    return Reservation(plans, occurrences, stored_until, seen, wanted, overlaps(wanted), gone)


def _difference(
    plan: Plan, occurrences: Sequence[Occurrence], rows: Sequence[asyncpg.Record]
) -> tuple[list[datetime], list[Occurrence]]:
    """Return the names of what is stored and not planned so, and what is planned and not stored."""
    stored = {
        row["recurrence_id"]: (row["start_time"], row["end_time"], row["busy"], row["override"])
        for row in rows
    }
    missing: list[Occurrence] = []
    for item in occurrences:
        row = stored.get(item.recurrence_id)
        if row is not None and row[:3] == (item.start, item.end, plan.is_busy(item)):
            own = plan.overrides.get(item.recurrence_id)
            before = None if row[3] is None else orjson.loads(row[3])
            if before == (None if own is None else own.fields):
                del stored[item.recurrence_id]
                continue
        missing.append(item)
    return list(stored), missing


def _by_start(item: Wanted) -> datetime:
    return item.occurrence.start


def _literal(values: Sequence[EventId | datetime | bool]) -> str:
    """Write values as the literal of an array."""
    return "{" + orjson.dumps(values, default=str).decode()[1:-1] + "}"


def _columns(items: Sequence[tuple[Any, ...]], width: int) -> list[list[Any]]:
    return [list(column) for column in zip(*items, strict=True)] or [[] for _ in range(width)]


async def _know_one(db: Database, *, owner_id: UserId, until: datetime, now: datetime) -> None:
    """Store an owner's time up to `until`, a year at a time.

    Each is a transaction of its own: the owner's lock is soon free again, and what is stored stays
    so if the rest takes longer than anybody waits.
    """

    async def extend(tx: Transaction) -> bool:
        stored_until = await hold(tx, owner_id=owner_id, now=now)
        end = min(until, years_after(stored_until, 1))
        if end > stored_until:
            await _extend(tx, owner_id=owner_id, start=stored_until, end=end, now=now)
        return end == until

    while not await db.transaction(extend):
        pass


async def _extend(
    tx: Transaction, *, owner_id: UserId, start: datetime, end: datetime, now: datetime
) -> None:
    """Store the occurrences of all the owner's series that start in [start, end).

    Two series that meet there for the first time can't be refused any more: their owner is told.
    """
    finished: list[EventId] = []
    event_ids: list[EventId] = []
    found: list[Occurrence] = []

    async def store() -> None:
        some = found[:STORED_AT_ONCE]
        await tx.first(
            queries.STORE,
            event_ids=event_ids[:STORED_AT_ONCE],
            starts=[occurrence.start for occurrence in some],
            ends=[occurrence.end for occurrence in some],
        )
        del event_ids[:STORED_AT_ONCE]
        del found[:STORED_AT_ONCE]

    every = await tx.all(queries.SERIES_OF, owner_id=owner_id)
    for row in every:
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
        # A statement may only take so long, and one series may have any number.
        while len(found) >= STORED_AT_ONCE:
            await store()
        # An owner may have thousands of series; others are served in between.
        await asyncio.sleep(0)
    await store()
    await tx.first(queries.DROP_FINISHED, event_ids=finished)
    await tx.first(queries.MOVE_TIMELINE, owner_id=owner_id, stored_until=end)
    if every:
        late = await tx.all(queries.LATE_CLASHES, owner_id=owner_id, start=start, end=end)
        pairs = [LatePair(*row.values()) for row in late]
        await tell(tx, owner_id=owner_id, pairs=pairs, now=now)


async def tell(
    tx: Transaction, *, owner_id: UserId, pairs: Sequence[LatePair], now: datetime
) -> None:
    """Tell an owner of events that clash and could not be refused."""
    if not pairs:
        return
    event_ids, other_ids, counts, firsts = zip(*pairs, strict=True)
    await tx.first(
        queries.TELL_CLASHES,
        owner_id=owner_id,
        now=now,
        message_ids=[uuid7() for _ in pairs],
        event_ids=event_ids,
        other_ids=other_ids,
        counts=counts,
        firsts=[rfc3339(first) for first in firsts],
    )


async def extend_horizons(db: Database, *, now: datetime) -> None:
    """Store every endless series two years ahead of now."""
    until = month_after(years_after(now, HORIZON_YEARS))
    after = _NO_OWNER
    while True:
        async with db.reading() as read:
            behind = await read.all(queries.FADING, until=until, after=after, limit=_OWNERS_AT_ONCE)
        for row in behind:
            after = row["owner_id"]
            with others_go_on("horizon_not_extended", owner_id=after):
                await _know_one(db, owner_id=after, until=until, now=now)
        if len(behind) < _OWNERS_AT_ONCE:
            return


@contextmanager
def others_go_on(failure: str, *, owner_id: UserId) -> Iterator[None]:
    """Log what goes wrong with one owner's time as `failure`, so that the others' is still known.

    That the database is away is raised: it is nobody's own.
    """
    try:
        yield
    except Exception as error:
        # Whatever else it is, one owner must never stop the work for all who come after; nor with
        # so many occurrences that a statement runs into its time limit.
        too_long = isinstance(error.__cause__, asyncpg.QueryCanceledError)
        if isinstance(error, Unavailable) and not too_long:
            raise
        _log_failure(failure, owner_id=owner_id, error=error)


def _log_failure(failure: str, *, owner_id: UserId, error: Exception) -> None:
    cause = error.__cause__ or error
    _log.warning(failure, owner_id=str(owner_id), cause=repr(cause))


async def know_owner(db: Database, *, owner_id: UserId, until: datetime, now: datetime) -> None:
    """See to it that all that takes place in an owner's time up to `until` is stored."""
    await _know_one(db, owner_id=owner_id, until=month_after(until), now=now)
