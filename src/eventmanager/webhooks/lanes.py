"""How many attempts are under way at once, so that no receiver holds up the others.

A webhook has quick receivers, or slow ones, or ones that fail, or nobody knows yet. Each kind has
places of its own, and each user a few of them: whoever has webhooks that take long waits for them
alone.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from eventmanager.core.background.places import Lane, Places
from eventmanager.core.background.process import JOBS_MAX
from eventmanager.webhooks.sending import Outcome

OF_ALL: Final = JOBS_MAX * 3 // 4
"""How many of the jobs that a process has in its hands are deliveries, so that others go on."""
QUICK_MS: Final = 2000
SLOW_MS: Final = 5000
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
SLOW: Final = Kind("slow", 1, OF_ALL // 6)


class Lanes:
    """The places of one process, and which receivers have been quick or slow."""

    def __init__(self) -> None:
        self._all = Places(OF_ALL)
        self._kinds = {kind: Places(kind.of_all) for kind in (QUICK, UNKNOWN, FAILING, SLOW)}
        self._lanes: dict[tuple[UUID, Kind], Lane] = {}
        self._known: dict[UUID, Kind] = {}

    @asynccontextmanager
    async def place(
        self, *, user_id: UUID, webhook_id: UUID, is_failing: bool
    ) -> AsyncIterator[None]:
        """Hold a place while something is sent; raises `Postponed` if there is none soon."""
        kind = self._known.get(webhook_id, UNKNOWN)
        # One that hangs must not be in the way of those that fail at once, or that nobody knows.
        kind = FAILING if is_failing and kind is not SLOW else kind
        async with self._lane(user_id, kind).place(self._kinds[kind], self._all):
            yield

    def learn(self, webhook_id: UUID, outcome: Outcome) -> None:
        """Remember whether a receiver was quick or slow.

        Where a lookup goes on, the attempt was short, but the thread is kept for much longer.
        """
        if len(self._known) > _REMEMBERED:
            self._known.clear()
        self._known.pop(webhook_id, None)
        if outcome.lookup_goes_on or outcome.duration_ms >= SLOW_MS:
            self._known[webhook_id] = SLOW
        elif outcome.is_delivered and outcome.duration_ms < QUICK_MS:
            self._known[webhook_id] = QUICK

    def _lane(self, user_id: UUID, kind: Kind) -> Lane:
        if len(self._lanes) > _REMEMBERED:
            self._lanes = {name: lane for name, lane in self._lanes.items() if lane.is_busy}
        return self._lanes.setdefault((user_id, kind), Lane(kind.of_user))
