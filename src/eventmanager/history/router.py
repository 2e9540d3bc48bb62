"""The HTTP surface of history."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Path, Query, Request, Response

from eventmanager.accounts.access import CurrentUser
from eventmanager.core.http import LINK, Db, errors, json_bytes, json_value, next_link
from eventmanager.core.ids import EventId
from eventmanager.history import service
from eventmanager.history.schemas import Difference, VersionKey, VersionRead

router = APIRouter(prefix="/api/events/{id}", tags=["history"])

TheEvent = Annotated[UUID, Path(alias="id", description="The event's id.")]
TheVersion = Annotated[VersionKey, Path(description="The version's id, or its number.")]


@router.get(
    "/history",
    summary="List an event's versions",
    response_model=list[VersionRead],
    responses={200: {"headers": LINK}, **errors(401, 403, 404, 422)},
)
async def list_versions(
    request: Request,
    event_id: TheEvent,
    caller: CurrentUser,
    db: Db,
    skip: Annotated[int, Query(ge=0, le=1_000_000, description="Pass over so many.")] = 0,
    limit: Annotated[int, Query(ge=1, le=200, description="At most so many.")] = 100,
) -> Response:
    """List every state that an event you may read has had, oldest first."""
    page = await service.list_versions(
        db, caller_id=caller.user_id, event_id=EventId(event_id), skip=skip, limit=limit
    )
    headers = {"Link": next_link(request, skip=str(skip + limit))} if page.more else {}
    return json_bytes(page.json, headers=headers)


@router.get(
    "/history/{version_id}",
    summary="Get a version",
    response_model=VersionRead,
    responses=errors(401, 403, 404, 422),
)
async def get_version(
    event_id: TheEvent, version_id: TheVersion, caller: CurrentUser, db: Db
) -> Response:
    """Return the event as it stood after one of its changes."""
    return json_bytes(
        await service.get_version(
            db, caller_id=caller.user_id, event_id=EventId(event_id), key=version_id
        )
    )


@router.get(
    "/diff/{version_id1}/{version_id2}",
    summary="Compare two versions",
    response_model=Difference,
    responses=errors(401, 403, 404, 422),
)
async def compare(
    event_id: TheEvent,
    version_id1: TheVersion,
    version_id2: TheVersion,
    caller: CurrentUser,
    db: Db,
) -> Response:
    """Return which fields differ, before and after, and the JSON Patch between the two."""
    return json_value(
        await service.compare(
            db,
            caller_id=caller.user_id,
            event_id=EventId(event_id),
            before=version_id1,
            after=version_id2,
        )
    )
