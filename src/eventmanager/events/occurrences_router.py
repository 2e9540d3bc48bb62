"""The HTTP surface of occurrences, of scoped edits, and of the clashes that stand."""

from datetime import date, datetime
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Header, Path, Query, Request, Response

from eventmanager.accounts.access import CurrentUser
from eventmanager.core.http import LINK, Db, Now, errors, etag, etag_matches, json_bytes
from eventmanager.core.ids import EventId, UserId
from eventmanager.core.paging import read_cursor
from eventmanager.core.time import Instant, Moment
from eventmanager.events import lists, past, scopes
from eventmanager.events.parameters import (
    CONFLICT,
    ETAG,
    AsOf,
    BaseVersion,
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
from eventmanager.events.schemas import Clash, EventRead, EventUpdate, OccurrenceRead
from eventmanager.events.scopes import Scope, Target
from eventmanager.events.service import Base

occurrences = APIRouter(prefix="/api/occurrences", tags=["occurrences"])
of_event = APIRouter(prefix="/api/events/{id}/occurrences", tags=["occurrences"])
conflicts = APIRouter(prefix="/api/conflicts", tags=["occurrences"])

TheOccurrence = Annotated[
    Moment,
    Path(
        alias="recurrence_id",
        description="Names the occurrence: its original start, as an instant; a date if all-day.",
        examples=["2026-12-01T09:00:00Z"],
    ),
]
InScope = Annotated[
    Scope,
    Query(description="Only this occurrence, this and the following ones, or the whole series."),
]
Limit = Annotated[int, Query(ge=1, le=lists.AGENDA_MAX, description="At most so many.")]


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
    limit: Limit = 200,
    cursor: Cursor = None,
    as_of: AsOf = None,
) -> Response:
    """List the occurrences of all events you may read that touch the window, by `start_time`.

    An occurrence that merely ends when the window starts, or starts when it ends, is not in it.
    With `as_of` they are as they were then, and the window may be 366 days long at most.
    """
    window = window_of(start, end)
    after = read_cursor(cursor, datetime, UUID, datetime) if cursor else None
    caller_id = caller.user_id
    if as_of is None:
        page = await lists.agenda(
            db, caller_id=caller_id, window=window, limit=limit, after=after, now=now
        )
    else:
        page = await past.agenda(
            db,
            caller_id=caller_id,
            as_of=as_of,
            window=window,
            limit=limit,
            after=after,
            now=now,
        )
    return page_of(request, page)


@conflicts.get(
    "",
    summary="List the clashes that stand",
    response_model=list[Clash],
    responses={200: {"headers": LINK}, **errors(401, 422)},
)
async def list_conflicts(
    request: Request,
    caller: CurrentUser,
    db: Db,
    now: Now,
    start: Annotated[Instant, Query(description="The window's start.")],
    end: Annotated[Instant, Query(description="The window's end, at most ten years from now.")],
    limit: Annotated[int, Query(ge=1, le=lists.CONFLICTS_MAX, description="At most so many.")] = 50,
    cursor: Cursor = None,
) -> Response:
    """List the pairs of your busy occurrences that overlap within the window.

    There are some only where `on_conflict=allow` booked time that was taken, or where two endless
    series met later than could be seen when they were written.
    """
    page = await lists.conflicts(
        db,
        caller_id=caller.user_id,
        window=window_of(start, end),
        limit=limit,
        after=read_cursor(cursor, datetime, UUID, datetime, UUID, datetime) if cursor else None,
        now=now,
    )
    return page_of(request, page)


@of_event.get(
    "",
    summary="List an event's occurrences",
    response_model=list[OccurrenceRead],
    responses={200: {"headers": LINK}, **errors(401, 403, 404, 422)},
)
async def list_occurrences_of_event(
    request: Request,
    event_id: TheEvent,
    caller: CurrentUser,
    db: Db,
    now: Now,
    start: Annotated[Instant | None, Query(description="Only those that end after it.")] = None,
    end: Annotated[
        Instant | None,
        Query(description="Only those before it; without it at least two years from now."),
    ] = None,
    limit: Limit = 200,
    cursor: Cursor = None,
) -> Response:
    """List when an event you may read takes place, by `start_time`."""
    if start is not None and end is not None:
        window_of(start, end)
    page = await lists.occurrences_of(
        db,
        caller_id=caller.user_id,
        event_id=EventId(event_id),
        start=start,
        end=end,
        limit=limit,
        after=read_cursor(cursor, datetime, UUID, datetime) if cursor else None,
        now=now,
    )
    return page_of(request, page)


