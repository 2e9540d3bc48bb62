"""The HTTP surface of keeping a copy."""

from typing import Annotated
from urllib.parse import urlencode

from fastapi import APIRouter, Query, Request, Response

from eventmanager.accounts.access import CurrentUser
from eventmanager.core.errors import Invalid
from eventmanager.core.http import LINK, Db, Now, errors, json_bytes
from eventmanager.core.paging import Limit
from eventmanager.sync import service
from eventmanager.sync.schemas import SyncRead
from eventmanager.sync.tokens import MAX_LENGTH

router = APIRouter(prefix="/api", tags=["sync"])


@router.get(
    "/sync",
    summary="Keep a copy up to date",
    response_model=SyncRead,
    responses={
        200: {"headers": LINK},
        **errors(
            401,
            410,
            422,
            _410="`sync_token_expired`: the token is more than 30 days old, or of another user or"
            " database. Begin again at `restart`, and drop what you have and it does not bring",
        ),
    },
)
async def sync(
    request: Request,
    caller: CurrentUser,
    db: Db,
    now: Now,
    sync_token: Annotated[
        str | None,
        Query(max_length=MAX_LENGTH, description="From the end of your last sync; none: all."),
    ] = None,
    cursor: Annotated[
        str | None,
        Query(max_length=3 * MAX_LENGTH, description="`next_page` of the page before."),
    ] = None,
    limit: Limit = 100,
) -> Response:
    """Return all you may read or, with a `sync_token`, what of it has changed since.

    A change is whatever `GET /api/events/{id}` would show: of the event, its occurrences or its
    permissions. Apply the pages in order: put each of `changed` in the place of the event with its
    `id`, drop those in `removed`, also if you don't have them. Go on with `cursor` set to
    `next_page` until it is null; keep the `sync_token` that comes then for the next time. An event
    may come more than once, also when nothing about it is new to you.

    Your copy is then what the list of your events was when the sync began, or newer; what has
    changed in the meantime comes with the next one, however late it was committed.
    """
    if sync_token is not None and cursor is not None:
        raise Invalid(
            "A cursor goes without a sync_token: it knows from where the sync began",
            loc=("query", "sync_token"),
            type="token_beside_cursor",
        )
    page = await service.sync(
        db,
        caller_id=caller.user_id,
        sync_token=sync_token,
        cursor=cursor,
        limit=limit,
        now=now,
    )
    headers = {}
    if page.next_cursor is not None:
        following = urlencode({"limit": limit, "cursor": page.next_cursor})
        headers["Link"] = f'<{request.url.path}?{following}>; rel="next"'
    return json_bytes(page.json, headers=headers)
