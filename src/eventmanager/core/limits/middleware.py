"""Holds every request to its client's limits, as plain ASGI."""

import ipaddress
from collections.abc import Mapping
from functools import lru_cache
from math import ceil
from typing import Final

import structlog
from fastapi.requests import HTTPConnection
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from eventmanager.core import problems
from eventmanager.core.errors import RateLimited
from eventmanager.core.limits.limiter import DEFAULT, Limiter
from eventmanager.core.limits.windows import Standing

_SPARED: Final = frozenset({"health", "docs", "redoc", "openapi.json"})
_TRY_AGAIN_LATER: Final = 1013

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
    a header change that. `named` maps paths to the name of the limit of a POST to them. A
    WebSocket's handshake counts as one request.
    """

    def __init__(self, app: ASGIApp, *, limiter: Limiter, named: Mapping[str, str]) -> None:
        self.app = app
        self._limiter = limiter
        self._named = named

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run one request, or refuse it."""
        if scope["type"] == "lifespan" or is_spared(scope["path"]):
            await self.app(scope, receive, send)
            return
        name = DEFAULT
        if scope.get("method") == "POST":
            name = self._named.get(scope["path"], DEFAULT)
        client = scope.get("client")
        standing = await self._limiter.take(client_key(client[0]) if client else "local", name)
        if not standing.admitted:
            await _refuse(scope, receive, send, standing=standing, name=name)
            return
        added = _headers(standing)

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), *added]
            await send(message)

        await self.app(scope, receive, send_with_headers)


def _headers(standing: Standing) -> list[tuple[bytes, bytes]]:
    return [
        (b"ratelimit-limit", b"%d" % standing.amount),
        (b"ratelimit-remaining", b"%d" % standing.remaining),
        (b"ratelimit-reset", b"%d" % ceil(standing.reset_seconds)),
    ]


async def _refuse(
    scope: Scope, receive: Receive, send: Send, *, standing: Standing, name: str
) -> None:
    if scope["type"] == "websocket" and "websocket.http.response" not in scope["extensions"]:
        await send({"type": "websocket.close", "code": _TRY_AGAIN_LATER})
        return
    seconds = max(1, ceil(standing.reset_seconds))
    error = RateLimited(
        f"Too many requests: at most {standing.amount} are allowed here, and the next one in "
        f"{seconds} seconds",
        limit=standing.amount,
        retry_after=seconds,
    )
    if name != DEFAULT:
        _security.warning("rate_limited", path=scope["path"], client=scope.get("client"))
    response = await problems.refusal(HTTPConnection(scope), error)
    response.raw_headers += _headers(standing)
    await response(scope, receive, send)
