"""Keeps quiet hours: what would disturb waits in the database, and is told when they end."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Final, TypeAlias

import asyncpg
import structlog

from eventmanager.core.clock import Clock
from eventmanager.core.database import Database
from eventmanager.core.errors import CursorExpired, Unavailable
from eventmanager.messages.positions import Position
from eventmanager.messages.schemas import Message
from eventmanager.messages.service import messages, quiet_users
from eventmanager.realtime.hub import Hub
from eventmanager.realtime.looking import looking
from eventmanager.realtime.relay import cancelled
from eventmanager.realtime.subscriber import EXPIRED, FAILED, Subscriber

INTERVAL_SECONDS: Final = 0.5
PAGE: Final = 100

Telling: TypeAlias = dict[Subscriber, asyncio.Task[None]]
_log = structlog.get_logger("app")


@asynccontextmanager
async def heeding_quiet_hours(hub: Hub, database: Database, *, clock: Clock) -> AsyncIterator[None]:
    """Inside the block, look twice a second for whom quiet hours have begun or ended."""
    telling: Telling = {}
    look = partial(_look, hub, database, clock=clock, telling=telling)
    try:
        async with looking(look, every_s=INTERVAL_SECONDS, name="quiet-hours"):
            yield
    finally:
        await cancelled(*telling.values())


async def _look(hub: Hub, database: Database, *, clock: Clock, telling: Telling) -> None:
    subscribers = hub.subscribers()
    if not subscribers:
        return
    quiet = await quiet_users(database, {one.user_id for one in subscribers}, now=clock.now())
    for subscriber in subscribers:
        if subscriber.user_id in quiet:
            subscriber.is_quiet = True
        elif subscriber.is_quiet and subscriber not in telling:
            # Each by itself: a client that takes its time keeps nobody else waiting.
            telling[subscriber] = task = asyncio.create_task(_end_quiet(database, subscriber))
            task.add_done_callback(lambda _, told=subscriber: telling.pop(told))  # type: ignore[misc]  # bound now


async def _end_quiet(database: Database, subscriber: Subscriber) -> None:
    try:
        await _tell(database, subscriber)
    except (Unavailable, asyncpg.PostgresError):
        # The next look begins where this one has come to.
        return
    except Exception as error:
        _log.error("socket_failed", exc_info=error)
        subscriber.end(FAILED)


async def _tell(database: Database, subscriber: Subscriber) -> None:
    """Tell what has waited, in order and as fast as it is taken, and from then on what is new."""
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
                await subscriber.caught_up()
                subscriber.offer(Message(dict(row)).letter(subscriber.user_id))
        if len(rows) == PAGE:
            until = Position(rows[-1]["transaction_id"], rows[-1]["position"])
        # What has come in the meantime waits as well, behind all this.
        latest = subscriber.held[1]
        subscriber.held = (until, latest) if until < latest else None
    subscriber.is_quiet = False
