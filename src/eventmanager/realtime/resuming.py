"""What a socket or a stream is to be sent, in order: what it has missed, then what is new."""

from collections.abc import AsyncIterator
from typing import Final

from eventmanager.core.database import Database
from eventmanager.core.errors import CursorExpired, Unavailable
from eventmanager.realtime.positions import Position
from eventmanager.realtime.schemas import Message
from eventmanager.realtime.service import messages
from eventmanager.realtime.subscriber import AWAY, EXPIRED, Subscriber

PAGE: Final = 100


async def texts(db: Database, subscriber: Subscriber) -> AsyncIterator[str]:
    """Yield one notification after the other, as JSON, for an admitted subscriber.

    What it has missed is read as fast as it is taken, a page at a time; the hub queues what comes
    in the meantime. Ends only when what was missed cannot be read, and ends the subscriber then.
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
            yield Message(dict(row)).json(subscriber.user_id).decode()
        last = rows[-1] if len(rows) == PAGE else None
        after = Position(last["transaction_id"], last["position"]) if last else None
    while True:
        yield await subscriber.next()
