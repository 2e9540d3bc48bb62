"""Keeps quiet hours: what would disturb waits in the database, and is told when they end."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Final

import asyncpg
import structlog

from eventmanager.core.clock import Clock
from eventmanager.core.database import Database
from eventmanager.core.errors import CursorExpired, Unavailable
from eventmanager.realtime.hub import Hub
from eventmanager.realtime.positions import Position
from eventmanager.realtime.schemas import Message
from eventmanager.realtime.service import messages, quiet_users
from eventmanager.realtime.subscriber import EXPIRED, Subscriber

INTERVAL_SECONDS: Final = 0.5
PAGE: Final = 100

_log = structlog.get_logger("app")


@asynccontextmanager
async def heeding_quiet_hours(hub: Hub, database: Database, *, clock: Clock) -> AsyncIterator[None]:
    """Inside the block, look twice a second for whom quiet hours have begun or ended."""

    async def heed() -> None:
        while True:
            await asyncio.sleep(INTERVAL_SECONDS)
            try:
                await _look(hub, database, clock=clock)
            except (Unavailable, asyncpg.PostgresError):
                # What waits goes on waiting.
                continue
            except Exception as error:
                # Whatever goes wrong once, those whose quiet hours end later must still be told.
                _log.error("quiet_hours_failed", exc_info=error)

    task = asyncio.create_task(heed(), name="quiet-hours")
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def _look(hub: Hub, database: Database, *, clock: Clock) -> None:
    subscribers = hub.subscribers()
    if not subscribers:
        return
    quiet = await quiet_users(database, {one.user_id for one in subscribers}, now=clock.now())
    for subscriber in subscribers:
        if subscriber.user_id in quiet:
            subscriber.is_quiet = True
        elif subscriber.is_quiet:
            await _tell(database, subscriber)


async def _tell(database: Database, subscriber: Subscriber) -> None:
    """Tell what has waited, in order, and from then on what is new."""
    while subscriber.held is not None and not subscriber.ended.done():
        after, until = subscriber.held
        try:
            rows = await messages(
                database,
                reader=subscriber.user_id,
                session_id=subscriber.session_id,
                after=after,
                until=until,
                limit=PAGE,
            )
        except CursorExpired:
            subscriber.end(EXPIRED)
            return
        for row in rows:
            if subscriber.wants(row["type"], row["event_id"]):
                subscriber.offer(Message(dict(row)).letter(subscriber.user_id))
        if len(rows) == PAGE:
            until = Position(rows[-1]["transaction_id"], rows[-1]["position"])
        # What has come in the meantime waits as well, behind all this.
        latest = subscriber.held[1]
        subscriber.held = (until, latest) if until < latest else None
    subscriber.is_quiet = False
