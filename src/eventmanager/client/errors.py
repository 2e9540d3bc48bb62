"""What can go wrong, as one tree.

ApiError
├── Invalid                400, 413, 422 and others: the request makes no sense as it is
├── Unauthorized           401
├── Forbidden              403
├── NotFound               404
├── Conflict               409  clashes, merge conflicts, duplicates: see `code` and `conflicts`
├── CursorExpired          410
├── PreconditionFailed     412, 428
├── RateLimited            429
└── Unavailable            408, 5xx
    └── Unreachable        there was no answer
"""

from collections.abc import Mapping
from typing import Any, Final

import httpx
import orjson

_PROBLEM: Final = frozenset({"type", "title", "status", "detail", "code", "instance", "request_id"})


class ApiError(Exception):
    """The server refused: its problem (RFC 9457), with a stable `code` and the `facts`.

    `detail` is a sentence or, where values are not valid, FastAPI's list of them. `request_id` is
    what the server's log has it under; `retry_after` is in seconds.
    """

    def __init__(
        self,
        status: int,
        *,
        code: str,
        detail: str | list[dict[str, Any]],
        facts: Mapping[str, Any] | None = None,
        request_id: str = "",
        retry_after: float | None = None,
    ) -> None:
        self.status = status
        self.code = code
        self.detail = detail
        self.facts = dict(facts or {})
        self.request_id = request_id
        self.retry_after = retry_after
        super().__init__(f"{status} {code}: {detail}")


class Invalid(ApiError):
    """The request makes no sense as it is; sent again it would make none either."""


class Unauthorized(ApiError):
    """The server does not know who asks, and there is nothing left to sign in with."""


class Forbidden(ApiError):
    """The caller may not."""


class NotFound(ApiError):
    """There is no such thing, or it is deleted."""


class Conflict(ApiError):
    """The request collides with what stands."""

    @property
    def conflicts(self) -> list[dict[str, Any]]:
        """What it collides with.

        Of `time_conflict` pairs `{requested, existing}`, at most 50 of `facts["total"]`; of
        `merge_conflict` `{field, base, yours, theirs}`; of others none.
        """
        found: list[dict[str, Any]] = self.facts.get("conflicts", [])
        return found


class CursorExpired(ApiError):
    """What came after the cursor, or the sync token, is no longer kept: read everything anew.

    Take a cursor with `notifications.unread()`, then make a copy of everything with `sync()`, and
    go on `after` that cursor: what has happened in between comes again, and nothing is missed.
    """


class PreconditionFailed(ApiError):
    """The event is no longer the version that was named, or the server wants one to be named."""


class RateLimited(ApiError):
    """The client asks too often; see `retry_after`."""


class Unavailable(ApiError):
    """The server can't answer at the moment."""


class Unreachable(Unavailable):
    """There was no answer at all: whether the request was done is not known."""


_KINDS: Final[Mapping[int, type[ApiError]]] = {
    401: Unauthorized,
    403: Forbidden,
    404: NotFound,
    408: Unavailable,
    409: Conflict,
    410: CursorExpired,
    412: PreconditionFailed,
    428: PreconditionFailed,
    429: RateLimited,
}


def error_of(status: int, headers: Mapping[str, str], body: bytes) -> ApiError:
    """Return the error that an answer is, whoever gave it: a proxy on the way knows no problems."""
    try:
        said = orjson.loads(body)
    except orjson.JSONDecodeError:
        said = None
    if not isinstance(said, dict):
        said = {"code": "http_error", "detail": body.decode(errors="replace")[:500]}
    waits = headers.get("Retry-After", "")
    kind = _KINDS.get(status, Unavailable if status >= 500 else Invalid)
    return kind(
        status,
        code=str(said.get("code", "http_error")),
        detail=said.get("detail") or said.get("title") or "",
        facts={name: value for name, value in said.items() if name not in _PROBLEM},
        request_id=str(said.get("request_id", "")),
        # The other form, a date, is one that this server never sends.
        retry_after=float(waits) if waits.isdecimal() else None,
    )


def error_of_close(code: int, reason: str) -> ApiError | None:
    """Return the error that a socket was closed with, None if it may be opened again.

    A refusal comes as 4000 plus the status that a request would have had.
    """
    status = code - 4000
    if not 400 <= status < 600:
        return None
    return _KINDS.get(status, Unavailable if status >= 500 else Invalid)(
        status,
        # The reason is the code of the refusal, in words.
        code=reason.replace(" ", "_") or "closed",
        detail=f"The server closed the socket with {code}: {reason}",
    )


def unreachable(error: httpx.TransportError) -> Unreachable:
    """Return the error that no answer is."""
    return Unreachable(0, code="unreachable", detail=str(error) or type(error).__name__)


def late() -> Unreachable:
    """Return the error that tokens are which don't come in time."""
    return Unreachable(0, code="unreachable", detail="The tokens could not be renewed in time")


def closed() -> Unreachable:
    """Return the error that a request of a closed client is."""
    return Unreachable(0, code="closed", detail="The client is closed")
