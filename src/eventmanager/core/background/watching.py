"""Looking again and again: after a while, soon after news, and at once while there is more."""

import asyncio
import random
import time
from typing import Final

import structlog

from eventmanager.core.background.kinds import Watch
from eventmanager.core.background.records import Records
from eventmanager.core.clock import Clock
from eventmanager.core.database import Database
from eventmanager.core.errors import Unavailable

REST_SECONDS: Final = 0.1
"""News make a process look ten times a second at most."""
RECORDED_SECONDS: Final = 10.0
PAUSE_MAX_SECONDS: Final = 30.0
AWAY_PAUSE_SECONDS: Final = 1.0

_log = structlog.get_logger("app")


async def keep_looking(
    watch: Watch,
    database: Database,
    *,
    clock: Clock,
    records: Records,
    news: asyncio.Event,
    ending: asyncio.Event,
) -> None:
    """Look at `watch` until `ending`; after failures, with ever longer pauses."""
    recorded = float("-inf")
    every_s = watch.every.total_seconds()
    pause_s = every_s
    is_away = False
    while not ending.is_set():
        news.clear()
        try:
            more = await watch.run(database, clock.now())
        except Unavailable:
            if not is_away:
                _log.warning("watch_postponed", watch=watch.name, reason="the database is away")
            is_away = True
            await _wait(ending, seconds=AWAY_PAUSE_SECONDS)
            continue
        except Exception as error:
            # One bad look must not end the work for good, nor take the server with it.
            _log.exception("watch_failed", watch=watch.name)
            await records.failed(watch.name, error)
            recorded = float("-inf")
            pause_s = min(pause_s * 2, PAUSE_MAX_SECONDS)
            await _wait(ending, seconds=pause_s)
            continue
        pause_s = every_s
        is_away = False
        if time.monotonic() - recorded > RECORDED_SECONDS:
            recorded = time.monotonic()
            await records.looked(watch.name)
        if not more:
            await _wait(ending, seconds=min(REST_SECONDS, every_s))
            # Processes that were started together need not all look at once.
            await _wait(news, ending, seconds=every_s * random.uniform(0.9, 1.1))  # noqa: S311  # no secret


async def _wait(*events: asyncio.Event, seconds: float) -> None:
    """Wait for the first of the events, for some seconds at most."""
    waits = [asyncio.ensure_future(event.wait()) for event in events]
    try:
        await asyncio.wait(waits, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for wait in waits:
            wait.cancel()
