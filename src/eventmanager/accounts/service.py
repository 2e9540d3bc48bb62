"""What can be done with accounts: register, sign in and out, renew, change, disable.

Errors: `DuplicateUser`, `InvalidCredentials`, `AccountDisabled`, `InvalidToken`, `SessionEnded`,
`NotFound`, `Conflict`, and `Unavailable` when too many passwords are waiting to be hashed.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

import asyncpg
import structlog
from pydantic import ValidationError

from eventmanager.accounts import queries, tokens
from eventmanager.accounts.models import GlobalRole
from eventmanager.accounts.passwords import Passwords
from eventmanager.accounts.schemas import (
    Registration,
    TokenRequest,
    normal_email,
    normal_username,
)
from eventmanager.accounts.sessions import Caller, SessionCache
from eventmanager.core.config import Settings
from eventmanager.core.database import Database, Query, Transaction
from eventmanager.core.errors import (
    AccountDisabled,
    Conflict,
    DuplicateUser,
    Invalid,
    InvalidCredentials,
    InvalidGrant,
    InvalidToken,
    InvalidTokenRequest,
    NotFound,
    SessionEnded,
    Unauthenticated,
    UnsupportedGrantType,
)
from eventmanager.core.ids import SessionId, UserId, uuid7

REPLAY_FORGIVEN: Final = timedelta(seconds=10)
KEPT_AFTER_END: Final = timedelta(days=30)
PURGED_AT_ONCE: Final = 1000

_NOBODY: Final = UUID(int=0)

_audit = structlog.get_logger("audit")
_security = structlog.get_logger("security")


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a sign-in comes from, as its user will see it among their sessions."""

    address: str
    user_agent: str


@dataclass(frozen=True, slots=True)
class SignedIn:
    """A session and the two tokens that prove it; both are secrets, never to be logged."""

    user_id: UserId
    session_id: SessionId
    access_token: str
    refresh_token: str


async def register(
    db: Database,
    *,
    new: Registration,
    origin: Origin,
    passwords: Passwords,
    settings: Settings,
    now: datetime,
) -> SignedIn:
    """Make a user and sign them in. Raises `DuplicateUser`."""
    user_id, session_id = UserId(uuid7()), SessionId(uuid7())
    refresh_token = tokens.new_refresh_token()
    await _insert_user(
        db,
        queries.REGISTER,
        user_id=user_id,
        username=new.username,
        email=new.email,
        password_hash=await passwords.hash(new.password),
        session_id=session_id,
        digest=tokens.digest(refresh_token),
        expires_at=now + tokens.refresh_lifetime(settings),
        address=origin.address,
        user_agent=origin.user_agent,
        now=now,
    )
    _audit.info("user_registered", user_id=str(user_id), session_id=str(session_id))
    return _signed_in(
        settings,
        user_id=user_id,
        session_id=session_id,
        role=GlobalRole.USER,
        refresh_token=refresh_token,
        now=now,
    )


async def create_user(
    db: Database,
    *,
    username: str,
    email: str,
    password: str,
    admin: bool = False,
    passwords: Passwords,
    now: datetime,
) -> UserId:
    """Make a user, an Admin on request, without signing them in.

    Raises `Invalid` where registration would answer 422, and `DuplicateUser`.
    """
    new = _registration(username=username, email=email, password=password)
    user_id = UserId(uuid7())
    role = GlobalRole.ADMIN if admin else GlobalRole.USER
    await _insert_user(
        db,
        queries.CREATE_USER,
        user_id=user_id,
        username=new.username,
        email=new.email,
        password_hash=await passwords.hash(new.password),
        role=role.value,
        now=now,
    )
    _audit.info("user_created", user_id=str(user_id), role=role.value)
    return user_id


