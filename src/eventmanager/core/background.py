"""Work beside the requests: tasks that run at start and at intervals, in one process at a time.

Which process runs a task is decided by an advisory lock of PostgreSQL, which goes when the process
does, however it ends.
"""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from zlib import crc32

import asyncpg
import structlog

from eventmanager.core.clock import Clock
from eventmanager.core.database import Database, translated
from eventmanager.core.errors import Unavailable

_log = structlog.get_logger("app")


@dataclass(frozen=True, slots=True)
class Task:
    """Something to be done now and then; `run` finds out itself whether there is anything to do."""

    name: str
    every: timedelta
    run: Callable[[Database, datetime], Awaitable[object]]


@asynccontextmanager
async def working(
    database: Database, *, database_url: str, clock: Clock, tasks: Sequence[Task]
) -> AsyncIterator[None]:
    """Run the tasks while the context is open."""
    running = [
        asyncio.create_task(
            _repeat(task, database, database_url=database_url, clock=clock), name=task.name
        )
        for task in tasks
    ]
    try:
        yield
    finally:
        for job in running:
            job.cancel()
        await asyncio.gather(*running, return_exceptions=True)


async def run_alone(task: Task, database: Database, *, database_url: str, now: datetime) -> bool:
    """Run a task unless another process is at it; returns whether it was run."""
    async with translated():
        connection = await asyncpg.connect(database_url, timeout=10)
        try:
            # A lock of the session needs a connection of its own for as long as it lasts.
            key = crc32(f"eventmanager task {task.name}".encode())
            if not await connection.fetchval("SELECT pg_try_advisory_lock($1)", key):
                return False
            await task.run(database, now)
            return True
        finally:
            connection.terminate()


async def _repeat(task: Task, database: Database, *, database_url: str, clock: Clock) -> None:
    while True:
        try:
            await run_alone(task, database, database_url=database_url, now=clock.now())
        except Unavailable:
            _log.warning("task_postponed", task=task.name, reason="the database is away")
        except Exception:
            # A task that fails once must not stay undone for ever, nor take the server with it.
            _log.exception("task_failed", task=task.name)
        # Processes that were started together need not all ask at once.
        await asyncio.sleep(task.every.total_seconds() * random.uniform(0.9, 1.1))  # noqa: S311  # no secret
