"""Notices when messages can't be told since an older transaction doesn't end, and says whose it is.

Only what is older than every running transaction is told, and PostgreSQL counts those of all
databases of a server. One that somebody has left open holds up all news, and nobody else would say.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import structlog

from eventmanager.core.clock import Clock
from eventmanager.core.database import Database, Reading
from eventmanager.messages import queries
from eventmanager.realtime.looking import looking

HELD_UP_SECONDS: Final = 30.0
INTERVAL_SECONDS: Final = 5.0

_log = structlog.get_logger("app")


@dataclass(frozen=True, slots=True)
class HoldUp:
    """For how long the oldest message has waited, and what is known of what it waits for.

    A prepared transaction has a `gid` and no `pid`; without either, it has just ended. Its age is
    unknown where the database's user may not see what others do (`pg_read_all_stats`).
    """

    waiting_s: float
    pid: int | None
    gid: str | None
    database: str | None
    application_name: str | None
    age_s: float | None


async def hold_up(read: Reading, *, now: datetime) -> HoldUp | None:
    """Return what holds up news, if it does so for long."""
    row = await read.first(queries.HOLD_UP, now=now, seconds=HELD_UP_SECONDS)
    return HoldUp(**dict(row)) if row else None


class Settling:
    """What was found when it was looked last."""

    def __init__(self, database: Database, *, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self.hold_up: HoldUp | None = None

    @classmethod
    @asynccontextmanager
    async def running(cls, database: Database, *, clock: Clock) -> AsyncIterator["Settling"]:
        """Inside the block, look now and then, and log it once when news are held up."""
        settling = cls(database, clock=clock)
        async with looking(settling.look, every_s=INTERVAL_SECONDS, name="settling"):
            yield settling

    async def look(self) -> None:
        """Look whether messages wait."""
        async with self._database.reading() as read:
            found = await hold_up(read, now=self._clock.now())
        if found and not self.hold_up:
            _log.warning(
                "news_held_up",
                waiting_s=round(found.waiting_s),
                pid=found.pid,
                prepared=found.gid,
                database=found.database,
                application_name=found.application_name,
                age_s=None if found.age_s is None else round(found.age_s),
            )
        if self.hold_up and not found:
            _log.info("news_told_again")
        self.hold_up = found
