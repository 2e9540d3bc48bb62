"""What a task listens to: an iterator that may be waited for as long or as short as one likes."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import suppress
from typing import Any, Self, TypeAlias

from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from eventmanager.client.following import Trail
from eventmanager.client.models import Notification

Sockets: TypeAlias = AsyncGenerator[ClientConnection, ConnectionClosed | None]
"""One socket after the other, each asked for with how the one before was lost."""


class Listener(AsyncIterator[Notification]):
    """The notifications of one listener.

    Who stops waiting for the next one, as with `asyncio.timeout`, gets it the next time.
    """

    def __init__(self, sockets: Sockets, trail: Trail) -> None:
        self._sockets = sockets
        self._trail = trail
        self._socket: ClientConnection | None = None
        self._loss: ConnectionClosed | None = None
        self._opening: asyncio.Task[ClientConnection] | None = None

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Notification:
        while True:
            if self._socket is None:
                self._socket = await self._opened()
            try:
                message = self._trail.take(await self._socket.recv())
            except ConnectionClosed as error:
                self._socket, self._loss = None, error
                continue
            if message is not None:
                return message

    async def aclose(self) -> None:
        """Stop listening."""
        if self._opening is not None:
            self._opening.cancel()
            await asyncio.wait({self._opening})
        await self._sockets.aclose()

    async def _opened(self) -> ClientConnection:
        # A generator that is cancelled is over, so only a task of its own waits in it.
        if self._opening is None:
            self._opening = asyncio.create_task(_next_of(self._sockets, self._loss))
            self._opening.add_done_callback(hush)
        await asyncio.wait({self._opening})
        opening, self._opening = self._opening, None
        if opening.cancelled():
            raise StopAsyncIteration
        return opening.result()

    def __del__(self) -> None:
        # Nobody can wait for it any more. The loop may be closed by now, and all of it with it.
        if self._opening is not None:
            with suppress(RuntimeError):
                self._opening.cancel()


def hush(task: asyncio.Task[Any]) -> None:
    """Let nobody complain of the error of a task that nobody waits for any more."""
    if not task.cancelled():
        task.exception()


async def _next_of(sockets: Sockets, loss: ConnectionClosed | None) -> ClientConnection:
    return await sockets.asend(loss)
