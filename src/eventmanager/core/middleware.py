"""What surrounds every request, as plain ASGI: its id, its line in the log, its body limit."""

import re
import time
from collections.abc import Callable, Mapping
from typing import Final

import structlog
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from structlog.contextvars import bind_contextvars, clear_contextvars

from eventmanager.core.audit.origin import arrive
from eventmanager.core.ids import uuid7

_SANE_REQUEST_ID: Final = re.compile(rb"[A-Za-z0-9._-]{1,64}")
_log = structlog.get_logger("app")


class RequestContext:
    """Gives each request an id and a line in `app.log`, and answers with `X-Request-ID`."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        request_id = _request_id(scope)
        scope.setdefault("state", {})["request_id"] = request_id
        clear_contextvars()
        bind_contextvars(request_id=request_id)
        arrive(
            address=scope["client"][0] if scope.get("client") else None,
            user_agent=_header(scope, b"user-agent").decode("latin-1"),
            request_id=request_id,
        )
        started = time.perf_counter()
        status = 500

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                headers["X-Request-ID"] = request_id
                headers["X-Content-Type-Options"] = "nosniff"
            await send(message)

        try:
            await self.app(scope, receive, send_with_headers)
        finally:
            milliseconds = round((time.perf_counter() - started) * 1000, 2)
            _log.info(
                "request",
                method=scope["method"],
                path=scope["path"],
                status=status,
                ms=milliseconds,
            )


def _request_id(scope: Scope) -> str:
    """Return the caller's `X-Request-ID` when it is harmless to log, else a new one."""
    given = _header(scope, b"x-request-id")
    return given.decode() if _SANE_REQUEST_ID.fullmatch(given) else uuid7().hex


def _header(scope: Scope, name: bytes) -> bytes:
    """Return the first value of a header, empty if there is none."""
    value: bytes = next((v for k, v in scope["headers"] if k == name), b"")
    return value


class BodyLimit:
    """Refuses a body larger than its path's limit, by its declared length or while it is read.

    The `exceptions` are for requests that `may_send_more`: a body is read, and made sense of,
    before its route asks who sends it. Starlette's own limit answers in plain text, which our
    clients would not understand.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        limit_bytes: int,
        exceptions: Mapping[str, int],
        may_send_more: Callable[[HTTPConnection], bool],
    ) -> None:
        self.app = app
        self._limit_bytes = limit_bytes
        self._exceptions = exceptions
        self._may_send_more = may_send_more

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run one request with a `receive` that counts."""
        if scope["type"] != "http" or scope["method"] in {"GET", "HEAD", "OPTIONS"}:
            await self.app(scope, receive, send)
            return
        limit = self._limit_bytes
        larger = self._exceptions.get(scope["path"])
        if larger is not None and self._may_send_more(HTTPConnection(scope)):
            limit = larger
        length = next((v for k, v in scope["headers"] if k == b"content-length"), b"")
        declared = int(length) if length.isdigit() else 0
        received = 0

        async def counted() -> Message:
            nonlocal received
            if declared <= limit:
                message = await receive()
                received += len(message.get("body", b""))
            if max(declared, received) > limit:
                raise HTTPException(413, f"The body may have at most {limit} bytes here")
            return message

        await self.app(scope, counted, send)
