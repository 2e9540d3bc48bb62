"""What the routes of events and occurrences take and answer in common."""

from datetime import datetime
from typing import Annotated, Any, Final, Literal
from uuid import UUID

from fastapi import Depends, Path, Query, Request, Response

from eventmanager.accounts.once import InOnce
from eventmanager.core.errors import Invalid
from eventmanager.core.http import IfMatch, IfMatchOrBase, etag, json_bytes, next_link, versions_in
from eventmanager.core.time import Instant, Window
from eventmanager.events import lists
from eventmanager.events.merging import Side
from eventmanager.events.schemas import TIME_CONFLICT
from eventmanager.events.writing import Event, Terms
from eventmanager.history.schemas import VersionNumber

TheEvent = Annotated[UUID, Path(alias="id", description="The event's id.")]
Cursor = Annotated[
    str | None, Query(max_length=400, description="From the `Link` header of the page before.")
]

OnConflict = Annotated[
    Literal["refuse", "allow"],
    Query(description="`allow` books time that is taken, too, instead of answering 409."),
]
AsOf = Annotated[
    Instant | None,
    Query(description="As it was at this instant, with your rights of now; not in the future."),
]
DryRun = Annotated[
    bool, Query(description="Answer as the request would be answered, and change nothing.")
]


BaseVersion = Annotated[
    VersionNumber | None,
    Query(description="The version that the change is based on, to be merged with the current."),
]
Resolve = Annotated[
    Side | None,
    Query(description="Whose change wins where both changed the same field; otherwise 409."),
]


async def _sends_mail(request: Request) -> bool:
    return request.app.state.settings.smtp is not None


_Mail = Annotated[bool, Depends(_sends_mail)]


async def _booking(
    once: InOnce, mail: _Mail, on_conflict: OnConflict = "refuse", dry_run: DryRun = False
) -> Terms:
    return Terms(allow=on_conflict == "allow", dry_run=dry_run, once=once, mail=mail)


async def _changing(
    if_match: IfMatch,
    once: InOnce,
    mail: _Mail,
    on_conflict: OnConflict = "refuse",
    dry_run: DryRun = False,
) -> Terms:
    allow = on_conflict == "allow"
    return Terms(versions_in(if_match), allow=allow, dry_run=dry_run, once=once, mail=mail)


async def _merging(
    if_match: IfMatchOrBase,
    once: InOnce,
    mail: _Mail,
    on_conflict: OnConflict = "refuse",
    dry_run: DryRun = False,
) -> Terms:
    return await _changing(if_match, once, mail, on_conflict, dry_run)


async def _deleting(if_match: IfMatch, once: InOnce, dry_run: DryRun = False) -> Terms:
    return Terms(versions_in(if_match), dry_run=dry_run, once=once)


Booking = Annotated[Terms, Depends(_booking)]
Changing = Annotated[Terms, Depends(_changing)]
Merging = Annotated[Terms, Depends(_merging)]
Deleting = Annotated[Terms, Depends(_deleting)]

ETAG: Final[dict[str, Any]] = {
    "ETag": {"description": "The event's version, quoted.", "schema": {"type": "string"}}
}
CONFLICT: Final[dict[int | str, dict[str, Any]]] = {
    409: {
        "description": "`time_conflict`: the owner is busy at that time; `merge_conflict`,"
        " `nothing_to_undo`, `second_half_stands` and `idempotency_key_in_use` say what they are"
        " about",
        "content": {"application/problem+json": {"schema": TIME_CONFLICT}},
    }
}


def window_of(start: datetime | None, end: datetime | None) -> Window:
    """Return the window of two parameters of a query; raises `Invalid`."""
    if start is None or end is None:
        missing = "start" if start is None else "end"
        raise Invalid("start and end go together", loc=("query", missing), type="incomplete_window")
    if end <= start:
        raise Invalid("end must be after start", loc=("query", "end"), type="invalid_time_order")
    return Window(start, end)


def page_of(request: Request, page: lists.Page) -> Response:
    """Answer a page of a list, with the link to the next one."""
    headers = {}
    if page.next_cursor is not None:
        headers["Link"] = next_link(request, cursor=page.next_cursor)
    return json_bytes(page.json, headers=headers)


def changed(event: Event) -> Response:
    """Answer a change: the event, or the occurrence, as it is then."""
    return json_bytes(event.json, headers={"ETag": etag(event.version)})


def gone(_: object = None) -> Response:
    """Answer a deletion."""
    return Response(status_code=204)
