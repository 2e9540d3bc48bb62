"""Editing a series from one of its occurrences: this one, this and the following ones, or all."""

from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from enum import StrEnum
from typing import Any, Final

import orjson

from eventmanager.core.audit.origin import here
from eventmanager.core.database import Database, Transaction
from eventmanager.core.errors import Invalid, NotFound
from eventmanager.core.ids import EventId, UserId, uuid7
from eventmanager.events import drafts, list_queries, queries
from eventmanager.events.deletion import bin_it
from eventmanager.events.drafts import Revision
from eventmanager.events.dragging import edited_from, halves
from eventmanager.events.lists import occurrence_json
from eventmanager.events.merging import TIMES as _TIMES
from eventmanager.events.merging import Merge, merge
from eventmanager.events.overrides import EXCLUDED, TIMES, of_series, revised, with_own
from eventmanager.events.schemas import EventUpdate
from eventmanager.events.service import Base, current, remind, version_of
from eventmanager.events.timing import instant_named
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
    store,
    with_dropped,
    with_merge,
    write,
)
from eventmanager.history.models import Operation
from eventmanager.recurrence import Occurrence, begins, expand
from eventmanager.scheduling import service as scheduling
from eventmanager.scheduling.plan import month_after
from eventmanager.sharing.access import EDITORS, OWNERS, READERS
from eventmanager.sharing.models import Role

_INSTANT: Final = timedelta(microseconds=1)
_OF_A_SERIES: Final = ("all_day", "is_recurring", "recurrence_pattern", "time_zone")


class Scope(StrEnum):
    """Which occurrences of a series an edit concerns."""

    THIS = "this"
    FOLLOWING = "following"
    ALL = "all"


@dataclass(frozen=True, slots=True)
class Target:
    """An occurrence by its name, of an event that the caller wants to change."""

    caller_id: UserId
    event_id: EventId
    name: datetime | date


@dataclass(frozen=True, slots=True)
class _Found:
    """A target whose event is locked: the event as it is, and where its series puts the slot."""

    target: Target
    owner_id: UserId
    version: int
    event: Revision
    slot: Occurrence
    scope: Scope
    now: datetime

    @property
    def key(self) -> str:
        """The occurrence's name, as clients read it."""
        return self.event.name(self.slot.recurrence_id)

    def record(self, operation: Operation, **facts: Any) -> dict[str, Any]:
        """Return what the second half of the change needs to know."""
        return record(
            operation,
            caller_id=self.target.caller_id,
            event_id=self.target.event_id,
            now=self.now,
            recurrence_id=self.key,
            scope=self.scope,
            **facts,
        )


async def edit(
    db: Database,
    *,
    target: Target,
    scope: Scope,
    changes: EventUpdate,
    terms: Terms,
    now: datetime,
    base: Base | None = None,
) -> Event:
    """Change one occurrence, or it and all after it, or the whole series.

    The fields are those of the occurrence, and so is a start or end that is not sent: where it
    moves, the others of the scope move as far on the wall clock from their slots. Returns the
    occurrence for `this`, else the event that it then belongs to. With a `base`, what others have
    changed of this occurrence since is kept. Raises `NotFound`, `RoleTooLow`, `PreconditionFailed`,
    `Invalid`, `MergeConflict` and `TimeConflict`.
    """
    fields, own = changes.changes(), changes.reminders
    roles = READERS if own is not None and not fields else EDITORS
    if own is not None and scope is not Scope.ALL:
        raise Invalid(
            "Reminders are of all occurrences: send scope=all, or change the event",
            loc=("body", "reminders"),
            type="not_of_one_occurrence",
        )
    if base is not None and scope is not Scope.THIS:
        raise Invalid(
            "base_version goes with scope=this only",
            loc=("query", "base_version"),
            type="base_of_one_occurrence",
        )

    async def work(tx: Transaction) -> Event:
        found = await _find(tx, target=target, scope=scope, terms=terms, now=now, roles=roles)
        if found.scope is Scope.THIS and base is not None:
            kept, merged = await _merged(tx, found, fields, base=base)
            written = await _override(tx, found, _own(found, kept), terms=terms)
            return with_merge(written, merged)
        if found.scope is Scope.THIS:
            return await _override(tx, found, _own(found, fields), terms=terms)
        if found.scope is Scope.FOLLOWING:
            return await _split(tx, found, fields, terms=terms)
        change = found.record(Operation.UPDATE)
        if own is not None:
            if fields:
                # As in `change_event`.
                await scheduling.hold(tx, owner_id=found.owner_id, now=now)
            await remind(tx, own, change=change, terms=terms)
            if not fields:
                return await current(tx, change)
        whole = edited_from(found.event, found.slot, fields)
        return await rebook(tx, owner_id=found.owner_id, revision=whole, record=change, terms=terms)

    async with db.turn(target.event_id):
        event = await write(db, work, terms=terms)
    if fields or own is None:
        _log("occurrence_updated", target, scope=scope, terms=terms, fields=sorted(fields))
    return event


