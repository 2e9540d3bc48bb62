"""uvicorn's protocols, which also let go of a peer that does not read.

uvicorn closes a connection once all that was written to it has been sent, which such a peer puts
off for ever: its memory would stay taken, and a server that stops would wait for it.

And they let an application write to a WebSocket without a task of its own for each: see `Outlet`.
"""

import asyncio
import socket
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.protocol import OPEN

from eventmanager.realtime.speaking import Pace

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send
    from uvicorn._types import ASGISendEvent
    from uvicorn.protocols.http.h11_impl import H11Protocol as Http
    from websockets.frames import Frame
    from websockets.http11 import Request
else:
    try:
        from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol as Http
    except ImportError:
        from uvicorn.protocols.http.h11_impl import H11Protocol as Http

POLICY_VIOLATION: Final = 1008
TRY_AGAIN_LATER: Final = 1013
LINGER_SECONDS: Final = 5.0
LINE: Final = "eventmanager.line"
"""The ASGI extension under which an answer without end finds its `Line`."""
OUTLET: Final = "eventmanager.outlet"
"""The ASGI extension under which a WebSocket finds its `Outlet`."""
UNSENT_BYTES: Final = 64 * 1024
"""How much the kernel takes for a socket beyond what is on its way to the peer."""
ASK_SECONDS: Final = 3.5
"""Whoever is told something has been pinged no longer ago than this."""
UNREAD_SECONDS: Final = 0.5


