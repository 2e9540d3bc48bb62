"""What the routes of events and occurrences take and answer in common."""

from datetime import datetime
from typing import Annotated, Any, Final, Literal
from uuid import UUID

from fastapi import Depends, Header, Path, Query, Request, Response

from eventmanager.core.errors import Invalid
from eventmanager.core.http import json_bytes, next_link, versions_in
from eventmanager.core.time import Window
from eventmanager.events import lists
from eventmanager.events.schemas import TIME_CONFLICT
from eventmanager.events.writing import Terms

TheEvent = Annotated[UUID, Path(alias="id", description="The event's id.")]
Cursor = Annotated[
    str | None, Query(max_length=400, description="From the `Link` header of the page before.")
]

IfMatch = Annotated[
    str | None,
    Header(description='The ETag that the change is based on, e.g. `"3"`; 412 if it is stale.'),
]
OnConflict = Annotated[
    Literal["refuse", "allow"],
    Query(description="`allow` books time that is taken, too, instead of answering 409."),
]
DryRun = Annotated[
    bool, Query(description="Answer as the request would be answered, and change nothing.")
]


async def _booking(on_conflict: OnConflict = "refuse", dry_run: DryRun = False) -> Terms:
    return Terms(allow=on_conflict == "allow", dry_run=dry_run)


async def _changing(
    if_match: IfMatch = None, on_conflict: OnConflict = "refuse", dry_run: DryRun = False
) -> Terms:
    return Terms(versions_in(if_match), allow=on_conflict == "allow", dry_run=dry_run)


async def _deleting(if_match: IfMatch = None, dry_run: DryRun = False) -> Terms:
    return Terms(versions_in(if_match), dry_run=dry_run)


Booking = Annotated[Terms, Depends(_booking)]
Changing = Annotated[Terms, Depends(_changing)]
Deleting = Annotated[Terms, Depends(_deleting)]

ETAG: Final[dict[str, Any]] = {
    "ETag": {"description": "The event's version, quoted.", "schema": {"type": "string"}}
}
CONFLICT: Final[dict[int | str, dict[str, Any]]] = {
    409: {
        "description": "`time_conflict`: the owner is busy at that time",
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
