"""What one open socket or stream is still to be sent: bounded, whatever its client does."""

import asyncio
from collections import deque
from dataclasses import dataclass
from typing import Final

from eventmanager.core.ids import SessionId, UserId
from eventmanager.realtime.positions import START, Position
from eventmanager.realtime.snapshot import Snapshot

QUEUED_MESSAGES: Final = 256
QUEUED_BYTES: Final = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Ending:
    """Why we close a socket: the code (RFC 6455, 7.4) and a word for people."""

    code: int
    reason: str


SESSION_ENDED: Final = Ending(4401, "session ended")
TOO_SLOW: Final = Ending(1013, "too slow: connect again")
AWAY: Final = Ending(1013, "the database is away: connect again")
EXPIRED: Final = Ending(4410, "cursor_expired")
STOPPING: Final = Ending(1012, "restarting: connect again")


class Subscriber:
    """One open socket: whose it is, since when it hears, and what it is still to be sent.

    One that goes on `after` a message hears all that comes later. Up to `until` it must look for
    that itself; what comes after `until` is queued for it.

    Whoever sends takes one text after the other with `next` until `ended` has a result.
    """

    def __init__(
        self, user_id: UserId, session_id: SessionId, *, after: Position | None = None
    ) -> None:
        self.user_id = user_id
        self.session_id = session_id
        self.after = after
        self.until = START
        self.since: Snapshot | None = None
        self.ended: asyncio.Future[Ending] = asyncio.get_running_loop().create_future()
        self._texts: deque[bytes] = deque()
        self._bytes = 0
        self._filled = asyncio.Event()

    def hears(self, place: Position) -> bool:
        """Tell whether a message that comes after `until` is new to this socket.

        That is, whether its transaction ended after the socket was opened; or, to one that goes
        on after a message, whether it comes later than that, however far other workers have read.
        """
        if self.after is not None:
            return place > self.after
        return self.since is not None and not self.since.saw(place.transaction_id)

    def offer(self, text: bytes) -> None:
        """Queue a message; one too many ends the socket, and its client has to come again."""
        if self.ended.done():
            return
        self._texts.append(text)
        self._bytes += len(text)
        if len(self._texts) > QUEUED_MESSAGES or self._bytes > QUEUED_BYTES:
            self.end(TOO_SLOW)
        self._filled.set()

    async def next(self) -> str:
        """Return the oldest message that is queued, waiting for one if need be."""
        while not self._texts:
            self._filled.clear()
            await self._filled.wait()
        text = self._texts.popleft()
        self._bytes -= len(text)
        return text.decode()

    def end(self, ending: Ending) -> None:
        """Close the socket; what is queued is dropped."""
        if not self.ended.done():
            self.ended.set_result(ending)
        self._texts.clear()
        self._bytes = 0
