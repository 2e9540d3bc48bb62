"""PURE but for the clock. What is done for one call: tokens are renewed, requests sent again.

A conversation is a generator: it yields what is to be done next and is sent what came of it. Both
kinds of client do those few things, each in its way, and nothing else.
"""

import math
import random
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any, Final, TypeAlias, TypeVar

import httpx
from pydantic import Field

from eventmanager.client.calls import Call, nothing, one
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
"""How long before its end an access token is renewed; a fifth of its life if that is less.

Up to three times as long, so that those who got theirs together don't come back together.
"""
REFRESH_SECONDS: Final = 4.0
"""How long one attempt to renew may take, and a call wait for it whose token is still good."""
CLOSE_SECONDS: Final = 2.0
_KEY_IN_USE: Final = "idempotency_key_in_use"
_REFUSED: Final = "invalid_grant"
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
    """Get another access token than this one: once, however many conversations ask for it.

    What comes of it is the error that all who wait are to raise, if there is one; also if it takes
    more than so many seconds, but then the renewal goes on.
    """

    stale: str | None
    seconds: float


Step: TypeAlias = Exchange | Pause | Renew
Outcome: TypeAlias = httpx.Response | httpx.TransportError | ApiError | None
Flow: TypeAlias = Generator[Step, Outcome, T]


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
        timeout_s: float,
        patience_s: float,
    ) -> None:
        self.tokens = tokens
        self._username = username
        self._password = password
        self._on_tokens = on_tokens
        self._timeout_s = timeout_s
        self._patience_s = patience_s
        self._due_at = math.inf
        self._ends_at = math.inf
        self._has_begun = False

    def bearer(
        self, *, refused: str | None = None, deadline: float | None = None
    ) -> Flow[str | None]:
        """Return an access token that is good for a while, another than a refused one.

        Raises `ApiError`.
        """
        token = self.tokens.access_token
        must = token is None or token == refused or time.monotonic() >= self._ends_at
        if must:
            yield from self._renewed(token, deadline or self._deadline())
        elif time.monotonic() >= self._due_at:
            error = yield Renew(token, REFRESH_SECONDS)
            if isinstance(error, Unauthorized):
                raise error
            if isinstance(error, ApiError):
                # The token in hand is still good, and who is told to wait must not come at once.
                pause_s = LONGEST_PAUSE_SECONDS if error.retry_after is None else error.retry_after
                self._due_at = min(time.monotonic() + pause_s, self._ends_at)
        return self.tokens.access_token

    def conversation(self, call: Call[T]) -> Flow[tuple[T, Call[T] | None]]:
        """Return what is answered to a call, and the call for the next page; raises `ApiError`."""
        deadline = self._deadline()
        token = yield from self.bearer(deadline=deadline)
        try:
            answer = yield from _answer(call, token, deadline=deadline)
        except Unauthorized:
            if self.tokens.refresh_token is None and self._password is None:
                raise
            # It ended early, or the clocks run apart; the next token must do.
            yield from self._renewed(token, deadline)
            answer = yield from _answer(call, self.tokens.access_token, deadline=deadline)
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
                # Who is told of the tokens keeps them, and the session with them.
                self._has_begun = self._on_tokens is None
                return
            # What was refused once is not tried again, however many ask.
            self._password = None
        raise Unauthorized(
            401, code="signed_out", detail="The session is over, or the password is wrong"
        )

    def signing_out(self) -> Flow[None]:
        """End the session, whoever began it; raises `ApiError`."""
        tokens = self.tokens
        if tokens == Tokens():
            return
        yield from _answer(self._leave(), tokens.access_token, deadline=self._deadline())
        self._has_begun = False
        if self.tokens == tokens:
            self.tokens = Tokens()

    def farewell(self) -> Exchange | None:
        """Return what ends the session with the client, None if the session is not only its own."""
        if not self._has_begun:
            return None
        self._has_begun = False
        return Exchange(self._leave(), self.tokens.access_token)

    def _leave(self) -> Call[None]:
        # By the refresh token too: the access token may have ended.
        headers = {"Cookie": f"refresh_token={self.tokens.refresh_token or ''}"}
        return Call(
            "POST",
            "/api/auth/logout",
            nothing,
            headers=headers,
            timeout_s=CLOSE_SECONDS,
            repeatable=True,
        )

    def _deadline(self) -> float:
        return time.monotonic() + self._patience_s

    def _renewed(self, stale: str | None, deadline: float) -> Flow[None]:
        # What is under way when patience ends may still be answered.
        seconds = max(deadline - time.monotonic(), 0) + self._timeout_s
        error = yield Renew(stale, seconds)
        if isinstance(error, ApiError):
            raise error

    def _granted(self, form: dict[str, str]) -> Flow[bool]:
        # A refresh token may be sent again for ten seconds: the same successor comes back.
        call = Call(
            "POST",
            "/api/auth/token",
            one(_Granted),
            form=form,
            timeout_s=min(REFRESH_SECONDS, self._timeout_s) if "refresh_token" in form else None,
            repeatable=True,
        )
        try:
            answer = yield from _answer(call, None, deadline=self._deadline())
        except Invalid as error:
            # Only this says that the token or the password is no good (RFC 6749, 5.2); a proxy on
            # the way says other things.
            if error.status == 400 and error.facts.get("error") == _REFUSED:
                return False
            raise
        granted = call.read(answer)
        life_s = granted.expires_in
        early_s = min(EARLY_SECONDS, life_s / 5) * random.uniform(1, 3)  # noqa: S311  # no secret
        self._ends_at = time.monotonic() + life_s
        self._due_at = self._ends_at - early_s
        self.tokens = Tokens(access_token=granted.access_token, refresh_token=granted.refresh_token)
        if self._on_tokens is not None:
            self._on_tokens(self.tokens)
        return True


def _answer(call: Call[Any], token: str | None, *, deadline: float) -> Flow[httpx.Response]:
    """Send a call until it is answered; raises `ApiError` when that is no use or takes too long."""
    most = FIRST_PAUSE_SECONDS
    while True:
        came = yield Exchange(call, token)
        if isinstance(came, httpx.Response) and came.is_success:
            return came
        error = _error(came)
        # All that were refused together must not come back together.
        seconds = random.uniform(most / 2, most)  # noqa: S311  # nothing secret
        if error.retry_after is not None:
            seconds += error.retry_after * random.uniform(1, 1.5)  # noqa: S311  # nothing secret
        left = deadline - time.monotonic()
        if not _may_repeat(call, error) or (error.retry_after or 0) >= left:
            raise error
        yield Pause(min(seconds, left))
        most = min(most * 2, LONGEST_PAUSE_SECONDS)


def _error(came: Outcome) -> ApiError:
    if isinstance(came, httpx.Response):
        return error_of(came.status_code, came.headers, came.content)
    assert isinstance(came, httpx.TransportError), "an exchange has an outcome"
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
        isinstance(error, Unavailable) and error.status in {408, 502, 503, 504}
    )
