"""The HTTP surface of events; that of occurrences is in `occurrences_router`."""

from datetime import datetime
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Header, Path, Query, Request, Response

from eventmanager.accounts.access import CurrentUser
from eventmanager.core.errors import Invalid
from eventmanager.core.http import LINK, Db, Now, errors, etag, etag_matches, json_bytes
from eventmanager.core.ids import EventId
from eventmanager.core.paging import read_cursor
from eventmanager.core.time import Instant
from eventmanager.events import lists, service
from eventmanager.events.parameters import (
    CONFLICT,
    ETAG,
    Booking,
    Changing,
    Cursor,
    Deleting,
    TheEvent,
    page_of,
    window_of,
)
from eventmanager.events.schemas import EventBatch, EventCreate, EventRead, EventUpdate
from eventmanager.history.schemas import VersionKey
from eventmanager.sharing.models import Role

events = APIRouter(prefix="/api/events", tags=["events"])

Limit = Annotated[int, Query(ge=1, le=lists.LIST_MAX, description="At most so many items.")]


@events.post(
    "",
    status_code=201,
    summary="Create an event",
    response_model=EventRead,
    responses={
        201: {
            "headers": ETAG
            | {"Location": {"description": "Where it is.", "schema": {"type": "string"}}}
        },
        **errors(401, 413, 422),
        **CONFLICT,
    },
)
async def create_event(
    draft: EventCreate, caller: CurrentUser, db: Db, now: Now, terms: Booking
) -> Response:
    """Create an event, or a series with `recurrence_pattern`; you become its Owner.

    It is refused if any of its occurrences would overlap busy time of yours.
    """
    [(event_id, event)] = await service.create(
        db, owner_id=caller.user_id, events=[draft], terms=terms, now=now
    )
    headers = {"ETag": etag(event.version), "Location": f"/api/events/{event_id}"}
    return json_bytes(event.json, status=201, headers=headers)


@events.post(
    "/batch",
    status_code=201,
    summary="Create many events",
    response_model=list[EventRead],
    responses={**errors(401, 413, 422), **CONFLICT},
)
async def create_events(
    batch: EventBatch, caller: CurrentUser, db: Db, now: Now, terms: Booking
) -> Response:
    """Create up to 1,000 events, all or none; they may not overlap each other either.

    Together they may take place at most 50,000 times in the next two years.
    """
    created = await service.create(
        db, owner_id=caller.user_id, events=batch.events, terms=terms, now=now, batch=True
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
    deleted: Annotated[
        bool, Query(description="Your deleted events instead; goes with paging only.")
    ] = False,
) -> Response:
    """List the events you may read, by `start_time`; page with `skip` or, better, the `Link`."""
    after = read_cursor(cursor, datetime, UUID) if cursor else None
    if deleted:
        if start or end or q or role:
            raise Invalid(
                "deleted=true goes with skip, limit and cursor only",
                loc=("query", "deleted"),
                type="filters_of_the_bin",
            )
        found = await lists.bin_of(
            db, caller_id=caller.user_id, skip=skip, limit=limit, after=after
        )
        return page_of(request, found)
    page = await lists.list_events(
        db,
        caller_id=caller.user_id,
        skip=skip,
        limit=limit,
        after=after,
        window=window_of(start, end) if start or end else None,
        q=q,
        role=role,
        now=now,
    )
    return page_of(request, page)


@events.get(
    "/{id}",
    summary="Get an event",
    response_model=EventRead,
    responses={
        200: {"headers": ETAG},
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
    terms: Changing,
) -> Response:
    """Change the fields that you send; the others stay. A null clears a field that may be empty.

    Owners and Editors may. Changing the time of a series changes all of it, its rule moves along
    unless you send one, and it is refused if any occurrence would overlap busy time of the event's
    owner. Without `If-Match`, the last one wins.
    """
    event = await service.update(
        db,
        caller_id=caller.user_id,
        event_id=EventId(event_id),
        changes=changes,
        terms=terms,
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
            200: {"headers": ETAG},
            **errors(401, 403, 404, 412, 413, 422),
            **CONFLICT,
        },
    )


@events.delete(
    "/{id}",
    status_code=204,
    summary="Delete an event",
    responses=errors(401, 403, 404, 412, 422),
)
async def delete_event(
    event_id: TheEvent, caller: CurrentUser, db: Db, now: Now, terms: Deleting
) -> Response:
    """Delete an event of which you are Owner; its time is free at once."""
    await service.delete(
        db,
        caller_id=caller.user_id,
        event_id=EventId(event_id),
        terms=terms,
        now=now,
    )
    return Response(status_code=204)


@events.post(
    "/{id}/rollback/{version_id}",
    summary="Bring back a version",
    tags=["history"],
    response_model=EventRead,
    responses={200: {"headers": ETAG}, **errors(401, 403, 404, 412, 422), **CONFLICT},
)
async def roll_back(
    event_id: TheEvent,
    version_id: Annotated[VersionKey, Path(description="The version's id, or its number.")],
    caller: CurrentUser,
    db: Db,
    now: Now,
    terms: Changing,
) -> Response:
    """Make the event what it was in a version, as a new version. Owners and Editors may.

    It is refused if the time that the event had then is taken now.
    """
    event = await service.roll_back(
        db,
        caller_id=caller.user_id,
        event_id=EventId(event_id),
        key=version_id,
        terms=terms,
        now=now,
    )
    return json_bytes(event.json, headers={"ETag": etag(event.version)})


@events.post(
    "/{id}/restore",
    summary="Restore a deleted event",
    response_model=EventRead,
    responses={200: {"headers": ETAG}, **errors(401, 404, 422), **CONFLICT},
)
async def restore_event(
    event_id: TheEvent, caller: CurrentUser, db: Db, now: Now, terms: Booking
) -> Response:
    """Bring an event of yours back from the bin, as a new version.

    It is refused if its time has been taken since.
    """
    event = await service.restore(
        db,
        caller_id=caller.user_id,
        event_id=EventId(event_id),
        terms=terms,
        now=now,
    )
    return json_bytes(event.json, headers={"ETag": etag(event.version)})
