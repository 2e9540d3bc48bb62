"""Places for jobs that wait for others' servers, so that none of these holds up the others' jobs.

A job that finds no place soon is postponed until about when its turn should come.
"""

import asyncio
import random
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from typing import Final

from eventmanager.core.background.kinds import Postponed

SOON_SECONDS: Final = 0.5
_LATE_SECONDS: Final = 600.0


class Places:
    """So many places, in one process."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._free = asyncio.Semaphore(count)
        self._moved = time.monotonic()
        self._held = 0

    @property
    def are_stuck(self) -> bool:
        """Whether all are taken, and have been for a while."""
        return self._free.locked() and time.monotonic() - self._moved > SOON_SECONDS

    @asynccontextmanager
    async def one(self) -> AsyncIterator[None]:
        """Hold one."""
        async with self._free:
            self._held += 1
            self._moved = time.monotonic()
            try:
                yield
            finally:
                self._held -= 1
                self._moved = time.monotonic()


class Lane(Places):
    """The places of those who wait for each other, and up to when they are promised."""

    def __init__(self, count: int) -> None:
        super().__init__(count)
        self._lasted_s = 0.0
        self._promised = 0.0

    @property
    def is_busy(self) -> bool:
        """Whether it would be missed."""
        return self._held > 0 or self._promised > time.monotonic()

    @asynccontextmanager
    async def place(self, *others: Places) -> AsyncIterator[None]:
        """Hold a place here and in all `others`; raises `Postponed` if there is none soon."""
        wanted = (self, *others)
        async with AsyncExitStack() as held:
            try:
                if any(places.are_stuck for places in wanted):
                    raise TimeoutError
                async with asyncio.timeout(SOON_SECONDS):
                    for places in wanted:
                        await held.enter_async_context(places.one())
            except TimeoutError:
                raise Postponed(self._promise()) from None
            began = time.monotonic()
            try:
                yield
            finally:
                self._lasted_s = time.monotonic() - began

    def _promise(self) -> timedelta:
        """Return after how long there should be a place, for one that will come back then."""
        now = time.monotonic()
        self._promised = max(self._promised, now) + max(self._lasted_s, SOON_SECONDS) / self._count
        wait_s = self._promised - now
        if wait_s > _LATE_SECONDS:
            # Nobody waits for longer than this after the receiver is well again.
            self._promised = now + _LATE_SECONDS
            wait_s = random.uniform(0, _LATE_SECONDS)  # noqa: S311  # no secret
        return timedelta(seconds=wait_s)
