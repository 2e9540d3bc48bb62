"""A process that works: it takes jobs from the queue, does its tasks, and looks at its watches.

A job belongs to the process that took it for as long as that gives signs of life. A process that
can't, since its connection to the queue is lost, drops what it is at: others will take it.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from functools import partial
from typing import Any, Final

import asyncpg
import orjson
import structlog
from pgqueuer.core.qm import QueueManager
from pgqueuer.domain.errors import RetryRequested
from pgqueuer.domain.models import Job as QueuedJob

from eventmanager.core.background import queries
from eventmanager.core.background.kinds import Background, Job, Postponed, Task
from eventmanager.core.background.queue import Connection, Jobs, key_of_task, put_in
from eventmanager.core.background.records import Records
from eventmanager.core.background.watching import keep_looking
from eventmanager.core.clock import Clock
from eventmanager.core.database import Database
from eventmanager.core.errors import Unavailable

SIGNS_OF_LIFE: Final = timedelta(seconds=10)
"""After how long without one a process is taken for dead; it gives them twice as often."""
TAKEN_AT_ONCE: Final = 5
JOBS_MAX: Final = 40
"""How many jobs a process has in its hands at most; most of them wait for others' servers."""
FAILURES_MAX: Final = 7
"""How often a job may fail before it is given up, an hour and a half after it was first tried."""
TASK_PAUSE: Final = timedelta(minutes=1)
"""When a task that failed is tried again, unless its next time comes first."""
FAILURE_PAUSE: Final = timedelta(seconds=4)
"""After the first failure of a job; after each other four times as long."""
AWAY_PAUSE: Final = timedelta(seconds=5)
RECONNECT_SECONDS: Final = (0.1, 5.0)
GRACE_SECONDS: Final = 5.0
"""How long what is under way may go on when the process is to end; then it is put back."""

_log = structlog.get_logger("app")


@asynccontextmanager
async def working(
    database: Database,
    background: Background,
    *,
    database_url: str,
    clock: Clock,
    signs_of_life: timedelta = SIGNS_OF_LIFE,
) -> AsyncIterator[None]:
    """Take a turn at all of the work while the context is open."""
    records = Records(database)
    worker = _Worker(database, background, database_url, clock, records, signs_of_life)
    ending = asyncio.Event()
    looking = [
        asyncio.create_task(
            keep_looking(
                watch,
                database,
                clock=clock,
                records=records,
                news=background.news(watch),
                ending=ending,
            ),
            name=watch.name,
        )
        for watch in background.watches
    ]
    queue = asyncio.create_task(worker.work(ending), name="queue")
    try:
        yield
    finally:
        ending.set()
        await asyncio.wait([*looking, queue], timeout=GRACE_SECONDS)
        worker.drop()
        for look in looking:
            look.cancel()
        await asyncio.wait([*looking, queue], timeout=GRACE_SECONDS / 2)
        worker.disconnect()
        queue.cancel()
        await asyncio.gather(*looking, queue, return_exceptions=True)