async def sign_in(
    db: Database,
    *,
    username: str | None,
    email: str | None,
    password: str,
    origin: Origin,
    passwords: Passwords,
    settings: Settings,
    now: datetime,
) -> SignedIn:
    """Begin a session for whom the names and the password fit.

    A `username` with an `@`, which none has, is taken for an email. Raises `InvalidCredentials`,
    equally and equally fast for a name that nobody has; `AccountDisabled` only to who knows the
    password.
    """
    user = await _named(db, username=username, email=email)
    password_hash: str | None = user["password_hash"] if user else None
    verified = await passwords.verify(password, password_hash)
    if user is None or password_hash is None or not verified:
        _security.warning(
            "sign_in_failed", user_id=str(user["id"]) if user else None, address=origin.address
        )
        raise InvalidCredentials
    user_id, session_id = UserId(user["id"]), SessionId(uuid7())
    if not user["is_active"]:
        _security.warning("sign_in_disabled", user_id=str(user_id), address=origin.address)
        raise AccountDisabled
    refresh_token = tokens.new_refresh_token()
    begun = await db.transaction(
        lambda tx: tx.first(
            queries.BEGIN_SESSION,
            user_id=user_id,
            password_hash=password_hash,
            session_id=session_id,
            digest=tokens.digest(refresh_token),
            expires_at=now + tokens.refresh_lifetime(settings),
            address=origin.address,
            user_agent=origin.user_agent,
            now=now,
        )
    )
    if begun is None:
        _security.warning("sign_in_overtaken", user_id=str(user_id), address=origin.address)
        raise InvalidCredentials
    _audit.info("signed_in", user_id=str(user_id), session_id=str(session_id))
    if passwords.outdated(password_hash):
        await _rehash(db, user_id=user_id, password=password, known=password_hash, by=passwords)
    return _signed_in(
        settings,
        user_id=user_id,
        session_id=session_id,
        role=GlobalRole(user["role"]),
        refresh_token=refresh_token,
        now=now,
    )


async def refresh(
    db: Database, *, token: str, sessions: SessionCache, settings: Settings, now: datetime
) -> SignedIn:
    """Spend a refresh token for its successor and a new access token.

    For ten seconds a spent token gets the same successor again: tabs race, and answers are lost.
    After that the session ends, for whoever holds it. Raises `InvalidToken`, `SessionEnded`.
    """
    digest = tokens.digest(token)
    following = tokens.successor(token, settings=settings)

    async def work(tx: Transaction) -> asyncpg.Record | None:
        spent = await tx.first(
            queries.ROTATE,
            digest=digest,
            successor=tokens.digest(following),
            expires_at=now + tokens.refresh_lifetime(settings),
            now=now,
        )
        return spent or await tx.first(
            queries.REPLAY, digest=digest, forgiven_since=now - REPLAY_FORGIVEN, now=now
        )

    found = await db.transaction(work)
    if found is None:
        raise InvalidToken
    user_id, session_id = UserId(found["user_id"]), SessionId(found["session_id"])
    if found["late"]:
        sessions.forget(session_id)
        _security.warning("refresh_replayed", user_id=str(user_id), session_id=str(session_id))
    if found["late"] or not found["live"]:
        raise SessionEnded
    return _signed_in(
        settings,
        user_id=user_id,
        session_id=session_id,
        role=GlobalRole(found["role"]),
        refresh_token=following,
        now=now,
    )


async def grant(
    db: Database,
    *,
    form: TokenRequest,
    origin: Origin,
    passwords: Passwords,
    sessions: SessionCache,
    settings: Settings,
    now: datetime,
) -> SignedIn:
    """Sign in or refresh as an OAuth client asks. Raises the kinds of `TokenRefused`."""
    try:
        if form.grant_type == "password":
            if not form.username or not form.password:
                raise InvalidTokenRequest("The password grant needs a username and a password")
            return await sign_in(
                db,
                username=form.username,
                email=None,
                password=form.password,
                origin=origin,
                passwords=passwords,
                settings=settings,
                now=now,
            )
        if form.grant_type == "refresh_token":
            if not form.refresh_token:
                raise InvalidTokenRequest("The refresh_token grant needs a refresh_token")
            return await refresh(
                db, token=form.refresh_token, sessions=sessions, settings=settings, now=now
            )
    except (Unauthenticated, AccountDisabled) as error:
        # OAuth clients know one status and one word for all of these (RFC 6749, 5.2).
        raise InvalidGrant(error.detail) from error
    raise UnsupportedGrantType


