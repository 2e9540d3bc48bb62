"""Where a user is signed in, and the ways a session is ended. Raises `NotFound`."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from eventmanager.accounts import queries, tokens
from eventmanager.accounts.sessions import Caller, SessionCache
from eventmanager.core.audit.entries import enter, mirror
from eventmanager.core.database import Database, Transaction
from eventmanager.core.errors import NotFound
from eventmanager.core.ids import SessionId, UserId

_NOBODYS: Final = SessionId(UUID(int=0))
_SIGNED_OUT: Final = "signed_out"
_SESSION_ENDED: Final = "session_ended"


async def list_sessions(
    db: Database, *, caller: Caller, before: UUID, limit: int, now: datetime
) -> list[Mapping[str, Any]]:
    """Return the caller's live sessions older than the id `before`, the newest first."""
    async with db.reading() as connection:
        rows = await connection.all(
            queries.LIVE_SESSIONS, user_id=caller.user_id, before=before, limit=limit, now=now
        )
    return [{**row, "current": row["id"] == caller.session_id} for row in rows]


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

    async def work(tx: Transaction) -> list[dict[str, UUID]]:
        rows = await tx.all(queries.SIGN_OUT, digest=digest, session_id=session_id, now=now)
        ended = [{"user_id": row["user_id"], "session_id": row["id"]} for row in rows]
        for facts in ended:
            await enter(tx, _SIGNED_OUT, now=now, **facts)
        return ended

    for facts in await db.transaction(work):
        sessions.forget(SessionId(facts["session_id"]))
        mirror(_SIGNED_OUT, **facts)


async def end_session(
    db: Database, *, caller: Caller, session_id: SessionId, sessions: SessionCache, now: datetime
) -> None:
    """End one of the caller's live sessions. Raises `NotFound`."""
    facts = {"user_id": caller.user_id, "session_id": session_id}

    async def work(tx: Transaction) -> None:
        if await tx.first(queries.END_SESSION, **facts, now=now) is None:
            raise NotFound("You have no such session")
        await enter(tx, _SESSION_ENDED, now=now, **facts)

    await db.transaction(work)
    sessions.forget(session_id)
    mirror(_SESSION_ENDED, **facts)


async def end_sessions(
    tx: Transaction, *, user_id: UserId, kept: SessionId | None = None, now: datetime
) -> list[SessionId]:
    """End all sessions of a user but the one to be kept; return those that lived until now."""
    rows = await tx.all(
        queries.END_OTHER_SESSIONS,
        user_id=user_id,
        kept=_NOBODYS if kept is None else kept,
        now=now,
    )
    return [SessionId(row["id"]) for row in rows]
