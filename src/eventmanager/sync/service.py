"""A sync: from nothing or from a token, page by page, up to the moment of its first page.

What changes after that moment is for the next sync, which the token on the last page begins. Pages
may already show it; so an event may come twice, and never the older state after the newer.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

import asyncpg
import orjson

from eventmanager.core.database import Database
from eventmanager.core.errors import SyncTokenExpired
from eventmanager.core.ids import UserId
from eventmanager.events.writing import whole
from eventmanager.sync import queries
from eventmanager.sync.tokens import (
    RESTART,
    Mark,
    Place,
    read_cursor,
    read_token,
    write_cursor,
    write_token,
)


@dataclass(frozen=True, slots=True)
class Page:
    """A page of a sync as a JSON object, and the cursor of the next page if there is one."""

    json: bytes
    next_cursor: str | None


async def sync(
    db: Database,
    *,
    caller_id: UserId,
    sync_token: str | None,
    cursor: str | None,
    limit: int,
    now: datetime,
) -> Page:
    """Return the page at the cursor, or else the first since the token or, without one, of all.

    Raises `InvalidCursor`, and `SyncTokenExpired` for what is too old or of somewhere else.
    """
    async with db.reading() as read:
        row = await read.first(queries.PRESENT)
        assert row is not None
        present = Mark(row["snapshot"], now)
        realm = f"{row['history']}/{caller_id}"
        if cursor is not None:
            place = read_cursor(cursor, realm=realm, now=now)
        elif sync_token is not None:
            since = read_token(sync_token, realm=realm, now=now)
            if since.xmax > present.xmax:
                # A copy of the database's files was put back: it numbers transactions anew.
                raise SyncTokenExpired(restart=RESTART)
            place = Place(since.snapshot, present)
        else:
            place = Place(None, present)
        given = {"caller_id": caller_id, "until": place.until.snapshot, "limit": limit + 1}
        given |= {"after_id": place.after_id}
        if place.since is None:
            rows = await read.all(queries.EVERYTHING, after_time=place.after_time, **given)
        else:
            rows = await read.all(queries.CHANGES, since=place.since, **given)
    await db.keep_numbers(place.until.xmax)
    return _page(rows, place=place, limit=limit, realm=realm)


def _page(rows: Sequence[asyncpg.Record], *, place: Place, limit: int, realm: str) -> Page:
    shown = rows[:limit]
    changed = b",".join(whole(row["data"], row) for row in shown if row["data"] is not None)
    next_cursor = None
    if len(rows) > limit:
        last = shown[-1]
        place = replace(place, after_id=last["event_id"], after_time=last.get("start_time"))
        next_cursor = write_cursor(place, realm=realm)
    told = {
        "removed": [str(row["event_id"]) for row in shown if row["data"] is None],
        "next_page": next_cursor,
        "sync_token": None if next_cursor else write_token(place.until, realm=realm),
    }
    return Page(b'{"changed":[' + changed + b"]," + orjson.dumps(told)[1:], next_cursor)
