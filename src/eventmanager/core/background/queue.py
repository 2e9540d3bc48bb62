"""The queue: PgQueuer's tables, its statements, and a connection that a worker has for it."""

from collections.abc import Awaitable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final, TypeVar

import asyncpg
import orjson
import structlog
from pgqueuer.adapters.drivers.asyncpg import AsyncpgDriver
from pgqueuer.adapters.persistence.qb import (
    QueryBuilderEnvironment,
    QueryQueueBuilder,
    QuerySchedulerBuilder,
)
from pgqueuer.adapters.persistence.queries import Queries
from pgqueuer.domain.models import Job, TracebackRecord

from eventmanager.core.background import queries
from eventmanager.core.background.kinds import Background
from eventmanager.core.database import Database, Query, Reading, Transaction

LOG_KEPT: Final = timedelta(days=2)
_PURGED_AT_ONCE: Final = 5_000
_LOST: Final = (OSError, TimeoutError, asyncpg.PostgresConnectionError, asyncpg.InterfaceError)
T = TypeVar("T")
_log = structlog.get_logger("app")


async def enqueue(
    tx: Reading,
    job: str,
    payloads: Sequence[Mapping[str, Any]],
    *,
    after: timedelta | None = None,
    is_urgent: bool = False,
) -> None:
    """Put jobs of the kind `job` into the queue, to be run soon or `after` a while.

    Urgent ones go before whatever else waits. They exist exactly if the transaction of `tx`
    commits, which also wakes the workers.
    """
    jobs = [orjson.dumps(dict(payload)) for payload in payloads]
    if jobs:
        names = [job] * len(jobs)
        await _put(tx, queries.ENQUEUE, names, payloads=jobs, after=after, is_urgent=is_urgent)


def key_of_task(name: str) -> str:
    """Return the name of a task in the queue, where it is a job that comes back; also its key."""
    return f"task {name}"


async def put_in(database: Database, background: Background, *, due_now: bool) -> None:
    """See to it that each task is in the queue, once, and drop what nobody knows any more."""
    keys = [key_of_task(task.name) for task in background.tasks]
    names = [kind.name for kind in background.regular]

    async def work(tx: Transaction) -> None:
        # Urgent, so that no crowd of jobs holds them up.
        nothing = [b""] * len(keys)
        await _put(tx, queries.ENQUEUE_ONCE, keys, payloads=nothing, is_urgent=True, keys=keys)
        if due_now:
            await tx.first(queries.DUE_NOW, keys=keys)
        known = [*keys, *(job.name for job in background.jobs)]
        await tx.first(queries.DROP_UNKNOWN, entrypoints=known, names=names)

    await database.transaction(work)


async def purge_log(db: Database, _: datetime) -> None:
    """Remove what the queue has logged of old jobs."""
    purged = _PURGED_AT_ONCE
    while purged == _PURGED_AT_ONCE:
        async with db.reading() as read:
            row = await read.first(queries.PURGE_LOG, kept=LOG_KEPT, limit=_PURGED_AT_ONCE)
        assert row is not None
        purged = row["purged"]


class Connection(AsyncpgDriver):
    """A worker's connection to the queue, which is lost as a whole when it fails once.

    A connection that does not answer can't say that this process is alive, and others will take
    its jobs.
    """

    def __init__(self, connection: "asyncpg.Connection[asyncpg.Record]") -> None:
        super().__init__(connection)
        self._whole = connection

    async def fetch(self, query: str, *args: object) -> list[dict[str, object]]:
        """Return the rows of a statement."""
        return await self._or_lost(super().fetch(query, *args))

    async def execute(self, query: str, *args: object) -> str:
        """Run a statement."""
        return await self._or_lost(super().execute(query, *args))

    async def notify(self, channel: str, payload: str) -> None:
        """Send a notification."""
        await self._or_lost(super().notify(channel, payload))

    async def _or_lost(self, statement: Awaitable[T]) -> T:
        try:
            return await statement
        except _LOST:
            self._whole.terminate()
            raise


class Jobs(Queries):
    """The library's statements on one connection, under our names of its tables."""

    def __init__(self, connection: Connection) -> None:
        super().__init__(
            connection,
            QueryBuilderEnvironment(queries.SETTINGS),
            QueryQueueBuilder(queries.SETTINGS),
            QuerySchedulerBuilder(queries.SETTINGS),
        )

    async def retry_job(self, job: Job, delay: timedelta, _: TracebackRecord | None) -> None:
        """Put a job back into the queue.

        Where that fails the library would give the job up. It stays ours instead, and is taken
        again when we have not given signs of life for a while.
        """
        try:
            await super().retry_job(job, delay, None)
        except (*_LOST, asyncpg.PostgresError) as error:
            _log.warning("job_not_put_back", job=job.entrypoint, id=job.id, cause=repr(error))


async def _put(
    tx: Reading,
    statement: Query,
    names: Sequence[str],
    *,
    payloads: Sequence[bytes],
    is_urgent: bool,
    after: timedelta | None = None,
    keys: Sequence[str] | None = None,
) -> None:
    count = len(names)
    await tx.all(
        statement,
        priorities=[int(is_urgent)] * count,
        names=names,
        payloads=payloads,
        delays=[after or timedelta()] * count,
        keys=keys or [None] * count,
        headers=[None] * count,
    )
