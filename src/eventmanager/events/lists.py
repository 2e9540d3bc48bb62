"""Lists: a reader's events, the bin, occurrences, and the clashes that stand."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any, Final

import asyncpg
import orjson

from eventmanager.core.database import Database
from eventmanager.core.errors import NotFound
from eventmanager.core.ids import EventId, UserId
from eventmanager.core.paging import write_cursor
from eventmanager.core.time import Window, rfc3339, shown
from eventmanager.events import list_queries
from eventmanager.events.timing import instant_named
from eventmanager.events.writing import whole
from eventmanager.scheduling import service as scheduling
from eventmanager.scheduling.plan import cap
from eventmanager.sharing.access import READERS, refusal
from eventmanager.sharing.models import Role

LIST_MAX: Final = 200
AGENDA_MAX: Final = 1_000
CONFLICTS_MAX: Final = 200
_SHOWN: Final = (
    "event_id",
    "recurrence_id",
    "start_time",
    "end_time",
    "all_day",
    "title",
    "description",
    "location",
    "time_zone",
    "status",
    "transparency",
    "is_recurring",
    "is_override",
)


@dataclass(frozen=True, slots=True)
class Page:
    """A page of a list as a JSON array, and the cursor of the next page if there is one."""

    json: bytes
    next_cursor: str | None


@dataclass(frozen=True, slots=True)
class Filter:
    """Which events of a list are meant; None is no condition.

    `window` keeps those with an occurrence that touches it, `q` those whose texts match, `role`
    those on which the caller has just this role.
    """

    q: str | None = None
    role: Role | None = None
    window: Window | None = None


async def list_events(
    db: Database,
    *,
    caller_id: UserId,
    chosen: Filter,
    skip: int,
    limit: int,
    after: Sequence[object] | None,
    now: datetime,
) -> Page:
    """Return the events that the caller may read and that a filter means, by start time and id.

    `after` is the key of a cursor.
    """
    given: dict[str, Any] = {"caller_id": caller_id, "limit": limit + 1, "skip": skip}
    if after is not None:
        given["after_time"], given["after_id"] = after
    rows = await _find(db, chosen, given, now=now)
    return _events(rows, limit=limit)


async def ids_of(
    db: Database, *, caller_id: UserId, chosen: Filter, limit: int, now: datetime
) -> list[EventId]:
    """Return the ids of the first events of the list with a filter."""
    given = {"caller_id": caller_id, "limit": limit, "skip": 0}
    return [row["event_id"] for row in await _find(db, chosen, given, now=now)]


async def _find(
    db: Database, chosen: Filter, given: dict[str, Any], *, now: datetime
) -> list[asyncpg.Record]:
    window = chosen.window
    given = given | {"q": chosen.q, "role": chosen.role}
    if window is not None:
        await scheduling.know(db, reader_id=given["caller_id"], window=window, now=now)
        given |= {"start": window.start, "end": window.end}
    flags = (
        window is not None,
        chosen.q is not None,
        chosen.role is not None,
        "after_time" in given,
    )
    async with db.reading() if chosen.q is None else db.searching() as read:
        return await read.all(list_queries.LIST[flags], **given)


async def bin_of(
    db: Database, *, caller_id: UserId, skip: int, limit: int, after: Sequence[object] | None
) -> Page:
    """Return the caller's deleted events that can be restored, ordered by start time and id."""
    after_time, after_id = after or (None, None)
    async with db.reading() as read:
        rows = await read.all(
            list_queries.BIN,
            caller_id=caller_id,
            skip=skip,
            limit=limit + 1,
            after_time=after_time,
            after_id=after_id,
        )
    return _events(rows, limit=limit)


async def agenda(
    db: Database,
    *,
    caller_id: UserId,
    window: Window,
    limit: int,
    after: Sequence[object] | None,
    now: datetime,
) -> Page:
    """Return the occurrences in the window that the caller may read, ordered by start.

    `after` is the key of a cursor. Raises `WindowTooFar`.
    """
    await scheduling.know(db, reader_id=caller_id, window=window, now=now)
    async with db.reading() as read:
        rows = await read.all(
            list_queries.AGENDA,
            caller_id=caller_id,
            start=window.start,
            end=window.end,
            limit=limit + 1,
            **_after(after),
        )
    return _occurrences(rows, limit=limit)


async def occurrences_of(
    db: Database,
    *,
    caller_id: UserId,
    event_id: EventId,
    start: datetime | None,
    end: datetime | None,
    limit: int,
    after: Sequence[object] | None,
    now: datetime,
) -> Page:
    """Return the occurrences of one event, ordered by start, as far ahead as they are stored.

    With `end` that is up to there. Raises `NotFound`, `RoleTooLow` and `WindowTooFar`.
    """
    await _naming(db, caller_id=caller_id, event_id=event_id)
    if end is not None:
        window = Window(start or end, end)
        await scheduling.know(db, reader_id=caller_id, window=window, now=now)
    async with db.reading() as read:
        rows = await read.all(
            list_queries.OCCURRENCES_OF,
            caller_id=caller_id,
            event_id=event_id,
            start=start,
            end=end,
            limit=limit + 1,
            **_after(after),
        )
    return _occurrences(rows, limit=limit)


