"""uvicorn's WebSocket protocol, which also lets go of a peer that does not read.

uvicorn closes a connection once all that was written to it has been sent, which such a peer puts
off for ever: its memory would stay taken, and a server that stops would wait for it.
"""

from typing import TYPE_CHECKING, Final

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

if TYPE_CHECKING:
    from uvicorn._types import ASGISendEvent

LINGER_SECONDS: Final = 5.0


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
