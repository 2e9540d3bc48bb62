"""How many attempts are under way at once, so that no receiver holds up the others.

A webhook has quick receivers, or ones that fail, or nobody knows yet. Each kind has places of its
own, and each user a few of them: whoever has webhooks that take long waits for them alone. A job
that finds no place soon is postponed until about when its turn should come.
"""

import asyncio
import random
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Final
from uuid import UUID

from eventmanager.core.background import Postponed
from eventmanager.core.background.process import JOBS_MAX
from eventmanager.webhooks.sending import Outcome

OF_ALL: Final = JOBS_MAX * 3 // 4
"""How many of the jobs that a process has in its hands are deliveries, so that others go on."""
SOON_SECONDS: Final = 0.5
QUICK_MS: Final = 2000
_LATE_SECONDS: Final = 600.0
_REMEMBERED: Final = 10_000


@dataclass(frozen=True, slots=True)
class Kind:
    """What is known of a receiver: how many places a user has there, and all users together."""

    name: str
    of_user: int
    of_all: int


QUICK: Final = Kind("quick", 8, OF_ALL)
UNKNOWN: Final = Kind("unknown", 1, OF_ALL // 3)
FAILING: Final = Kind("failing", 1, OF_ALL // 3)


class Lanes:
    """The places of one process, and which receivers have been quick."""

    def __init__(self) -> None:
        self._all = _Places(OF_ALL)
        self._kinds = {kind: _Places(kind.of_all) for kind in (QUICK, UNKNOWN, FAILING)}
        self._lanes: dict[tuple[UUID, Kind], _Lane] = {}
        self._quick: set[UUID] = set()

    @asynccontextmanager
    async def place(
        self, *, user_id: UUID, webhook_id: UUID, is_failing: bool
    ) -> AsyncIterator[None]:
        """Hold a place while something is sent; raises `Postponed` if there is none soon."""
        kind = QUICK if webhook_id in self._quick else UNKNOWN
        kind = FAILING if is_failing else kind
        lane = self._lane(user_id, kind)
        wanted = (lane, self._kinds[kind], self._all)
        async with AsyncExitStack() as held:
            try:
                if any(places.are_stuck for places in wanted):
                    raise TimeoutError
                async with asyncio.timeout(SOON_SECONDS):
                    for places in wanted:
                        await held.enter_async_context(places.one())
            except TimeoutError:
                raise Postponed(lane.promise()) from None
            began = time.monotonic()
            try:
                yield
            finally:
                lane.lasted_s = time.monotonic() - began

    def learn(self, webhook_id: UUID, outcome: Outcome) -> None:
        """Remember whether a receiver was quick."""
        if len(self._quick) > _REMEMBERED:
            self._quick.clear()
        if outcome.is_delivered and outcome.duration_ms < QUICK_MS:
            self._quick.add(webhook_id)
        else:
            self._quick.discard(webhook_id)

    def _lane(self, user_id: UUID, kind: Kind) -> "_Lane":
        if len(self._lanes) > _REMEMBERED:
            self._lanes = {name: lane for name, lane in self._lanes.items() if lane.is_busy}
        return self._lanes.setdefault((user_id, kind), _Lane(kind.of_user))


class _Places:
    """So many places."""

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


class _Lane(_Places):
    """A user's places, and up to when they are promised to those that wait."""

    def __init__(self, count: int) -> None:
        super().__init__(count)
        self.lasted_s = 0.0
        self._promised = 0.0

    @property
    def is_busy(self) -> bool:
        """Whether it would be missed."""
        return self._held > 0 or self._promised > time.monotonic()

    def promise(self) -> timedelta:
        """Return after how long there should be a place, for one that will come back then."""
        now = time.monotonic()
        self._promised = max(self._promised, now) + max(self.lasted_s, SOON_SECONDS) / self._count
        wait_s = self._promised - now
        if wait_s > _LATE_SECONDS:
            # Nobody waits for longer than this after the receiver is well again.
            self._promised = now + _LATE_SECONDS
            wait_s = random.uniform(0, _LATE_SECONDS)  # noqa: S311  # no secret
        return timedelta(seconds=wait_s)
