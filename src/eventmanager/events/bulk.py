"""Changing or deleting many events at once: all or none, or each by itself."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final

from eventmanager.core.database import Database, Transaction
from eventmanager.core.errors import EventManagerError, Invalid
from eventmanager.core.ids import EventId, UserId
from eventmanager.events import lists, queries
from eventmanager.events.deletion import bin_it
from eventmanager.events.lists import Filter
from eventmanager.events.schemas import EventUpdate
from eventmanager.events.service import change_event
from eventmanager.events.writing import Event, Terms, audit, lock, record, write
from eventmanager.history.models import Operation
from eventmanager.sharing.access import EDITORS, OWNERS

BULK_MAX: Final = 1_000

Act = Callable[[Transaction, EventId], Awaitable[Event | None]]


@dataclass(frozen=True, slots=True)
class Result:
    """What became of one of many: the event as it is, nothing if it was deleted, or the error."""

    event_id: EventId
    event: Event | None
    error: EventManagerError | None = None


async def select(
    db: Database, *, caller_id: UserId, chosen: Filter, now: datetime
) -> list[EventId]:
    """Return the events that a filter means; raises `Invalid` if those are too many."""
    ids = await lists.ids_of(db, caller_id=caller_id, chosen=chosen, limit=BULK_MAX + 1, now=now)
    if len(ids) > BULK_MAX:
        raise Invalid(
            f"The filter means more than {BULK_MAX:,} events: narrow it",
            loc=("body", "filter"),
            type="too_many_events",
        )
    return ids


async def change(
    db: Database,
    *,
    caller_id: UserId,
    event_ids: Sequence[EventId],
    changes: EventUpdate,
    atomic: bool,
    terms: Terms,
    now: datetime,
) -> list[Result]:
    """Make the same change to each of the events.

    If it is `atomic`, the first refusal undoes all and is raised, with the fact `event_id`.
    """

    async def act(tx: Transaction, event_id: EventId) -> Event:
        change = record(Operation.UPDATE, caller_id=caller_id, event_id=event_id, now=now)
        return await change_event(tx, changes=changes, change=change, terms=terms)

    whose = {"caller_id": caller_id, "roles": list(EDITORS)}
    results = await _each(db, act, event_ids, whose=whose, atomic=atomic, terms=terms)
    fields = sorted(changes.changes())
    if fields or changes.reminders is None:
        _log("event_updated", results, caller_id=caller_id, terms=terms, fields=fields)
    return results


async def delete(
    db: Database,
    *,
    caller_id: UserId,
    event_ids: Sequence[EventId],
    atomic: bool,
    terms: Terms,
    now: datetime,
) -> list[Result]:
    """Move each of the events to the bin; see `change`."""

    async def act(tx: Transaction, event_id: EventId) -> None:
        change = record(Operation.DELETE, caller_id=caller_id, event_id=event_id, now=now)
        event = await lock(tx, roles=OWNERS, terms=terms, record=change)
        await bin_it(tx, owner_id=event["owner_id"], change=change)

    whose = {"caller_id": caller_id, "roles": list(OWNERS)}
    results = await _each(db, act, event_ids, whose=whose, atomic=atomic, terms=terms)
    _log("event_deleted", results, caller_id=caller_id, terms=terms)
    return results


async def _each(
    db: Database,
    act: Act,
    event_ids: Sequence[EventId],
    *,
    whose: Mapping[str, Any],
    atomic: bool,
    terms: Terms,
) -> list[Result]:
    if atomic:

        async def all_of_them(tx: Transaction) -> list[Result]:
            # Everybody locks in the same order, so that two of these do not wait for each other;
            # and nobody what they may not change, which is refused when its turn comes.
            await tx.all(queries.LOCK_MANY, event_ids=sorted(event_ids), **whose)
            return [await _one(tx, act, event_id) for event_id in event_ids]

        return await write(db, all_of_them, terms=terms)
    results = []
    for event_id in event_ids:

        async def one(tx: Transaction, event_id: EventId = event_id) -> Event | None:
            return await act(tx, event_id)

        try:
            async with db.turn(event_id):
                # What is kept for a retry is the answer to all of them together.
                done = await write(db, one, terms=replace(terms, once=None))
        except EventManagerError as error:
            results.append(Result(event_id, None, error))
        else:
            results.append(Result(event_id, done))
    return results


async def _one(tx: Transaction, act: Act, event_id: EventId) -> Result:
    try:
        return Result(event_id, await act(tx, event_id))
    except EventManagerError as error:
        # Which of them it was is what the client needs to know to go on without it.
        error.facts.setdefault("event_id", event_id)
        raise


def _log(
    act: str, results: Sequence[Result], *, caller_id: UserId, terms: Terms, **fields: Any
) -> None:
    for result in results:
        if result.error is None:
            whose = {"event_id": result.event_id, "caller_id": caller_id}
            audit(act, whose, terms=terms, **fields)
