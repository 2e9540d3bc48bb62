"""The routes of accounts: sign-in under `/api/auth`, the caller, and the Admin's view of users."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Final
from uuid import UUID

from fastapi import APIRouter, Cookie, Depends, Form, Path, Query, Request, Response

from eventmanager.accounts import service
from eventmanager.accounts.access import ClaimedSession, CurrentAdmin, CurrentUser
from eventmanager.accounts.passwords import Passwords
from eventmanager.accounts.schemas import (
    Greeting,
    PasswordChange,
    Profile,
    Registration,
    SessionAnswer,
    SignedInAnswer,
    SignIn,
    TokenAnswer,
    TokenRequest,
    UserChange,
)
from eventmanager.accounts.service import Origin, SignedIn
from eventmanager.accounts.sessions import SessionCache
from eventmanager.core.config import Settings
from eventmanager.core.errors import Unauthenticated
from eventmanager.core.http import Db, Now, errors, next_link
from eventmanager.core.ids import SessionId, UserId
from eventmanager.core.paging import read_cursor, write_cursor

auth: Final = APIRouter(prefix="/api/auth", tags=["auth"])
users: Final = APIRouter(tags=["users"])

COOKIE: Final = "refresh_token"
COOKIE_PATH: Final = "/api/auth"
USER_AGENT_LENGTH: Final = 200

_OLDEST: Final = UUID(int=0)
_NEWEST: Final = UUID(int=2**128 - 1)


async def _settings(request: Request) -> Settings:
    settings: Settings = request.app.state.settings
    return settings


async def _passwords(request: Request) -> Passwords:
    passwords: Passwords = request.app.state.passwords
    return passwords


async def _sessions(request: Request) -> SessionCache:
    sessions: SessionCache = request.app.state.sessions
    return sessions


async def _origin(request: Request) -> Origin:
    address = request.client.host if request.client else ""
    return Origin(address, request.headers.get("user-agent", "")[:USER_AGENT_LENGTH])


Given = Annotated[Settings, Depends(_settings)]
Hashing = Annotated[Passwords, Depends(_passwords)]
Remembered = Annotated[SessionCache, Depends(_sessions)]
From = Annotated[Origin, Depends(_origin)]
RefreshCookie = Annotated[
    str | None, Cookie(alias=COOKIE, description="Set by register, login and refresh.")
]
Limit = Annotated[int, Query(ge=1, le=500, description="How many at most.")]
Cursor = Annotated[
    str | None,
    Query(max_length=200, description="Where to go on: from the `Link` of the page before."),
]


@auth.post(
    "/register",
    status_code=201,
    summary="Register and sign in",
    response_model=SignedInAnswer,
    responses=errors(409, 422, _409="The username or the email is taken, in any letter case"),
)
async def register(
    *,
    new: Registration,
    response: Response,
    db: Db,
    now: Now,
    origin: From,
    passwords: Hashing,
    settings: Given,
) -> SignedInAnswer:
    """Make a user with the global role User, and a first session for them.

    The refresh token is set as a cookie that only `/api/auth` receives and no script can read.
    """
    signed_in = await service.register(
        db, new=new, origin=origin, passwords=passwords, settings=settings, now=now
    )
    return _with_cookie(response, signed_in, settings)


@auth.post(
    "/login",
    summary="Sign in",
    response_model=SignedInAnswer,
    responses=errors(
        401,
        403,
        422,
        _401="The name or the password is wrong; which of the two is not said",
        _403="The account is disabled",
    ),
)
async def login(
    *,
    given: SignIn,
    response: Response,
    db: Db,
    now: Now,
    origin: From,
    passwords: Hashing,
    settings: Given,
) -> SignedInAnswer:
    """Begin a session with a username, an email, or both, and a password."""
    signed_in = await service.sign_in(
        db,
        username=given.username,
        email=given.email,
        password=given.password,
        origin=origin,
        passwords=passwords,
        settings=settings,
        now=now,
    )
    return _with_cookie(response, signed_in, settings)


@auth.post(
    "/refresh",
    summary="Renew the tokens",
    response_model=SignedInAnswer,
    responses=errors(401, _401="No cookie, or one that is unknown, expired, or used before"),
)
async def refresh(
    *,
    response: Response,
    db: Db,
    now: Now,
    settings: Given,
    sessions: Remembered,
    refresh_token: RefreshCookie = None,
) -> SignedInAnswer:
    """Spend the refresh token of the cookie for a new one and a new access token.

    A refresh token is good for one use. Used again within ten seconds it gets the same successor
    (tabs race, answers are lost); used again later it ends the whole session.
    """
    if not refresh_token:
        raise Unauthenticated("There is no refresh token cookie: sign in first")
    signed_in = await service.refresh(
        db, token=refresh_token, sessions=sessions, settings=settings, now=now
    )
    return _with_cookie(response, signed_in, settings)


@auth.post(
    "/logout",
    status_code=204,
    summary="Sign out",
    responses=errors(),
)
async def logout(
    *,
    db: Db,
    now: Now,
    sessions: Remembered,
    session_id: ClaimedSession,
    refresh_token: RefreshCookie = None,
) -> Response:
    """End the session of the cookie and clear it; without a cookie that is done already.

    A client without a cookie jar sends its access token, and that token's session ends.
    """
    await service.sign_out(
        db, token=refresh_token, session_id=session_id, sessions=sessions, now=now
    )
    response = Response(status_code=204)
    response.delete_cookie(COOKIE, path=COOKIE_PATH, secure=True, httponly=True, samesite="strict")
    return response


@auth.post(
    "/token",
    summary="Get tokens as an OAuth 2 client",
    response_model=TokenAnswer,
    responses=errors(
        400, 422, _400="Refused: `error` and `error_description` say why (RFC 6749, 5.2)"
    ),
)
async def token(
    *,
    form: Annotated[TokenRequest, Form()],
    response: Response,
    db: Db,
    now: Now,
    origin: From,
    passwords: Hashing,
    settings: Given,
    sessions: Remembered,
) -> TokenAnswer:
    """Both tokens in the body, for clients without a cookie jar and for the Authorize button.

    Grants: `password` (RFC 6749, 4.3) and `refresh_token` (6). No `client_id` is asked for, and a
    `scope` means nothing here. Refresh tokens are rotated as those of the cookie are.
    """
    signed_in = await service.grant(
        db,
        form=form,
        origin=origin,
        passwords=passwords,
        sessions=sessions,
        settings=settings,
        now=now,
    )
    response.headers["Cache-Control"] = "no-store"
    return TokenAnswer(
        access_token=signed_in.access_token,
        refresh_token=signed_in.refresh_token,
        expires_in=settings.access_token_expire_minutes * 60,
    )


@auth.post(
    "/password",
    status_code=204,
    summary="Change the password",
    responses=errors(401, 422, _422="A value is not valid, or `current_password` is wrong"),
)
async def change_password(
    *,
    change: PasswordChange,
    caller: CurrentUser,
    db: Db,
    now: Now,
    passwords: Hashing,
    sessions: Remembered,
) -> Response:
    """Replace the caller's password and end all their sessions but this one."""
    await service.change_password(
        db,
        caller=caller,
        current_password=change.current_password,
        new_password=change.new_password,
        passwords=passwords,
        sessions=sessions,
        now=now,
    )
    return Response(status_code=204)


