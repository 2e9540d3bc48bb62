"""When people are busy, for those whom they allow to ask: never with what.

Errors: `Invalid`, `WindowTooLong`, `WindowTooFar`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

import asyncpg

from eventmanager.accounts.schemas import normal_email, normal_username
from eventmanager.core.database import Database, Query
from eventmanager.core.errors import Invalid, WindowTooLong
from eventmanager.core.ids import UserId
from eventmanager.core.time import Window
from eventmanager.scheduling import busy_queries, service

MAX_WINDOW: Final = timedelta(days=366)


@dataclass(frozen=True, slots=True)
class FreeBusy:
    """When one user is busy: a JSON array of intervals.

    Without one, `error` says why: `unknown_user` or `not_allowed`.
    """

    name: str
    user_id: UserId | None
    busy: bytes | None
    error: str | None


def window_of(start: datetime, end: datetime, *, loc: Sequence[str], now: datetime) -> Window:
    """Return the window from `start` to `end`, which is given at `loc` of the request.

    Raises `Invalid` where it ends before it starts, `WindowTooLong` and `WindowTooFar`.
    """
    if end <= start:
        raise Invalid("end must be after start", loc=loc, type="invalid_time_order")
    if end - start > MAX_WINDOW:
        raise WindowTooLong(
            f"The window may be {MAX_WINDOW.days} days long at most",
            loc=loc,
            type=WindowTooLong.code,
            limit_days=MAX_WINDOW.days,
        )
    service.refuse_beyond_cap(end, loc=loc, now=now)
    return Window(start, end)


async def free_busy(
    db: Database, *, caller_id: UserId, names: Sequence[str], window: Window, now: datetime
) -> list[FreeBusy]:
    """Return when each of some users is busy in the window, in the order of their `names`.

    A name is an id, a username or an email; somebody who is named twice is in it once.
    """
    names = list(dict.fromkeys(names))
    rows = await busy_rows(
        db, busy_queries.FREE_BUSY, caller_id=caller_id, names=names, window=window, now=now
    )
    found: dict[object, FreeBusy] = {}
    for name, row in zip(names, rows, strict=True):
        if row["user_id"] is None:
            found.setdefault(name.lower(), FreeBusy(name, None, None, "unknown_user"))
        elif not row["allowed"]:
            found.setdefault(row["user_id"], FreeBusy(name, row["user_id"], None, "not_allowed"))
        else:
            found.setdefault(row["user_id"], FreeBusy(name, row["user_id"], row["busy"], None))
    return list(found.values())


async def busy_rows(
    db: Database,
    statement: Query,
    *,
    caller_id: UserId,
    names: Sequence[str],
    window: Window,
    now: datetime,
) -> list[asyncpg.Record]:
    """Run a statement of `busy` on the users of these names, one row each, in their order.

    What repeats is stored up to the end of the window first.
    """
    asked: dict[str, Any] = _resolvable(names) | {"caller_id": caller_id}
    async with db.reading() as read:
        behind = await read.all(busy_queries.BEHIND, until=window.end, **asked)
    for row in behind:
        await service.know_owner(db, owner_id=row["owner_id"], until=window.end, now=now)
    async with db.reading() as read:
        return await read.all(statement, start=window.start, end=window.end, **asked)


def _resolvable(names: Sequence[str]) -> dict[str, list[Any]]:
    """Return names as statements take them: each is an email or a username, and may be an id."""
    return {
        "ids": [_id(name) for name in names],
        "usernames": [None if "@" in name else normal_username(name) for name in names],
        "emails": [normal_email(name) if "@" in name else None for name in names],
    }


def _id(name: str) -> UUID | None:
    # Only the usual form: 32 digits in a row could be somebody's username.
    if len(name) != len("01936b0e-0000-7b1f-8a2d-3c4e5f607182"):
        return None
    try:
        return UUID(name)
    except ValueError:
        return None