async def sign_out(
    db: Database,
    *,
    token: str | None,
    session_id: SessionId | None,
    sessions: SessionCache,
    now: datetime,
) -> None:
    """End the session of a refresh token, spent or not, and the one named; either may be None."""
    if token is None and session_id is None:
        return
    digest = tokens.digest(token) if token is not None else None
    ended = await db.transaction(
        lambda tx: tx.all(queries.SIGN_OUT, digest=digest, session_id=session_id, now=now)
    )
    for row in ended:
        sessions.forget(SessionId(row["id"]))
        _audit.info("signed_out", user_id=str(row["user_id"]), session_id=str(row["id"]))


async def change_password(
    db: Database,
    *,
    caller: Caller,
    current_password: str,
    new_password: str,
    passwords: Passwords,
    sessions: SessionCache,
    now: datetime,
) -> None:
    """Replace the caller's password and end their other sessions.

    Raises `Invalid` at `current_password` when that is wrong.
    """
    async with db.reading() as connection:
        user = await connection.first(queries.PASSWORD_HASH, user_id=caller.user_id)
    old_hash: str | None = user["password_hash"] if user else None
    if not await passwords.verify(current_password, old_hash):
        _security.warning("password_change_failed", user_id=str(caller.user_id))
        raise _wrong_password()
    new_hash = await passwords.hash(new_password)

    async def work(tx: Transaction) -> list[SessionId] | None:
        changed = await tx.first(
            queries.CHANGE_PASSWORD, user_id=caller.user_id, old_hash=old_hash, new_hash=new_hash
        )
        if changed is None:
            return None
        return await _end_sessions(tx, user_id=caller.user_id, kept=caller.session_id, now=now)

    ended = await db.transaction(work)
    if ended is None:
        raise _wrong_password()
    for session_id in ended:
        sessions.forget(session_id)
    _audit.info("password_changed", user_id=str(caller.user_id), sessions_ended=len(ended))


async def profile(db: Database, *, user_id: UserId) -> Mapping[str, Any]:
    """Return one user. Raises `NotFound`."""
    async with db.reading() as connection:
        row = await connection.first(queries.PROFILE, user_id=user_id)
    if row is None:
        raise NotFound
    return dict(row)


async def list_sessions(
    db: Database, *, caller: Caller, before: UUID, limit: int, now: datetime
) -> list[Mapping[str, Any]]:
    """Return the caller's live sessions older than the id `before`, the newest first."""
    async with db.reading() as connection:
        rows = await connection.all(
            queries.LIVE_SESSIONS, user_id=caller.user_id, before=before, limit=limit, now=now
        )
    return [{**row, "current": row["id"] == caller.session_id} for row in rows]


async def end_session(
    db: Database, *, caller: Caller, session_id: SessionId, sessions: SessionCache, now: datetime
) -> None:
    """End one of the caller's live sessions. Raises `NotFound`."""
    ended = await db.transaction(
        lambda tx: tx.first(
            queries.END_SESSION, user_id=caller.user_id, session_id=session_id, now=now
        )
    )
    if ended is None:
        raise NotFound("You have no such session")
    sessions.forget(session_id)
    _audit.info("session_ended", user_id=str(caller.user_id), session_id=str(session_id))


async def list_users(db: Database, *, after: UUID, limit: int) -> list[Mapping[str, Any]]:
    """Return users newer than the id `after`, the oldest first."""
    async with db.reading() as connection:
        rows = await connection.all(queries.USERS, after=after, limit=limit)
    return [dict(row) for row in rows]


async def change_user(
    db: Database,
    *,
    by: Caller,
    user_id: UserId,
    is_active: bool | None,
    role: GlobalRole | None,
    sessions: SessionCache,
    now: datetime,
) -> Mapping[str, Any]:
    """Disable, enable, raise or lower a user; None leaves a thing as it is.

    Disabling ends all their sessions. Raises `NotFound`, and `Conflict` rather than leave the
    server without an active Admin.
    """

    async def work(tx: Transaction) -> Mapping[str, Any]:
        await tx.first(queries.ONE_ADMIN_AT_A_TIME)
        user = await tx.first(queries.HELD_USER, user_id=user_id)
        if user is None:
            raise NotFound("There is no such user")
        active = user["is_active"] if is_active is None else is_active
        new_role = GlobalRole(user["role"]) if role is None else role
        was_admin = user["is_active"] and user["role"] == GlobalRole.ADMIN
        stays_admin = active and new_role is GlobalRole.ADMIN
        if was_admin and not stays_admin:
            other = await tx.first(queries.ANOTHER_ADMIN, user_id=user_id)
            if other is None:
                raise Conflict("This is the last active Admin: make another user an Admin first")
        changed = await tx.first(
            queries.CHANGE_USER, user_id=user_id, is_active=active, role=new_role.value
        )
        assert changed is not None
        if not active:
            await _end_sessions(tx, user_id=user_id, kept=_NOBODY, now=now)
        return dict(changed)

    changed = await db.transaction(work)
    sessions.clear()
    _audit.info(
        "user_changed",
        by=str(by.user_id),
        changed_user_id=str(user_id),
        is_active=changed["is_active"],
        role=changed["role"],
    )
    return changed


