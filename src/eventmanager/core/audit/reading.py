"""Reading the audit log, the newest entries first."""

from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

from fastapi import Request, Response

from eventmanager.core.audit import queries
from eventmanager.core.audit.schemas import Asked
from eventmanager.core.database import Database, Query
from eventmanager.core.http import json_bytes, next_link
from eventmanager.core.paging import read_id, write_cursor

_OLDEST: Final = UUID(int=0)
_NEWEST: Final = UUID(int=2**128 - 1)
# An entry's id is made while the act is done, `at` when its request came: no act takes an hour.
_SLACK: Final = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Page:
    """A JSON array of entries, and the id of its last one when there are more."""

    json: bytes
    last_id: UUID | None


async def everybodys(db: Database, *, asked: Asked, cursor: str | None, limit: int) -> Page:
    """Return what anybody did; for Admins only. Raises `InvalidCursor`."""
    return await _read(db, queries.ALL, asked=asked, cursor=cursor, limit=limit)


async def of_user(
    db: Database, *, user_id: UUID, asked: Asked, cursor: str | None, limit: int
) -> Page:
    """Return what a user did, and what others did to them. Raises `InvalidCursor`."""
    return await _read(
        db, queries.OF_USER, asked=asked, cursor=cursor, limit=limit, user_id=user_id
    )


def page_of(request: Request, page: Page) -> Response:
    """Answer a page, with the link to the next one."""
    link = {}
    if page.last_id is not None:
        link["Link"] = next_link(request, cursor=write_cursor(page.last_id))
    return json_bytes(page.json, headers=link)


async def _read(
    db: Database, statement: Query, *, asked: Asked, cursor: str | None, limit: int, **given: Any
) -> Page:
    since = _OLDEST if asked.start is None else _first_id(asked.start - _SLACK)
    before = _NEWEST if asked.end is None else _first_id(asked.end + _SLACK)
    before = min(before, read_id(cursor, start=_NEWEST))
    # Which index serves best is a matter of what is asked for.
    async with db.searching() as read:
        rows = await read.all(
            statement, **asdict(asked), **given, since=since, before=before, limit=limit + 1
        )
    shown = rows[:limit]
    last_id = shown[-1]["id"] if len(rows) > limit else None
    return Page(b"[" + b",".join(row["json"] for row in shown) + b"]", last_id)


def _first_id(instant: datetime) -> UUID:
    """Return the least UUIDv7 of an instant; there are none before 1970."""
    return UUID(int=max(0, int(instant.timestamp() * 1000)) << 80)
