"""The ways to a pair of tokens: a password, a refresh token, and OAuth's form of either.

Errors: `InvalidCredentials`, `AccountDisabled`, `InvalidToken`, `SessionEnded`, and `Unavailable`
when too many passwords are waiting to be hashed.
"""

import re
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

import asyncpg
import structlog

from eventmanager.accounts import queries, tokens
from eventmanager.accounts.models import GlobalRole
from eventmanager.accounts.passwords import Passwords
from eventmanager.accounts.schemas import (
    EMAIL_MAX_LENGTH,
    PASSWORD_MAX_LENGTH,
    TokenRequest,
    normal_email,
    normal_username,
)
from eventmanager.accounts.sessions import SessionCache
from eventmanager.accounts.tokens import SignedIn, signed_in
from eventmanager.core.audit.entries import enter, mirror
from eventmanager.core.audit.origin import here
from eventmanager.core.config import Settings
from eventmanager.core.database import Database, Transaction
from eventmanager.core.errors import (
    AccountDisabled,
    InvalidCredentials,
    InvalidGrant,
    InvalidToken,
    InvalidTokenRequest,
    SessionEnded,
    Unauthenticated,
    UnsupportedGrantType,
)
from eventmanager.core.ids import SessionId, UserId, uuid7

REPLAY_FORGIVEN: Final = timedelta(seconds=10)

_SURROGATE: Final = re.compile(r"[\ud800-\udfff]")
_FAILED: Final = "sign_in_failed"
_REPLAYED: Final = "refresh_replayed"

_security = structlog.get_logger("security")


async def sign_in(
    db: Database,
    *,
    username: str | None,
    email: str | None,
    password: str,
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
    if not _possible(password, max_length=PASSWORD_MAX_LENGTH):
        # Nobody has the empty one either, and it takes as long as any other that is wrong.
        password = ""
    verified = await passwords.verify(password, password_hash)
    if user is None or password_hash is None or not verified:
        # Also for a name that nobody has: strangers can measure how long it takes to write a row.
        known = user["id"] if user else None
        await _failed(db, subject_id=known, reason="wrong_credentials", now=now)
        _security.warning(
            "sign_in_failed", user_id=str(known) if known else None, address=here().address
        )
        raise InvalidCredentials
    user_id, session_id = UserId(user["id"]), SessionId(uuid7())
    if not user["is_active"]:
        await _failed(db, subject_id=user_id, reason="account_disabled", now=now)
        _security.warning("sign_in_disabled", user_id=str(user_id), address=here().address)
        raise AccountDisabled
    refresh_token = tokens.new_refresh_token()
    async with db.reading() as connection:
        begun = await connection.first(
            queries.BEGIN_SESSION,
            caller_id=user_id,
            session_id=session_id,
            password_hash=password_hash,
            digest=tokens.digest(refresh_token),
            expires_at=now + tokens.refresh_lifetime(settings),
            entry_id=uuid7(),
            now=now,
            **here().columns(),
        )
    if begun is None:
        await _failed(db, subject_id=user_id, reason="overtaken", now=now)
        _security.warning("sign_in_overtaken", user_id=str(user_id), address=here().address)
        raise InvalidCredentials
    mirror("signed_in", user_id=user_id, session_id=session_id)
    if passwords.outdated(password_hash):
        await _rehash(db, user_id=user_id, password=password, known=password_hash, by=passwords)
    return signed_in(
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
    if not tokens.may_refresh(token):
        raise InvalidToken
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
        if spent is not None:
            return spent
        replayed = await tx.first(
            queries.REPLAY, digest=digest, forgiven_since=now - REPLAY_FORGIVEN, now=now
        )
        if replayed is not None and replayed["late"]:
            await enter(tx, _REPLAYED, now=now, **_replay(replayed))
        return replayed

    found = await db.transaction(work)
    if found is None:
        raise InvalidToken
    user_id, session_id = UserId(found["user_id"]), SessionId(found["session_id"])
    if found["late"]:
        sessions.forget(session_id)
        mirror(_REPLAYED, **_replay(found))
        _security.warning("refresh_replayed", user_id=str(user_id), session_id=str(session_id))
    if found["late"] or not found["live"]:
        raise SessionEnded
    return signed_in(
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


async def _named(db: Database, *, username: str | None, email: str | None) -> asyncpg.Record | None:
    """Return the user whom all given names fit; what can be nobody's name fits nobody.

    That is asked first: to bring a name into its normal form takes time with the square of its
    length, and everybody would wait for it.
    """
    for name in (username, email):
        if name is not None and not _possible(name, max_length=EMAIL_MAX_LENGTH):
            return None
    if username is not None and "@" in username:
        if email is not None and normal_email(email).lower() != normal_email(username).lower():
            return None
        username, email = None, username
    address = normal_email(email) if email is not None else None
    async with db.reading() as connection:
        if username is None:
            return await connection.first(queries.BY_EMAIL, email=address)
        name = normal_username(username)
        return await connection.first(queries.BY_USERNAME, username=name, email=address)


def _possible(text: str, *, max_length: int) -> bool:
    """Tell whether somebody can have this as a name or a password: the form of OAuth takes any.

    SQL cannot take a NUL, and nothing can write down lone surrogates.
    """
    return len(text) <= max_length and "\0" not in text and not _SURROGATE.search(text)


async def _failed(db: Database, *, subject_id: UUID | None, reason: str, now: datetime) -> None:
    """Write down that somebody tried to sign in as a user, who is None for a name nobody has.

    The name itself is not written down: people type their password there.
    """
    facts: dict[str, Any] = {"user_id": None, "subject_id": subject_id, "reason": reason}
    async with db.reading() as connection:
        await enter(connection, _FAILED, now=now, **facts)
    mirror(_FAILED, **facts)


def _replay(found: asyncpg.Record) -> dict[str, UUID | None]:
    """Return the facts of a token used twice, by its user or by a thief: nobody can tell."""
    return {
        "user_id": None,
        "subject_id": found["user_id"],
        "session_id": found["session_id"],
    }


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
