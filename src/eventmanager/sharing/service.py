"""Sharing an event: granting, changing and revoking roles.

Grants make no version of the event; each change is told to everybody who reads it, and written down
in the event's log of grants and in the audit log, all in one transaction.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import asyncpg
from starlette.responses import Response

from eventmanager.core.audit.entries import enter, mirror
from eventmanager.core.audit.origin import here
from eventmanager.core.database import Database, Reading, Transaction
from eventmanager.core.errors import DuplicateGrant, LastOwner, NotFound, PreconditionFailed
from eventmanager.core.idempotency.service import Once, transact
from eventmanager.core.ids import EventId, UserId, uuid7
from eventmanager.sharing import queries
from eventmanager.sharing.access import OWNERS, READERS, lock_event, refusal
from eventmanager.sharing.models import Role
from eventmanager.sharing.schemas import Permission, ShareWith, tag_of

BEGINNING = UUID(int=0)


async def share(
    db: Database,
    *,
    caller_id: UserId,
    event_id: EventId,
    shares: Sequence[ShareWith],
    tags: Sequence[str] | None,
    now: datetime,
    once: Once | None,
    answer: Callable[[tuple[list[Permission], str]], Response],
) -> tuple[list[Permission], str]:
    """Grant all the roles, or none; return them, and the tag of the list as it is then.

    `tags` are those that the list may have before, None for any. Raises `NotFound` for the event or
    a user, `RoleTooLow`, `PreconditionFailed`, and `DuplicateGrant` for a user who has a role
    already, or is named twice. The `answer` made of the result is kept if it is to be done `once`.
    """

    async def write(tx: Transaction) -> tuple[list[Permission], str]:
        await _lock(tx, caller_id=caller_id, event_id=event_id, roles=OWNERS, tags=tags)
        user_ids = await _resolve(tx, shares)
        try:
            await tx.first(
                queries.SHARE,
                caller_id=caller_id,
                event_id=event_id,
                now=now,
                user_ids=user_ids,
                roles=[item.role for item in shares],
                # The log has them in the order of the request.
                change_ids=sorted(uuid7() for _ in shares),
                message_ids=[uuid7() for _ in shares],
                message_type="permission_granted",
                **here().columns(),
            )
        except asyncpg.UniqueViolationError as error:
            raise DuplicateGrant from error
        granted = [
            Permission(user_id=user_id, role=item.role)
            for user_id, item in zip(user_ids, shares, strict=True)
        ]
        for item in granted:
            done = _done(caller_id, event_id, item.user_id, item.role)
            await enter(tx, "permission_granted", now=now, **done)
        return granted, tag_of(await _listed(tx, caller_id=caller_id, event_id=event_id))

    async with db.turn(event_id):
        granted, tag = await transact(db, write, once=once, answer=answer)
    for item in granted:
        mirror("permission_granted", **_done(caller_id, event_id, item.user_id, item.role))
    return granted, tag


async def list_permissions(
    db: Database, *, caller_id: UserId, event_id: EventId
) -> tuple[list[Permission], str]:
    """Return who has which role, and the tag of that list; every reader may know.

    Raises `NotFound` and `RoleTooLow`.
    """
    async with db.reading() as read:
        permissions = await _listed(read, caller_id=caller_id, event_id=event_id)
        if not permissions:
            raise await refusal(read, caller_id=caller_id, event_id=event_id, roles=READERS)
    return permissions, tag_of(permissions)


async def list_changes(
    db: Database, *, caller_id: UserId, event_id: EventId, after: UUID, limit: int
) -> list[Mapping[str, Any]]:
    """Return what was done to an event's grants since the change `after`, the oldest first.

    Raises `NotFound` and `RoleTooLow`.
    """
    whose: dict[str, Any] = {"caller_id": caller_id, "event_id": event_id}
    async with db.reading() as read:
        rows = await read.all(queries.CHANGES, after=after, limit=limit, **whose)
        # Every log has a first entry: nothing is found past the end, or where one may not look.
        if not rows and not await read.all(queries.CHANGES, after=BEGINNING, limit=1, **whose):
            raise await refusal(read, roles=READERS, **whose)
    return [dict(row) for row in rows]


async def change_role(
    db: Database,
    *,
    caller_id: UserId,
    event_id: EventId,
    user_id: UserId,
    role: Role,
    tags: Sequence[str] | None,
    now: datetime,
) -> tuple[Permission, str]:
    """Change the role of a user who has one, and return it with the tag of the list; see `share`.

    The role that the user has already is no change. Raises `NotFound` for the event or the grant,
    `RoleTooLow`, `PreconditionFailed`, and `LastOwner`.
    """
    done = _done(caller_id, event_id, user_id, role)

    async def write(tx: Transaction) -> tuple[Role, str]:
        await _lock(tx, caller_id=caller_id, event_id=event_id, roles=OWNERS, tags=tags)
        before = await _keep_an_owner(tx, event_id=event_id, user_id=user_id, role=role)
        if before != role:
            await tx.first(
                queries.CHANGE_ROLE,
                caller_id=caller_id,
                event_id=event_id,
                user_id=user_id,
                role=role,
                now=now,
                change_id=uuid7(),
                message_id=uuid7(),
                message_type="permission_updated",
                **here().columns(),
            )
            await enter(tx, "permission_updated", now=now, **done)
        return before, tag_of(await _listed(tx, caller_id=caller_id, event_id=event_id))

    async with db.turn(event_id):
        before, tag = await db.transaction(write)
    if before != role:
        mirror("permission_updated", **done)
    return Permission(user_id=user_id, role=role), tag


async def revoke(
    db: Database,
    *,
    caller_id: UserId,
    event_id: EventId,
    user_id: UserId,
    tags: Sequence[str] | None,
    now: datetime,
) -> None:
    """Take a user's role away; anybody may give up their own. For `tags` see `share`.

    Raises `NotFound` for the event or the grant, `RoleTooLow`, `PreconditionFailed`, and
    `LastOwner`.
    """

    async def write(tx: Transaction) -> dict[str, Any]:
        roles = READERS if user_id == caller_id else OWNERS
        await _lock(tx, caller_id=caller_id, event_id=event_id, roles=roles, tags=tags)
        role = await _keep_an_owner(tx, event_id=event_id, user_id=user_id, role=None)
        await tx.first(
            queries.REVOKE,
            caller_id=caller_id,
            event_id=event_id,
            user_id=user_id,
            now=now,
            change_id=uuid7(),
            message_id=uuid7(),
            message_type="permission_revoked",
            **here().columns(),
        )
        done = _done(caller_id, event_id, user_id, role)
        await enter(tx, "permission_revoked", now=now, **done)
        return done

    async with db.turn(event_id):
        done = await db.transaction(write)
    mirror("permission_revoked", **done)


async def _lock(
    tx: Transaction,
    *,
    caller_id: UserId,
    event_id: EventId,
    roles: frozenset[Role],
    tags: Sequence[str] | None,
) -> None:
    """Lock an event whose list of grants has one of `tags`; see `lock_event`."""
    await lock_event(tx, caller_id=caller_id, event_id=event_id, roles=roles)
    if tags is None:
        return
    tag = tag_of(await _listed(tx, caller_id=caller_id, event_id=event_id))
    if tag not in tags:
        raise PreconditionFailed(
            "Who shares the event has changed since the list you named", current_etag=tag
        )


async def _listed(read: Reading, *, caller_id: UserId, event_id: EventId) -> list[Permission]:
    """Return who has which role, nobody unless the caller may know."""
    rows = await read.all(queries.GRANTS, caller_id=caller_id, event_id=event_id)
    return [Permission(user_id=row["user_id"], role=row["role"]) for row in rows]


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
) -> Role:
    """Return a user's role on an event that is locked.

    Raises `NotFound` if there is none, and `LastOwner` if without it the event had no Owner.
    """
    grant = await tx.first(queries.GRANT_OF, event_id=event_id, user_id=user_id)
    if grant is None:
        raise NotFound("This user has no role on the event")
    if grant["role"] == Role.OWNER and role != Role.OWNER and grant["owners"] == 1:
        raise LastOwner
    return Role(grant["role"])


def _done(caller_id: UserId, event_id: EventId, subject_id: UUID, role: Role) -> dict[str, Any]:
    """Return a change of a grant as the audit log takes it."""
    return {"user_id": caller_id, "event_id": event_id, "subject_id": subject_id, "role": role}
