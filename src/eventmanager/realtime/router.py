"""The WebSocket: who may open it, from where; then the hub and the socket do the rest."""

import time
from typing import Final

import structlog
from fastapi import APIRouter, WebSocket
from structlog.contextvars import bind_contextvars

from eventmanager.accounts.access import Caller, bearer_token, caller_of
from eventmanager.core.config import Settings
from eventmanager.core.errors import EventManagerError, Unauthenticated
from eventmanager.core.ids import uuid7
from eventmanager.core.problems import status_of
from eventmanager.realtime.news import News
from eventmanager.realtime.origin import check_origin
from eventmanager.realtime.sockets import attend

DENIAL_EXTENSION: Final = "websocket.http.response"

router = APIRouter()
_log = structlog.get_logger("app")


@router.websocket("/api/ws/notifications")
async def notifications(websocket: WebSocket) -> None:
    """Tell the caller about changes of the events they may read, until either side closes.

    Every message from here is one `Notification` as JSON text. A refusal comes before the socket
    is open, as the problem that any other route would answer; from a server that cannot say so,
    as a close with 4000 plus the status.
    """
    request_id = uuid7().hex
    websocket.scope.setdefault("state", {})["request_id"] = request_id
    bind_contextvars(request_id=request_id)
    try:
        caller = await _caller(websocket)
        news: News = websocket.app.state.news
        async with news.hub.subscribed(caller) as subscriber:
            await websocket.accept()
            _log.info("socket_opened", path=websocket.url.path)
            began = time.monotonic()
            code = await attend(websocket, subscriber)
            seconds = round(time.monotonic() - began, 1)
            _log.info("socket_closed", path=websocket.url.path, code=code, seconds=seconds)
    except EventManagerError as error:
        if DENIAL_EXTENSION in websocket.scope.get("extensions", {}):
            raise
        await websocket.accept()
        await websocket.close(4000 + status_of(error), error.code)


async def _caller(websocket: WebSocket) -> Caller:
    settings: Settings = websocket.app.state.settings
    check_origin(websocket, allowed=settings.cors_origins)
    token = bearer_token(websocket)
    if token is None:
        raise Unauthenticated
    return await caller_of(websocket, token)
