"""What an Admin does with users: list them, disable or enable them, raise or lower their role.

Errors: `NotFound`, `Conflict`.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

import asyncpg

from eventmanager.accounts.models import GlobalRole
from eventmanager.accounts.sessions import Caller, SessionCache
from eventmanager.accounts.signing_out import end_sessions
from eventmanager.admin import queries
from eventmanager.core.audit.entries import enter, mirror
from eventmanager.core.database import Database, Transaction
from eventmanager.core.errors import Conflict, NotFound
from eventmanager.core.ids import UserId


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
    act = "user_changed"
    who = {"user_id": by.user_id, "subject_id": user_id}

    async def work(tx: Transaction) -> tuple[dict[str, Any], dict[str, Any]]:
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
        ended = [] if active else await end_sessions(tx, user_id=user_id, now=now)
        before, after = _state(user), _state(changed)
        facts = who | after | {"before": before, "sessions_ended": len(ended)}
        if after == before and not ended:
            return dict(changed), {}
        await enter(tx, act, now=now, **facts)
        return dict(changed), facts

    changed, facts = await db.transaction(work)
    sessions.clear()
    if facts:
        mirror(act, **facts)
    return changed


def _state(user: asyncpg.Record) -> dict[str, Any]:
    """Return what an Admin may change of a user."""
    return {"is_active": user["is_active"], "role": user["role"]}
