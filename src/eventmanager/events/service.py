"""Creating, reading, changing, rolling back and undoing; deleting is in `deletion`.

Every write expands its rule first, purely; then one transaction locks the owner's time, refuses
what clashes, and writes the event with its occurrences, its version and its messages.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import asyncpg
import orjson

from eventmanager.core.audit.origin import here
from eventmanager.core.database import Database, Reading, Transaction
from eventmanager.core.errors import Invalid, NotFound, NothingToUndo, SecondHalfStands
from eventmanager.core.ids import EventId, UserId, uuid7
from eventmanager.events import drafts, queries
from eventmanager.events.drafts import Revision
from eventmanager.events.merging import (
    TIME_FIELDS,
    TIMES,
    Merge,
    Side,
    fields_of,
    merge,
    put_over,
)
from eventmanager.events.schemas import EventCreate, EventUpdate
from eventmanager.events.writing import (
    Event,
    Terms,
    audit,
    event_of,
    lock,
    proposed,
    rebook,
    record,
    refuse,
    whole,
    with_merge,
    write,
)
from eventmanager.history.models import Operation
from eventmanager.history.schemas import VersionKey, names
from eventmanager.reminders import service as reminders
from eventmanager.reminders.schemas import Reminder
from eventmanager.scheduling import service as scheduling
from eventmanager.scheduling.plan import Plan
from eventmanager.scheduling.service import Reservation
from eventmanager.sharing.access import EDITORS, READERS, refusal
from eventmanager.sharing.models import Role

MAX_BATCH_OCCURRENCES: Final = 50_000
_TEXT_FIELDS: Final = frozenset({"title", "description", "location"})


@dataclass(frozen=True, slots=True)
class Base:
    """The version that a change is based on, and who decides where others have changed it too."""

    version: int
    resolve: Side | None


async def create(
    db: Database,
    *,
    owner_id: UserId,
    events: Sequence[EventCreate],
    terms: Terms,
    now: datetime,
    batch: bool = False,
) -> list[tuple[EventId, Event]]:
    """Create all the events, or none. Raises `Invalid` and `TimeConflict`."""
    revisions = _read(events, batch=batch, mail=terms.mail)
    plans = await _plan(revisions, now=now)
    ids = [EventId(uuid7()) for _ in events]
    permissions = orjson.dumps([{"user_id": str(owner_id), "role": Role.OWNER}])
    wanted = {
        event_id: reminders.written(draft.reminders)
        for event_id, draft in zip(ids, events, strict=True)
    }

    async def book(read: Reading, reservation: Reservation) -> list[tuple[EventId, Event]]:
        if reservation.overlapping and not terms.allow:
            return []
        columns = [
            proposed(event_id, revision, reservation, number) | {"reminders": wanted[event_id]}
            for number, (event_id, revision) in enumerate(zip(ids, revisions, strict=True))
        ]
        rows = await read.all(
            queries.CREATE,
            owner_id=owner_id,
            caller_id=owner_id,
            now=now,
            **here().columns(),
            seen=reservation.seen,
            allow=terms.allow,
            events=orjson.dumps(columns),
            **scheduling.rows(reservation, dict(enumerate(ids))),
        )
        written = {}
        for row in rows:
            own = orjson.dumps(wanted[row["event_id"]])
            beside = {"permissions": permissions, "reminders": own}
            written[row["event_id"]] = whole(row["data"], beside)
        return [(event_id, Event(1, written[event_id])) for event_id in ids if written]

    async def book_at_once() -> list[tuple[EventId, Event]]:
        async with db.reading() as read:
            reservation = await scheduling.glance(read, owner_id=owner_id, plans=plans)
            return await book(read, reservation) if reservation else []

    async def book_under_lock(tx: Transaction) -> list[tuple[EventId, Event]]:
        reservation = await scheduling.reserve(tx, owner_id=owner_id, plans=plans, now=now)
        created = await book(tx, reservation)
        if not created:
            await refuse(
                tx, owner_id=owner_id, reservation=reservation, caller_id=owner_id, batch=batch
            )
        return created

    async with db.turn(owner_id):
        # A dry run and what is to be done once need a transaction around them.
        at_once = not terms.dry_run and terms.once is None
        created = await book_at_once() if at_once else []
        created = created or await write(db, book_under_lock, terms=terms)
    for event_id in ids:
        audit("event_created", {"event_id": event_id, "caller_id": owner_id}, terms=terms)
    return created


async def get(db: Database, *, caller_id: UserId, event_id: EventId) -> Event:
    """Return an event the caller may read; raises `NotFound` or `RoleTooLow`."""
    async with db.reading() as read:
        row = await read.first(queries.GET, caller_id=caller_id, event_id=event_id)
        if row is None:
            raise await refusal(read, caller_id=caller_id, event_id=event_id, roles=READERS)
    return event_of(row)


async def update(
    db: Database,
    *,
    caller_id: UserId,
    event_id: EventId,
    changes: EventUpdate,
    terms: Terms,
    now: datetime,
    base: Base | None = None,
) -> Event:
    """Change the fields that were sent and return the event as it is then.

    With a `base`, what others have changed since it is kept, and the JSON says what was taken from
    whom. Raises `NotFound`, `RoleTooLow`, `PreconditionFailed`, `Invalid`, `MergeConflict` and
    `TimeConflict`.
    """
    fields, own = changes.changes(), changes.reminders
    change = record(Operation.UPDATE, caller_id=caller_id, event_id=event_id, now=now)
    is_of_texts = own is None and fields.keys() <= _TEXT_FIELDS
    if base is not None or terms.once is not None or not is_of_texts:

        async def work(tx: Transaction) -> Event:
            return await change_event(tx, changes=changes, change=change, terms=terms, base=base)

        async with db.turn(event_id):
            event = await write(db, work, terms=terms)
    elif not fields:
        return await _unchanged(db, change=change, terms=terms)
    else:
        event = await edit(db, fields=fields, change=change, terms=terms)
    if fields or own is None:
        audit("event_updated", change, terms=terms, version=event.version, fields=sorted(fields))
    return event


async def change_event(
    tx: Transaction,
    *,
    changes: EventUpdate,
    change: dict[str, Any],
    terms: Terms,
    base: Base | None = None,
) -> Event:
    """Change fields of an event in a transaction that may do more; see `update`.

    Reminders are the caller's own: whoever may read the event may change those alone.
    """
    fields, own = changes.changes(), changes.reminders
    roles = READERS if own is not None and not fields else EDITORS
    row = await lock(tx, roles=roles, terms=terms, record=change)
    if own is not None:
        if fields:
            # Everybody locks an owner's time before reminders.
            await scheduling.hold(tx, owner_id=row["owner_id"], now=change["now"])
        await remind(tx, own, change=change, terms=terms)
    event = drafts.current(dict(row))
    merged = None
    if base is not None:
        fields, merged = await _merged(tx, row, fields=fields, base=base)
    if fields:
        written = await rebook(
            tx,
            owner_id=row["owner_id"],
            revision=drafts.revise(event, fields),
            record=change,
            terms=terms,
        )
    else:
        written = await current(tx, change)
    return written if merged is None else with_merge(written, merged)


async def _merged(
    tx: Transaction, row: asyncpg.Record, *, fields: dict[str, Any], base: Base
) -> tuple[dict[str, Any], Merge]:
    """Return those of the sent fields that are to be put over the event as it is now."""
    state = await version_of(tx, row["id"], base.version)
    wanted = drafts.state_of(drafts.revise(drafts.past(state), fields))
    # What single occurrences have of their own is not among the fields; it moves with the series.
    mine = wanted | {"overrides": state.get("overrides", {})}
    theirs = drafts.state_of(drafts.current(dict(row))) | {"version": row["version"]}
    decided = merge(state, mine=mine, theirs=theirs, resolve=base.resolve)
    kept = {name: value for name, value in fields.items() if name in decided.mine}
    if TIMES in decided.mine:
        moved = fields_of(theirs)[TIMES] != fields_of(state)[TIMES]
        # Some of the times alone would mean something else beside those that others have set.
        source = drafts.times_of(mine) if moved else fields
        kept |= {name: source[name] for name in (*TIME_FIELDS, "is_recurring") if name in source}
    return kept, decided


async def remind(
    tx: Transaction, own: Sequence[Reminder], *, change: dict[str, Any], terms: Terms
) -> None:
    """Set the caller's reminders of an event that is locked; raises `Invalid`."""
    reminders.check(own, mail=terms.mail, loc=("body",))
    whose = {name: change[name] for name in ("caller_id", "event_id", "now")}
    await reminders.set_reminders(tx, reminders=own, **whose)


