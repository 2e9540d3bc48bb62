"""What every write of events has in common: the terms it is made on, its locks, and its booking."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final, TypeVar

import asyncpg
import orjson
from starlette.responses import Response

from eventmanager.core.audit.entries import mirror
from eventmanager.core.audit.origin import here
from eventmanager.core.database import Database, Query, Reading, Transaction
from eventmanager.core.idempotency.service import Once, transact
from eventmanager.core.ids import EventId, UserId, uuid7
from eventmanager.events import queries
from eventmanager.events.conflicts import time_conflict
from eventmanager.events.drafts import Revision
from eventmanager.events.merging import Merge
from eventmanager.history.models import Operation
from eventmanager.scheduling import service as scheduling
from eventmanager.scheduling.service import Reservation
from eventmanager.sharing.access import refusal
from eventmanager.sharing.models import Role

T = TypeVar("T")

_TOLD_AS: Final = {
    Operation.UPDATE: "event_updated",
    Operation.ROLLBACK: "event_rolled_back",
    Operation.UNDO: "event_rolled_back",
    Operation.SPLIT: "series_split",
    Operation.DELETE: "event_deleted",
    Operation.RESTORE: "event_restored",
}


@dataclass(frozen=True, slots=True)
class Terms:
    """On which terms a write is made.

    `versions` are those that a change may be based on, None for any. `allow` books time that is
    taken, too. A `dry_run` answers as the write would, and changes nothing. What is to be done
    `once` has its `answer` kept, which is made of what the write returns. Reminders may be by email
    if the server sends `mail`.
    """

    versions: Sequence[int] | None = None
    allow: bool = False
    dry_run: bool = False
    once: Once | None = None
    mail: bool = False
    answer: Callable[[Any], Response] | None = None

    def answered(self, answer: Callable[[Any], Response]) -> "Terms":
        """Return the terms with the answer that is to be kept."""
        return replace(self, answer=answer)


@dataclass(frozen=True, slots=True)
class Event:
    """An event as JSON, ready to be sent, and its version."""

    version: int
    json: bytes


async def write(db: Database, work: Callable[[Transaction], Awaitable[T]], *, terms: Terms) -> T:
    """Run `work` as one transaction, which a dry run takes back."""
    if terms.dry_run:
        return await db.rehearse(work)
    return await transact(db, work, once=terms.once, answer=terms.answer)


async def lock(
    tx: Transaction, *, roles: frozenset[Role], terms: Terms, record: Mapping[str, Any]
) -> asyncpg.Record:
    """Lock the event of a change until the commit and return its row.

    The caller must have one of `roles`. Raises `NotFound`, `RoleTooLow` and `PreconditionFailed`.
    """
    whose = {name: record[name] for name in ("caller_id", "event_id")}
    row = await locked(tx, queries.LOCK, versions=terms.versions, roles=list(roles), **whose)
    if row is None:
        raise await refusal(tx, roles=roles, versions=terms.versions, **whose)
    return row


async def locked(tx: Transaction, statement: Query, **given: Any) -> asyncpg.Record | None:
    """Run a statement that locks an event, and return its row as it is under the lock.

    If it had to wait, what it has joined to the event is from before the wait: it is asked again.
    """
    row = await tx.first(statement, **given)
    if row is not None and row["is_stale"]:
        row = await tx.first(statement, **given)
    return row


def record(
    operation: Operation,
    *,
    caller_id: UserId | None,
    event_id: EventId,
    now: datetime,
    **facts: Any,
) -> dict[str, Any]:
    """Return what the second half of every change of an event needs to know.

    Without a caller it is the server that changes it. `facts` go into the messages beside version
    and title.
    """
    return {
        "caller_id": caller_id,
        "event_id": event_id,
        "now": now,
        "version_id": uuid7(),
        "message_id": uuid7(),
        "message_type": _TOLD_AS[operation],
        "operation": operation,
        "facts": orjson.dumps(facts, default=str).decode(),
        **here().columns(),
    }


async def rebook(
    tx: Transaction,
    *,
    owner_id: UserId,
    revision: Revision,
    record: dict[str, Any],
    terms: Terms,
) -> Event:
    """Make an event that is locked what the revision says, at the time that it says.

    The JSON names the overrides whose occurrences are no more. Raises `Invalid` and `TimeConflict`.
    """
    plan = revision.plan(now=record["now"])
    reservation = await scheduling.reserve(
        tx, owner_id=owner_id, plans=[plan], now=record["now"], instead_of=record["event_id"]
    )
    written = await store(
        tx,
        owner_id=owner_id,
        revision=revision,
        reservation=reservation,
        record=record,
        terms=terms,
    )
    return with_dropped(written, revision.dropped(plan))


async def store(
    tx: Transaction,
    *,
    owner_id: UserId,
    revision: Revision,
    reservation: Reservation,
    record: dict[str, Any],
    terms: Terms,
) -> Event:
    """Write the first plan of a reservation to the event it is for; raises `TimeConflict`."""
    row = None
    if terms.allow or not reservation.overlapping:
        columns = proposed(record["event_id"], revision, reservation)
        row = await tx.first(
            queries.RESCHEDULE,
            owner_id=owner_id,
            allow=terms.allow,
            events=orjson.dumps([columns], default=str),
            **scheduling.rows(reservation, {0: record["event_id"]}),
            **record,
        )
    if row is None:
        await refuse(tx, owner_id=owner_id, reservation=reservation, caller_id=record["caller_id"])
    assert row is not None
    return event_of(row)


def proposed(
    event_id: EventId, revision: Revision, reservation: Reservation, plan: int = 0
) -> dict[str, Any]:
    """Return an event as a statement takes it."""
    return revision.columns(reservation.plans[plan]) | {
        "id": event_id,
        "continues": reservation.continues(plan),
        "version_id": uuid7(),
    }


async def refuse(
    read: Reading,
    *,
    owner_id: UserId,
    reservation: Reservation,
    caller_id: UserId,
    batch: bool = False,
) -> None:
    """Raise the `TimeConflict` that names what is in the way of a reservation."""
    found = await scheduling.clashes(read, owner_id=owner_id, reservation=reservation)
    raise await time_conflict(read, *found, caller_id=caller_id, batch=batch)


def event_of(row: asyncpg.Record) -> Event:
    """Return the event that a statement answered."""
    return Event(row["version"], whole(row["data"], row))


def whole(data: bytes, beside: asyncpg.Record | Mapping[str, bytes]) -> bytes:
    """Add to an event's JSON object what is not part of its versions.

    That is its grants, and the reader's own reminders.
    """
    permissions, reminders = beside["permissions"], beside["reminders"]
    return data[:-1] + b',"permissions":' + permissions + b',"reminders":' + reminders + b"}"


def with_dropped(event: Event, dropped: Sequence[str]) -> Event:
    """Name the overrides that an edit of their series has dropped, if there are any."""
    if not dropped:
        return event
    named = b',"dropped_overrides":' + orjson.dumps(dropped) + b"}"
    return Event(event.version, event.json[:-1] + named)


def with_merge(event: Event, merged: Merge) -> Event:
    """Say what a merge has taken from whom."""
    taken = {"mine": merged.mine, "theirs": merged.theirs}
    said = orjson.dumps({"merged": bool(merged.theirs), "taken": taken})
    return Event(event.version, event.json[:-1] + b"," + said[1:])


def audit(act: str, record: Mapping[str, Any], *, terms: Terms, **fields: Any) -> None:
    """Log who did what, unless it was a dry run."""
    if not terms.dry_run:
        mirror(act, event_id=record["event_id"], user_id=record["caller_id"], **fields)
