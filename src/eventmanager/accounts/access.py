"""Who is calling: the dependencies that every protected route takes.

async def read(caller: CurrentUser) -> ...      any signed-in user
async def manage(caller: CurrentAdmin) -> ...   the global role Admin
"""

from contextlib import suppress
from datetime import datetime
from typing import Annotated, Final

from fastapi import Depends, Request
from fastapi.openapi.models import HTTPBearer, OAuth2, OAuthFlowPassword, OAuthFlows
from fastapi.requests import HTTPConnection
from fastapi.security.base import SecurityBase
from structlog.contextvars import bind_contextvars

from eventmanager.accounts.models import GlobalRole
from eventmanager.accounts.sessions import Caller, SessionCache
from eventmanager.accounts.tokens import read_access_token
from eventmanager.core.errors import AdminOnly, InvalidToken, Unauthenticated

__all__ = ["Caller", "CurrentAdmin", "CurrentUser", "MaybeUser", "bearer_token", "caller_of"]


def bearer_token(connection: HTTPConnection) -> str | None:
    """Return the token of `Authorization: Bearer <token>` (RFC 6750, 2.1), if there is one."""
    scheme, _, token = connection.headers.get("authorization", "").partition(" ")
    return token.strip() or None if scheme.lower() == "bearer" else None


async def caller_of(connection: HTTPConnection, token: str) -> Caller:
    """Return who calls with this access token, over HTTP or a WebSocket.

    Raises `InvalidToken`, or `SessionEnded` at most half a second after the end.
    """
    state = connection.app.state
    now: datetime = state.clock.now()
    claims = read_access_token(token, settings=state.settings, now=now)
    sessions: SessionCache = state.sessions
    caller = await sessions.caller(state.database, session_id=claims.session_id, now=now)
    if caller.user_id != claims.user_id:
        raise InvalidToken
    bind_contextvars(user_id=str(caller.user_id))
    return caller


class _Described(SecurityBase):
    """A security scheme of the OpenAPI document that does nothing of its own in a request."""

    def __init__(self, scheme_name: str, model: HTTPBearer) -> None:
        self.scheme_name = scheme_name
        self.model = model

    async def __call__(self) -> None:
        """Do nothing."""


_PASTED: Final = _Described(
    "AccessToken",
    HTTPBearer(
        bearerFormat="JWT",
        description="Paste the `access_token` that register, login or refresh answered.",
    ),
)


class _SignedIn(SecurityBase):
    """Finds the caller, and is the scheme behind the Authorize button.

    One callable does both: a dependency less on every request than FastAPI's own classes.
    """

    scheme_name = "Password"

    def __init__(self) -> None:
        self.model = OAuth2(
            flows=OAuthFlows(password=OAuthFlowPassword(tokenUrl="api/auth/token")),
            description="Sign in with a username or an email, and a password.",
        )

    async def __call__(self, request: Request, _: Annotated[None, Depends(_PASTED)]) -> Caller:
        """Return the caller of this request."""
        token = bearer_token(request)
        if token is None:
            raise Unauthenticated
        return await caller_of(request, token)


CurrentUser = Annotated[Caller, Depends(_SignedIn())]


async def _admin(caller: CurrentUser) -> Caller:
    if caller.role is not GlobalRole.ADMIN:
        raise AdminOnly
    return caller


CurrentAdmin = Annotated[Caller, Depends(_admin)]


async def _whoever(request: Request) -> Caller | None:
    token = bearer_token(request)
    if token is None:
        return None
    with suppress(Unauthenticated):
        return await caller_of(request, token)
    return None


# For the one route that a signed-out caller may take as well.
MaybeUser = Annotated[Caller | None, Depends(_whoever)]
