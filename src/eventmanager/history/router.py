"""The HTTP surface of history."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Path, Query, Request, Response

from eventmanager.accounts.access import CurrentUser
from eventmanager.core.http import LINK, Db, errors, json_bytes, json_value, next_link
from eventmanager.core.ids import EventId
from eventmanager.core.time import Instant
from eventmanager.history import service
from eventmanager.history.schemas import Blame, Current, Difference, VersionKey, VersionRead

router = APIRouter(prefix="/api/events/{id}", tags=["history"])

TheEvent = Annotated[UUID, Path(alias="id", description="The event's id.")]
TheVersion = Annotated[VersionKey, Path(description="The version's id, or its number.")]
ThatVersion = Annotated[
    VersionKey | Current,
    Path(description="The version's id, or its number, or `current`.", examples=["current"]),
]


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
    changed_by: Annotated[UUID | None, Query(description="Only what this user changed.")] = None,
    start: Annotated[Instant | None, Query(description="Only what changed from then on.")] = None,
    end: Annotated[Instant | None, Query(description="Only what changed before then.")] = None,
) -> Response:
    """List every state that an event you may read has had, oldest first, and what changed."""
    page = await service.list_versions(
        db,
        caller_id=caller.user_id,
        event_id=EventId(event_id),
        skip=skip,
        limit=limit,
        changed_by=changed_by,
        start=start,
        end=end,
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
    version_id1: ThatVersion,
    version_id2: ThatVersion,
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


@router.get(
    "/blame",
    summary="Say who made each field what it is",
    response_model=dict[str, Blame],
    responses=errors(401, 403, 404, 422),
)
async def blame(event_id: TheEvent, caller: CurrentUser, db: Db) -> Response:
    """Return for each field the version that last changed it, with its author.

    An occurrence that has something of its own is a field, `overrides/<recurrence_id>`.
    """
    return json_value(
        await service.blame_of(db, caller_id=caller.user_id, event_id=EventId(event_id))
    )