async def version_of(tx: Transaction, event_id: EventId, number: int) -> dict[str, Any]:
    """Return the state of an event that a change is based on; raises `Invalid`."""
    then = await tx.first(queries.PAST, event_id=event_id, **names(number))
    if then is None:
        raise Invalid(
            "This event has no such version",
            loc=("query", "base_version"),
            type="no_such_version",
        )
    state: dict[str, Any] = orjson.loads(then["data"])
    return state


async def undo(
    db: Database,
    *,
    caller_id: UserId,
    event_id: EventId,
    version: int | None,
    resolve: Side | None,
    terms: Terms,
    now: datetime,
) -> Event:
    """Take the last change back, or the one that made `version`, as a new version.

    What was changed since in other fields stays. Raises `NotFound`, `RoleTooLow`,
    `PreconditionFailed`, `NothingToUndo`, `MergeConflict`, `SecondHalfStands` and `TimeConflict`.
    """
    change = record(Operation.UNDO, caller_id=caller_id, event_id=event_id, now=now)

    async def work(tx: Transaction) -> Event:
        row = await lock(tx, roles=EDITORS, terms=terms, record=change)
        number = version or row["version"]
        undone = await tx.first(queries.PAST, event_id=event_id, **names(number))
        if undone is None:
            raise NotFound("This event has no such version")
        before = await tx.first(queries.PAST, event_id=event_id, **names(number - 1))
        if before is None or undone["operation"] in {Operation.DELETE, Operation.RESTORE}:
            raise NothingToUndo
        after, target = orjson.loads(undone["data"]), orjson.loads(before["data"])
        current = drafts.state_of(drafts.current(dict(row))) | {"version": row["version"]}
        decided = merge(after, mine=target, theirs=current, resolve=resolve)
        if not decided.mine:
            raise NothingToUndo
        state = put_over(current, target, decided.mine)
        written = await rebook(
            tx,
            owner_id=row["owner_id"],
            revision=drafts.composed(state, current=current, earlier=target),
            record=change,
            terms=terms,
        )
        if TIMES in decided.mine:
            await _refuse_twice(tx, event_id, since=before["version"], terms=terms)
        return written

    async with db.turn(event_id):
        event = await write(db, work, terms=terms)
    undone = version or event.version - 1
    audit("event_rolled_back", change, terms=terms, version=event.version, undone=undone)
    return event