async def purge(db: Database, *, now: datetime) -> int:
    """Delete sessions, and spent tokens, that were over thirty days ago; return how many rows."""
    deleted = 0
    for statement in (queries.PURGE_SESSIONS, queries.PURGE_TOKENS):
        batch = PURGED_AT_ONCE
        while batch == PURGED_AT_ONCE:
            batch = await _purge_batch(db, statement, before=now - KEPT_AFTER_END)
            deleted += batch
    return deleted


async def _purge_batch(db: Database, statement: Query, *, before: datetime) -> int:
    rows = await db.transaction(lambda tx: tx.all(statement, before=before, limit=PURGED_AT_ONCE))
    return len(rows)


def _registration(**values: str) -> Registration:
    try:
        return Registration(**values)
    except ValidationError as error:
        # pydantic's own sentence repeats the input, which may be the password.
        wrong = error.errors(include_url=False, include_input=False)[0]
        name = ".".join(str(part) for part in wrong["loc"])
        raise Invalid(f"{name}: {wrong['msg']}", loc=wrong["loc"], type=wrong["type"]) from None


async def _insert_user(db: Database, statement: Query, **values: Any) -> None:
    """Run an insert; that a name is taken is known from the index alone, so no race can pass."""
    try:
        await db.transaction(lambda tx: tx.first(statement, **values))
    except asyncpg.UniqueViolationError as error:
        if error.constraint_name == "uq_users_username":
            raise DuplicateUser("This username is already registered", field="username") from error
        if error.constraint_name == "uq_users_email":
            raise DuplicateUser("This email is already registered", field="email") from error
        raise


async def _named(db: Database, *, username: str | None, email: str | None) -> asyncpg.Record | None:
    """Return the user whom all given names fit; a NUL, which SQL cannot take, fits nobody."""
    if username is not None and "@" in username:
        if email is not None and normal_email(email).lower() != normal_email(username).lower():
            return None
        username, email = None, username
    if "\0" in f"{username}{email}":
        return None
    address = normal_email(email) if email is not None else None
    async with db.reading() as connection:
        if username is None:
            return await connection.first(queries.BY_EMAIL, email=address)
        name = normal_username(username)
        return await connection.first(queries.BY_USERNAME, username=name, email=address)


async def _end_sessions(
    tx: Transaction, *, user_id: UserId, kept: UUID, now: datetime
) -> list[SessionId]:
    rows = await tx.all(queries.END_OTHER_SESSIONS, user_id=user_id, kept=kept, now=now)
    return [SessionId(row["id"]) for row in rows]


async def _rehash(
    db: Database, *, user_id: UserId, password: str, known: str, by: Passwords
) -> None:
    """Keep the password under today's parameters, unless it was changed in between."""
    new_hash = await by.hash(password)
    await db.transaction(
        lambda tx: tx.first(
            queries.CHANGE_PASSWORD, user_id=user_id, old_hash=known, new_hash=new_hash
        )
    )


def _wrong_password() -> Invalid:
    return Invalid(
        "This is not your password", loc=["body", "current_password"], type="wrong_password"
    )


def _signed_in(
    settings: Settings,
    *,
    user_id: UserId,
    session_id: SessionId,
    role: GlobalRole,
    refresh_token: str,
    now: datetime,
) -> SignedIn:
    access_token = tokens.sign_access_token(
        settings, user_id=user_id, session_id=session_id, role=role, now=now
    )
    return SignedIn(user_id, session_id, access_token, refresh_token)
