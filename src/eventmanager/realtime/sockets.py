"""One open socket: what there is for it is sent, what its client says is passed on."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Any, Final, TypeAlias

import structlog
from starlette.websockets import WebSocket, WebSocketDisconnect

from eventmanager.messages.letters import Letter
from eventmanager.realtime.protocol import OUTLET, Outlet
from eventmanager.realtime.subscriber import FAILED, TOO_SLOW, Ending, Subscriber

SEND_SECONDS: Final = 10.0
CLOSE_SECONDS: Final = 6.0
_GONE: Final = (WebSocketDisconnect, RuntimeError)
"""How Starlette says that the client, or the server, has closed the socket in the meantime."""
_log = structlog.get_logger("app")

Heard: TypeAlias = Callable[[str | bytes], Awaitable[None]]


async def attend(
    websocket: WebSocket,
    subscriber: Subscriber,
    *,
    missed: AsyncIterator[Letter],
    packed: bool = False,
    heard: Heard | None = None,
) -> int:
    """Serve an accepted socket until either side closes it, and return the code it closed with.

    Its client is sent what it has `missed`, then what the subscriber is offered, as JSON or
    `packed`. What it says itself is given to `heard`, one message after the other.
    """
    outlet: Outlet | None = websocket.scope.get("extensions", {}).get(OUTLET)
    writing: asyncio.Task[None] | None = None
    try:
        async with asyncio.timeout(None) as meanwhile:

            def stop(ended: asyncio.Future[Any]) -> None:
                # Who has written all that was missed is done, and all is well.
                if ended is writing and (ended.cancelled() or ended.exception() is None):
                    return
                # It may have come to its end by itself.
                with suppress(RuntimeError):
                    meanwhile.reschedule(0)

            subscriber.ended.add_done_callback(stop)
            if outlet is not None and subscriber.after is None:
                # Nothing was missed: a socket that only waits needs no task beside this one.
                _connect(subscriber, outlet, packed=packed)
            else:
                writing = asyncio.create_task(
                    _write(websocket, subscriber, missed, outlet=outlet, packed=packed)
                )
                writing.add_done_callback(stop)
            return await _read(websocket, heard)
    except TimeoutError:
        if not meanwhile.expired():
            raise
        if writing is not None:
            # A send that waits for a client that does not read would hold up the close as well.
            writing.cancel()
            with suppress(asyncio.CancelledError):
                await writing
        ending = subscriber.ended.result()
        await _close(websocket, ending)
        return ending.code
    finally:
        if writing is not None:
            writing.cancel()
            await asyncio.gather(writing, return_exceptions=True)


def _connect(subscriber: Subscriber, outlet: Outlet, *, packed: bool) -> None:
    """Let what the subscriber is offered go out without anybody's help."""
    write = outlet.write

    def send_text(letters: Sequence[Letter]) -> bool:
        return write([letter.text_frame for letter in letters])

    def send_packed(letters: Sequence[Letter]) -> bool:
        return write([letter.packed_frame for letter in letters])

    outlet.on_room = subscriber.send_on
    subscriber.send_by(send_packed if packed else send_text)


async def _read(websocket: WebSocket, heard: Heard | None) -> int:
    """Read until the socket is closed and return the code.

    The server reads one message at a time and none above its size limit, so this holds no memory.
    """
    while True:
        message = await websocket.receive()
        if message["type"] == "websocket.disconnect":
            code: int = message.get("code", 1005)
            return code
        if heard is not None:
            text = message.get("text")
            await heard(message["bytes"] if text is None else text)


async def _write(
    websocket: WebSocket,
    subscriber: Subscriber,
    missed: AsyncIterator[Letter],
    *,
    outlet: Outlet | None,
    packed: bool,
) -> None:
    """Send what was missed; after that everything, unless there is an outlet for it."""
    try:
        async for letter in missed:
            await _send(websocket, letter, packed=packed)
        if outlet is not None:
            _connect(subscriber, outlet, packed=packed)
            return
        while True:
            await _send(websocket, await subscriber.next(), packed=packed)
    except TimeoutError:
        subscriber.end(TOO_SLOW)
    except WebSocketDisconnect:
        # The reader is told so as well, with the code.
        return
    except Exception as error:
        _log.error("socket_failed", exc_info=error)
        subscriber.end(FAILED)


async def _send(websocket: WebSocket, letter: Letter, *, packed: bool) -> None:
    """Send one message; raises `WebSocketDisconnect` when either side has closed the socket."""
    try:
        async with asyncio.timeout(SEND_SECONDS):
            if packed:
                await websocket.send_bytes(letter.packed)
            else:
                await websocket.send_text(letter.json.decode())
    except RuntimeError as error:
        raise WebSocketDisconnect from error


async def _close(websocket: WebSocket, ending: Ending) -> None:
    try:
        async with asyncio.timeout(CLOSE_SECONDS):
            await websocket.close(ending.code, ending.reason)
    except (TimeoutError, *_GONE):
        return
