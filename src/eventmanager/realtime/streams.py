"""One open stream of server-sent events (WHATWG HTML, 9.2): a socket for those who only listen."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any, Final

from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from eventmanager.messages.letters import Letter
from eventmanager.realtime.protocol import LINE, Line
from eventmanager.realtime.sockets import CLOSE_SECONDS, SEND_SECONDS
from eventmanager.realtime.subscriber import TOO_SLOW, Subscriber

COMMENT_SECONDS: Final = 15.0
_COMMENT: Final = b":\n\n"


class EventStream(StreamingResponse):
    """Sends a subscriber's notifications until it is ended, its client leaves, or the server stops.

    A comment now and then tells both sides, and the proxies between, that the other is there.
    """

    media_type = "text/event-stream"

    def __init__(self, subscriber: Subscriber, *, letters: AsyncIterator[Letter]) -> None:
        # A connection that is cut off must not be one that carries other requests.
        headers = {
            "Cache-Control": "no-store",
            "Connection": "close",
            "X-Accel-Buffering": "no",
        }
        super().__init__((), headers=headers)
        self._subscriber = subscriber
        self._letters = letters
        self._one_at_a_time = asyncio.Lock()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve the stream."""
        line: Line | None = scope.get("extensions", {}).get(LINE)
        start = {"status": self.status_code, "headers": self.raw_headers}
        await send({"type": "http.response.start", **start})
        writing = asyncio.create_task(self._write(send))
        commenting = asyncio.create_task(self._comment(send))
        leaving = asyncio.create_task(_leave(receive))
        tasks: list[asyncio.Future[Any]] = [writing, commenting, leaving]
        if line is not None:
            tasks.append(asyncio.create_task(line.stop()))
        first = {*tasks, self._subscriber.ended}
        try:
            await asyncio.wait(first, return_when=asyncio.FIRST_COMPLETED)
            if writing.done():
                writing.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        try:
            async with asyncio.timeout(CLOSE_SECONDS):
                await send({"type": "http.response.body", "body": b""})
        except TimeoutError:
            if line is not None:
                line.abort()
        else:
            if line is not None:
                line.abort_later()

    async def _write(self, send: Send) -> None:
        async for letter in self._letters:
            await self._say(send, letter.as_event())

    async def _comment(self, send: Send) -> None:
        while True:
            await self._say(send, _COMMENT)
            await asyncio.sleep(COMMENT_SECONDS)

    async def _say(self, send: Send, chunk: bytes) -> None:
        try:
            async with asyncio.timeout(SEND_SECONDS), self._one_at_a_time:
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
        except TimeoutError:
            self._subscriber.end(TOO_SLOW)


async def _leave(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