@auth.get(
    "/sessions",
    summary="List one's sessions",
    response_model=list[SessionAnswer],
    responses=errors(401, 422),
)
async def list_sessions(
    *,
    request: Request,
    response: Response,
    caller: CurrentUser,
    db: Db,
    now: Now,
    limit: Limit = 100,
    cursor: Cursor = None,
) -> Sequence[Mapping[str, Any]]:
    """Return where the caller is signed in, the newest first."""
    found = await service.list_sessions(
        db, caller=caller, before=_read(cursor, _NEWEST), limit=limit + 1, now=now
    )
    return _page(request, response, found, limit)


@auth.delete(
    "/sessions/{session_id}",
    status_code=204,
    summary="End one of one's sessions",
    responses=errors(401, 404, 422, _404="The caller has no such session, or it is over"),
)
async def end_session(
    *,
    session_id: Annotated[UUID, Path(description="From the list of sessions.")],
    caller: CurrentUser,
    db: Db,
    now: Now,
    sessions: Remembered,
) -> Response:
    """Sign out elsewhere: its tokens are refused within a second, everywhere."""
    await service.end_session(
        db, caller=caller, session_id=SessionId(session_id), sessions=sessions, now=now
    )
    return Response(status_code=204)


@users.get("/me", summary="Who am I", response_model=Profile, responses=errors(401))
@users.get("/api/me", summary="Who am I", response_model=Profile, responses=errors(401))
async def me(caller: CurrentUser, db: Db) -> Mapping[str, Any]:
    """Return the caller."""
    return await service.profile(db, user_id=caller.user_id)


