"""Closes the sockets of sessions that have ended, with one statement for all of a process."""

from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import Final

from eventmanager.core.clock import Clock
from eventmanager.core.database import Database
from eventmanager.realtime import queries
from eventmanager.realtime.hub import Hub
from eventmanager.realtime.looking import looking
from eventmanager.realtime.subscriber import SESSION_ENDED

INTERVAL_SECONDS: Final = 0.4


def watching(hub: Hub, database: Database, *, clock: Clock) -> AbstractAsyncContextManager[None]:
    """Inside the block, look more than twice a second at the sessions of all open sockets."""
    return looking(
        partial(end_ended, hub, database, clock=clock),
        every_s=INTERVAL_SECONDS,
        name="session-watch",
    )


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
