"""uvicorn's protocols, which also let go of a peer that does not read.

uvicorn closes a connection once all that was written to it has been sent, which such a peer puts
off for ever: its memory would stay taken, and a server that stops would wait for it.
"""

import asyncio
from typing import TYPE_CHECKING, Any, Final

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send
    from uvicorn._types import ASGISendEvent
    from uvicorn.protocols.http.h11_impl import H11Protocol as Http
else:
    try:
        from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol as Http
    except ImportError:
        from uvicorn.protocols.http.h11_impl import H11Protocol as Http

LINGER_SECONDS: Final = 5.0
LINE: Final = "eventmanager.line"
"""The ASGI extension under which an answer without end finds its `Line`."""


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


class Protocol(WebSocketsSansIOProtocol):
    """Drops the connection a few seconds after the server has closed the socket."""

    async def send(self, message: "ASGISendEvent") -> None:
        """Send what the application says."""
        if message["type"] == "websocket.close":
            self._drop_later()
        await super().send(message)

    def shutdown(self) -> None:
        """Close with 1012, since the server stops."""
        super().shutdown()
        self._drop_later()

    def keepalive_timeout(self) -> None:
        """Close, since the peer has not answered a ping."""
        super().keepalive_timeout()
        self._drop_later()

    def _drop_later(self) -> None:
        self.loop.call_later(LINGER_SECONDS, self.transport.abort)
