"""Sharing an event: granting, changing and revoking roles.

Grants make no version of the event; each change is told to everybody who reads it.
"""

from collections.abc import Sequence
from datetime import datetime

import asyncpg
import structlog

from eventmanager.core.database import Database, Transaction
from eventmanager.core.errors import DuplicateGrant, LastOwner, NotFound
from eventmanager.core.ids import EventId, UserId, uuid7
from eventmanager.sharing import queries
from eventmanager.sharing.access import OWNERS, READERS, lock_event, refusal
from eventmanager.sharing.models import Role
from eventmanager.sharing.schemas import Permission, ShareWith

_audit = structlog.get_logger("audit")


async def share(
    db: Database,
    *,
    caller_id: UserId,
    event_id: EventId,
    shares: Sequence[ShareWith],
    now: datetime,
) -> list[Permission]:
    """Grant all the roles, or none.

    Raises `NotFound` for the event or a user, `RoleTooLow`, and `DuplicateGrant` for a user who has
    a role already, or is named twice.
    """

    async def write(tx: Transaction) -> list[UserId]:
        await lock_event(tx, caller_id=caller_id, event_id=event_id, roles=OWNERS)
        user_ids = await _resolve(tx, shares)
        try:
            await tx.first(
                queries.SHARE,
                caller_id=caller_id,
                event_id=event_id,
                now=now,
                user_ids=user_ids,
                roles=[item.role for item in shares],
                message_ids=[uuid7() for _ in shares],
                message_type="permission_granted",
            )
        except asyncpg.UniqueViolationError as error:
            raise DuplicateGrant from error
        return user_ids

    user_ids = await db.transaction(write)
    granted = [
        Permission(user_id=user_id, role=item.role)
        for user_id, item in zip(user_ids, shares, strict=True)
    ]
    for permission in granted:
        _log("permission_granted", caller_id, event_id, permission.user_id, role=permission.role)
    return granted


async def list_permissions(
    db: Database, *, caller_id: UserId, event_id: EventId
) -> list[Permission]:
    """Return who has which role; every reader may know. Raises `NotFound` and `RoleTooLow`."""
    async with db.reading() as read:
        rows = await read.all(queries.GRANTS, caller_id=caller_id, event_id=event_id)
        if not rows:
            raise await refusal(read, caller_id=caller_id, event_id=event_id, roles=READERS)
    return [Permission(user_id=row["user_id"], role=row["role"]) for row in rows]


async def change_role(
    db: Database,
    *,
    caller_id: UserId,
    event_id: EventId,
    user_id: UserId,
    role: Role,
    now: datetime,
) -> Permission:
    """Change the role of a user who has one.

    Raises `NotFound` for the event or the grant, `RoleTooLow`, and `LastOwner`.
    """

    async def write(tx: Transaction) -> None:
        await lock_event(tx, caller_id=caller_id, event_id=event_id, roles=OWNERS)
        await _keep_an_owner(tx, event_id=event_id, user_id=user_id, role=role)
        await tx.first(
            queries.CHANGE_ROLE,
            caller_id=caller_id,
            event_id=event_id,
            user_id=user_id,
            role=role,
            now=now,
            message_id=uuid7(),
            message_type="permission_updated",
        )

    await db.transaction(write)
    _log("permission_updated", caller_id, event_id, user_id, role=role)
    return Permission(user_id=user_id, role=role)


async def revoke(
    db: Database, *, caller_id: UserId, event_id: EventId, user_id: UserId, now: datetime
) -> None:
    """Take a user's role away; anybody may give up their own.

    Raises `NotFound` for the event or the grant, `RoleTooLow`, and `LastOwner`.
    """

    async def write(tx: Transaction) -> None:
        roles = READERS if user_id == caller_id else OWNERS
        await lock_event(tx, caller_id=caller_id, event_id=event_id, roles=roles)
        await _keep_an_owner(tx, event_id=event_id, user_id=user_id, role=None)
        await tx.first(
            queries.REVOKE,
            caller_id=caller_id,
            event_id=event_id,
            user_id=user_id,
            now=now,
            message_id=uuid7(),
            message_type="permission_revoked",
        )

    await db.transaction(write)
    _log("permission_revoked", caller_id, event_id, user_id)


async def _resolve(tx: Transaction, shares: Sequence[ShareWith]) -> list[UserId]:
    """Return the ids of the named users; raises `NotFound` for the first there is none of."""
    rows = await tx.all(
        queries.RESOLVE,
        ids=[item.user_id for item in shares],
        usernames=[item.username for item in shares],
        emails=[item.email for item in shares],
    )
    for number, row in enumerate(rows):
        if row["id"] is None:
            raise NotFound("There is no such user", index=number)
    return [row["id"] for row in rows]


async def _keep_an_owner(
    tx: Transaction, *, event_id: EventId, user_id: UserId, role: Role | None
) -> None:
    """Refuse what would leave the event, which is locked, without an Owner."""
    grant = await tx.first(queries.GRANT_OF, event_id=event_id, user_id=user_id)
    if grant is None:
        raise NotFound("This user has no role on the event")
    if grant["role"] == Role.OWNER and role != Role.OWNER and grant["owners"] == 1:
        raise LastOwner


def _log(
    act: str, caller_id: UserId, event_id: EventId, subject_id: object, **fields: object
) -> None:
    _audit.info(
        act,
        user_id=str(caller_id),
        event_id=str(event_id),
        subject_id=str(subject_id),
        **fields,
    )
