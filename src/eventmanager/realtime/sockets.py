"""One open socket: what there is for it is sent, what its client says is read and dropped."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any, Final

from starlette.websockets import WebSocket, WebSocketDisconnect

from eventmanager.realtime.subscriber import TOO_SLOW, Ending, Subscriber

SEND_SECONDS: Final = 10.0
CLOSE_SECONDS: Final = 6.0
_GONE: Final = (WebSocketDisconnect, RuntimeError)
"""How Starlette says that the client, or the server, has closed the socket in the meantime."""


async def attend(websocket: WebSocket, subscriber: Subscriber, *, texts: AsyncIterator[str]) -> int:
    """Serve an accepted socket until either side closes it, and return the code it closed with."""
    reading = asyncio.create_task(_read(websocket))
    writing = asyncio.create_task(_write(websocket, subscriber, texts))
    first: set[asyncio.Future[Any]] = {reading, writing, subscriber.ended}
    try:
        await asyncio.wait(first, return_when=asyncio.FIRST_COMPLETED)
        if subscriber.ended.done() and not reading.done():
            # A send that waits for a client that does not read would hold up the close as well.
            writing.cancel()
            ending = subscriber.ended.result()
            await _close(websocket, ending)
            return ending.code
        if writing.done():
            writing.result()
        return await reading
    finally:
        reading.cancel()
        writing.cancel()
        await asyncio.gather(reading, writing, return_exceptions=True)


async def _read(websocket: WebSocket) -> int:
    """Read until the socket is closed and return the code; clients have nothing to say here yet.

    The server reads one message at a time and none above its size limit, so this holds no memory.
    """
    while True:
        message = await websocket.receive()
        if message["type"] == "websocket.disconnect":
            code: int = message.get("code", 1005)
            return code


async def _write(websocket: WebSocket, subscriber: Subscriber, texts: AsyncIterator[str]) -> None:
    async for text in texts:
        try:
            async with asyncio.timeout(SEND_SECONDS):
                await websocket.send_text(text)
        except TimeoutError:
            subscriber.end(TOO_SLOW)
            return
        except _GONE:
            # The reader is told so as well, with the code.
            return


async def _close(websocket: WebSocket, ending: Ending) -> None:
    try:
        async with asyncio.timeout(CLOSE_SECONDS):
            await websocket.close(ending.code, ending.reason)
    except (TimeoutError, *_GONE):
        return