class Line:
    """What an answer without end must know of its connection, and may do to it."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._stopping = asyncio.Event()

    def stopping(self) -> None:
        """Say that the server stops."""
        self._stopping.set()

    async def stop(self) -> None:
        """Wait until the server stops."""
        await self._stopping.wait()

    def abort(self) -> None:
        """Drop the connection with all that has not been sent."""
        self._transport.abort()

    def abort_later(self) -> None:
        """Drop it in a few seconds, unless its peer has taken everything by then."""
        asyncio.get_running_loop().call_later(LINGER_SECONDS, self._transport.abort)


class HttpProtocol(Http):
    """Hands each request the `Line` it came by."""

    _line: Line

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        """Begin."""
        super().connection_made(transport)
        self._line = line = Line(transport)
        app: Any = self.app

        async def with_line(scope: "Scope", receive: "Receive", send: "Send") -> None:
            scope.setdefault("extensions", {})[LINE] = line
            await app(scope, receive, send)

        self.app = with_line

    def shutdown(self) -> None:
        """Finish what is being answered; what has no end is told to end."""
        self._line.stopping()
        super().shutdown()


class Outlet:
    """Writes whole frames to an open WebSocket: at once, and in order with what `send` sends.

    `write` answers False if the peer has yet to take what was written before; `on_room` is called
    when it has. Nothing is written any more to a socket that either side has closed.
    """

    __slots__ = ("on_room", "write")

    def __init__(self, write: Callable[[Sequence[bytes]], bool]) -> None:
        self.write = write
        self.on_room: Callable[[], None] = _nothing


def _nothing() -> None:
    pass


class Inbox:
    """What `asyncio.Queue` is to a single reader, in a tenth of the memory: most stay empty."""

    __slots__ = ("_events", "_filled")

    def __init__(self) -> None:
        self._events: list[Any] = []
        self._filled: asyncio.Future[None] | None = None

    def empty(self) -> bool:
        """Tell whether there is nothing to get."""
        return not self._events

    def put_nowait(self, event: Any) -> None:
        """Add an event."""
        self._events.append(event)
        if self._filled is not None and not self._filled.done():
            self._filled.set_result(None)

    async def get(self) -> Any:
        """Return the oldest event, waiting for one if need be."""
        while not self._events:
            self._filled = asyncio.get_running_loop().create_future()
            await self._filled
        return self._events.pop(0)


class Protocol(WebSocketsSansIOProtocol):
    """Hands each socket its `Outlet`, and soon finds out about a peer that does not read.

    Drops the connection a few seconds after the server has closed the socket, and at once that of a
    peer that floods it with frames which say nothing: each ping is answered without the
    application, whether or not the peer reads.
    """

    _outlet: Outlet | None = None
    # Most peers never ping; theirs need not be kept.
    _pace: Pace | None = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.queue = Inbox()  # type: ignore[assignment]  # all of a queue that uvicorn uses

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        super().connection_made(transport)
        connection = transport.get_extra_info("socket")
        is_tcp = connection is not None and connection.family in {socket.AF_INET, socket.AF_INET6}
        # Windows has no such option.
        if is_tcp and hasattr(socket, "TCP_NOTSENT_LOWAT"):
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, UNSENT_BYTES)

    def handle_connect(self, event: "Request") -> None:
        """Let the application know of the outlet."""
        super().handle_connect(event)
        if not self.close_sent:
            self._outlet = Outlet(self.write)
            extensions: dict[str, Any] = self.scope["extensions"]
            extensions[OUTLET] = self._outlet

    def write(self, frames: Sequence[bytes]) -> bool:
        """Write some frames; see `Outlet`."""
        if not self.writable.is_set():
            return False
        if self.conn.state is OPEN and not self.transport.is_closing():
            self.transport.writelines(frames)
            # Who is told something must prove soon that it reads.
            if self.ping_timer is not None and self.loop.time() - self.ping_sent_at > ASK_SECONDS:
                self.ping_timer.cancel()
                self.send_keepalive_ping()
        return True

    def resume_writing(self) -> None:
        """Go on."""
        super().resume_writing()
        if self._outlet is not None:
            self._outlet.on_room()

    def connection_lost(self, exc: Exception | None) -> None:
        """Let go of the application's part as well."""
        super().connection_lost(exc)
        self._outlet = None

    async def send(self, message: "ASGISendEvent") -> None:
        """Send what the application says."""
        if message["type"] == "websocket.close":
            self._drop_later()
        await super().send(message)
        if message["type"] == "websocket.http.response.body":
            # A refusal completes the handshake too; uvicorn would log that it is missing.
            self.handshake_complete = not message.get("more_body", False)
        if message["type"] == "websocket.accept":
            # The handshake is over, and the socket may stay open for days.
            self.request.headers.clear()
            del self.request, self.response

    def shutdown(self) -> None:
        """Close with 1012, since the server stops."""
        # To one that has closed it itself, but not taken what was sent before, nothing can be said.
        self.close_sent = self.close_sent or self.transport.is_closing()
        super().shutdown()
        self._drop_later()

    def keepalive_timeout(self) -> None:
        """Close, since the peer has not answered a ping: it reads too slowly, if it is there."""
        if not self.close_sent and not self.transport.is_closing():
            self.conn.fail(TRY_AGAIN_LATER, "too slow: connect again")
            self.transport.write(b"".join(self.conn.data_to_send()))
            self.close_sent = True
            self.transport.close()
        super().keepalive_timeout()
        # What it has not taken by now it will not take.
        self.loop.call_later(UNREAD_SECONDS, self.transport.abort)

    def handle_ping(self) -> None:
        """Answer, unless there are too many."""
        if self._is_paced():
            super().handle_ping()

    def handle_pong(self, event: "Frame") -> None:
        """Take the answer to our ping; others are counted."""
        if bytes(event.data) == self.pending_ping_payload or self._is_paced():
            super().handle_pong(event)

    def handle_cont(self, event: "Frame") -> None:
        """Go on with a message; parts in which there is nothing are not kept, but counted."""
        if event.data or event.fin or self._is_paced():
            super().handle_cont(event)

    def _is_paced(self) -> bool:
        """Count a frame that says nothing, and close after too many."""
        if self.close_sent or self.transport.is_closing():
            return False
        if self._pace is None:
            self._pace = Pace()
        if not self._pace.admits(now_s=self.loop.time()) and self._pace.is_lost:
            self.conn.fail(POLICY_VIOLATION, "too many pings")
            self.transport.write(b"".join(self.conn.data_to_send()))
            self.close_sent = True
            # Closed at once, while more of them arrive, it would not learn why.
            self.loop.call_later(UNREAD_SECONDS, self.transport.abort)
            return False
        return True

    def _drop_later(self) -> None:
        self.loop.call_later(LINGER_SECONDS, self.transport.abort)
