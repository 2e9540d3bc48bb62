"""Which proxies may say who the client is.

By default nobody: `X-Forwarded-For` is a header like any other, and a client that could choose its
address could dodge every limit. Behind proxies, `TRUSTED_PROXIES` names their addresses. Then the
client is the last address in `X-Forwarded-For` that is not one of theirs: each proxy appends the
one it saw, so whatever a client wrote itself stands further left.
"""

import ipaddress
from collections.abc import Iterable

from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware


def parse_proxies(text: str) -> tuple[str, ...]:
    """Read addresses and networks, separated by commas; raises `ValueError`."""
    return tuple(_parse_proxy(part.strip()) for part in text.split(",") if part.strip())


def _parse_proxy(text: str) -> str:
    try:
        network = ipaddress.ip_network(text, strict=False)
    except ValueError:
        raise ValueError(f"{text!r} is not an address or a network such as 10.0.0.0/8") from None
    if network.prefixlen == 0:
        # When every address is a proxy's, the client is who the client says.
        raise ValueError(f"{text!r} would let every client choose its own address")
    return str(network) if "/" in text else str(network.network_address)


class TrustedProxies:
    """Sets `scope["client"]` and `scope["scheme"]` to what trusted proxies say of the client.

    uvicorn does the work; it would also take over what is no address ("unknown"), which we undo.
    """

    def __init__(self, app: ASGIApp, *, trusted: Iterable[str]) -> None:
        self.app = app
        self._forwarded = ProxyHeadersMiddleware(self._with_address, list(trusted))  # type: ignore[arg-type]  # two names of one protocol

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run one request."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        scope = {**scope, "eventmanager.peer": scope.get("client")}
        await self._forwarded(scope, receive, send)  # type: ignore[arg-type]  # as above

    async def _with_address(self, scope: Scope, receive: Receive, send: Send) -> None:
        peer = scope.pop("eventmanager.peer")
        if scope.get("client") != peer and not _is_address(scope["client"][0]):
            scope["client"] = peer
        await self.app(scope, receive, send)


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