async def delete(
    db: Database, *, target: Target, scope: Scope, terms: Terms, now: datetime
) -> None:
    """Take one occurrence out of its series, or it and all after it, or delete the event.

    Raises `NotFound`, `RoleTooLow` and `PreconditionFailed`.
    """

    async def work(tx: Transaction) -> None:
        found = await _find(tx, target=target, scope=scope, terms=terms, now=now)
        if found.scope is Scope.THIS:
            await _override(tx, found, dict(EXCLUDED), terms=terms)
        elif found.scope is Scope.FOLLOWING:
            before, _ = halves(found.event, found.slot.recurrence_id)
            change = found.record(Operation.UPDATE)
            await rebook(tx, owner_id=found.owner_id, revision=before, record=change, terms=terms)
        else:
            change = found.record(Operation.DELETE)
            await lock(tx, roles=OWNERS, terms=terms, record=change)
            await bin_it(tx, owner_id=found.owner_id, change=change)

    async with db.turn(target.event_id):
        await write(db, work, terms=terms)
    _log("occurrence_deleted", target, scope=scope, terms=terms)


async def reset(db: Database, *, target: Target, terms: Terms, now: datetime) -> Event:
    """Make one occurrence what its series says, even if it was deleted, and return it.

    Raises `NotFound`, `RoleTooLow`, `PreconditionFailed` and `TimeConflict`.
    """

    async def work(tx: Transaction) -> Event:
        found = await _find(
            tx, target=target, scope=Scope.THIS, terms=terms, now=now, excluded=True
        )
        return await _override(tx, found, {}, terms=terms)

    async with db.turn(target.event_id):
        event = await write(db, work, terms=terms)
    _log("occurrence_reset", target, scope=Scope.THIS, terms=terms)
    return event


async def _find(
    tx: Transaction,
    *,
    target: Target,
    scope: Scope,
    terms: Terms,
    now: datetime,
    excluded: bool = False,
    roles: frozenset[Role] = EDITORS,
) -> _Found:
    """Lock the event and find the occurrence in it; one that was deleted only if `excluded`."""
    whose = {"caller_id": target.caller_id, "event_id": target.event_id, "now": now}
    row = await lock(tx, roles=roles, terms=terms, record=whose)
    event = drafts.current(dict(row))
    slot = _slot(event, target.name)
    scheduling.refuse_beyond_cap(slot.recurrence_id, loc=["path", "recurrence_id"], now=now)
    if event.overrides.get(event.name(slot.recurrence_id)) == EXCLUDED and not excluded:
        raise NotFound("This occurrence was deleted; resetting it brings it back")
    series = event.timing.series
    if series is None and excluded:
        raise NotFound("This event does not recur: there is nothing to reset it to")
    if series is None or (scope is Scope.FOLLOWING and slot.recurrence_id <= begins(series)):
        scope = Scope.ALL
    # Not before what it has waited for: a second half begins when its first ends.
    now = max(now, row["updated_at"] + _INSTANT)
    return _Found(target, row["owner_id"], row["version"], event, slot, scope, now)


def _slot(event: Revision, name: datetime | date) -> Occurrence:
    """Return the occurrence of that name where its series puts it; raises `NotFound`."""
    timing = event.timing
    at = instant_named(name, time_zone=timing.time_zone)
    if timing.series is not None:
        found = expand(timing.series, start=at, end=at + _INSTANT)
        if found:
            return found[0]
    elif at == timing.start_time:
        return Occurrence(at, at, timing.end_time)
    raise NotFound("This event has no such occurrence")


def _own(found: _Found, fields: dict[str, Any]) -> dict[str, Any]:
    """Return what the occurrence has of its own once these fields are changed."""
    for field in _OF_A_SERIES:
        if field in fields:
            raise Invalid(
                f"{field} is the same for all occurrences of a series: send scope=following or"
                " scope=all",
                loc=("body", field),
                type="not_of_one_occurrence",
            )
    return revised(
        found.event.overrides.get(found.key, {}),
        fields,
        occurrence=found.slot,
        draft=found.event.draft,
        timing=found.event.timing,
    )


