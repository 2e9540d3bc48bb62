"""What can be done with accounts themselves: register, create, change the password, purge.

How they are signed in is said in `signing_in`, how out in `signing_out`. Errors: `DuplicateUser`,
`Invalid`, `NotFound`, and `Unavailable` when too many passwords are waiting to be hashed.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Final

import asyncpg
import structlog
from pydantic import ValidationError

from eventmanager.accounts import queries, tokens
from eventmanager.accounts.models import FreeBusyAccess, GlobalRole
from eventmanager.accounts.passwords import Passwords
from eventmanager.accounts.schemas import Registration
from eventmanager.accounts.sessions import Caller, SessionCache
from eventmanager.accounts.signing_out import end_sessions
from eventmanager.accounts.tokens import SignedIn, signed_in
from eventmanager.core.audit.entries import enter, mirror
from eventmanager.core.audit.origin import here
from eventmanager.core.config import Settings
from eventmanager.core.database import Database, Query, Transaction
from eventmanager.core.errors import DuplicateUser, Invalid, NotFound
from eventmanager.core.ids import SessionId, UserId, uuid7

KEPT_AFTER_END: Final = timedelta(days=30)
PURGED_AT_ONCE: Final = 1000

_security = structlog.get_logger("security")


async def register(
    db: Database,
    *,
    new: Registration,
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
        act="user_registered",
        facts={"user_id": user_id, "session_id": session_id},
        user_id=user_id,
        username=new.username,
        email=new.email,
        password_hash=await passwords.hash(new.password),
        session_id=session_id,
        digest=tokens.digest(refresh_token),
        expires_at=now + tokens.refresh_lifetime(settings),
        **here().columns(),
        now=now,
    )
    return signed_in(
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
        act="user_created",
        facts={"user_id": None, "subject_id": user_id, "role": role.value},
        user_id=user_id,
        username=new.username,
        email=new.email,
        password_hash=await passwords.hash(new.password),
        role=role.value,
        now=now,
    )
    return user_id


async def profile(db: Database, *, user_id: UserId) -> Mapping[str, Any]:
    """Return one user. Raises `NotFound`."""
    async with db.reading() as connection:
        row = await connection.first(queries.PROFILE, user_id=user_id)
    if row is None:
        raise NotFound
    return dict(row)


async def change_settings(
    db: Database, *, caller: Caller, free_busy: FreeBusyAccess | None, now: datetime
) -> Mapping[str, Any]:
    """Change the caller's settings and return the caller; None leaves a setting as it is."""
    act = "settings_changed"

    async def work(tx: Transaction) -> tuple[dict[str, Any], dict[str, Any]]:
        row = await tx.first(queries.CHANGE_SETTINGS, user_id=caller.user_id, free_busy=free_busy)
        if row is None:
            raise NotFound
        changed = dict(row)
        before = {"free_busy": changed.pop("before")}
        if changed["free_busy"] == before["free_busy"]:
            return changed, {}
        facts = {"free_busy": changed["free_busy"], "before": before}
        await enter(tx, act, user_id=caller.user_id, now=now, **facts)
        return changed, facts

    changed, facts = await db.transaction(work)
    if facts:
        mirror(act, user_id=caller.user_id, **facts)
    return changed


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
        failed = "password_change_failed"
        async with db.reading() as connection:
            await enter(connection, failed, user_id=caller.user_id, now=now)
        mirror(failed, user_id=caller.user_id)
        _security.warning(failed, user_id=str(caller.user_id))
        raise _wrong_password()
    new_hash = await passwords.hash(new_password)
    act = "password_changed"

    async def work(tx: Transaction) -> list[SessionId]:
        changed = await tx.first(
            queries.CHANGE_PASSWORD, user_id=caller.user_id, old_hash=old_hash, new_hash=new_hash
        )
        if changed is None:
            raise _wrong_password()
        ended = await end_sessions(tx, user_id=caller.user_id, kept=caller.session_id, now=now)
        await enter(tx, act, user_id=caller.user_id, now=now, sessions_ended=len(ended))
        return ended

    ended = await db.transaction(work)
    for session_id in ended:
        sessions.forget(session_id)
    mirror(act, user_id=caller.user_id, sessions_ended=len(ended))


async def purge(db: Database, now: datetime) -> int:
    """Delete sessions, and spent tokens, that were over thirty days ago; return how many rows.

    Tickets go as soon as they are of no use.
    """
    deleted = 0
    long_ago = now - KEPT_AFTER_END
    for statement, before in (
        (queries.PURGE_SESSIONS, long_ago),
        (queries.PURGE_TOKENS, long_ago),
        (queries.PURGE_TICKETS, now),
    ):
        batch = PURGED_AT_ONCE
        while batch == PURGED_AT_ONCE:
            batch = await _purge_batch(db, statement, before=before)
            deleted += batch
    return deleted


def _registration(**values: str) -> Registration:
    try:
        return Registration(**values)
    except ValidationError as error:
        # pydantic's own sentence repeats the input, which may be the password.
        wrong = error.errors(include_url=False, include_input=False)[0]
        name = ".".join(str(part) for part in wrong["loc"])
        raise Invalid(f"{name}: {wrong['msg']}", loc=wrong["loc"], type=wrong["type"]) from None


async def _insert_user(
    db: Database, statement: Query, *, act: str, facts: dict[str, Any], now: datetime, **values: Any
) -> None:
    """Run an insert; that a name is taken is known from the index alone, so no race can pass."""

    async def work(tx: Transaction) -> None:
        await tx.first(statement, now=now, **values)
        await enter(tx, act, now=now, **facts)

    try:
        await db.transaction(work)
    except asyncpg.UniqueViolationError as error:
        if error.constraint_name == "uq_users_username":
            raise DuplicateUser("This username is already registered", field="username") from error
        if error.constraint_name == "uq_users_email":
            raise DuplicateUser("This email is already registered", field="email") from error
        raise
    mirror(act, **facts)


def _wrong_password() -> Invalid:
    return Invalid(
        "This is not your password", loc=["body", "current_password"], type="wrong_password"
    )


async def _purge_batch(db: Database, statement: Query, *, before: datetime) -> int:
    rows = await db.transaction(lambda tx: tx.all(statement, before=before, limit=PURGED_AT_ONCE))
    return len(rows)
