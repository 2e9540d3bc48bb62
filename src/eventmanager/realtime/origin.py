"""Which web pages may open a socket: browsers let any page try, and say which one it is."""

from typing import Final
from urllib.parse import urlsplit

from fastapi.requests import HTTPConnection

from eventmanager.core.errors import ForeignOrigin

_DEFAULT_PORTS: Final = {"http": ":80", "https": ":443"}


def check_origin(connection: HTTPConnection, *, allowed: frozenset[str]) -> None:
    """Refuse a page of another origin (RFC 6455, 10.2) that `CORS_ORIGINS` does not name.

    Raises `ForeignOrigin`. A client that is no browser sends no `Origin` and passes. The scheme is
    not compared with ours, which a proxy in front may have changed.
    """
    origin = connection.headers.get("origin")
    if origin is None or origin.lower() in allowed:
        return
    if not _is_ours(origin.lower(), connection):
        raise ForeignOrigin(f"Pages of {origin[:200]} may not connect: CORS_ORIGINS names others")


def _is_ours(origin: str, connection: HTTPConnection) -> bool:
    try:
        parts = urlsplit(origin)
    except ValueError:
        return False
    host = connection.headers.get("host", "").lower()
    port = _DEFAULT_PORTS.get(parts.scheme, "")
    return bool(port) and parts.netloc.removesuffix(port) == host.removesuffix(port)
