"""Keeps quiet hours: what would disturb waits in the database, and is told when they end."""

from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import Final

from eventmanager.core.clock import Clock
from eventmanager.core.database import Database
from eventmanager.core.errors import CursorExpired
from eventmanager.realtime.hub import Hub
from eventmanager.realtime.looking import looking
from eventmanager.realtime.positions import Position
from eventmanager.realtime.schemas import Message
from eventmanager.realtime.service import messages, quiet_users
from eventmanager.realtime.subscriber import EXPIRED, Subscriber

INTERVAL_SECONDS: Final = 0.5
PAGE: Final = 100


def heeding_quiet_hours(
    hub: Hub, database: Database, *, clock: Clock
) -> AbstractAsyncContextManager[None]:
    """Inside the block, look twice a second for whom quiet hours have begun or ended."""
    return looking(
        partial(_look, hub, database, clock=clock), every_s=INTERVAL_SECONDS, name="quiet-hours"
    )


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
