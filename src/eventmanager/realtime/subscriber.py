"""What one open socket is still to be sent: bounded, whatever its client does."""

import asyncio
from collections import deque
from dataclasses import dataclass
from typing import Final

from eventmanager.core.ids import SessionId, UserId
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
STOPPING: Final = Ending(1012, "restarting: connect again")


class Subscriber:
    """One open socket: whose it is, since when it hears, and what it is still to be sent.

    Whoever sends takes one text after the other with `next` until `ended` has a result.
    """

    def __init__(self, user_id: UserId, session_id: SessionId) -> None:
        self.user_id = user_id
        self.session_id = session_id
        self.since: Snapshot | None = None
        self.ended: asyncio.Future[Ending] = asyncio.get_running_loop().create_future()
        self._texts: deque[bytes] = deque()
        self._bytes = 0
        self._filled = asyncio.Event()

    def hears(self, transaction_id: int) -> bool:
        """Tell whether what this transaction did happened after the socket was opened."""
        return self.since is not None and not self.since.saw(transaction_id)

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
