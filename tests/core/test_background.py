"""Tasks beside the requests: one process at a time, whatever happens to it."""

import asyncio
from datetime import UTC, datetime, timedelta

from eventmanager.core.background import Task, run_alone, working
from eventmanager.core.clock import SystemClock
from eventmanager.core.database import Database

NOW = datetime(2027, 1, 1, tzinfo=UTC)


async def test_a_task_runs_in_one_process_at_a_time(database: Database, database_url: str) -> None:
    """A second one finds it taken and goes on; once it is over, it can be taken again."""
    begun, over = asyncio.Event(), asyncio.Event()

    async def wait(_: Database, now: datetime) -> None:
        assert now == NOW
        begun.set()
        await over.wait()

    slow = Task("slow", timedelta(hours=1), wait)
    first = asyncio.create_task(run_alone(slow, database, database_url=database_url, now=NOW))
    await begun.wait()
    assert not await run_alone(slow, database, database_url=database_url, now=NOW)
    other = Task("other", timedelta(hours=1), wait)
    over.set()
    assert await run_alone(other, database, database_url=database_url, now=NOW)
    assert await first


async def test_a_task_whose_process_dies_can_be_taken_by_another(
    database: Database, database_url: str
) -> None:
    """The lock goes with the connection, so nothing has to time out."""
    begun = asyncio.Event()

    async def hang(_: Database, __: datetime) -> None:
        begun.set()
        await asyncio.Event().wait()

    task = Task("dying", timedelta(hours=1), hang)
    first = asyncio.create_task(run_alone(task, database, database_url=database_url, now=NOW))
    await begun.wait()
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)

    ran = 0

    async def done(_: Database, __: datetime) -> None:
        nonlocal ran
        ran += 1

    again = Task("dying", timedelta(hours=1), done)
    async with asyncio.timeout(10):
        # PostgreSQL notices the closed connection a moment later.
        while not await run_alone(  # noqa: ASYNC110  # it is the server that notices
            again, database, database_url=database_url, now=NOW
        ):
            await asyncio.sleep(0.01)
    assert ran == 1


async def test_a_task_that_fails_is_tried_again(database: Database, database_url: str) -> None:
    """One bad run must not end the work for good."""
    runs = 0
    twice = asyncio.Event()

    async def fail(_: Database, __: datetime) -> None:
        nonlocal runs
        runs += 1
        if runs == 2:
            twice.set()
        raise ValueError

    task = Task("failing", timedelta(milliseconds=20), fail)
    async with (
        working(database, database_url=database_url, clock=SystemClock(), tasks=[task]),
        asyncio.timeout(10),
    ):
        await twice.wait()
    assert runs >= 2
