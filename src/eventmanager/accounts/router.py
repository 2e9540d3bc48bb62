"""The routes of accounts: sign-in and sessions under `/api/auth`, and the caller."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Final
from uuid import UUID

from fastapi import APIRouter, Cookie, Path, Request, Response

from eventmanager.accounts import service, signing_in, signing_out, tickets
from eventmanager.accounts.access import ClaimedSession, CurrentUser
from eventmanager.accounts.dependencies import Given, Hashing, Remembered
from eventmanager.accounts.schemas import (
    OwnChange,
    OwnProfile,
    PasswordChange,
    Registration,
    SessionAnswer,
    SignedInAnswer,
    SignIn,
    TicketAnswer,
)
from eventmanager.accounts.tokens import SignedIn
from eventmanager.core.config import Settings
from eventmanager.core.errors import Unauthenticated
from eventmanager.core.http import Db, Now, errors
from eventmanager.core.ids import SessionId
from eventmanager.core.paging import Cursor, Limit, id_page, read_id

auth: Final = APIRouter(prefix="/api/auth", tags=["auth"])
users: Final = APIRouter(tags=["users"])

COOKIE: Final = "refresh_token"
COOKIE_PATH: Final = "/api/auth"

_NEWEST: Final = UUID(int=2**128 - 1)

RefreshCookie = Annotated[
    str | None, Cookie(alias=COOKIE, description="Set by register, login and refresh.")
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
    passwords: Hashing,
    settings: Given,
) -> SignedInAnswer:
    """Make a user with the global role User, and a first session for them.

    The refresh token is set as a cookie that only `/api/auth` receives and no script can read.
    """
    signed_in = await service.register(db, new=new, passwords=passwords, settings=settings, now=now)
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
    passwords: Hashing,
    settings: Given,
) -> SignedInAnswer:
    """Begin a session with a username, an email, or both, and a password."""
    signed_in = await signing_in.sign_in(
        db,
        username=given.username,
        email=given.email,
        password=given.password,
        passwords=passwords,
        settings=settings,
        now=now,
    )
    return _with_cookie(response, signed_in, settings)


@auth.post(
    "/refresh",
    summary="Renew the tokens",
    response_model=SignedInAnswer,
    responses=errors(401, 422, _401="No cookie, or one that is unknown, expired, or used before"),
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
    signed_in = await signing_in.refresh(
        db, token=refresh_token, sessions=sessions, settings=settings, now=now
    )
    return _with_cookie(response, signed_in, settings)


@auth.post(
    "/logout",
    status_code=204,
    summary="Sign out",
    responses=errors(422),
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
    await signing_out.sign_out(
        db, token=refresh_token, session_id=session_id, sessions=sessions, now=now
    )
    response = Response(status_code=204)
    response.delete_cookie(COOKIE, path=COOKIE_PATH, secure=True, httponly=True, samesite="strict")
    return response


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
    """Replace the caller's password and end all their sessions but this one.

    It counts as a sign-in for the limit on those, since it tells whether a password is right.
    """
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


@auth.post(
    "/ws-ticket",
    status_code=201,
    summary="Get a ticket for a WebSocket",
    response_model=TicketAnswer,
    responses=errors(401),
)
async def issue_ticket(
    *, response: Response, caller: CurrentUser, db: Db, now: Now
) -> TicketAnswer:
    """Make a ticket that opens `/api/ws/notifications?ticket=...` once, within 30 seconds.

    For pages in a browser, which can send no `Authorization` header with a WebSocket. The socket is
    then this session's, and closes with it.
    """
    ticket = await tickets.issue(db, caller=caller, now=now)
    response.headers["Cache-Control"] = "no-store"
    return TicketAnswer(ticket=ticket, expires_in=tickets.LIFE_SECONDS)


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
    found = await signing_out.list_sessions(
        db, caller=caller, before=read_id(cursor, start=_NEWEST), limit=limit + 1, now=now
    )
    return id_page(request, response, found, limit=limit)


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
    await signing_out.end_session(
        db, caller=caller, session_id=SessionId(session_id), sessions=sessions, now=now
    )
    return Response(status_code=204)


@users.get("/me", summary="Who am I", response_model=OwnProfile, responses=errors(401))
@users.get("/api/me", summary="Who am I", response_model=OwnProfile, responses=errors(401))
async def me(caller: CurrentUser, db: Db) -> Mapping[str, Any]:
    """Return the caller."""
    return await service.profile(db, user_id=caller.user_id)


@users.patch(
    "/api/me",
    summary="Change one's settings",
    response_model=OwnProfile,
    responses=errors(401, 413, 422),
)
async def change_me(change: OwnChange, caller: CurrentUser, db: Db, now: Now) -> Mapping[str, Any]:
    """Change the settings that you send; the others stay."""
    return await service.change_settings(db, caller=caller, free_busy=change.free_busy, now=now)


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
