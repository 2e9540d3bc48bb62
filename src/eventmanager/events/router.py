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
from eventmanager.events import deletion, lists, past, service
from eventmanager.events.lists import Filter
from eventmanager.events.parameters import (
    CONFLICT,
    ETAG,
    AsOf,
    BaseVersion,
    Booking,
    Changing,
    Cursor,
    Deleting,
    Merging,
    Resolve,
    TheEvent,
    changed,
    gone,
    page_of,
    window_of,
)
from eventmanager.events.schemas import EventBatch, EventCreate, EventRead, EventUpdate
from eventmanager.events.service import Base
from eventmanager.events.writing import Event
from eventmanager.history.schemas import VersionKey, VersionNumber
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

    def created(events: list[tuple[EventId, Event]]) -> Response:
        [(event_id, event)] = events
        headers = {"ETag": etag(event.version), "Location": f"/api/events/{event_id}"}
        return json_bytes(event.json, status=201, headers=headers)

    terms = terms.answered(created)
    return created(
        await service.create(db, owner_id=caller.user_id, events=[draft], terms=terms, now=now)
    )


@events.post(
    "/batch",
    status_code=201,
    summary="Create many events",
    response_model=list[EventRead],
    responses={
        **errors(
            401,
            413,
            422,
            _413="The body is larger than 8 MiB, or than 1 MiB without a token of ours",
        ),
        **CONFLICT,
    },
)
async def create_events(
    batch: EventBatch, caller: CurrentUser, db: Db, now: Now, terms: Booking
) -> Response:
    """Create up to 1,000 events, all or none; they may not overlap each other either.

    Together they may take place at most 50,000 times in the next two years.
    """

    def created(events: list[tuple[EventId, Event]]) -> Response:
        body = b"[" + b",".join(event.json for _, event in events) + b"]"
        return json_bytes(body, status=201)

    return created(
        await service.create(
            db,
            owner_id=caller.user_id,
            events=batch.events,
            terms=terms.answered(created),
            now=now,
            batch=True,
        )
    )


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
    as_of: AsOf = None,
) -> Response:
    """List the events you may read, by `start_time`; page with `skip` or, better, the `Link`.

    With `as_of` they are as they were then, by their `start_time` of then; of the filters only
    `role` goes with it, which is your role now.
    """
    after = read_cursor(cursor, datetime, UUID) if cursor else None
    if as_of is not None:
        if start or end or q or deleted:
            raise Invalid(
                "as_of goes with role, skip, limit and cursor only",
                loc=("query", "as_of"),
                type="filters_of_the_past",
            )
        found = await past.list_events(
            db,
            caller_id=caller.user_id,
            as_of=as_of,
            skip=skip,
            limit=limit,
            after=after,
            role=role,
            now=now,
        )
        return page_of(request, found)
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
    window = window_of(start, end) if start or end else None
    page = await lists.list_events(
        db,
        caller_id=caller.user_id,
        chosen=Filter(q, role, window),
        skip=skip,
        limit=limit,
        after=after,
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
    now: Now,
    as_of: AsOf = None,
    if_none_match: Annotated[str | None, Header(description="ETags you already have.")] = None,
) -> Response:
    """Return an event that is yours or shared with you; with `as_of` as it was then.

    It is 404 if it was not there then, or is deleted now.
    """
    caller_id, wanted = caller.user_id, EventId(event_id)
    if as_of is None:
        event = await service.get(db, caller_id=caller_id, event_id=wanted)
    else:
        event = await past.get(db, caller_id=caller_id, event_id=wanted, as_of=as_of, now=now)
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
    terms: Merging,
    base_version: BaseVersion = None,
    resolve: Resolve = None,
) -> Response:
    """Change the fields that you send; the others stay. A null clears a field that may be empty.

    Owners and Editors may; `reminders` are your own, and every reader may change those alone, which
    makes no version. Changing the time of a series changes all of it, its rule moves along
    unless you send one, and it is refused if any occurrence would overlap busy time of the event's
    owner. Without `If-Match`, the last one wins. With `base_version`, what others have changed
    since then is kept beside your changes; `merged` and `taken` say what came from whom.
    """
    event = await service.update(
        db,
        caller_id=caller.user_id,
        event_id=EventId(event_id),
        changes=changes,
        base=Base(base_version, resolve) if base_version is not None else None,
        terms=terms.answered(changed),
        now=now,
    )
    return changed(event)


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
            **errors(401, 403, 404, 412, 413, 422, 428),
            **CONFLICT,
        },
    )


@events.delete(
    "/{id}",
    status_code=204,
    summary="Delete an event",
    responses=errors(401, 403, 404, 412, 422, 428),
)
async def delete_event(
    event_id: TheEvent,
    caller: CurrentUser,
    db: Db,
    now: Now,
    terms: Deleting,
    permanent: Annotated[
        bool, Query(description="Remove it for good, with its history; even from the bin.")
    ] = False,
) -> Response:
    """Delete an event of which you are Owner; its time is free at once.

    It is in the bin for 30 days (`BIN_DAYS`) and can be restored.
    """
    remove = deletion.purge if permanent else deletion.delete
    await remove(
        db,
        caller_id=caller.user_id,
        event_id=EventId(event_id),
        terms=terms.answered(gone),
        now=now,
    )
    return gone()


@events.post(
    "/{id}/rollback/{version_id}",
    summary="Bring back a version",
    tags=["history"],
    response_model=EventRead,
    responses={200: {"headers": ETAG}, **errors(401, 403, 404, 412, 422, 428), **CONFLICT},
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

    It is refused if the time that the event had then is taken now, and with `second_half_stands` if
    the series was split since: `event_ids` names what follows it now. Delete that first, or both
    take place, as `on_conflict=allow` permits.
    """
    event = await service.roll_back(
        db,
        caller_id=caller.user_id,
        event_id=EventId(event_id),
        key=version_id,
        terms=terms.answered(changed),
        now=now,
    )
    return changed(event)


@events.post(
    "/{id}/undo",
    summary="Take a change back",
    tags=["history"],
    response_model=EventRead,
    responses={200: {"headers": ETAG}, **errors(401, 403, 404, 412, 422, 428), **CONFLICT},
)
async def undo_change(
    event_id: TheEvent,
    caller: CurrentUser,
    db: Db,
    now: Now,
    terms: Changing,
    version: Annotated[
        VersionNumber | None,
        Query(description="The version whose change is taken back; the last one by default."),
    ] = None,
    resolve: Resolve = None,
) -> Response:
    """Take back what one change did, as a new version; what was changed since then stays.

    Owners and Editors may. Where the same field was changed since, `merge_conflict` says so. The
    creation can't be taken back, nor a deletion or restoration: `nothing_to_undo`; nor, as in a
    rollback, a split while what was split off still stands: `second_half_stands`.
    """
    event = await service.undo(
        db,
        caller_id=caller.user_id,
        event_id=EventId(event_id),
        version=version,
        resolve=resolve,
        terms=terms.answered(changed),
        now=now,
    )
    return changed(event)


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
    event = await deletion.restore(
        db,
        caller_id=caller.user_id,
        event_id=EventId(event_id),
        terms=terms.answered(changed),
        now=now,
    )
    return changed(event)
