"""Deleting events, bringing them back from the bin, and removing them for good."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from eventmanager.core.audit.origin import here
from eventmanager.core.database import Database, Reading, Transaction
from eventmanager.core.errors import NotFound
from eventmanager.core.ids import EventId, UserId, uuid7
from eventmanager.events import drafts, queries
from eventmanager.events.writing import Event, Terms, audit, lock, locked, rebook, record, write
from eventmanager.history.models import Operation
from eventmanager.scheduling import service as scheduling
from eventmanager.sharing.access import OWNERS, refusal


async def delete(
    db: Database, *, caller_id: UserId, event_id: EventId, terms: Terms, now: datetime
) -> None:
    """Move an event of the caller's to the bin and free its time.

    Raises `NotFound`, `RoleTooLow` and `PreconditionFailed`.
    """
    change = record(Operation.DELETE, caller_id=caller_id, event_id=event_id, now=now)

    async def work(tx: Transaction) -> None:
        event = await lock(tx, roles=OWNERS, terms=terms, record=change)
        await bin_it(tx, owner_id=event["owner_id"], change=change)

    async with db.turn(event_id):
        await write(db, work, terms=terms)
    audit("event_deleted", change, terms=terms)


async def restore(
    db: Database, *, caller_id: UserId, event_id: EventId, terms: Terms, now: datetime
) -> Event:
    """Bring a deleted event of the caller's back as it was, as a new version.

    Raises `NotFound` unless it is in the bin, and `TimeConflict` if its time is taken by now.
    """
    change = record(Operation.RESTORE, caller_id=caller_id, event_id=event_id, now=now)

    async def work(tx: Transaction) -> Event:
        event = await locked(tx, queries.LOCK_DELETED, caller_id=caller_id, event_id=event_id)
        if event is None:
            raise NotFound("There is no such event in your bin")
        return await rebook(
            tx,
            owner_id=event["owner_id"],
            revision=drafts.current(dict(event)),
            record=change,
            terms=terms,
        )

    async with db.turn(event_id):
        event = await write(db, work, terms=terms)
    audit("event_restored", change, terms=terms, version=event.version)
    return event


async def purge(
    db: Database, *, caller_id: UserId, event_id: EventId, terms: Terms, now: datetime
) -> None:
    """Remove an event of the caller's for good, with its history, even from the bin.

    Raises `NotFound`, `RoleTooLow` and `PreconditionFailed`.
    """
    change = record(Operation.DELETE, caller_id=caller_id, event_id=event_id, now=now)

    async def work(tx: Transaction) -> None:
        event = await locked(
            tx,
            queries.LOCK_ANY,
            versions=terms.versions,
            caller_id=caller_id,
            event_id=event_id,
        )
        if event is None:
            raise await refusal(
                tx,
                caller_id=caller_id,
                event_id=event_id,
                roles=OWNERS,
                versions=terms.versions,
            )
        if event["deleted_at"] is None:
            await bin_it(tx, owner_id=event["owner_id"], change=change)
        await purge_all(tx, [event_id], caller_id=caller_id, now=now)

    async with db.turn(event_id):
        await write(db, work, terms=terms)
    audit("event_purged", change, terms=terms)


async def bin_it(tx: Transaction, *, owner_id: UserId, change: dict[str, Any]) -> None:
    """Move an event that is locked to the bin and free its time."""
    await scheduling.hold(tx, owner_id=owner_id, now=change["now"])
    await scheduling.free(tx, event_id=change["event_id"])
    await tx.first(queries.DELETE, **change)


async def purge_all(
    tx: Reading, event_ids: Sequence[EventId], *, caller_id: UserId | None, now: datetime
) -> Sequence[EventId]:
    """Remove those of the events that are in the bin, and return which those were."""
    rows = await tx.all(
        queries.PURGE,
        event_ids=event_ids,
        audit_ids=[uuid7() for _ in event_ids],
        caller_id=caller_id,
        now=now,
        **here().columns(),
    )
    return [row["id"] for row in rows]
