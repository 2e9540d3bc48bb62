"""Keeping what is stored of the future right, as time passes and time zones change."""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, Final

import asyncpg

from eventmanager.core.audit.entries import mirror
from eventmanager.core.background import Task
from eventmanager.core.database import Database, Transaction
from eventmanager.core.ids import EventId
from eventmanager.core.time import ZONE_DATA
from eventmanager.events import drafts, queries
from eventmanager.events.deletion import purge_all
from eventmanager.events.drafts import Revision
from eventmanager.events.overrides import EXCLUDED, Overrides, named
from eventmanager.events.writing import Terms, record, store
from eventmanager.history.models import Operation
from eventmanager.scheduling import service as scheduling
from eventmanager.scheduling.plan import between
from eventmanager.scheduling.service import Clash, LatePair

_PURGED_AT_ONCE: Final = 200
_AN_HOUR: Final = timedelta(hours=1)


async def extend_horizons(db: Database, now: datetime) -> None:
    """Store the occurrences of endless series two years ahead, before anybody asks for them."""
    await scheduling.extend_horizons(db, now=now)


async def renew_zones(db: Database, now: datetime) -> None:
    """Work out what is stored of the future anew, where it comes from older time zone data.

    Each event is a transaction of its own, so that this may be ended at any time and begun again.
    An owner with an event for which that fails has a turn again at the next run.
    """
    async with db.reading() as read:
        owners = await read.all(queries.OUTDATED_TIMELINES, zone_data=ZONE_DATA)
    for owner in owners:
        with scheduling.others_go_on("zone_data_not_applied", owner_id=owner["owner_id"]):
            await _renew_all(db, owner, now=now)


async def _renew_all(db: Database, owner: asyncpg.Record, *, now: datetime) -> None:
    async with db.reading() as read:
        events = await read.all(queries.ZONED_EVENTS, owner_id=owner["owner_id"], now=now)
    for event in events:
        await _renew(db, event["id"], now=now)
    async with db.reading() as read:
        await read.first(queries.RENEWED, owner_id=owner["owner_id"], zone_data=ZONE_DATA)
    mirror(
        "zone_data_applied",
        owner_id=str(owner["owner_id"]),
        zone_data=ZONE_DATA,
        before=owner["zone_data"],
        events=len(events),
    )


async def _renew(db: Database, event_id: EventId, *, now: datetime) -> None:
    change = record(
        Operation.UPDATE, caller_id=None, event_id=event_id, now=now, zone_data=ZONE_DATA
    )

    async def work(tx: Transaction) -> int | None:
        row = await tx.first(queries.LOCK_ALONE, event_id=event_id)
        return None if row is None else await _rework(tx, row, change=change)

    try:
        version = await db.transaction(work)
    except _AsItWas:
        return
    mirror("event_renewed", event_id=str(event_id), version=version, zone_data=ZONE_DATA)


class _AsItWas(Exception):
    """Nothing of an event's future has changed, so nothing is written."""


async def _rework(tx: Transaction, row: asyncpg.Record, *, change: dict[str, Any]) -> int:
    """Store an event's future as the zones are now and return its new version.

    What clashes from now on can't be refused: its owner is told.
    """
    owner_id, event_id, now = row["owner_id"], row["id"], change["now"]
    event = drafts.current(dict(row))
    stored_until = await scheduling.hold(tx, owner_id=owner_id, now=now)
    held = await scheduling.held(tx, event_id=event_id)
    slots = [at for at in (item["recurrence_id"] for item in held) if at >= now]
    event = replace(event, overrides=_renamed(event, slots, now=now, until=stored_until))
    reservation = await scheduling.reserve(
        tx,
        owner_id=owner_id,
        plans=[event.plan(now=now)],
        now=now,
        instead_of=event_id,
        since=now,
    )
    if not (reservation.gone or reservation.occurrences[0]):
        raise _AsItWas
    found, _ = await scheduling.clashes(tx, owner_id=owner_id, reservation=reservation)
    written = await store(
        tx,
        owner_id=owner_id,
        revision=event,
        reservation=reservation,
        record=change,
        terms=Terms(allow=True),
    )
    others: dict[EventId, list[Clash]] = {}
    for clash in found:
        if clash.event_id is not None:
            others.setdefault(clash.event_id, []).append(clash)
    pairs = [
        LatePair(event_id, other, len(clashes), min(item.existing.start for item in clashes))
        for other, clashes in others.items()
    ]
    await scheduling.tell(tx, owner_id=owner_id, pairs=pairs, now=now)
    return written.version


def _renamed(
    event: Revision, slots: list[datetime], *, now: datetime, until: datetime
) -> Overrides:
    """Return the overrides by the names that their slots have now.

    A series has as many slots as before, each perhaps at another instant; if it has not, an
    override keeps its name, and is dropped if there is no such slot.
    """
    series = event.timing.series
    if series is None or not event.overrides:
        return event.overrides
    time_zone = event.timing.time_zone
    names = {key: named(key, time_zone=time_zone) for key in event.overrides}
    excluded = {at for key, at in names.items() if event.overrides[key] == EXCLUDED and at >= now}
    before = sorted({*slots, *excluded})
    after = [item.recurrence_id for item in between(series, start=now, end=until)]
    moved = dict(zip(before, after, strict=True)) if len(before) == len(after) else {}
    return {event.name(moved.get(at, at)): event.overrides[key] for key, at in names.items()}


async def purge_bin(db: Database, now: datetime, *, bin_days: int) -> None:
    """Remove the events that have been in the bin for `bin_days`, a few at a time."""
    before = now - timedelta(days=bin_days)
    while True:
        async with db.reading() as read:
            rows = await read.all(queries.OVERDUE, before=before, limit=_PURGED_AT_ONCE)
            ids = [row["id"] for row in rows]
            for event_id in await purge_all(read, ids, caller_id=None, now=now):
                mirror("event_purged", event_id=str(event_id), user_id=None)
        if len(ids) < _PURGED_AT_ONCE:
            return


TASKS: Final = (
    # Of several releases that run at once, only one has the newest zones; each gets its turn.
    Task("renew_zones", _AN_HOUR, renew_zones),
    Task("extend_horizons", _AN_HOUR, extend_horizons),
)
