"""The `Idempotency-Key` header of a request."""

import re
from hashlib import sha256
from typing import Annotated, Final

from fastapi import Header, Request

from eventmanager.core.errors import Invalid

_SANE: Final = re.compile(r"[\x21-\x7e]{1,255}")

IdempotencyKey = Annotated[
    str | None,
    Header(
        description="A value of your own, such as a UUID: for a day, the same request with the same"
        " key is answered as the first time, and done once.",
        max_length=255,
    ),
]


def route_of(request: Request) -> str:
    """Return what a key is scoped to, beside its user: the method and the route's template."""
    template = getattr(request.scope.get("route"), "path", request.url.path)
    return f"{request.method} {template}"


async def fingerprint(request: Request) -> bytes:
    """Return a digest of all that a request asks: path, query, preconditions and body."""
    asked = sha256()
    for part in (request.url.path, request.url.query, request.headers.get("if-match", "")):
        asked.update(part.encode() + b"\n")
    asked.update(await request.body())
    return asked.digest()


def checked(key: str) -> str:
    """Return a key that can be kept; raises `Invalid`."""
    if not _SANE.fullmatch(key):
        raise Invalid(
            "Idempotency-Key must be 1 to 255 visible ASCII characters",
            loc=("header", "Idempotency-Key"),
            type="invalid_idempotency_key",
        )
    return key
