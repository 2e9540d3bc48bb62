"""Looking at something again and again beside the sockets, whatever goes wrong once."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

import asyncpg
import structlog

from eventmanager.core.errors import Unavailable

_log = structlog.get_logger("app")


@asynccontextmanager
async def looking(
    look: Callable[[], Awaitable[None]], *, every_s: float, name: str
) -> AsyncIterator[None]:
    """Inside the block, `look` at intervals; while the database is away, in vain."""

    async def repeat() -> None:
        while True:
            await asyncio.sleep(every_s)
            try:
                await look()
            except (Unavailable, asyncpg.PostgresError):
                # The hub says so in the log; what is to be found then is found later.
                continue
            except Exception as error:
                # One bad look must not be the last for all who stay connected.
                _log.error("look_failed", what=name, exc_info=error)

    task = asyncio.create_task(repeat(), name=name)
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