@of_event.get(
    "/{recurrence_id}",
    summary="Get an occurrence",
    response_model=OccurrenceRead,
    responses={
        200: {"headers": ETAG},
        304: {"description": "The event is still the version named in `If-None-Match`."},
        **errors(401, 403, 404, 422),
    },
)
async def get_occurrence(
    event_id: TheEvent,
    recurrence_id: TheOccurrence,
    caller: CurrentUser,
    db: Db,
    now: Now,
    if_none_match: Annotated[str | None, Header(description="ETags you already have.")] = None,
) -> Response:
    """Return one occurrence as it is, whatever it has of its own put over its series."""
    version, body = await lists.occurrence(
        db, caller_id=caller.user_id, event_id=EventId(event_id), name=recurrence_id, now=now
    )
    headers = {"ETag": etag(version)}
    if if_none_match and etag_matches(if_none_match, version):
        return Response(status_code=304, headers=headers)
    return json_bytes(body, headers=headers)


@of_event.patch(
    "/{recurrence_id}",
    summary="Change an occurrence, or the series from it",
    response_model=OccurrenceRead | EventRead,
    responses={200: {"headers": ETAG}, **errors(401, 403, 404, 412, 413, 422, 428), **CONFLICT},
)
async def change_occurrence(
    event_id: TheEvent,
    recurrence_id: TheOccurrence,
    changes: EventUpdate,
    caller: CurrentUser,
    db: Db,
    now: Now,
    terms: Merging,
    scope: InScope = Scope.THIS,
    base_version: BaseVersion = None,
    resolve: Resolve = None,
) -> Response:
    """Change one occurrence (move it, cancel it), it and all that follow, or the whole series.

    The fields are those of the occurrence, and so is a start or end that is not sent. With
    `following` and `all`, a new time moves the others as far on the wall clock, and the rule with
    them: a weekly Monday moved to Tuesday is a weekly Tuesday. Where the rule cannot bring the
    occurrence there and the others as far, `all` is refused. `this` answers the occurrence;
    `following` splits the series and answers the new event (`split_from` names the old one); `all`
    answers the event.
    """
    event = await scopes.edit(
        db,
        target=_target(caller.user_id, event_id, recurrence_id),
        scope=scope,
        changes=changes,
        base=Base(base_version, resolve) if base_version is not None else None,
        terms=terms.answered(changed),
        now=now,
    )
    return changed(event)


@of_event.delete(
    "/{recurrence_id}",
    status_code=204,
    summary="Delete an occurrence, or the series from it",
    responses=errors(401, 403, 404, 412, 422, 428),
)
async def delete_occurrence(
    event_id: TheEvent,
    recurrence_id: TheOccurrence,
    caller: CurrentUser,
    db: Db,
    now: Now,
    terms: Deleting,
    scope: InScope = Scope.THIS,
) -> Response:
    """Take one occurrence out of its series, or end the series before it; its time is free at once.

    `all` deletes the event, which only an Owner may.
    """
    await scopes.delete(
        db,
        target=_target(caller.user_id, event_id, recurrence_id),
        scope=scope,
        terms=terms.answered(gone),
        now=now,
    )
    return gone()


@of_event.post(
    "/{recurrence_id}/reset",
    summary="Reset an occurrence",
    response_model=OccurrenceRead,
    responses={200: {"headers": ETAG}, **errors(401, 403, 404, 412, 422, 428), **CONFLICT},
)
async def reset_occurrence(
    event_id: TheEvent,
    recurrence_id: TheOccurrence,
    caller: CurrentUser,
    db: Db,
    now: Now,
    terms: Changing,
) -> Response:
    """Make an occurrence what its series says again, even if it was deleted."""
    event = await scopes.reset(
        db,
        target=_target(caller.user_id, event_id, recurrence_id),
        terms=terms.answered(changed),
        now=now,
    )
    return changed(event)


def _target(caller_id: UserId, event_id: UUID, name: datetime | date) -> Target:
    return Target(caller_id, EventId(event_id), name)
