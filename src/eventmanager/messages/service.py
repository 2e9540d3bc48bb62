"""What one does with messages later than they were told: read, mark as read, purge."""

from collections.abc import Collection
from datetime import datetime, timedelta
from typing import Final

import asyncpg

from eventmanager.core.database import Database
from eventmanager.core.errors import CursorExpired
from eventmanager.core.ids import SessionId, UserId
from eventmanager.messages import queries
from eventmanager.messages.positions import END, FIRST, START, Position
from eventmanager.messages.quiet import QuietHours
from eventmanager.messages.schemas import QuietTime, Wishes

RESTART: Final = "/api/sync"
COUNTED: Final = 1000
_PURGED_AT_ONCE: Final = 1000


async def messages(
    db: Database,
    *,
    reader: UserId,
    session_id: SessionId,
    after: Position | None,
    until: Position = END,
    limit: int,
) -> list[asyncpg.Record]:
    """Return the reader's messages after a position, or from the oldest that is kept, in order.

    Without what the reader's own session did. Only settled ones, so that none can appear before the
    last of them later. Raises `CursorExpired` when some of the reader's that came after the
    position are no longer kept.
    """
    start = after or START
    async with db.reading() as read:
        rows = await read.all(
            queries.BETWEEN,
            caller_id=reader,
            session_id=session_id,
            after_transaction=str(start.transaction_id),
            after_position=start.number,
            until_transaction=str(until.transaction_id),
            until_position=until.number,
            limit=limit,
        )
    if after is not None and rows[0]["expired"]:
        raise CursorExpired(restart=RESTART)
    return [row for row in rows if row["id"] is not None]


async def check_kept(db: Database, *, reader: UserId, after: Position) -> None:
    """Raise `CursorExpired` unless all the reader's messages after a position are still kept."""
    async with db.reading() as read:
        row = await read.first(
            queries.EXPIRED,
            caller_id=reader,
            after_transaction=str(after.transaction_id),
            after_position=after.number,
        )
    if row is None or row["expired"]:
        raise CursorExpired(restart=RESTART)


async def mark_read(db: Database, *, reader: UserId, until: Position) -> None:
    """Remember that the reader has read everything up to a position; never less than before.

    Raises `CursorExpired` for a position that this database has not reached.
    """
    async with db.reading() as read:
        row = await read.first(
            queries.READ,
            caller_id=reader,
            after_transaction=str(until.transaction_id),
            after_position=until.number,
        )
    if row is None or not row["is_ours"]:
        raise CursorExpired(restart=RESTART)


async def count_unread(db: Database, *, reader: UserId) -> tuple[int, Position]:
    """Return how many messages wait for the reader, and up to which position they were counted.

    One more than `COUNTED` stands for more.
    """
    async with db.reading() as read:
        row = await read.first(queries.UNREAD, caller_id=reader, limit=COUNTED + 1)
    assert row is not None
    return row["unread"], last_of(row) or FIRST


def last_of(row: asyncpg.Record) -> Position | None:
    """Return the position of the last message of all, where a statement answers it."""
    if row["last_transaction_id"] is None:
        return None
    return Position(row["last_transaction_id"], row["last_position"])


async def wishes(db: Database, *, user_id: UserId) -> Wishes:
    """Return what a user wants to be told: everything at any time, unless they have said so."""
    async with db.reading() as read:
        row = await read.first(queries.WISHES, user_id=user_id)
    if row is None:
        return Wishes()
    quiet = QuietTime.of(_quiet_hours(row)) if row["quiet_from"] is not None else None
    # Each once: any number could be sent before there was a limit.
    types = None if row["types"] is None else list(dict.fromkeys(row["types"]))
    return Wishes(types=types, quiet_hours=quiet)


async def wish(db: Database, *, user_id: UserId, wishes: Wishes, now: datetime) -> None:
    """Set what a user wants to be told from now on."""
    quiet = wishes.quiet_hours.plain() if wishes.quiet_hours else None
    async with db.reading() as read:
        await read.first(
            queries.WISH,
            user_id=user_id,
            types=wishes.types,
            quiet_from=quiet and quiet.start,
            quiet_until=quiet and quiet.end,
            time_zone=quiet.time_zone if quiet else "UTC",
            now=now,
        )


async def quiet_users(db: Database, user_ids: Collection[UserId], *, now: datetime) -> set[UserId]:
    """Return those of the users who are not to be disturbed now."""
    async with db.reading() as read:
        rows = await read.all(queries.QUIET, user_ids=list(user_ids))
    return {row["user_id"] for row in rows if _quiet_hours(row).cover(now)}


def _quiet_hours(row: asyncpg.Record) -> QuietHours:
    return QuietHours(row["quiet_from"], row["quiet_until"], row["time_zone"])


async def purge_messages(db: Database, now: datetime, *, days: int) -> int:
    """Delete the messages of more than so many days ago and return how many there were."""
    total, purged = 0, 1
    while purged:
        async with db.reading() as read:
            row = await read.first(
                queries.PURGE, before=now - timedelta(days=days), limit=_PURGED_AT_ONCE
            )
        assert row is not None
        purged = row["purged"]
        total += purged
    return total
