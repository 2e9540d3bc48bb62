"""Reading what an event was."""

from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import asyncpg
import orjson

from eventmanager.core.database import Database, Reading
from eventmanager.core.errors import Invalid, NotFound
from eventmanager.core.ids import EventId, UserId
from eventmanager.history import blame, diff, queries
from eventmanager.history.schemas import CURRENT, MAX_NUMBER, Current, VersionKey, names
from eventmanager.history.summary import State, summary
from eventmanager.sharing.access import READERS, refusal

_AT_ONCE: Final = 200
_BYTES_AT_ONCE: Final = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Page:
    """Versions as a JSON array, and whether there are more."""

    json: bytes
    more: bool


async def list_versions(
    db: Database,
    *,
    caller_id: UserId,
    event_id: EventId,
    skip: int,
    limit: int,
    changed_by: UUID | None = None,
    start: datetime | None = None,
    end: datetime | None = None,
) -> Page:
    """Return an event's versions, oldest first: those by one user, those from start to end.

    Raises `NotFound`, `RoleTooLow` and `Invalid`.
    """
    if start is not None and end is not None and end <= start:
        raise Invalid("end must be after start", loc=("query", "end"), type="invalid_time_order")
    filters = {"changed_by": changed_by, "start": start, "end": end}
    # Versions run 1..n without a gap, so without a filter their numbers say which are on the page.
    bounds = {"first": skip + 1, "last": skip + limit + 1, "skip": 0}
    if any(filters.values()):
        bounds = {"first": 1, "last": MAX_NUMBER, "skip": skip}
    async with db.reading() as read:
        rows = await read.all(
            queries.LIST,
            caller_id=caller_id,
            event_id=event_id,
            limit=limit + 1,
            **bounds,
            **filters,
        )
        if not rows:
            # Nothing fits, or one may not read it: then there is no first version either.
            await _find(read, caller_id=caller_id, event_id=event_id, key=1)
    return Page(b"[" + b",".join(_listed(rows[:limit])) + b"]", len(rows) > limit)


async def get_version(
    db: Database, *, caller_id: UserId, event_id: EventId, key: VersionKey
) -> bytes:
    """Return one version as JSON. Raises `NotFound` and `RoleTooLow`."""
    async with db.reading() as read:
        row = await _find(read, caller_id=caller_id, event_id=event_id, key=key)
    return _with_summary(row, _loaded(row["before"]), orjson.loads(row["data"]))


async def compare(
    db: Database,
    *,
    caller_id: UserId,
    event_id: EventId,
    before: VersionKey | Current,
    after: VersionKey | Current,
) -> dict[str, Any]:
    """Return what changed between two versions of one event. Raises `NotFound`, `RoleTooLow`."""
    async with db.reading() as read:
        first = await _find(read, caller_id=caller_id, event_id=event_id, key=before)
        second = await _find(read, caller_id=caller_id, event_id=event_id, key=after)
    one, two = orjson.loads(first["data"]), orjson.loads(second["data"])
    return {
        "event_id": str(event_id),
        "from_version": first["version"],
        "to_version": second["version"],
        "changes": diff.changes(one, two),
        "patch": diff.patch(one, two),
    }


async def blame_of(db: Database, *, caller_id: UserId, event_id: EventId) -> dict[str, Any]:
    """Return for each field of an event the version that made it what it is.

    That is to read the whole history, since its id never changed. Raises `NotFound` and
    `RoleTooLow`.
    """
    async with db.reading() as read:
        current = await _find(read, caller_id=caller_id, event_id=event_id, key=CURRENT)
    newest = blame.fields(orjson.loads(current["data"]))
    found: dict[str, Any] = dict.fromkeys(newest)
    unexplained, later = list(newest), current
    async for row in _before(db, current, caller_id=caller_id, event_id=event_id):
        older = blame.fields(orjson.loads(row["data"]))
        changed = blame.unlike(unexplained, newest, older)
        if changed:
            found |= dict.fromkeys(changed, _author(later))
            unexplained = [name for name in unexplained if found[name] is None]
        later = row
    return found | dict.fromkeys(unexplained, _author(later))


async def _before(
    db: Database, current: asyncpg.Record, *, caller_id: UserId, event_id: EventId
) -> AsyncIterator[asyncpg.Record]:
    """Yield the versions before the current one, newest first, read a few megabytes at a time."""
    at_once = max(1, min(_AT_ONCE, _BYTES_AT_ONCE // len(current["data"])))
    for last in range(current["version"] - 1, 0, -at_once):
        async with db.reading() as read:
            rows = await read.all(
                queries.BETWEEN,
                caller_id=caller_id,
                event_id=event_id,
                first=last - at_once + 1,
                last=last,
            )
            if not rows:
                raise await refusal(read, caller_id=caller_id, event_id=event_id, roles=READERS)
        for row in rows:
            yield row


async def _find(
    read: Reading, *, caller_id: UserId, event_id: EventId, key: VersionKey | Current
) -> asyncpg.Record:
    given: dict[str, Any] = {"caller_id": caller_id, "event_id": event_id}
    row = await read.first(queries.ONE, **given, **names(key))
    if row is None:
        # Version 1 is there for whoever may read the event, so then it is the version that is not.
        first = await read.first(queries.ONE, **given, **names(1))
        if first is None:
            raise await refusal(read, roles=READERS, **given)
        raise NotFound("This event has no such version")
    return row


def _author(row: asyncpg.Record) -> dict[str, Any]:
    return {
        "version": row["version"],
        "version_id": row["id"],
        "changed_by": row["changed_by"],
        "timestamp": row["timestamp"],
    }


def _listed(rows: Sequence[asyncpg.Record]) -> Iterator[bytes]:
    last: dict[str, Any] | None = None
    for row in rows:
        before = last if row["is_next"] else _loaded(row["before"])
        last = orjson.loads(row["data"])
        yield _with_summary(row, before, last)


def _with_summary(row: asyncpg.Record, before: State | None, after: State) -> bytes:
    said = summary(row["operation"], before, after, by_server=row["changed_by"] is None)
    shown: bytes = row["json"]
    return shown[:-1] + b',"summary":' + orjson.dumps(said) + b"}"


def _loaded(data: bytes | None) -> dict[str, Any] | None:
    return None if data is None else orjson.loads(data)
