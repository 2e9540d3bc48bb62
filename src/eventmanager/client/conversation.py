"""PURE but for the clock. What is done for one call: tokens are renewed, requests sent again.

A conversation is a generator: it yields what is to be done next and is sent what came of it. Both
kinds of client do those few things, each in its way, and nothing else.
"""

import random
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any, Final, TypeAlias, TypeVar

import httpx
from pydantic import Field

from eventmanager.client.calls import Call, one
from eventmanager.client.errors import (
    ApiError,
    Conflict,
    Invalid,
    RateLimited,
    Unauthorized,
    Unavailable,
    Unreachable,
    error_of,
    unreachable,
)
from eventmanager.client.models import Model

T = TypeVar("T")

FIRST_PAUSE_SECONDS: Final = 0.1
LONGEST_PAUSE_SECONDS: Final = 2.0
EARLY_SECONDS: Final = 30.0
"""How long before its end an access token is renewed; a fifth of its life if that is less."""
REFRESH_SECONDS: Final = 4.0
_KEY_IN_USE: Final = "idempotency_key_in_use"
_NOT_SENT: Final = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)


@dataclass(frozen=True)
class Exchange:
    """Send a call with a token; what comes of it is the answer, or why there is none."""

    call: Call[Any]
    token: str | None


@dataclass(frozen=True)
class Pause:
    """Wait."""

    seconds: float


@dataclass(frozen=True)
class Renew:
    """Get another access token than this one: once, however many conversations ask for it."""

    stale: str | None


Step: TypeAlias = Exchange | Pause | Renew
Flow: TypeAlias = Generator[Step, httpx.Response | httpx.TransportError | None, T]


class Tokens(Model):
    """What proves a session. The refresh token is good for one use, and for one client."""

    access_token: str | None = Field(None, repr=False)
    refresh_token: str | None = Field(None, repr=False)


class _Granted(Model):
    access_token: str = Field(repr=False)
    refresh_token: str = Field(repr=False)
    expires_in: float


class Account:
    """Who the client is, what it has to prove it, and how long that is good."""

    def __init__(
        self,
        *,
        username: str | None,
        password: str | None,
        tokens: Tokens,
        on_tokens: Callable[[Tokens], None] | None,
        patience_s: float,
    ) -> None:
        self.tokens = tokens
        self.patience_s = patience_s
        self._username = username
        self._password = password
        self._on_tokens = on_tokens
        self._due_at: float | None = None

    @property
    def can_renew(self) -> bool:
        """Whether there is something to get new tokens with."""
        return self.tokens.refresh_token is not None or self._password is not None

    def bearer(self, *, refused: str | None = None) -> Flow[str | None]:
        """Return an access token that is good for a while, another than a refused one.

        Raises `ApiError`.
        """
        token = self.tokens.access_token
        is_due = self._due_at is not None and time.monotonic() >= self._due_at
        if token is None or token == refused or is_due:
            yield Renew(token)
        return self.tokens.access_token

    def conversation(self, call: Call[T]) -> Flow[tuple[T, Call[T] | None]]:
        """Return what is answered to a call, and the call for the next page; raises `ApiError`."""
        token = yield from self.bearer()
        try:
            answer = yield from _answer(call, token, patience_s=self.patience_s)
        except Unauthorized:
            if not self.can_renew:
                raise
            # It ended early, or the clocks run apart; the next token must do.
            yield Renew(token)
            token = self.tokens.access_token
            answer = yield from _answer(call, token, patience_s=self.patience_s)
        return call.read(answer), call.next(answer)

    def renewal(self) -> Flow[None]:
        """Get new tokens, for the refresh token or else for the password.

        One at a time: a refresh token that is used twice ends its session. Raises `Unauthorized`,
        and what keeps the server from answering.
        """
        if self.tokens.refresh_token is not None:
            form = {"grant_type": "refresh_token", "refresh_token": self.tokens.refresh_token}
            if (yield from self._granted(form)):
                return
            self.tokens = Tokens(access_token=self.tokens.access_token)
        if self._username is not None and self._password is not None:
            form = {"grant_type": "password", "username": self._username}
            if (yield from self._granted({**form, "password": self._password})):
                return
            # What was refused once is not tried again, however many ask.
            self._password = None
        raise Unauthorized(
            401, code="signed_out", detail="The session is over, or the password is wrong"
        )

    def _granted(self, form: dict[str, str]) -> Flow[bool]:
        # A refresh token may be sent again for ten seconds: the same successor comes back.
        call = Call(
            "POST",
            "/api/auth/token",
            one(_Granted),
            form=form,
            timeout_s=REFRESH_SECONDS if "refresh_token" in form else None,
            repeatable=True,
        )
        try:
            answer = yield from _answer(call, None, patience_s=self.patience_s)
        except Invalid:
            return False
        granted = call.read(answer)
        early = min(EARLY_SECONDS, granted.expires_in / 5)
        self._due_at = time.monotonic() + granted.expires_in - early
        self.tokens = Tokens(access_token=granted.access_token, refresh_token=granted.refresh_token)
        if self._on_tokens is not None:
            self._on_tokens(self.tokens)
        return True


def _answer(call: Call[Any], token: str | None, *, patience_s: float) -> Flow[httpx.Response]:
    """Send a call until it is answered; raises `ApiError` when that is no use or takes too long."""
    deadline = time.monotonic() + patience_s
    most = FIRST_PAUSE_SECONDS
    while True:
        came = yield Exchange(call, token)
        if isinstance(came, httpx.Response) and came.is_success:
            return came
        error = _error(came)
        # All that were refused together must not come back together.
        seconds = random.uniform(most / 2, most)  # noqa: S311  # nothing secret
        if error.retry_after is not None:
            seconds += error.retry_after
        if not _may_repeat(call, error) or time.monotonic() + seconds > deadline:
            raise error
        yield Pause(seconds)
        most = min(most * 2, LONGEST_PAUSE_SECONDS)


def _error(came: httpx.Response | httpx.TransportError | None) -> ApiError:
    if isinstance(came, httpx.Response):
        return error_of(came.status_code, came.headers, came.content)
    assert came is not None, "an exchange has an outcome"
    error = unreachable(came)
    error.__cause__ = came
    return error


def _may_repeat(call: Call[Any], error: ApiError) -> bool:
    """Tell whether a call that came to nothing may be sent again."""
    if isinstance(error, RateLimited) or isinstance(error.__cause__, _NOT_SENT):
        return True
    if isinstance(error, Conflict):
        return error.code == _KEY_IN_USE
    if not call.repeatable:
        return False
    return isinstance(error, Unreachable) or (
        isinstance(error, Unavailable) and error.status in {502, 503, 504}
    )
