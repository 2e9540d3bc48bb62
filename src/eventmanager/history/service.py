"""Reading what an event was."""

from dataclasses import dataclass
from typing import Any

import asyncpg
import orjson

from eventmanager.core.database import Database, Reading
from eventmanager.core.errors import NotFound
from eventmanager.core.ids import EventId, UserId
from eventmanager.history import diff, queries
from eventmanager.history.schemas import VersionKey, names
from eventmanager.sharing.access import READERS, refusal


@dataclass(frozen=True, slots=True)
class Page:
    """Versions as a JSON array, and whether there are more."""

    json: bytes
    more: bool


async def list_versions(
    db: Database, *, caller_id: UserId, event_id: EventId, skip: int, limit: int
) -> Page:
    """Return an event's versions, oldest first. Raises `NotFound` and `RoleTooLow`."""
    given: dict[str, Any] = {"caller_id": caller_id, "event_id": event_id}
    async with db.reading() as read:
        rows = await read.all(queries.LIST, limit=limit + 1, skip=skip, **given)
        if not rows:
            # Every event has a first version: nothing is found past the end, or where one may not.
            first = await read.all(queries.LIST, limit=1, skip=0, **given)
            if not first:
                raise await refusal(read, roles=READERS, **given)
    body = b",".join(row["json"] for row in rows[:limit])
    return Page(b"[" + body + b"]", len(rows) > limit)


async def get_version(
    db: Database, *, caller_id: UserId, event_id: EventId, key: VersionKey
) -> bytes:
    """Return one version as JSON. Raises `NotFound` and `RoleTooLow`."""
    async with db.reading() as read:
        row = await _find(read, caller_id=caller_id, event_id=event_id, key=key)
    shown: bytes = row["json"]
    return shown


async def compare(
    db: Database, *, caller_id: UserId, event_id: EventId, before: VersionKey, after: VersionKey
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


async def _find(
    read: Reading, *, caller_id: UserId, event_id: EventId, key: VersionKey
) -> asyncpg.Record:
    row = await read.first(
        queries.ONE,
        caller_id=caller_id,
        event_id=event_id,
        **names(key),
    )
    if row is None:
        # Version 1 is there for whoever may read the event, so then it is the version that is not.
        first = await read.first(queries.ONE, caller_id=caller_id, event_id=event_id, **names(1))
        if first is None:
            raise await refusal(read, caller_id=caller_id, event_id=event_id, roles=READERS)
        raise NotFound("This event has no such version")
    return row
