"""The HTTP surface of sharing."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Final
from uuid import UUID

from fastapi import APIRouter, Body, Header, Path, Query, Request, Response

from eventmanager.accounts.access import CurrentUser
from eventmanager.accounts.once import InOnce
from eventmanager.core.http import LINK, Db, IfMatch, Now, errors, json_value, names_tag, tags_in
from eventmanager.core.ids import EventId, UserId
from eventmanager.core.paging import Cursor, id_page, read_id
from eventmanager.sharing import service
from eventmanager.sharing.schemas import (
    CHANGES_MAX,
    SHARE_MAX,
    Permission,
    PermissionChange,
    RoleChange,
    ShareWith,
)

router = APIRouter(prefix="/api/events/{id}", tags=["sharing"])

TheEvent = Annotated[UUID, Path(alias="id", description="The event's id.")]
TheUser = Annotated[UUID, Path(alias="user_id", description="The user's id.")]

ETAG: Final[dict[str, Any]] = {
    "ETag": {
        "description": "Names the list of who has which role, as it is now, for `If-Match`.",
        "schema": {"type": "string"},
    }
}
_STALE: Final = (
    "`stale_version`: the list of who has which role is no longer the one named in `If-Match`;"
    " `current_etag` is its tag"
)


@router.post(
    "/share",
    status_code=201,
    summary="Share an event",
    response_model=list[Permission],
    responses={
        201: {"headers": ETAG},
        **errors(
            401,
            403,
            404,
            409,
            412,
            413,
            422,
            428,
            _403="Only an Owner may",
            _404="There is no such event, or no such user: `index` says which",
            _409="`duplicate_grant`: one of the users has a role already",
            _412=_STALE,
        ),
    },
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
    if_match: IfMatch,
    once: InOnce,
) -> Response:
    """Give users a role on an event of which you are Owner, all of them or none.

    **Owner**: everything. **Editor**: change the event, not who shares it. **Viewer**: read it.
    `If-Match` takes the `ETag` of the event's permissions.
    """

    def answer(done: tuple[list[Permission], str]) -> Response:
        granted, tag = done
        body = [item.model_dump(mode="json") for item in granted]
        return json_value(body, status=201, headers={"ETag": tag})

    done = await service.share(
        db,
        caller_id=caller.user_id,
        event_id=EventId(event_id),
        shares=shares,
        tags=tags_in(if_match),
        now=now,
        once=once,
        answer=answer,
    )
    return answer(done)


@router.get(
    "/permissions",
    summary="List who shares an event",
    response_model=list[Permission],
    responses={
        200: {"headers": ETAG},
        304: {"description": "It is still the list named in `If-None-Match`."},
        **errors(401, 403, 404, 422),
    },
)
async def list_permissions(
    event_id: TheEvent,
    response: Response,
    caller: CurrentUser,
    db: Db,
    if_none_match: Annotated[str | None, Header(description="ETags you already have.")] = None,
) -> list[Permission] | Response:
    """List who has which role on an event that you may read."""
    permissions, tag = await service.list_permissions(
        db, caller_id=caller.user_id, event_id=EventId(event_id)
    )
    if if_none_match and names_tag(if_none_match, tag):
        return Response(status_code=304, headers={"ETag": tag})
    response.headers["ETag"] = tag
    return permissions


@router.get(
    "/permissions/history",
    summary="List the changes of who shares an event",
    response_model=list[PermissionChange],
    responses={200: {"headers": LINK}, **errors(401, 403, 404, 422)},
)
async def list_permission_changes(
    request: Request,
    response: Response,
    event_id: TheEvent,
    caller: CurrentUser,
    db: Db,
    limit: Annotated[int, Query(ge=1, le=CHANGES_MAX, description="At most so many.")] = 100,
    cursor: Cursor = None,
) -> Sequence[Mapping[str, Any]]:
    """List who was given, and lost, which role on an event that you may read, oldest first.

    The first is the role of the event's owner, which comes with the event. So do the roles that the
    second half of a series takes over from the first half, from whom it was that split the series.
    """
    found = await service.list_changes(
        db,
        caller_id=caller.user_id,
        event_id=EventId(event_id),
        after=read_id(cursor, start=service.BEGINNING),
        limit=limit + 1,
    )
    return id_page(request, response, found, limit=limit)


@router.put(
    "/permissions/{user_id}",
    summary="Change a role",
    responses={
        200: {"headers": ETAG},
        **errors(
            401,
            403,
            404,
            409,
            412,
            413,
            422,
            428,
            _403="Only an Owner may",
            _404="There is no such event, or the user has no role on it",
            _409="`last_owner`: the event would have no Owner",
            _412=_STALE,
        ),
    },
)
async def change_role(
    event_id: TheEvent,
    user_id: TheUser,
    change: RoleChange,
    response: Response,
    caller: CurrentUser,
    db: Db,
    now: Now,
    if_match: IfMatch,
) -> Permission:
    """Change a user's role on an event of which you are Owner.

    `If-Match` takes the `ETag` of the event's permissions.
    """
    permission, response.headers["ETag"] = await service.change_role(
        db,
        caller_id=caller.user_id,
        event_id=EventId(event_id),
        user_id=UserId(user_id),
        role=change.role,
        tags=tags_in(if_match),
        now=now,
    )
    return permission


@router.delete(
    "/permissions/{user_id}",
    status_code=204,
    summary="Revoke a role, or leave",
    responses=errors(
        401,
        403,
        404,
        409,
        412,
        422,
        428,
        _403="Only an Owner may take away the role of somebody else",
        _404="There is no such event, or the user has no role on it",
        _409="`last_owner`: the event would have no Owner",
        _412=_STALE,
    ),
)
async def revoke(
    event_id: TheEvent,
    user_id: TheUser,
    caller: CurrentUser,
    db: Db,
    now: Now,
    if_match: IfMatch,
) -> Response:
    """Take a user's role away, if you are Owner, or give up your own.

    `If-Match` takes the `ETag` of the event's permissions.
    """
    await service.revoke(
        db,
        caller_id=caller.user_id,
        event_id=EventId(event_id),
        user_id=UserId(user_id),
        tags=tags_in(if_match),
        now=now,
    )
    return Response(status_code=204)
