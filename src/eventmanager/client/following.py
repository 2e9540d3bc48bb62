"""PURE but for clock and log. Listening without a gap: where one is in the order of notifications.

It goes on after the last message it has handed out, whatever becomes of the socket.
"""

import logging
import random
import time
from collections import deque
from collections.abc import Collection
from typing import Any, Final
from uuid import UUID

import orjson
from pydantic import ValidationError
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus

from eventmanager.client.errors import (
    ApiError,
    Invalid,
    RateLimited,
    Unauthorized,
    Unavailable,
    error_of,
    error_of_close,
)
from eventmanager.client.models import Notification

PATH: Final = "/api/ws/notifications"
FIRST_PAUSE_SECONDS: Final = 0.25
RESTART_SECONDS: Final = 2.0
"""The longest first pause after a server has said that it stops: all its sockets come back."""
LONGEST_PAUSE_SECONDS: Final = 30.0
TROUBLE: Final = 3
"""After so many losses in a row it may be for good, as with a wrong name or certificate."""
SETTLED_SECONDS: Final = 10.0
"""A socket that was open for so long was a good one, even if nothing happened."""
_REMEMBERED: Final = 128
_STOPPING: Final = 1012
_MEMBERS: Final = frozenset({"id", "cursor", "type", "occurred_at"})

LOSSES: Final = (ApiError, OSError, EOFError, InvalidHandshake, ConnectionClosed)
"""How the loss of a socket shows, or that there was none to be had."""

_log = logging.getLogger("eventmanager.client")


class Trail:
    """One listener's way through its notifications.

    Without `after` it begins with what happens from now on: `after` is then None until the client
    has asked where that is, so that nothing is lost before the first message either.
    """

    def __init__(
        self,
        after: str | None = None,
        *,
        types: Collection[str] | None = None,
        events: Collection[UUID | str] | None = None,
    ) -> None:
        if isinstance(types, str) or isinstance(events, str):
            raise TypeError("types and events are collections: one alone is ['event_updated']")
        # The server takes an empty one for none, and would begin wherever it is by then.
        self.after = after or None
        self._types = None if types is None else frozenset(types)
        self._events = None if events is None else {UUID(str(event)) for event in events}
        self._seen: deque[str] = deque(maxlen=_REMEMBERED)
        self._losses = 0
        self._renewed = False
        self._opened_at: float | None = None
        self.refused: str | None = None
        """The access token that a socket was refused with; another may do."""

    def opened(self) -> None:
        """Note that a socket is open."""
        self._opened_at = time.monotonic()

    def take(self, text: str | bytes) -> Notification | None:
        """Read what came over the socket; None if it is not for whoever listens.

        The server says other things as well, which happened at no time.
        """
        try:
            said: Any = orjson.loads(text)
        except orjson.JSONDecodeError:
            return None
        if not isinstance(said, dict) or not said.keys() >= _MEMBERS:
            return None
        if said["cursor"] in self._seen:
            return None
        message = _read(said)
        self.after = message.cursor
        self._seen.append(message.cursor)
        self._settle()
        if self._types is not None and message.type not in self._types:
            return None
        if self._events is not None and message.event_id not in self._events:
            return None
        return message

    def lost(self, error: Exception | None, *, token: str | None) -> float:
        """Return how many seconds to wait before another socket is opened.

        `error` is why there is no socket any more, None if it was closed as it should be; `token`
        is what it was opened with. Raises `ApiError` if another would be refused as well.
        """
        if self._opened_at is not None and time.monotonic() - self._opened_at > SETTLED_SECONDS:
            self._settle()
        self._opened_at = None
        refusal = _refusal(error)
        if isinstance(refusal, Unauthorized) and refusal is not error and not self._renewed:
            self._renewed = True
            self.refused = token
            return 0
        if refusal is not None and not isinstance(refusal, RateLimited | Unavailable):
            raise refusal from (error if refusal is not error else error.__cause__)
        first = RESTART_SECONDS if _is_stopping(error) else FIRST_PAUSE_SECONDS
        most = min(first * 2**self._losses, LONGEST_PAUSE_SECONDS)
        self._losses = min(self._losses + 1, 16)
        # All that were cut off together must not come back together.
        seconds = random.uniform(0, most)  # noqa: S311  # nothing secret
        if refusal is not None and refusal.retry_after is not None:
            seconds += refusal.retry_after * random.uniform(1, 1.5)  # noqa: S311  # nothing secret
        level = logging.INFO if self._losses < TROUBLE else logging.WARNING
        _log.log(level, "lost the socket (%s), another in %.1f s", error or "closed", seconds)
        return seconds

    def _settle(self) -> None:
        self._losses = 0
        self._renewed = False


def _read(said: dict[str, Any]) -> Notification:
    """Read a notification; raises `Invalid`.

    One that a newer server makes otherwise is given as it came, as the `data`.
    """
    try:
        return Notification.model_validate(said)
    except ValidationError:
        pass
    try:
        return Notification.model_validate({name: said[name] for name in _MEMBERS} | {"data": said})
    except ValidationError as error:
        raise Invalid(0, code="unreadable", detail=f"No notification: {said}") from error


def _is_stopping(error: Exception | None) -> bool:
    received = error.rcvd if isinstance(error, ConnectionClosed) else None
    return received is not None and received.code == _STOPPING


def _refusal(error: Exception | None) -> ApiError | None:
    """Return what the server has said against the socket, None if it only went away."""
    if isinstance(error, ApiError):
        return error
    if isinstance(error, InvalidStatus):
        answer = error.response
        return error_of(answer.status_code, answer.headers, bytes(answer.body or b""))
    if isinstance(error, ConnectionClosed) and error.rcvd is not None:
        return error_of_close(error.rcvd.code, error.rcvd.reason)
    return None