async def roll_back(
    db: Database,
    *,
    caller_id: UserId,
    event_id: EventId,
    key: VersionKey,
    terms: Terms,
    now: datetime,
) -> Event:
    """Make an event what it was in one of its versions, as a new version.

    Raises `NotFound` for the event or the version, `RoleTooLow`, `PreconditionFailed`,
    `SecondHalfStands` and `TimeConflict`.
    """
    change = record(Operation.ROLLBACK, caller_id=caller_id, event_id=event_id, now=now)

    async def work(tx: Transaction) -> Event:
        event = await lock(tx, roles=EDITORS, terms=terms, record=change)
        past = await tx.first(queries.PAST, event_id=event_id, **names(key))
        if past is None:
            raise NotFound("This event has no such version")
        revision = drafts.past(orjson.loads(past["data"]))
        written = await rebook(
            tx, owner_id=event["owner_id"], revision=revision, record=change, terms=terms
        )
        await _refuse_twice(tx, event_id, since=past["version"], terms=terms)
        return written

    async with db.turn(event_id):
        event = await write(db, work, terms=terms)
    audit("event_rolled_back", change, terms=terms, version=event.version, to=str(key))
    return event


async def _refuse_twice(tx: Transaction, event_id: EventId, *, since: int, terms: Terms) -> None:
    """Refuse to leave an event with times of before a split whose other half still stands.

    A clash has said so by now, but only of what takes up time, and has not been moved away.
    """
    if terms.allow:
        return
    halves = await tx.all(queries.SECOND_HALVES, event_id=event_id, version=since)
    if halves:
        raise SecondHalfStands(event_ids=[half["id"] for half in halves])


def _read(events: Sequence[EventCreate], *, batch: bool, mail: bool) -> list[Revision]:
    revisions = []
    for number, draft in enumerate(events):
        loc = ("body", "events", number) if batch else ("body",)
        reminders.check(draft.reminders, mail=mail, loc=loc)
        revisions.append(drafts.new(draft, loc=loc))
    return revisions


async def _plan(revisions: Sequence[Revision], *, now: datetime) -> list[Plan]:
    """Work out when events take place; raises `Invalid` when that is too often in all."""
    plans: list[Plan] = []
    total = 0
    for revision in revisions:
        plans.append(revision.plan(now=now))
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


async def edit(
    db: Database, *, fields: dict[str, Any], change: dict[str, Any], terms: Terms
) -> Event:
    """Change texts only: the whole write is one statement, unless somebody else is writing too."""
    given: dict[str, Any] = {f"set_{name}": name in fields for name in _TEXT_FIELDS}
    given |= {name: fields.get(name) for name in _TEXT_FIELDS}

    async def write_at_once(read: Reading) -> asyncpg.Record | None:
        return await read.first(queries.EDIT, versions=terms.versions, **given, **change)

    async def write_under_lock(tx: Transaction) -> asyncpg.Record:
        await lock(tx, roles=EDITORS, terms=terms, record=change)
        row = await write_at_once(tx)
        assert row is not None, "the caller has locked it"
        return row

    async with db.turn(change["event_id"]):
        row = None
        if not terms.dry_run:
            async with db.reading() as read:
                row = await write_at_once(read)
        if row is None:
            row = await write(db, write_under_lock, terms=terms)
    return event_of(row)


async def _unchanged(db: Database, *, change: dict[str, Any], terms: Terms) -> Event:
    """Answer a change of nothing: the event as it is, for those who might change it."""

    async def check(tx: Transaction) -> Event:
        await lock(tx, roles=EDITORS, terms=terms, record=change)
        return await current(tx, change)

    return await db.transaction(check)


async def current(tx: Transaction, change: dict[str, Any]) -> Event:
    """Return the event of a change as it is, which the transaction has locked."""
    row = await tx.first(queries.GET, caller_id=change["caller_id"], event_id=change["event_id"])
    assert row is not None, "the caller has locked it"
    return event_of(row)
