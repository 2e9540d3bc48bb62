"""What a socket or a stream is to be sent, in order: what it has missed, then what is new."""

from collections.abc import AsyncIterator
from typing import Final

from eventmanager.core.database import Database
from eventmanager.core.errors import CursorExpired, Unavailable
from eventmanager.messages.letters import Letter
from eventmanager.messages.positions import Position
from eventmanager.messages.schemas import Message
from eventmanager.messages.service import messages
from eventmanager.realtime.subscriber import AWAY, EXPIRED, Subscriber

PAGE: Final = 100


async def missed(db: Database, subscriber: Subscriber) -> AsyncIterator[Letter]:
    """Yield one notification after the other that an admitted subscriber has missed.

    They are read as fast as they are taken, a page at a time; the hub queues what comes in the
    meantime. When they cannot be read, the subscriber is ended.
    """
    after = subscriber.after
    while after is not None and after < subscriber.until:
        try:
            rows = await messages(
                db,
                reader=subscriber.user_id,
                session_id=subscriber.session_id,
                after=after,
                until=subscriber.until,
                limit=PAGE,
            )
        except CursorExpired:
            subscriber.end(EXPIRED)
            return
        except Unavailable:
            subscriber.end(AWAY)
            return
        for row in rows:
            if subscriber.wants(row["type"], row["event_id"]):
                yield Message(dict(row)).letter(subscriber.user_id)
        last = rows[-1] if len(rows) == PAGE else None
        after = Position(last["transaction_id"], last["position"]) if last else None


async def letters(db: Database, subscriber: Subscriber) -> AsyncIterator[Letter]:
    """Yield what an admitted subscriber has missed, and then what it is offered, without end."""
    async for letter in missed(db, subscriber):
        yield letter
    while True:
        yield await subscriber.next()
