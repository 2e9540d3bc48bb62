"""The HTTP surface of events and occurrences."""

from datetime import datetime
from typing import Annotated, Any, Final
from uuid import UUID

from fastapi import APIRouter, Header, Path, Query, Request, Response

from eventmanager.accounts.access import CurrentUser
from eventmanager.core.errors import Invalid
from eventmanager.core.http import (
    LINK,
    Db,
    Now,
    errors,
    etag,
    etag_matches,
    json_bytes,
    next_link,
    versions_in,
)
from eventmanager.core.ids import EventId
from eventmanager.core.paging import read_cursor
from eventmanager.core.time import Instant, Window
from eventmanager.events import lists, service
from eventmanager.events.schemas import (
    TIME_CONFLICT,
    EventBatch,
    EventCreate,
    EventRead,
    EventUpdate,
    OccurrenceRead,
)
from eventmanager.history.schemas import VersionKey
from eventmanager.sharing.models import Role

events = APIRouter(prefix="/api/events", tags=["events"])
occurrences = APIRouter(prefix="/api/occurrences", tags=["occurrences"])

TheEvent = Annotated[UUID, Path(alias="id", description="The event's id.")]
IfMatch = Annotated[
    str | None,
    Header(description='The ETag that the change is based on, e.g. `"3"`; 412 if it is stale.'),
]
Limit = Annotated[int, Query(ge=1, le=lists.LIST_MAX, description="At most so many items.")]
Cursor = Annotated[
    str | None, Query(max_length=200, description="From the `Link` header of the page before.")
]

_ETAG: Final[dict[str, Any]] = {
    "ETag": {"description": "The version, quoted.", "schema": {"type": "string"}}
}
_CONFLICT: Final[dict[int | str, dict[str, Any]]] = {
    409: {
        "description": "`time_conflict`: the owner is busy at that time",
        "content": {"application/problem+json": {"schema": TIME_CONFLICT}},
    }
}


@events.post(
    "",
    status_code=201,
    summary="Create an event",
    response_model=EventRead,
    responses={
        201: {
            "headers": _ETAG
            | {"Location": {"description": "Where it is.", "schema": {"type": "string"}}}
        },
        **errors(401, 413, 422),
        **_CONFLICT,
    },
)
async def create_event(draft: EventCreate, caller: CurrentUser, db: Db, now: Now) -> Response:
    """Create an event, or a series with `recurrence_pattern`; you become its Owner.

    It is refused if any of its occurrences would overlap busy time of yours.
    """
    [(event_id, event)] = await service.create(db, owner_id=caller.user_id, drafts=[draft], now=now)
    headers = {"ETag": etag(event.version), "Location": f"/api/events/{event_id}"}
    return json_bytes(event.json, status=201, headers=headers)


@events.post(
    "/batch",
    status_code=201,
    summary="Create many events",
    response_model=list[EventRead],
    responses={**errors(401, 413, 422), **_CONFLICT},
)
async def create_events(batch: EventBatch, caller: CurrentUser, db: Db, now: Now) -> Response:
    """Create up to 1,000 events, all or none; they may not overlap each other either.

    Together they may take place at most 50,000 times in the next two years.
    """
    created = await service.create(
        db, owner_id=caller.user_id, drafts=batch.events, now=now, batch=True
    )
    return json_bytes(b"[" + b",".join(event.json for _, event in created) + b"]", status=201)


@events.get(
    "",
    summary="List events",
    response_model=list[EventRead],
    responses={200: {"headers": LINK}, **errors(401, 422)},
)
async def list_events(
    request: Request,
    caller: CurrentUser,
    db: Db,
    now: Now,
    skip: Annotated[int, Query(ge=0, le=1_000_000, description="Pass over so many.")] = 0,
    limit: Limit = 20,
    cursor: Cursor = None,
    q: Annotated[
        str | None,
        Query(
            min_length=1,
            max_length=200,
            pattern="^[^\\x00]*$",
            description='Words in title, description or location; `"a phrase"`, `or`, `-not`.',
        ),
    ] = None,
    start: Annotated[Instant | None, Query(description="Only with an occurrence after it.")] = None,
    end: Annotated[Instant | None, Query(description="Only with an occurrence before it.")] = None,
    role: Annotated[Role | None, Query(description="Only where this is your role.")] = None,
) -> Response:
    """List the events you may read, by `start_time`; page with `skip` or, better, the `Link`."""
    page = await lists.list_events(
        db,
        caller_id=caller.user_id,
        skip=skip,
        limit=limit,
        after=read_cursor(cursor, datetime, UUID) if cursor else None,
        window=_window(start, end) if start or end else None,
        q=q,
        role=role,
        now=now,
    )
    return _page(request, page)


