"""News as a stream and over the WebSocket: who may listen, and from where on."""

import time
from collections.abc import AsyncIterator
from typing import Annotated, Final

import structlog
from fastapi import APIRouter, Depends, Header, Request, WebSocket
from structlog.contextvars import bind_contextvars

from eventmanager.accounts.access import (
    Caller,
    CurrentUser,
    bearer_token,
    caller_of,
    caller_with_ticket,
)
from eventmanager.core.config import Settings
from eventmanager.core.database import Database
from eventmanager.core.errors import EventManagerError, Unauthenticated
from eventmanager.core.handshakes import can_read_problem, check_origin, close
from eventmanager.core.http import Db, errors
from eventmanager.core.ids import uuid7
from eventmanager.messages import service
from eventmanager.messages.cursors import EXPIRED, After
from eventmanager.messages.letters import MSGPACK
from eventmanager.messages.positions import Position, read_position
from eventmanager.messages.schemas import (
    MAX_CURSOR,
)
from eventmanager.realtime.answering import Answering
from eventmanager.realtime.news import News
from eventmanager.realtime.resuming import letters, missed
from eventmanager.realtime.sockets import attend
from eventmanager.realtime.streams import EventStream
from eventmanager.realtime.subscriber import Subscriber

router: Final = APIRouter(prefix="/api/notifications", tags=["notifications"])
socket: Final = APIRouter()
_log = structlog.get_logger("app")


async def _subscriber(
    request: Request,
    caller: CurrentUser,
    db: Db,
    after: After,
    last_event_id: Annotated[
        str | None,
        Header(max_length=MAX_CURSOR, description="As `after`, and before it: browsers send it."),
    ] = None,
) -> AsyncIterator[Subscriber]:
    """Subscribe the caller until the stream has ended; raises `CursorExpired`, `Unavailable`."""
    if last_event_id:
        after = read_position(last_event_id, loc=("header", "Last-Event-ID"))
    if after is not None:
        await service.check_kept(db, reader=caller.user_id, after=after)
    news: News = request.app.state.news
    async with news.hub.subscribed(caller, after=after) as subscriber:
        yield subscriber


@router.get(
    "/stream",
    status_code=200,
    summary="Listen to one's notifications",
    response_class=EventStream,
    responses={
        200: {
            "description": "Events without end: `id` is the cursor, `event` the type, `data` a"
            " `Notification`. A comment comes every 15 seconds",
            "content": {
                "text/event-stream": {
                    "schema": {"type": "string"},
                    "example": "id: AAAAAAAAAyAAAAAAAAAACQ\nevent: event_updated\ndata: {...}\n\n",
                }
            },
        },
        **errors(401, 410, 422, _410=EXPIRED),
    },
)
async def stream(subscriber: Annotated[Subscriber, Depends(_subscriber)], db: Db) -> EventStream:
    """Send what happens as server-sent events, until the session ends or the server stops.

    With `Last-Event-ID` or `after`, all that came after that first, none skipped or doubled. A
    client that does not keep up is cut off; it comes again with the last id it has.
    """
    return EventStream(subscriber, letters=letters(db, subscriber))


async def notifications(websocket: WebSocket) -> None:
    """Tell the caller about changes of the events they may read, until either side closes.

    Every message from here is one `Notification` as JSON text; with `?after=<cursor>`, all that
    came after that first. A refusal comes before the socket is open, as the problem that any other
    route would answer; to who can't read that, as a close with 4000 plus the status.
    """
    request_id = uuid7().hex
    websocket.scope.setdefault("state", {})["request_id"] = request_id
    bind_contextvars(request_id=request_id)
    database: Database = websocket.app.state.database
    packed = MSGPACK in websocket.scope.get("subprotocols", ())
    try:
        caller = await _caller(websocket)
        after = await _resumed(websocket, database, caller=caller)
        news: News = websocket.app.state.news
        async with news.hub.subscribed(caller, after=after) as subscriber:
            await websocket.accept(MSGPACK if packed else None)
            _log.info("socket_opened", path=websocket.url.path)
            began = time.monotonic()
            answering = Answering(database, subscriber, presences=news.presences, packed=packed)
            try:
                code = await attend(
                    websocket,
                    subscriber,
                    missed=missed(database, subscriber),
                    packed=packed,
                    heard=answering.hear,
                )
            finally:
                news.presences.leave(subscriber)
            seconds = round(time.monotonic() - began, 1)
            _log.info("socket_closed", path=websocket.url.path, code=code, seconds=seconds)
    except EventManagerError as error:
        if can_read_problem(websocket):
            raise
        await close(websocket, error)


# Starlette's own route: FastAPI's would hold several KiB more for as long as a socket is open.
socket.add_websocket_route("/api/ws/notifications", notifications)


async def _caller(websocket: WebSocket) -> Caller:
    settings: Settings = websocket.app.state.settings
    check_origin(websocket, allowed=settings.cors_origins)
    token = bearer_token(websocket)
    if token is not None:
        return await caller_of(websocket, token)
    ticket = websocket.query_params.get("ticket")
    if not ticket:
        raise Unauthenticated
    return await caller_with_ticket(websocket, ticket)


async def _resumed(websocket: WebSocket, database: Database, *, caller: Caller) -> Position | None:
    cursor = websocket.query_params.get("after")
    if not cursor:
        return None
    after = read_position(cursor)
    await service.check_kept(database, reader=caller.user_id, after=after)
    return after
