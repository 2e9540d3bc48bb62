"""Handshakes of WebSockets: which pages may open one, and how a refusal can be read."""

from typing import Final
from urllib.parse import urlsplit

from fastapi.requests import HTTPConnection
from starlette.websockets import WebSocket

from eventmanager.core.config import Settings
from eventmanager.core.errors import EventManagerError, ForeignOrigin
from eventmanager.core.problems import record, status_of

DENIAL_EXTENSION: Final = "websocket.http.response"
_DEFAULT_PORTS: Final = {"http": ":80", "https": ":443"}


def check_origin(connection: HTTPConnection, *, allowed: frozenset[str]) -> None:
    """Refuse a page of another origin (RFC 6455, 10.2) that `CORS_ORIGINS` does not name.

    Raises `ForeignOrigin`. A client that is no browser sends no `Origin` and passes. The scheme is
    not compared with ours, which a proxy in front may have changed.
    """
    if _is_foreign(connection, allowed=allowed):
        origin = connection.headers["origin"]
        raise ForeignOrigin(f"Pages of {origin[:200]} may not connect: CORS_ORIGINS names others")


def can_read_problem(websocket: WebSocket) -> bool:
    """Tell whether a refusal of the handshake can be said as a problem.

    Not every server can. And browsers, which alone send an origin or need a ticket, tell a page
    nothing of it, so that it would come again with a bad cursor for ever. To a page of another
    origin nothing is opened, and nothing said.
    """
    if DENIAL_EXTENSION not in websocket.scope.get("extensions", {}):
        return False
    is_browser = "origin" in websocket.headers or "ticket" in websocket.query_params
    settings: Settings = websocket.app.state.settings
    return not is_browser or _is_foreign(websocket, allowed=settings.cors_origins)


async def close(websocket: WebSocket, refusal: EventManagerError) -> None:
    """Say a refusal to who can't read a problem: 4000 plus the status, and the code as reason."""
    record(websocket, refusal)
    # A browser fails a socket whose subprotocol is not answered, before it hears a close; as
    # nothing is said in it, any will do.
    await websocket.accept(next(iter(websocket.scope.get("subprotocols", ())), None))
    await websocket.close(4000 + status_of(refusal), refusal.code)


def _is_foreign(connection: HTTPConnection, *, allowed: frozenset[str]) -> bool:
    origin = connection.headers.get("origin")
    if origin is None or origin.lower() in allowed:
        return False
    return not _is_ours(origin.lower(), connection)


def _is_ours(origin: str, connection: HTTPConnection) -> bool:
    try:
        parts = urlsplit(origin)
    except ValueError:
        return False
    host = connection.headers.get("host", "").lower()
    port = _DEFAULT_PORTS.get(parts.scheme, "")
    return bool(port) and parts.netloc.removesuffix(port) == host.removesuffix(port)