class _Worker:
    """The jobs of one process, tasks among them."""

    def __init__(
        self,
        database: Database,
        background: Background,
        database_url: str,
        clock: Clock,
        records: Records,
        signs_of_life: timedelta,
    ) -> None:
        self._database = database
        self._background = background
        self._database_url = database_url
        self._clock = clock
        self._records = records
        self._signs_of_life = signs_of_life
        self._connection: asyncpg.Connection[asyncpg.Record] | None = None
        self._at_work: set[asyncio.Task[None]] = set()

    async def work(self, ending: asyncio.Event) -> None:
        """Take jobs until `ending`, again and again, and log once when that stops working."""
        shortest, longest = RECONNECT_SECONDS
        pause = shortest
        works = True
        put_in_once = False
        nothing = not (self._background.tasks or self._background.jobs)
        while not (nothing or ending.is_set()):
            began = time.monotonic()
            try:
                # A start may bring new time zone data and the like, so each task is due then.
                await put_in(self._database, self._background, due_now=not put_in_once)
                put_in_once = True
                async with self._connected() as connection:
                    if not works:
                        _log.info("queue_works_again")
                    works = True
                    await self._take(connection, ending=ending)
            except Exception as error:
                # Whatever it is, the work must not stay undone for ever.
                if works:
                    _log.warning("queue_failed", cause=repr(error))
                works = False
            if time.monotonic() - began > longest:
                pause = shortest
            with suppress(TimeoutError):
                await asyncio.wait_for(ending.wait(), pause)
            pause = min(pause * 2, longest)

    def drop(self) -> None:
        """End what is under way; it goes back into the queue if it can."""
        for work in self._at_work:
            work.cancel()

    def disconnect(self) -> None:
        """Leave the queue at once."""
        if self._connection is not None:
            self._connection.terminate()

    @asynccontextmanager
    async def _connected(self) -> "AsyncIterator[asyncpg.Connection[asyncpg.Record]]":
        connection = await asyncpg.connect(
            self._database_url,
            timeout=5,
            # Signs of life are given so often that one that can't be, and the next, are noticed
            # here before anybody else takes this process for dead.
            command_timeout=self._signs_of_life.total_seconds() * 0.3,
            server_settings={"application_name": "eventmanager queue", "jit": "off"},
        )
        connection.add_termination_listener(lambda _: self.drop())
        self._connection = connection
        try:
            yield connection
        finally:
            self._connection = None
            connection.terminate()

    async def _take(
        self, connection: "asyncpg.Connection[asyncpg.Record]", *, ending: asyncio.Event
    ) -> None:
        manager = QueueManager(Jobs(Connection(connection)), queries.SETTINGS.channel)
        for task in self._background.tasks:
            manager.entrypoint(key_of_task(task.name))(partial(self._do_task, task))
        for kind in self._background.jobs:
            manager.entrypoint(kind.name)(partial(self._do_job, kind))

        async def stop() -> None:
            await ending.wait()
            manager.shutdown.set()

        stopping = asyncio.create_task(stop())
        try:
            await manager.run(
                # The longest that a job of a dead process waits for somebody to look.
                dequeue_timeout=self._signs_of_life / 2,
                heartbeat_timeout=self._signs_of_life,
                batch_size=TAKEN_AT_ONCE,
                max_concurrent_tasks=JOBS_MAX,
                shutdown_on_listener_failure=True,
                # Nobody reads the statistics.
                log_aggregation_interval=timedelta(0),
            )
        finally:
            stopping.cancel()

    async def _do_task(self, task: Task, _: QueuedJob) -> None:
        """Run a task, and put it back for its next time whatever comes of it."""
        pause = task.every
        await self._records.started(task.name)
        try:
            await self._apart(partial(task.run, self._database, self._clock.now()))
        except RetryRequested:
            raise
        except Exception as error:
            # A task that fails once must not stay undone for ever, nor take the server with it.
            pause = min(pause, TASK_PAUSE)
            if isinstance(error, Unavailable):
                _log.warning("task_postponed", task=task.name, reason="the database is away")
            else:
                _log.exception("task_failed", task=task.name)
            await self._records.failed(task.name, error)
        else:
            await self._records.finished(task.name)
        raise RetryRequested(pause)

    async def _do_job(self, kind: Job, queued: QueuedJob) -> None:
        """Run a job, and put it back when it asks for that or fails."""
        payload: dict[str, Any] = orjson.loads(queued.payload or b"{}")
        try:
            await self._apart(partial(kind.run, self._database, self._clock.now(), payload))
        except RetryRequested:
            raise
        except Postponed as wish:
            raise RetryRequested(wish.after) from None
        except Unavailable:
            _log.warning("job_postponed", job=kind.name, id=queued.id)
            raise RetryRequested(AWAY_PAUSE) from None
        except Exception as error:
            before = (queued.headers or {}).get("failures", 0)
            assert isinstance(before, int)
            failures = before + 1
            _log.exception("job_failed", job=kind.name, id=queued.id, failures=failures)
            if failures >= FAILURES_MAX:
                _log.error("job_given_up", job=kind.name, id=queued.id)
                raise
            # One that isn't counted is tried once more in the end, which is better than to lose it.
            with suppress(Unavailable, asyncpg.PostgresError):
                await self._count(queued, failures=failures)
            raise RetryRequested(FAILURE_PAUSE * 4 ** (failures - 1)) from error

    async def _count(self, queued: QueuedJob, *, failures: int) -> None:
        async with self._database.reading() as read:
            await read.first(queries.COUNT_FAILURE, job_id=queued.id, failures=failures)

    async def _apart(self, work: Callable[[], Awaitable[object]]) -> None:
        """Do a piece of work so that it can be ended by itself, and then put back.

        The library would take a job that it sees cancelled out of the queue.
        """

        async def do() -> None:
            await work()

        doing = asyncio.create_task(do())
        self._at_work.add(doing)
        try:
            await asyncio.wait({doing})
        finally:
            self._at_work.discard(doing)
            doing.cancel()
        if doing.cancelled():
            raise RetryRequested
        doing.result()
