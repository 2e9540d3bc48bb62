"""Holds every request to its client's limits, as plain ASGI."""

import ipaddress
from collections.abc import Mapping
from functools import lru_cache
from math import ceil
from typing import Final

import structlog
from fastapi.requests import HTTPConnection
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette.websockets import WebSocket

from eventmanager.core import handshakes, problems
from eventmanager.core.errors import RateLimited
from eventmanager.core.limits.limiter import DEFAULT, Limiter
from eventmanager.core.limits.windows import Standing

_SPARED: Final = frozenset({"health", "docs", "redoc", "openapi.json"})
_TURN: Final = "turn"

_security = structlog.get_logger("security")


def is_spared(path: str) -> bool:
    """Tell whether nothing limits this path: supervisors ask for health, people for the docs."""
    return path[1:].partition("/")[0] in _SPARED


@lru_cache(maxsize=4096)
def client_key(host: str) -> str:
    """Return who is counted as one client: an IPv4 address, or the /64 that an IPv6 one is of.

    A /64 is the least a network hands out, so its 2^64 addresses are one client's.
    """
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host
    if isinstance(address, ipaddress.IPv4Address):
        return str(address)
    if address.ipv4_mapped:
        return str(address.ipv4_mapped)
    return str(ipaddress.IPv6Network((int(address), 64), strict=False))


class RateLimits:
    """Answers 429 beyond the limit, and says on every other answer how much is left.

    A client is its address, `scope["client"]`, and nothing it sends: `core.proxies` alone may let
    a header change that. `named` maps paths to the name of the limit of a POST to them, None where
    that depends on the body: the route then calls `count`. A WebSocket's handshake counts as one
    request; to who can't read a 429 to it, it is a close with 4429.
    """

    def __init__(self, app: ASGIApp, *, limiter: Limiter, named: Mapping[str, str | None]) -> None:
        self.app = app
        self._limiter = limiter
        self._named = named

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run one request, or refuse it."""
        if scope["type"] == "lifespan" or is_spared(scope["path"]):
            await self.app(scope, receive, send)
            return
        turn = _Turn(self._limiter, scope)
        name: str | None = DEFAULT
        if scope.get("method") == "POST":
            name = self._named.get(scope["path"], DEFAULT)
        if name is None:
            scope.setdefault("state", {})[_TURN] = turn
        else:
            try:
                await turn.take(name)
            except RateLimited as error:
                await _refuse(scope, receive, send, error=error, turn=turn)
                return
        refused: RateLimited | None = None

        async def send_with_headers(message: Message) -> None:
            nonlocal refused
            if message["type"] == "http.response.start":
                if turn.standing is None:
                    # The route was not reached, since nobody could read the body.
                    try:
                        await turn.take(DEFAULT)
                    except RateLimited as error:
                        refused = error
                message["headers"] = [*message.get("headers", ()), *turn.headers()]
            if refused is None:
                await send(message)

        await self.app(scope, receive, send_with_headers)
        if refused is not None:
            await _refuse(scope, receive, send, error=refused, turn=turn)


async def count(request: HTTPConnection, name: str) -> None:
    """Count a request whose limit only its route can name. Raises `RateLimited`."""
    turn: _Turn | None = request.scope.get("state", {}).get(_TURN)
    if turn is not None:
        await turn.take(name)


class _Turn:
    """One request of a client, and how the client stands once it was counted."""

    def __init__(self, limiter: Limiter, scope: Scope) -> None:
        self._limiter = limiter
        self._scope = scope
        self.standing: Standing | None = None

    async def take(self, name: str) -> None:
        client = self._scope.get("client")
        key = client_key(client[0]) if client else "local"
        self.standing = standing = await self._limiter.take(key, name)
        if standing.admitted:
            return
        if name != DEFAULT:
            _security.warning("rate_limited", path=self._scope["path"], client=client)
        seconds = max(1, ceil(standing.reset_seconds))
        raise RateLimited(
            f"Too many requests: at most {standing.amount} are allowed here, and the next one in "
            f"{seconds} seconds",
            limit=standing.amount,
            retry_after=seconds,
        )

    def headers(self) -> list[tuple[bytes, bytes]]:
        assert self.standing is not None, "it was counted"
        return [
            (b"ratelimit-limit", b"%d" % self.standing.amount),
            (b"ratelimit-remaining", b"%d" % self.standing.remaining),
            (b"ratelimit-reset", b"%d" % ceil(self.standing.reset_seconds)),
        ]


async def _refuse(
    scope: Scope, receive: Receive, send: Send, *, error: RateLimited, turn: _Turn
) -> None:
    if scope["type"] == "websocket":
        websocket = WebSocket(scope, receive, send)
        if not handshakes.can_read_problem(websocket):
            await handshakes.close(websocket, error)
            return
    response = await problems.refusal(HTTPConnection(scope), error)
    response.raw_headers += turn.headers()
    await response(scope, receive, send)