async def occurrence(
    db: Database,
    *,
    caller_id: UserId,
    event_id: EventId,
    name: datetime | date,
    now: datetime,
) -> tuple[int, bytes]:
    """Return the version of an event and one of its occurrences, by its name, as JSON.

    Raises `NotFound` for the event or the occurrence, `RoleTooLow` and `WindowTooFar`.
    """
    event = await _naming(db, caller_id=caller_id, event_id=event_id)
    at = instant_named(name, time_zone=event["time_zone"])
    if at >= event["stored_until"]:
        scheduling.refuse_beyond_cap(at, loc=["path", "recurrence_id"], now=now)
        until = min(at + timedelta(days=1), cap(now))
        await scheduling.know(db, reader_id=caller_id, window=Window(at, until), now=now)
    async with db.reading() as read:
        row = await read.first(
            list_queries.OCCURRENCE, caller_id=caller_id, event_id=event_id, recurrence_id=at
        )
    if row is None:
        raise NotFound("This event has no such occurrence")
    return row["version"], occurrence_json(row)


async def conflicts(
    db: Database,
    *,
    caller_id: UserId,
    window: Window,
    limit: int,
    after: Sequence[object] | None,
    now: datetime,
) -> Page:
    """Return the pairs of the caller's busy occurrences that overlap in the window, by time.

    `after` is the key of a cursor. Raises `WindowTooFar`.
    """
    await scheduling.know(db, reader_id=caller_id, window=window, now=now)
    names = ("after_time", "after_id", "after_recurrence", "after_other", "after_other_recurrence")
    async with db.reading() as read:
        rows = await read.all(
            list_queries.CONFLICTS,
            caller_id=caller_id,
            start=window.start,
            end=window.end,
            limit=limit + 1,
            **dict(zip(names, after or [None] * len(names), strict=True)),
        )
    page = rows[:limit]
    body = orjson.dumps([_pair(row) for row in page])
    if len(rows) <= limit:
        return Page(body, None)
    last = page[-1]
    key = (last["later_start"], last["later_id"], last["later_recurrence"])
    return Page(body, write_cursor(*key, last["earlier_id"], last["earlier_recurrence"]))


def occurrence_json(row: asyncpg.Record) -> bytes:
    """Return an occurrence as clients read it."""
    return orjson.dumps(_occurrence(row))


async def _naming(db: Database, *, caller_id: UserId, event_id: EventId) -> asyncpg.Record:
    async with db.reading() as read:
        row = await read.first(list_queries.NAMING, caller_id=caller_id, event_id=event_id)
        if row is None:
            raise await refusal(read, caller_id=caller_id, event_id=event_id, roles=READERS)
    return row


def _events(rows: Sequence[asyncpg.Record], *, limit: int) -> Page:
    page = rows[:limit]
    body = b",".join(whole(row["data"], row) for row in page)
    more = len(rows) > limit
    cursor = write_cursor(page[-1]["start_time"], page[-1]["event_id"]) if more else None
    return Page(b"[" + body + b"]", cursor)


def _after(key: Sequence[object] | None) -> dict[str, object]:
    names = ("after_time", "after_id", "after_recurrence")
    return dict(zip(names, key or (None, None, None), strict=True))


def _occurrences(rows: Sequence[asyncpg.Record], *, limit: int) -> Page:
    page = rows[:limit]
    body = orjson.dumps([_occurrence(row) for row in page])
    if len(rows) <= limit:
        return Page(body, None)
    last = page[-1]
    return Page(body, write_cursor(last["start_time"], last["event_id"], last["recurrence_id"]))


def _occurrence(row: asyncpg.Record) -> dict[str, Any]:
    written: dict[str, Any] = {name: row[name] for name in _SHOWN}
    for name in ("recurrence_id", "start_time", "end_time"):
        written[name] = shown(row[name], time_zone=row["time_zone"], all_day=row["all_day"])
    written["event_id"] = str(row["event_id"])
    return written


def _pair(row: asyncpg.Record) -> dict[str, Any]:
    return {
        side: {
            "event_id": str(row[f"{side}_id"]),
            "title": row[f"{side}_title"],
            "recurrence_id": rfc3339(row[f"{side}_recurrence"]),
            "start_time": rfc3339(row[f"{side}_start"]),
            "end_time": rfc3339(row[f"{side}_end"]),
        }
        for side in ("earlier", "later")
    }
