"""What the caller wants to be told, and when not to be disturbed, over HTTP."""

from typing import Final

from fastapi import APIRouter

from eventmanager.accounts.access import CurrentUser
from eventmanager.core.http import Db, Now, errors
from eventmanager.messages import service
from eventmanager.messages.schemas import Wishes

router: Final = APIRouter(prefix="/api/me/notification-settings", tags=["notifications"])


@router.get(
    "", summary="Get one's notification settings", response_model=Wishes, responses=errors(401)
)
async def get_settings(caller: CurrentUser, db: Db) -> Wishes:
    """Return what you want to be told; who has set nothing is told everything, at any time."""
    return await service.wishes(db, user_id=caller.user_id)


@router.put(
    "",
    summary="Set one's notification settings",
    response_model=Wishes,
    responses=errors(401, 422),
)
async def put_settings(wishes: Wishes, caller: CurrentUser, db: Db, now: Now) -> Wishes:
    """Set what you want to be told; what you leave out is as if you had never set it.

    `types` decides of what happens from now on, in the list as on sockets and streams; webhooks
    have types of their own, and `GET /api/sync` has every change in any case. During quiet hours
    nothing is sent to sockets and streams; what happens then comes when they end, and can be listed
    at once.
    """
    await service.wish(db, user_id=caller.user_id, wishes=wishes, now=now)
    return wishes
