"""What one open socket or stream is still to be sent: bounded, whatever its client does."""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol
from uuid import UUID

from eventmanager.core.ids import SessionId, UserId, uuid7
from eventmanager.messages.letters import Letter
from eventmanager.messages.positions import START, Position

NOTHING: Final[frozenset[UUID]] = frozenset()
SENT_AT_ONCE: Final = 16
QUEUED_MESSAGES: Final = 256
QUEUED_BYTES: Final = 1024 * 1024
QUEUED_BYTES_OF_ALL: Final = 64 * 1024 * 1024
"""In all queues of a process; a message that waits in several is counted in each."""


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
FAILED: Final = Ending(1011, "something went wrong: connect again")


class Backlog:
    """How many bytes wait in the queues of all sockets of a process."""

    __slots__ = ("bytes",)

    def __init__(self) -> None:
        self.bytes = 0


class Wanted(Protocol):
    """Which notifications a client has asked for."""

    def wants(self, type: str, event_id: UUID | None) -> bool:  # noqa: A002
        """Tell whether one of this type, about this event if about any, is among them."""
        ...


class Subscriber:
    """One open socket: whose it is, since when it hears, and what it is still to be sent.

    One that goes on `after` a message hears all that comes later. Up to `until` it must look for
    that itself; what comes after `until` is queued for it. Of both it hears what is `wanted`, None
    for all. As long as it `is_quiet`, what it would hear is not queued but waits in the database:
    `held` are the positions after which, and up to which.

    Until `ended` has a result, what is queued is taken with `next`, or goes out by itself from
    `send_by` on.
    """

    __slots__ = (
        "_backlog",
        "_bytes",
        "_letters",
        "_next",
        "_send",
        "_taken",
        "after",
        "ended",
        "held",
        "is_quiet",
        "known",
        "session_id",
        "socket_id",
        "until",
        "user_id",
        "wanted",
    )

    def __init__(
        self,
        user_id: UserId,
        session_id: SessionId,
        *,
        after: Position | None = None,
        backlog: Backlog | None = None,
    ) -> None:
        self.socket_id = uuid7()
        self.user_id = user_id
        self.session_id = session_id
        self.after = after
        self.until = START
        self.known = NOTHING
        self.wanted: Wanted | None = None
        self.is_quiet = False
        self.held: tuple[Position, Position] | None = None
        self.ended: asyncio.Future[Ending] = asyncio.get_running_loop().create_future()
        # An idle socket has none of these four.
        self._letters: deque[Letter] | None = None
        self._next: asyncio.Future[None] | None = None
        self._taken: asyncio.Future[None] | None = None
        self._send: Callable[[Sequence[Letter]], bool] | None = None
        self._bytes = 0
        self._backlog = backlog or Backlog()

    def hears(self, place: Position, message_id: UUID) -> bool:
        """Tell whether a message that comes after `until` is new to this socket.

        That is, whether it is none of those `known` when the socket was opened; or, to one that
        goes on after a message, whether it comes later, however far other workers have read.
        """
        if self.after is not None:
            return place > self.after
        return message_id not in self.known

    def wants(self, type: str, event_id: UUID | None) -> bool:  # noqa: A002
        """Tell whether the client has not asked to be spared a notification."""
        return self.wanted is None or self.wanted.wants(type, event_id)

    @property
    def is_behind(self) -> bool:
        """Whether something is queued that its client has yet to take."""
        return self._letters is not None

    def offer(self, *letters: Letter) -> None:
        """Send or queue messages; one too many ends the socket, and its client has to come again.

        What is offered first is sent first.
        """
        if self.ended.done():
            return
        if self._send is not None and self._letters is None:
            sent = 0
            while sent < len(letters) and self._send(letters[sent : sent + SENT_AT_ONCE]):
                sent += SENT_AT_ONCE
            if sent >= len(letters):
                return
            letters = letters[sent:]
        if self._letters is None:
            self._letters = deque()
        self._letters.extend(letters)
        size = sum(map(len, letters))
        self._bytes += size
        self._backlog.bytes += size
        if (
            len(self._letters) > QUEUED_MESSAGES
            or self._bytes > QUEUED_BYTES
            or self._backlog.bytes > QUEUED_BYTES_OF_ALL
        ):
            self.end(TOO_SLOW)
        if self._next is not None and not self._next.done():
            self._next.set_result(None)

    def hold(self, place: Position) -> None:
        """Note that a message waits for the end of quiet hours."""
        first = self.held[0] if self.held else Position(place.transaction_id, place.number - 1)
        self.held = first, place

    def reply(self, payload: bytes) -> None:
        """Send or queue what is no notification, JSON, as any other message."""
        self.offer(Letter(payload))

    async def next(self) -> Letter:
        """Return the oldest message that is queued, waiting for one if need be."""
        while not self._letters:
            self._next = asyncio.get_running_loop().create_future()
            await self._next
        return self._take()

    def send_by(self, send: Callable[[Sequence[Letter]], bool]) -> None:
        """From now on, send what is queued and what is offered by itself.

        `send` sends some messages and returns True, or False where it cannot send now; then
        `send_on` is to be called when it can.
        """
        self._send = send
        self.send_on()

    def send_on(self) -> None:
        """Send what is queued, as much as can be sent now."""
        assert self._send is not None
        while self._letters and self._send((self._letters[0],)):
            self._take()

    async def caught_up(self) -> None:
        """Wait until its client has taken all that is queued, or the socket has ended."""
        while self._letters is not None:
            self._taken = asyncio.get_running_loop().create_future()
            await self._taken
            self._taken = None

    def end(self, ending: Ending) -> None:
        """Close the socket; what is queued is dropped."""
        if not self.ended.done():
            self.ended.set_result(ending)
        self._empty()
        self._backlog.bytes -= self._bytes
        self._bytes = 0

    def _take(self) -> Letter:
        assert self._letters is not None
        letter = self._letters.popleft()
        self._bytes -= len(letter)
        self._backlog.bytes -= len(letter)
        if not self._letters:
            self._empty()
        return letter

    def _empty(self) -> None:
        self._letters = None
        if self._taken is not None and not self._taken.done():
            self._taken.set_result(None)
