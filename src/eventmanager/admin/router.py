"""The routes of Admins: a greeting, all users, and what everybody did."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Final
from uuid import UUID

from fastapi import APIRouter, Path, Query, Request, Response

from eventmanager.accounts.access import CurrentAdmin
from eventmanager.accounts.dependencies import Remembered
from eventmanager.accounts.schemas import Profile
from eventmanager.admin import service
from eventmanager.admin.schemas import Greeting, UserChange
from eventmanager.core.audit import reading
from eventmanager.core.audit.schemas import AuditLimit, AuditRead, Filters
from eventmanager.core.http import LINK, Db, Now, errors
from eventmanager.core.ids import UserId
from eventmanager.core.paging import Cursor, Limit, id_page, read_id

users: Final = APIRouter(tags=["users"])
audit: Final = APIRouter(tags=["audit"])

_OLDEST: Final = UUID(int=0)


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
    found = await service.list_users(db, after=read_id(cursor, start=_OLDEST), limit=limit + 1)
    return id_page(request, response, found, limit=limit)


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


@audit.get(
    "/api/admin/audit",
    summary="List what everybody did",
    response_model=list[AuditRead],
    responses={200: {"headers": LINK}, **errors(401, 403, 422, _403="The caller is not an Admin")},
)
async def all_audit(
    *,
    request: Request,
    _: CurrentAdmin,
    db: Db,
    asked: Filters,
    user_id: Annotated[
        UUID | None, Query(description="Only what this user did, and what was done to them.")
    ] = None,
    limit: AuditLimit = 100,
    cursor: Cursor = None,
) -> Response:
    """Return who did what from where, the newest first.

    An entry is written with the act or not at all, never changed, and kept for ever. `audit.log`
    has the same acts.
    """
    if user_id is None:
        page = await reading.everybodys(db, asked=asked, cursor=cursor, limit=limit)
    else:
        page = await reading.of_user(db, user_id=user_id, asked=asked, cursor=cursor, limit=limit)
    return reading.page_of(request, page)
