"""Lists: a reader's events in order of their start, and the agenda of occurrences."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Final

import asyncpg
import orjson

from eventmanager.core.database import Database
from eventmanager.core.ids import UserId
from eventmanager.core.paging import write_cursor
from eventmanager.core.time import Window, rfc3339, zone
from eventmanager.events import queries
from eventmanager.scheduling import service as scheduling
from eventmanager.sharing.models import Role

LIST_MAX: Final = 200
AGENDA_MAX: Final = 1_000


@dataclass(frozen=True, slots=True)
class Page:
    """A page of a list as a JSON array, and the cursor of the next page if there is one."""

    json: bytes
    next_cursor: str | None


async def list_events(
    db: Database,
    *,
    caller_id: UserId,
    skip: int,
    limit: int,
    after: Sequence[object] | None,
    window: Window | None,
    q: str | None,
    role: Role | None,
    now: datetime,
) -> Page:
    """Return the events that the caller may read, ordered by start time and id.

    `window` keeps those with an occurrence that touches it, `q` those whose texts match, `role`
    those on which the caller has just this role. `after` is the key of a cursor.
    """
    if window is not None:
        await scheduling.know(db, reader_id=caller_id, window=window, now=now)
    given: dict[str, Any] = {"caller_id": caller_id, "limit": limit + 1, "skip": skip}
    given |= {"q": q, "role": role}
    if window is not None:
        given |= {"start": window.start, "end": window.end}
    if after is not None:
        given["after_time"], given["after_id"] = after
    statement = queries.LIST[window is not None, q is not None, role is not None, after is not None]
    async with db.reading() if q is None else db.searching() as read:
        rows = await read.all(statement, **given)
    more = len(rows) > limit
    page = rows[:limit]
    body = b",".join(
        row["data"][:-1] + b',"permissions":' + row["permissions"] + b"}" for row in page
    )
    cursor = write_cursor(page[-1]["start_time"], page[-1]["event_id"]) if more else None
    return Page(b"[" + body + b"]", cursor)


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
    after_time, after_id, after_recurrence = after or (None, None, None)
    async with db.reading() as read:
        rows = await read.all(
            queries.AGENDA,
            caller_id=caller_id,
            start=window.start,
            end=window.end,
            after_time=after_time,
            after_id=after_id,
            after_recurrence=after_recurrence,
            limit=limit + 1,
        )
    page = rows[:limit]
    body = orjson.dumps([_occurrence(row) for row in page], option=orjson.OPT_UTC_Z)
    if len(rows) <= limit:
        return Page(body, None)
    last = page[-1]
    return Page(body, write_cursor(last["start_time"], last["event_id"], last["recurrence_id"]))


def _occurrence(row: asyncpg.Record) -> dict[str, Any]:
    shown: dict[str, Any] = dict(row)
    for name in ("recurrence_id", "start_time", "end_time"):
        shown[name] = _as_shown(row[name], row)
    shown["event_id"] = str(row["event_id"])
    return shown | {"is_override": False}


def _as_shown(instant: datetime, row: asyncpg.Record) -> str | date:
    """Write an instant of an occurrence; those of an all-day event are dates in its zone."""
    if row["all_day"]:
        return instant.astimezone(zone(row["time_zone"])).date()
    return rfc3339(instant)
