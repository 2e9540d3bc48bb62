"""What one was told, over HTTP: a page of it, how much is unread, and marking it as read."""

from typing import Final

from fastapi import APIRouter, Request, Response

from eventmanager.accounts.access import CurrentUser
from eventmanager.core.http import LINK, Db, errors, json_bytes, next_link
from eventmanager.core.ids import SessionId
from eventmanager.core.paging import Limit
from eventmanager.messages import service
from eventmanager.messages.cursors import EXPIRED, After
from eventmanager.messages.positions import read_position, write_position
from eventmanager.messages.schemas import Message, Notification, ReadUpTo, Unread

router: Final = APIRouter(prefix="/api/notifications", tags=["notifications"])


@router.get(
    "",
    summary="List one's notifications",
    response_model=list[Notification],
    responses={200: {"headers": LINK}, **errors(401, 410, 422, _410=EXPIRED)},
)
async def list_notifications(
    request: Request, caller: CurrentUser, db: Db, after: After, limit: Limit = 100
) -> Response:
    """Return what came after a cursor, or all that is kept, in the order of the cursors.

    Ask again with the `cursor` of the last one you have: none is ever skipped, however late the
    change it tells of was committed.
    """
    found = await service.messages(
        db,
        reader=caller.user_id,
        session_id=SessionId(caller.session_id),
        after=after,
        limit=limit + 1,
    )
    page = found[:limit]
    headers = {}
    if len(found) > limit:
        last = write_position(page[-1]["transaction_id"], page[-1]["position"])
        headers["Link"] = next_link(request, after=last)
    written = b",".join(Message(dict(row)).json(caller.user_id) for row in page)
    return json_bytes(b"[%b]" % written, headers=headers)


@router.get(
    "/unread",
    summary="Count what one has not read",
    response_model=Unread,
    responses=errors(401),
)
async def count_unread(caller: CurrentUser, db: Db) -> Unread:
    """Return how many notifications came after the last one marked as read.

    And a cursor: who goes on after it hears of all that is not counted here.
    """
    count, until = await service.count_unread(db, reader=caller.user_id)
    return Unread(
        unread=min(count, service.COUNTED),
        more=count > service.COUNTED,
        cursor=write_position(*until),
    )


@router.post(
    "/read",
    status_code=204,
    summary="Mark as read",
    responses=errors(
        401, 410, 422, _410="`cursor_expired`: the cursor is of another database; see `restart`"
    ),
)
async def mark_read(read: ReadUpTo, caller: CurrentUser, db: Db) -> Response:
    """Mark everything up to a cursor as read; what is read stays read."""
    until = read_position(read.cursor, loc=("body", "cursor"))
    await service.mark_read(db, reader=caller.user_id, until=until)
    return Response(status_code=204)
