"""The caller's own part of the audit log."""

from typing import Final

from fastapi import APIRouter, Request, Response

from eventmanager.accounts.access import CurrentUser
from eventmanager.core.audit import reading
from eventmanager.core.audit.schemas import AuditLimit, AuditRead, Filters
from eventmanager.core.http import LINK, Db, errors
from eventmanager.core.paging import Cursor

audit: Final = APIRouter(tags=["audit"])


@audit.get(
    "/api/me/audit",
    summary="List what one did",
    response_model=list[AuditRead],
    responses={200: {"headers": LINK}, **errors(401, 422)},
)
async def my_audit(
    *,
    request: Request,
    caller: CurrentUser,
    db: Db,
    asked: Filters,
    limit: AuditLimit = 100,
    cursor: Cursor = None,
) -> Response:
    """Return what the caller did, from where, and what others did to them, the newest first.

    An entry is written with the act or not at all, never changed, and kept for ever. Sign-ins that
    failed and refresh tokens that were used twice are among them.
    """
    page = await reading.of_user(
        db, user_id=caller.user_id, asked=asked, cursor=cursor, limit=limit
    )
    return reading.page_of(request, page)