@users.get(
    "/admin-area",
    summary="Greet an Admin",
    response_model=Greeting,
    responses=errors(401, 403, _403="The caller is not an Admin"),
)
async def admin_area(caller: CurrentAdmin) -> Greeting:
    """Answer only to Admins, to see whether one is."""
    return Greeting(msg=f"Hello, admin {caller.username}!")


@users.get(
    "/api/admin/users",
    summary="List all users",
    response_model=list[Profile],
    responses=errors(401, 403, 422, _403="The caller is not an Admin"),
)
async def list_users(
    *,
    request: Request,
    response: Response,
    _: CurrentAdmin,
    db: Db,
    limit: Limit = 100,
    cursor: Cursor = None,
) -> Sequence[Mapping[str, Any]]:
    """Return users in the order they registered."""
    found = await service.list_users(db, after=_read(cursor, _OLDEST), limit=limit + 1)
    return _page(request, response, found, limit)


@users.patch(
    "/api/admin/users/{user_id}",
    summary="Disable, enable, raise or lower a user",
    response_model=Profile,
    responses=errors(
        401,
        403,
        404,
        409,
        422,
        _403="The caller is not an Admin",
        _404="There is no such user",
        _409="It would leave no active Admin",
    ),
)
async def change_user(
    *,
    user_id: Annotated[UUID, Path(description="The user's id.")],
    change: UserChange,
    caller: CurrentAdmin,
    db: Db,
    now: Now,
    sessions: Remembered,
) -> Mapping[str, Any]:
    """Change whether a user may sign in, or their global role; disabling ends their sessions."""
    return await service.change_user(
        db,
        by=caller,
        user_id=UserId(user_id),
        is_active=change.is_active,
        role=change.role,
        sessions=sessions,
        now=now,
    )


def _with_cookie(response: Response, signed_in: SignedIn, settings: Settings) -> SignedInAnswer:
    response.set_cookie(
        COOKIE,
        signed_in.refresh_token,
        max_age=settings.refresh_token_expire_days * 24 * 60 * 60,
        path=COOKIE_PATH,
        secure=True,
        httponly=True,
        samesite="strict",
    )
    response.headers["Cache-Control"] = "no-store"
    return SignedInAnswer(
        access_token=signed_in.access_token,
        expires_in=settings.access_token_expire_minutes * 60,
    )


def _page(
    request: Request, response: Response, found: Sequence[Mapping[str, Any]], limit: int
) -> Sequence[Mapping[str, Any]]:
    """Return the first `limit` rows; the one more that was asked for says that others follow."""
    page = found[:limit]
    if len(found) > limit:
        response.headers["Link"] = next_link(request, cursor=write_cursor(page[-1]["id"]))
    return page


def _read(cursor: str | None, start: UUID) -> UUID:
    """Return the id in a cursor, or where the list begins."""
    if cursor is None:
        return start
    (last_id,) = read_cursor(cursor, UUID)
    assert isinstance(last_id, UUID)
    return last_id
