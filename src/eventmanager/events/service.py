"""Creating, reading, changing and deleting events.

Every write expands its rule first, purely; then one transaction locks the owner's time, refuses
what clashes, and writes the event with its occurrences, its version and its messages.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import chain
from typing import Any, Final

import asyncpg
import orjson
import structlog

from eventmanager.core.database import Database, Reading, Transaction
from eventmanager.core.errors import Invalid, NotFound
from eventmanager.core.ids import EventId, UserId, uuid7
from eventmanager.events import queries
from eventmanager.events.conflicts import time_conflict
from eventmanager.events.drafts import columns_of, from_version, is_busy, merge, timing_of
from eventmanager.events.schemas import EventCreate, EventUpdate
from eventmanager.events.timing import Timing
from eventmanager.history.models import Operation
from eventmanager.history.schemas import VersionKey, names
from eventmanager.scheduling import service as scheduling
from eventmanager.scheduling.plan import Plan
from eventmanager.scheduling.service import Reservation
from eventmanager.sharing.access import EDITORS, OWNERS, READERS, refusal
from eventmanager.sharing.models import Role

MAX_BATCH_OCCURRENCES: Final = 50_000
_TEXT_FIELDS: Final = frozenset({"title", "description", "location"})
_TOLD_AS: Final = {
    Operation.UPDATE: "event_updated",
    Operation.ROLLBACK: "event_rolled_back",
    Operation.DELETE: "event_deleted",
}
_audit = structlog.get_logger("audit")


@dataclass(frozen=True, slots=True)
class Event:
    """An event as JSON, ready to be sent, and its version."""

    version: int
    json: bytes


async def create(
    db: Database,
    *,
    owner_id: UserId,
    drafts: Sequence[EventCreate],
    now: datetime,
    batch: bool = False,
) -> list[tuple[EventId, Event]]:
    """Create all the drafts, or none. Raises `Invalid` and `TimeConflict`."""
    timings = [
        timing_of(draft, loc=("body", "events", number) if batch else ("body",))
        for number, draft in enumerate(drafts)
    ]
    plans = await _plan(drafts, timings, now=now)
    ids = [EventId(uuid7()) for _ in drafts]

    async def book(read: Reading, reservation: Reservation) -> list[asyncpg.Record]:
        if reservation.overlapping:
            return []
        rows = [
            columns_of(draft, timing)
            | {
                "id": event_id,
                "busy": plan.busy,
                "continues": plan.continues(at=reservation.stored_until),
                "version_id": uuid7(),
            }
            for event_id, draft, timing, plan in zip(ids, drafts, timings, plans, strict=True)
        ]
        of = zip(ids, reservation.occurrences, strict=True)
        return await read.all(
            queries.CREATE,
            owner_id=owner_id,
            now=now,
            seen=reservation.seen,
            events=orjson.dumps(rows),
            event_ids=[event_id for event_id, planned in of for _ in planned],
            **scheduling.times(list(chain.from_iterable(reservation.occurrences))),
        )

    async def book_at_once() -> list[asyncpg.Record]:
        async with db.reading() as read:
            reservation = await scheduling.glance(read, owner_id=owner_id, plans=plans)
            return await book(read, reservation) if reservation else []

    async def book_under_lock(tx: Transaction) -> list[asyncpg.Record]:
        reservation = await scheduling.reserve(tx, owner_id=owner_id, plans=plans, now=now)
        created = await book(tx, reservation)
        if not created:
            found = await scheduling.clashes(tx, owner_id=owner_id, reservation=reservation)
            raise await time_conflict(tx, *found, caller_id=owner_id, batch=batch)
        return created

    async with db.turn(owner_id):
        created = await book_at_once() or await db.transaction(book_under_lock)
    written = {row["event_id"]: row["data"] for row in created}
    permissions = orjson.dumps([{"user_id": str(owner_id), "role": Role.OWNER}])
    for event_id in ids:
        _audit.info("event_created", event_id=str(event_id), user_id=str(owner_id))
    return [(i, Event(1, _with_permissions(written[i], permissions))) for i in ids]


async def get(db: Database, *, caller_id: UserId, event_id: EventId) -> Event:
    """Return an event the caller may read; raises `NotFound` or `RoleTooLow`."""
    async with db.reading() as read:
        row = await read.first(queries.GET, caller_id=caller_id, event_id=event_id)
        if row is None:
            raise await refusal(read, caller_id=caller_id, event_id=event_id, roles=READERS)
    return _event(row)


async def update(
    db: Database,
    *,
    caller_id: UserId,
    event_id: EventId,
    changes: EventUpdate,
    versions: Sequence[int] | None,
    now: datetime,
) -> Event:
    """Change the fields that were sent and return the event as it is then.

    `versions` are those that the change may be based on, None for any. Raises `NotFound`,
    `RoleTooLow`, `PreconditionFailed`, `Invalid` and `TimeConflict`.
    """
    fields = changes.changes()
    if not fields:
        return await _unchanged(db, caller_id=caller_id, event_id=event_id, versions=versions)
    record = _record(Operation.UPDATE, caller_id=caller_id, event_id=event_id, now=now)
    if fields.keys() <= _TEXT_FIELDS:
        row = await _edit(db, fields=fields, versions=versions, record=record)
    else:

        async def reschedule(tx: Transaction) -> asyncpg.Record:
            event = await _lock(
                tx, caller_id=caller_id, event_id=event_id, versions=versions, roles=EDITORS
            )
            merged = merge(dict(event), fields)
            return await _rebook(tx, owner_id=event["owner_id"], draft=merged, record=record)

        async with db.turn(event_id):
            row = await db.transaction(reschedule)
    _audit.info(
        "event_updated",
        event_id=str(event_id),
        user_id=str(caller_id),
        version=row["version"],
        fields=sorted(fields),
    )
    return _event(row)


async def roll_back(
    db: Database,
    *,
    caller_id: UserId,
    event_id: EventId,
    key: VersionKey,
    versions: Sequence[int] | None,
    now: datetime,
) -> Event:
    """Make an event what it was in one of its versions, as a new version.

    Raises `NotFound` for the event or the version, `RoleTooLow`, `PreconditionFailed` and
    `TimeConflict`.
    """
    record = _record(Operation.ROLLBACK, caller_id=caller_id, event_id=event_id, now=now)

    async def write(tx: Transaction) -> asyncpg.Record:
        event = await _lock(
            tx, caller_id=caller_id, event_id=event_id, versions=versions, roles=EDITORS
        )
        past = await tx.first(queries.PAST, event_id=event_id, **names(key))
        if past is None:
            raise NotFound("This event has no such version")
        draft = from_version(orjson.loads(past["data"]))
        return await _rebook(tx, owner_id=event["owner_id"], draft=draft, record=record)

    async with db.turn(event_id):
        row = await db.transaction(write)
    _audit.info(
        "event_rolled_back",
        event_id=str(event_id),
        user_id=str(caller_id),
        version=row["version"],
        to=str(key),
    )
    return _event(row)


async def delete(
    db: Database,
    *,
    caller_id: UserId,
    event_id: EventId,
    versions: Sequence[int] | None,
    now: datetime,
) -> None:
    """Move an event of the caller's to the bin and free its time.

    Raises `NotFound`, `RoleTooLow` and `PreconditionFailed`.
    """

    async def write(tx: Transaction) -> None:
        event = await _lock(
            tx, caller_id=caller_id, event_id=event_id, versions=versions, roles=OWNERS
        )
        await scheduling.hold(tx, owner_id=event["owner_id"], now=now)
        await scheduling.free(tx, event_id=event_id)
        record = _record(Operation.DELETE, caller_id=caller_id, event_id=event_id, now=now)
        await tx.first(queries.DELETE, **record)

    async with db.turn(event_id):
        await db.transaction(write)
    _audit.info("event_deleted", event_id=str(event_id), user_id=str(caller_id))


async def _plan(
    drafts: Sequence[EventCreate], timings: Sequence[Timing], *, now: datetime
) -> list[Plan]:
    """Work out when the drafts take place; raises `Invalid` when that is too often in all."""
    plans: list[Plan] = []
    total = 0
    for draft, timing in zip(drafts, timings, strict=True):
        plans.append(timing.plan(busy=is_busy(draft), now=now))
        total += len(plans[-1].occurrences)
        if total > MAX_BATCH_OCCURRENCES:
            raise Invalid(
                f"The events take place more than {MAX_BATCH_OCCURRENCES:,} times in the next two"
                " years: send them in several batches",
                loc=("body", "events"),
                type="too_many_occurrences",
            )
        # A batch may hold a thousand series; others are served in between.
        await asyncio.sleep(0)
    return plans


async def _edit(
    db: Database,
    *,
    fields: dict[str, Any],
    versions: Sequence[int] | None,
    record: dict[str, Any],
) -> asyncpg.Record:
    """Change texts only: the whole write is one statement."""
    given: dict[str, Any] = {f"set_{name}": name in fields for name in _TEXT_FIELDS}
    given |= {name: fields.get(name) for name in _TEXT_FIELDS}
    async with db.reading() as read:
        row = await read.first(queries.EDIT, versions=versions, **given, **record)
        if row is None:
            raise await refusal(
                read, caller_id=record["caller_id"], event_id=record["event_id"], roles=EDITORS
            )
    return row


async def _rebook(
    tx: Transaction, *, owner_id: UserId, draft: EventCreate, record: dict[str, Any]
) -> asyncpg.Record:
    """Make an event that is locked what the draft says, at the time that the draft says."""
    event_id, now = record["event_id"], record["now"]
    timing = timing_of(draft)
    plan = timing.plan(busy=is_busy(draft), now=now)
    reservation = await scheduling.reserve(tx, owner_id=owner_id, plans=[plan], now=now)
    await scheduling.free(tx, event_id=event_id)
    row = None
    if not reservation.overlapping:
        row = await tx.first(
            queries.RESCHEDULE,
            **columns_of(draft, timing),
            **scheduling.times(reservation.occurrences[0]),
            **record,
            busy=plan.busy,
            continues=plan.continues(at=reservation.stored_until),
        )
    if row is None:
        found = await scheduling.clashes(tx, owner_id=owner_id, reservation=reservation)
        raise await time_conflict(tx, *found, caller_id=record["caller_id"], batch=False)
    return row


async def _unchanged(
    db: Database, *, caller_id: UserId, event_id: EventId, versions: Sequence[int] | None
) -> Event:
    """Answer a change of nothing: the event as it is, for those who might change it."""

    async def check(tx: Transaction) -> None:
        await _lock(tx, caller_id=caller_id, event_id=event_id, versions=versions, roles=EDITORS)

    await db.transaction(check)
    return await get(db, caller_id=caller_id, event_id=event_id)


async def _lock(
    tx: Transaction,
    *,
    caller_id: UserId,
    event_id: EventId,
    versions: Sequence[int] | None,
    roles: frozenset[Role],
) -> asyncpg.Record:
    """Lock an event until the commit and return its row, if the caller has one of `roles`."""
    row = await tx.first(
        queries.LOCK,
        caller_id=caller_id,
        event_id=event_id,
        versions=versions,
        roles=list(roles),
    )
    if row is None:
        raise await refusal(tx, caller_id=caller_id, event_id=event_id, roles=roles)
    return row


def _record(
    operation: Operation, *, caller_id: UserId, event_id: EventId, now: datetime
) -> dict[str, Any]:
    """Return what the second half of every change of an event needs to know."""
    return {
        "caller_id": caller_id,
        "event_id": event_id,
        "now": now,
        "version_id": uuid7(),
        "message_id": uuid7(),
        "message_type": _TOLD_AS[operation],
        "operation": operation,
    }


def _event(row: asyncpg.Record) -> Event:
    return Event(row["version"], _with_permissions(row["data"], row["permissions"]))


def _with_permissions(data: bytes, permissions: bytes) -> bytes:
    """Add the event's grants, which are not part of its versions, to its JSON object."""
    return data[:-1] + b',"permissions":' + permissions + b"}"
