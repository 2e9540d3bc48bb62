"""Who is calling: the dependencies that every protected route takes.

A route declares `caller: CurrentUser` for any signed-in user, or `caller: CurrentAdmin` for the
global role Admin; a socket, which has no dependencies to wait for, calls `caller_of`.
"""

from contextlib import suppress
from datetime import datetime
from typing import Annotated, Any, Final

from fastapi import Depends, Request
from fastapi.openapi.models import HTTPBearer, OAuth2, OAuthFlowPassword, OAuthFlows
from fastapi.requests import HTTPConnection
from fastapi.security.base import SecurityBase
from structlog.contextvars import bind_contextvars

from eventmanager.accounts import tickets
from eventmanager.accounts.models import GlobalRole
from eventmanager.accounts.sessions import Caller, SessionCache
from eventmanager.accounts.tokens import is_ours, read_access_token
from eventmanager.core.audit.origin import sign_in
from eventmanager.core.errors import AdminOnly, InvalidToken, Unauthenticated
from eventmanager.core.ids import SessionId

__all__ = [
    "Caller",
    "ClaimedSession",
    "CurrentAdmin",
    "CurrentUser",
    "bearer_token",
    "caller_of",
    "caller_with_ticket",
    "has_our_token",
]

_PASSWORD_SCHEME: Final = "Password"  # noqa: S105  # a name in the OpenAPI document
_PASTED_SCHEME: Final = "AccessToken"


def describe(document: dict[str, Any]) -> None:
    """Let an OpenAPI document say that a token may also be pasted, wherever a caller is needed.

    Done here because a second scheme among the dependencies would cost every request 25 µs.
    """
    pasted = HTTPBearer(
        bearerFormat="JWT",
        description="Paste the `access_token` that register, login or refresh answered.",
    )
    schemes = document["components"]["securitySchemes"]
    schemes[_PASTED_SCHEME] = pasted.model_dump(by_alias=True, exclude_none=True, mode="json")
    for path in document["paths"].values():
        for operation in path.values():
            if {_PASSWORD_SCHEME: []} in operation.get("security", ()):
                operation["security"].append({_PASTED_SCHEME: []})


def bearer_token(connection: HTTPConnection) -> str | None:
    """Return the token of `Authorization: Bearer <token>` (RFC 6750, 2.1), if there is one."""
    scheme, _, token = connection.headers.get("authorization", "").partition(" ")
    return (token.strip() or None) if scheme.lower() == "bearer" else None


def has_our_token(connection: HTTPConnection) -> bool:
    """Tell, without the database, whether a request brings an access token that we have signed.

    It may be over, or its session: that is for the route to refuse, and its client to renew.
    """
    token = bearer_token(connection)
    return token is not None and is_ours(token, settings=connection.app.state.settings)


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
    sign_in(caller.session_id)
    return caller


async def caller_with_ticket(connection: HTTPConnection, ticket: str) -> Caller:
    """Return whose ticket it is, which is then used up.

    Raises `InvalidToken`, or `SessionEnded` as `caller_of` does.
    """
    state = connection.app.state
    now: datetime = state.clock.now()
    session_id = await tickets.take(state.database, ticket, now=now)
    sessions: SessionCache = state.sessions
    caller = await sessions.caller(state.database, session_id=session_id, now=now)
    bind_contextvars(user_id=str(caller.user_id))
    return caller


class _SignedIn(SecurityBase):
    """Finds the caller, and is the scheme behind the Authorize button.

    One callable does both: a dependency less on every request than with FastAPI's own classes.
    """

    scheme_name = _PASSWORD_SCHEME

    def __init__(self) -> None:
        self.model = OAuth2(
            flows=OAuthFlows(password=OAuthFlowPassword(tokenUrl="api/auth/token")),
            description="Sign in with a username or an email, and a password.",
        )

    async def __call__(self, request: Request) -> Caller:
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


async def _claimed_session(request: Request) -> SessionId | None:
    token = bearer_token(request)
    if token is None:
        return None
    state = request.app.state
    with suppress(InvalidToken):
        return read_access_token(token, settings=state.settings, now=state.clock.now()).session_id
    return None


# Which session a valid access token names, if there is one; whether it lives is not asked.
ClaimedSession = Annotated[SessionId | None, Depends(_claimed_session)]