@events.get(
    "/{id}",
    summary="Get an event",
    response_model=EventRead,
    responses={
        200: {"headers": _ETAG},
        304: {"description": "It is still the version named in `If-None-Match`."},
        **errors(401, 403, 404, 422),
    },
)
async def get_event(
    event_id: TheEvent,
    caller: CurrentUser,
    db: Db,
    if_none_match: Annotated[str | None, Header(description="ETags you already have.")] = None,
) -> Response:
    """Return an event that is yours or shared with you."""
    event = await service.get(db, caller_id=caller.user_id, event_id=EventId(event_id))
    headers = {"ETag": etag(event.version)}
    if if_none_match and etag_matches(if_none_match, event.version):
        return Response(status_code=304, headers=headers)
    return json_bytes(event.json, headers=headers)


async def change_event(
    event_id: TheEvent,
    changes: EventUpdate,
    caller: CurrentUser,
    db: Db,
    now: Now,
    if_match: IfMatch = None,
) -> Response:
    """Change the fields that you send; the others stay. A null clears a field that may be empty.

    Owners and Editors may. Changing the time of a series changes all of it, and is refused if any
    occurrence would overlap busy time of the event's owner. Without `If-Match`, the last one wins.
    """
    event = await service.update(
        db,
        caller_id=caller.user_id,
        event_id=EventId(event_id),
        changes=changes,
        versions=versions_in(if_match),
        now=now,
    )
    return json_bytes(event.json, headers={"ETag": etag(event.version)})


for _method in ("PUT", "PATCH"):
    events.add_api_route(
        "/{id}",
        change_event,
        methods=[_method],
        operation_id=f"{_method.lower()}_event",
        summary="Change an event",
        response_model=EventRead,
        responses={
            200: {"headers": _ETAG},
            **errors(401, 403, 404, 412, 413, 422),
            **_CONFLICT,
        },
    )


@events.delete(
    "/{id}",
    status_code=204,
    summary="Delete an event",
    responses=errors(401, 403, 404, 412, 422),
)
async def delete_event(
    event_id: TheEvent, caller: CurrentUser, db: Db, now: Now, if_match: IfMatch = None
) -> Response:
    """Delete an event of which you are Owner; its time is free at once."""
    await service.delete(
        db,
        caller_id=caller.user_id,
        event_id=EventId(event_id),
        versions=versions_in(if_match),
        now=now,
    )
    return Response(status_code=204)


@events.post(
    "/{id}/rollback/{version_id}",
    summary="Bring back a version",
    tags=["history"],
    response_model=EventRead,
    responses={200: {"headers": _ETAG}, **errors(401, 403, 404, 412, 422), **_CONFLICT},
)
async def roll_back(
    event_id: TheEvent,
    version_id: Annotated[VersionKey, Path(description="The version's id, or its number.")],
    caller: CurrentUser,
    db: Db,
    now: Now,
    if_match: IfMatch = None,
) -> Response:
    """Make the event what it was in a version, as a new version. Owners and Editors may.

    It is refused if the time that the event had then is taken now.
    """
    event = await service.roll_back(
        db,
        caller_id=caller.user_id,
        event_id=EventId(event_id),
        key=version_id,
        versions=versions_in(if_match),
        now=now,
    )
    return json_bytes(event.json, headers={"ETag": etag(event.version)})


@occurrences.get(
    "",
    summary="List what takes place in a window",
    response_model=list[OccurrenceRead],
    responses={200: {"headers": LINK}, **errors(401, 422)},
)
async def list_occurrences(
    request: Request,
    caller: CurrentUser,
    db: Db,
    now: Now,
    start: Annotated[Instant, Query(description="The window's start.")],
    end: Annotated[Instant, Query(description="The window's end, at most ten years from now.")],
    limit: Annotated[int, Query(ge=1, le=lists.AGENDA_MAX, description="At most so many.")] = 200,
    cursor: Cursor = None,
) -> Response:
    """List the occurrences of all events you may read that touch the window, by `start_time`.

    An occurrence that merely ends when the window starts, or starts when it ends, is not in it.
    """
    page = await lists.agenda(
        db,
        caller_id=caller.user_id,
        window=_window(start, end),
        limit=limit,
        after=read_cursor(cursor, datetime, UUID, datetime) if cursor else None,
        now=now,
    )
    return _page(request, page)


def _window(start: datetime | None, end: datetime | None) -> Window:
    if start is None or end is None:
        missing = "start" if start is None else "end"
        raise Invalid("start and end go together", loc=("query", missing), type="incomplete_window")
    if end <= start:
        raise Invalid("end must be after start", loc=("query", "end"), type="invalid_time_order")
    return Window(start, end)


def _page(request: Request, page: lists.Page) -> Response:
    headers = {}
    if page.next_cursor is not None:
        headers["Link"] = next_link(request, cursor=page.next_cursor)
    return json_bytes(page.json, headers=headers)
