"""The HTTP surface of sharing."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Body, Path, Response

from eventmanager.accounts.access import CurrentUser
from eventmanager.core.http import Db, Now, errors
from eventmanager.core.ids import EventId, UserId
from eventmanager.sharing import service
from eventmanager.sharing.schemas import SHARE_MAX, Permission, RoleChange, ShareWith

router = APIRouter(prefix="/api/events/{id}", tags=["sharing"])

TheEvent = Annotated[UUID, Path(alias="id", description="The event's id.")]
TheUser = Annotated[UUID, Path(alias="user_id", description="The user's id.")]


@router.post(
    "/share",
    status_code=201,
    summary="Share an event",
    responses=errors(
        401,
        403,
        404,
        409,
        413,
        422,
        _403="Only an Owner may",
        _404="There is no such event, or no such user: `index` says which",
        _409="`duplicate_grant`: one of the users has a role already",
    ),
)
async def share_event(
    event_id: TheEvent,
    shares: Annotated[
        list[ShareWith],
        Body(
            min_length=1,
            max_length=SHARE_MAX,
            examples=[[{"username": "grace", "role": "Editor"}]],
        ),
    ],
    caller: CurrentUser,
    db: Db,
    now: Now,
) -> list[Permission]:
    """Give users a role on an event of which you are Owner, all of them or none.

    **Owner**: everything. **Editor**: change the event, not who shares it. **Viewer**: read it.
    """
    return await service.share(
        db, caller_id=caller.user_id, event_id=EventId(event_id), shares=shares, now=now
    )


@router.get(
    "/permissions",
    summary="List who shares an event",
    responses=errors(401, 403, 404, 422),
)
async def list_permissions(event_id: TheEvent, caller: CurrentUser, db: Db) -> list[Permission]:
    """List who has which role on an event that you may read."""
    return await service.list_permissions(db, caller_id=caller.user_id, event_id=EventId(event_id))


@router.put(
    "/permissions/{user_id}",
    summary="Change a role",
    responses=errors(
        401,
        403,
        404,
        409,
        413,
        422,
        _403="Only an Owner may",
        _404="There is no such event, or the user has no role on it",
        _409="`last_owner`: the event would have no Owner",
    ),
)
async def change_role(
    event_id: TheEvent,
    user_id: TheUser,
    change: RoleChange,
    caller: CurrentUser,
    db: Db,
    now: Now,
) -> Permission:
    """Change a user's role on an event of which you are Owner."""
    return await service.change_role(
        db,
        caller_id=caller.user_id,
        event_id=EventId(event_id),
        user_id=UserId(user_id),
        role=change.role,
        now=now,
    )


@router.delete(
    "/permissions/{user_id}",
    status_code=204,
    summary="Revoke a role, or leave",
    responses=errors(
        401,
        403,
        404,
        409,
        422,
        _403="Only an Owner may take away the role of somebody else",
        _404="There is no such event, or the user has no role on it",
        _409="`last_owner`: the event would have no Owner",
    ),
)
async def revoke(
    event_id: TheEvent, user_id: TheUser, caller: CurrentUser, db: Db, now: Now
) -> Response:
    """Take a user's role away, if you are Owner, or give up your own."""
    await service.revoke(
        db,
        caller_id=caller.user_id,
        event_id=EventId(event_id),
        user_id=UserId(user_id),
        now=now,
    )
    return Response(status_code=204)
