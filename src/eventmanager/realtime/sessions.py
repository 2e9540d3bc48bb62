"""Closes the sockets of sessions that have ended, with one statement for all of a process."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Final

import asyncpg
import structlog

from eventmanager.core.clock import Clock
from eventmanager.core.database import Database
from eventmanager.core.errors import Unavailable
from eventmanager.realtime import queries
from eventmanager.realtime.hub import Hub
from eventmanager.realtime.subscriber import SESSION_ENDED

INTERVAL_SECONDS: Final = 0.4

_log = structlog.get_logger("app")


@asynccontextmanager
async def watching(hub: Hub, database: Database, *, clock: Clock) -> AsyncIterator[None]:
    """Inside the block, look more than twice a second at the sessions of all open sockets."""

    async def watch() -> None:
        while True:
            await asyncio.sleep(INTERVAL_SECONDS)
            try:
                await end_ended(hub, database, clock=clock)
            except (Unavailable, asyncpg.PostgresError):
                # While the database is away nobody is told anything, so nobody need be cut off.
                continue
            except Exception as error:
                # Whatever goes wrong once, sessions that end later must still be noticed.
                _log.error("session_watch_failed", exc_info=error)

    task = asyncio.create_task(watch(), name="session-watch")
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def end_ended(hub: Hub, database: Database, *, clock: Clock) -> None:
    """End every socket whose session was ended or has expired, or whose user is disabled."""
    subscribers = hub.subscribers()
    if not subscribers:
        return
    asked = list({one.session_id for one in subscribers})
    async with database.reading() as read:
        ended = {
            row["id"] for row in await read.all(queries.OVER, session_ids=asked, now=clock.now())
        }
    if not ended:
        return
    for subscriber in subscribers:
        if subscriber.session_id in ended:
            subscriber.end(SESSION_ENDED)
