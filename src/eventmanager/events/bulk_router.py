"""The HTTP surface of changes of many events at once."""

from collections.abc import Callable, Sequence
from typing import Annotated, Any, Final

import orjson
from fastapi import APIRouter, Query, Response

from eventmanager.accounts.access import CurrentUser
from eventmanager.core import problems
from eventmanager.core.errors import Invalid
from eventmanager.core.http import Db, Now, errors, json_bytes
from eventmanager.core.ids import EventId
from eventmanager.events import bulk
from eventmanager.events.bulk import Result
from eventmanager.events.lists import Filter
from eventmanager.events.parameters import CONFLICT, Booking, window_of
from eventmanager.events.schemas import BulkChange, BulkResult, BulkSelection
from eventmanager.events.writing import Terms

router = APIRouter(prefix="/api/events/batch", tags=["events"])

Atomic = Annotated[
    bool,
    Query(description="All or none; with `false` each by itself, and the answer is 207."),
]
_RESPONSES: Final[dict[int | str, dict[str, Any]]] = {
    207: {"description": "With `atomic=false`: what became of each.", "model": list[BulkResult]},
    **errors(401, 403, 404, 413, 422),
    **CONFLICT,
}


@router.patch(
    "", summary="Change many events", response_model=list[BulkResult], responses=_RESPONSES
)
async def change_events(
    change: BulkChange,
    caller: CurrentUser,
    db: Db,
    now: Now,
    terms: Booking,
    atomic: Atomic = True,
) -> Response:
    """Make the same change to up to 1,000 events, by their ids or by a filter.

    If all or none are to be changed, the first refusal is the answer, and its `event_id` says of
    which event.
    """
    answer, terms = _answering(terms, atomic=atomic, done=200)
    results = await bulk.change(
        db,
        caller_id=caller.user_id,
        event_ids=await _chosen(change, caller, db, now),
        changes=change.changes,
        atomic=atomic,
        terms=terms,
        now=now,
    )
    return answer(results)


@router.delete(
    "", summary="Delete many events", response_model=list[BulkResult], responses=_RESPONSES
)
async def delete_events(
    selection: BulkSelection,
    caller: CurrentUser,
    db: Db,
    now: Now,
    terms: Booking,
    atomic: Atomic = True,
) -> Response:
    """Move up to 1,000 events of yours to the bin, by their ids or by a filter."""
    answer, terms = _answering(terms, atomic=atomic, done=204)
    results = await bulk.delete(
        db,
        caller_id=caller.user_id,
        event_ids=await _chosen(selection, caller, db, now),
        atomic=atomic,
        terms=terms,
        now=now,
    )
    return answer(results)


async def _chosen(selection: BulkSelection, caller: CurrentUser, db: Db, now: Now) -> list[EventId]:
    if selection.ids is not None:
        return [EventId(event_id) for event_id in dict.fromkeys(selection.ids)]
    given = selection.filter
    assert given is not None, "the body was refused otherwise"
    window = window_of(given.start, given.end) if given.start or given.end else None
    chosen = Filter(given.q, given.role, window)
    return await bulk.select(db, caller_id=caller.user_id, chosen=chosen, now=now)


def _answering(
    terms: Terms, *, atomic: bool, done: int
) -> tuple[Callable[[Sequence[Result]], Response], Terms]:
    """Return how results are answered, and the terms that know of it."""
    if terms.once is not None and not atomic:
        raise Invalid(
            "An Idempotency-Key goes with atomic=true only: each by itself is not done once",
            loc=("header", "Idempotency-Key"),
            type="key_needs_atomic",
        )

    def answer(results: Sequence[Result]) -> Response:
        body = b",".join(_written(result, done=done) for result in results)
        return json_bytes(b"[" + body + b"]", status=200 if atomic else 207)

    return answer, terms.answered(answer)


def _written(result: Result, *, done: int) -> bytes:
    status = done if result.error is None else problems.status_of(result.error)
    said: dict[str, Any] = {"id": str(result.event_id), "status": status}
    if result.error is not None:
        said["problem"] = problems.facts_of(result.error)
    written = orjson.dumps(said, default=str)
    if result.event is None:
        return written
    return written[:-1] + b',"event":' + result.event.json + b"}"