async def _merged(
    tx: Transaction, found: _Found, fields: dict[str, Any], *, base: Base
) -> tuple[dict[str, Any], Merge]:
    """Return those of the sent fields that are to be put over the occurrence as it is now."""
    then = drafts.past(await version_of(tx, found.target.event_id, base.version))
    slot = _slot(then, found.target.name)
    mine = _state(then, slot, fields)
    theirs = _state(found.event, found.slot, {}) | {"version": found.version}
    decided = merge(
        _state(then, slot, {}) | {"version": base.version},
        mine=mine,
        theirs=theirs,
        resolve=base.resolve,
    )
    taken = {*decided.mine, *(TIMES if _TIMES in decided.mine else ())}
    return {name: value for name, value in mine.items() if name in taken}, decided


def _state(event: Revision, slot: Occurrence, fields: dict[str, Any]) -> dict[str, Any]:
    """Return an occurrence after a change of some fields, as states are merged."""
    timing = event.timing
    own = event.overrides.get(event.name(slot.recurrence_id), {})
    changed = revised(own, fields, occurrence=slot, draft=event.draft, timing=timing)
    of_all = {"time_zone": timing.time_zone, "all_day": timing.all_day, "recurrence_pattern": None}
    return of_series(slot, draft=event.draft, timing=timing) | changed | of_all


async def _override(tx: Transaction, found: _Found, own: dict[str, Any], *, terms: Terms) -> Event:
    """Give the occurrence what it has of its own, and return it; nothing if it was deleted."""
    if own != found.event.overrides.get(found.key, {}):
        await rebook(
            tx,
            owner_id=found.owner_id,
            revision=replace(
                found.event, overrides=with_own(found.event.overrides, found.key, own)
            ),
            record=found.record(Operation.UPDATE),
            terms=terms,
        )
    else:
        # Booking would have stored what lies so far ahead; the answer needs it all the same.
        slot = found.slot.recurrence_id
        await scheduling.reach(tx, owner_id=found.owner_id, until=month_after(slot), now=found.now)
    if own == EXCLUDED:
        return Event(0, b"")
    row = await tx.first(
        list_queries.OCCURRENCE,
        caller_id=found.target.caller_id,
        event_id=found.target.event_id,
        recurrence_id=found.slot.recurrence_id,
    )
    assert row is not None
    return Event(row["version"], occurrence_json(row))


async def _split(tx: Transaction, found: _Found, fields: dict[str, Any], *, terms: Terms) -> Event:
    """End the series before the occurrence, and go on from it with the fields changed."""
    before, rest = halves(found.event, found.slot.recurrence_id)
    after = edited_from(rest, found.slot, fields)
    new_id = EventId(uuid7())
    owner_id, caller_id, now = found.owner_id, found.target.caller_id, found.now
    plans = [before.plan(now=now), after.plan(now=now)]
    reservation = await scheduling.reserve(
        tx, owner_id=owner_id, plans=plans, now=now, instead_of=found.target.event_id
    )
    await store(
        tx,
        owner_id=owner_id,
        revision=before,
        reservation=reservation,
        record=found.record(Operation.SPLIT, new_event_id=new_id),
        terms=terms,
    )
    columns = proposed(new_id, after, reservation, 1) | {"split_from": found.target.event_id}
    created = await tx.all(
        queries.CREATE,
        owner_id=owner_id,
        caller_id=caller_id,
        now=now,
        seen=None,
        **here().columns(),
        allow=terms.allow,
        events=orjson.dumps([columns], default=str),
        **scheduling.rows(reservation, {1: new_id}),
    )
    if not created:
        await refuse(tx, owner_id=owner_id, reservation=reservation, caller_id=caller_id)
    row = await tx.first(queries.GET, caller_id=caller_id, event_id=new_id)
    assert row is not None
    return with_dropped(event_of(row), after.dropped(plans[1]))


def _log(act: str, target: Target, *, scope: Scope, terms: Terms, **fields: Any) -> None:
    whose = {"event_id": target.event_id, "caller_id": target.caller_id}
    audit(act, whose, terms=terms, recurrence_id=str(target.name), scope=str(scope), **fields)
