"""Work beside the requests: one process at a time, whatever happens to it.

The processes of these tests give signs of life ten times as often as real ones, so that a dead one
is missed after a second.
"""

import asyncio
import itertools
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import pytest

from eventmanager.core.background import (
    Background,
    Job,
    Postponed,
    Task,
    Watch,
    enqueue,
    process,
    queue,
    working,
)
from eventmanager.core.background.records import Standing, standings
from eventmanager.core.clock import SystemClock
from eventmanager.core.config import Settings
from eventmanager.core.database import Database, Transaction
from tests.conftest import client_of, started, timed

HOUR = timedelta(hours=1)
SOON = timedelta(milliseconds=20)
SIGNS_OF_LIFE = timedelta(seconds=1)

# A process that takes a job of the kind that it is given, says so, and never ends it.
HANGING = """
import asyncio, sys
from datetime import timedelta
from eventmanager.core.background import Background, Job, Task, working
from eventmanager.core.clock import SystemClock
from eventmanager.core.database import Database

async def hang(*_):
    print("begun", flush=True)
    await asyncio.Event().wait()

async def main(url, kind, name):
    work = Background(jobs=[Job(name, hang)])
    if kind == "task":
        work = Background(tasks=[Task(name, timedelta(hours=1), hang)])
    async with (
        Database.connect(url, pool_size=2) as database,
        working(database, work, database_url=url, clock=SystemClock(),
                signs_of_life=timedelta(seconds=1)),
    ):
        await asyncio.Event().wait()

asyncio.run(main(*sys.argv[1:]))
"""

Work = Callable[[Background], AbstractAsyncContextManager[None]]


@pytest.fixture(scope="module")
async def database(database_url: str) -> AsyncIterator[Database]:
    """A pool of the process that works; no application stands behind it."""
    async with Database.connect(database_url, pool_size=10) as database:
        yield database


@pytest.fixture
def work(database: Database, database_url: str) -> Work:
    """Works as a process does, as long as a context is open."""

    def start(background: Background) -> AbstractAsyncContextManager[None]:
        return working(
            database,
            background,
            database_url=database_url,
            clock=SystemClock(),
            signs_of_life=SIGNS_OF_LIFE,
        )

    return start


@asynccontextmanager
async def hanging(url: str, kind: str, name: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """Another process that has taken the work and hangs, with settings of the library astray."""
    astray = {"PGQUEUER_PREFIX": "x_", "PGQUEUER_QUEUE_TABLE": "y", "CHANNEL": "z"}
    other = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        HANGING,
        url,
        kind,
        name,
        stdout=asyncio.subprocess.PIPE,
        env=os.environ | astray,
    )
    try:
        assert other.stdout is not None
        async with asyncio.timeout(20):
            assert await other.stdout.readline() == b"begun\n"
        yield other
    finally:
        if other.returncode is None:
            other.kill()
        await other.communicate()


async def put(database: Database, job: str, *payloads: Mapping[str, Any]) -> None:
    """Enqueue jobs in a transaction of their own."""

    async def act(tx: Transaction) -> None:
        await enqueue(tx, job, payloads)

    await database.transaction(act)


async def eventually(condition: Callable[[], Awaitable[bool]], *, seconds: float = 10) -> None:
    """Wait until the condition holds."""
    async with asyncio.timeout(seconds):
        while not await condition():  # noqa: ASYNC110  # another process brings it about
            await asyncio.sleep(0.02)


async def standing(database: Database, background: Background, name: str) -> Standing:
    """Return how it stands with one task, as a process sees it that has just started."""
    async with database.reading() as read:
        return next(s for s in await standings(read, background, up_s=0) if s.name == name)


async def rows(url: str, statement: str, *values: object) -> list[asyncpg.Record]:
    """Ask the database directly."""
    connection = await asyncpg.connect(url)
    try:
        return await connection.fetch(statement, *values)
    finally:
        await connection.close()


async def cut_off(url: str) -> int:
    """End every worker's connection to the queue, and return how many there were."""
    ended = await rows(
        url,
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE application_name = 'eventmanager queue'",
    )
    return len(ended)


async def test_a_job_runs_exactly_if_its_transaction_commits(
    database: Database, work: Work
) -> None:
    """Who changes something and has a job done about it gets both or neither."""
    done: asyncio.Queue[dict[str, Any]] = asyncio.Queue()

    async def run(_: Database, __: datetime, payload: dict[str, Any]) -> None:
        await done.put(payload)

    async def fail(tx: Transaction) -> None:
        await enqueue(tx, "committed", [{"number": 0}])
        raise ZeroDivisionError

    async with work(Background(jobs=[Job("committed", run)])), asyncio.timeout(10):
        with pytest.raises(ZeroDivisionError):
            await database.transaction(fail)
        await put(database, "committed", {"number": 1}, {"number": 2, "text": "é"})
        both = [await done.get(), await done.get()]
        assert sorted(both, key=lambda payload: payload["number"]) == [
            {"number": 1},
            {"number": 2, "text": "é"},
        ]
    assert done.empty()


async def test_a_job_that_is_put_off_runs_later(database: Database, work: Work) -> None:
    """`after` holds it back once, `Postponed` as often as it is raised, and no try counts."""
    ran: asyncio.Queue[float] = asyncio.Queue()
    times = 0

    async def run(_: Database, __: datetime, ___: dict[str, Any]) -> None:
        nonlocal times
        times += 1
        await ran.put(time.monotonic())
        if times < 3:
            raise Postponed(timedelta(seconds=0.3))

    async def act(tx: Transaction) -> None:
        await enqueue(tx, "put_off", [{}], after=timedelta(seconds=0.3))

    async with work(Background(jobs=[Job("put_off", run)])), asyncio.timeout(10):
        began = time.monotonic()
        await database.transaction(act)
        at = [began, *[await ran.get() for _ in range(3)]]
        assert all(later - earlier >= 0.3 for earlier, later in itertools.pairwise(at))
    assert times == 3


async def test_a_job_that_fails_is_tried_again_and_in_the_end_given_up(
    database: Database, database_url: str, work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is wrong for a moment heals; what is wrong for good must not be tried for ever."""
    monkeypatch.setattr(process, "FAILURES_MAX", 2)
    monkeypatch.setattr(process, "FAILURE_PAUSE", timedelta(milliseconds=10))
    tries = 0

    async def run(_: Database, __: datetime, ___: dict[str, Any]) -> None:
        nonlocal tries
        tries += 1
        raise ZeroDivisionError

    async def gone() -> bool:
        return not await rows(database_url, "SELECT FROM pgqueuer WHERE entrypoint = 'hopeless'")

    await put(database, "hopeless", {})
    async with work(Background(jobs=[Job("hopeless", run)])):
        await eventually(gone)
    assert tries == 2


async def test_a_failure_that_can_not_be_counted_loses_no_job(
    database: Database, database_url: str, work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever PostgreSQL has against it: the library would delete the job."""
    monkeypatch.setattr(process, "FAILURE_PAUSE", SOON)
    runs: list[int] = []

    async def run(_: Database, __: datetime, ___: dict[str, Any]) -> None:
        runs.append(len(runs))
        if len(runs) == 1:
            raise RuntimeError("the first time")

    async def ran_again() -> bool:
        return len(runs) == 2

    await rows(
        database_url,
        """
        CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS
            'BEGIN RAISE EXCEPTION ''not this one''; END'
        """,
    )
    await rows(
        database_url,
        """
        CREATE TRIGGER refuse BEFORE UPDATE OF headers ON pgqueuer FOR EACH ROW
            WHEN (NEW.entrypoint = 'uncounted') EXECUTE FUNCTION refuse()
        """,
    )
    try:
        await put(database, "uncounted", {})
        async with work(Background(jobs=[Job("uncounted", run)])):
            await eventually(ran_again)
    finally:
        await rows(database_url, "DROP FUNCTION refuse CASCADE")


@timed
async def test_a_job_whose_process_is_killed_is_taken_by_another(
    database: Database, database_url: str, work: Work
) -> None:
    """SIGKILL gives no chance to put anything back; the missing signs of life tell."""
    done = asyncio.Event()

    async def run(_: Database, __: datetime, payload: dict[str, Any]) -> None:
        assert payload == {"number": 7}
        done.set()

    await put(database, "widowed", {"number": 7})
    async with (
        hanging(database_url, "job", "widowed") as other,
        work(Background(jobs=[Job("widowed", run)])),
    ):
        with pytest.raises(TimeoutError):
            # As long as the other one lives, it is its job.
            await asyncio.wait_for(done.wait(), 2.5 * SIGNS_OF_LIFE.total_seconds())
        other.send_signal(signal.SIGKILL)
        await asyncio.wait_for(done.wait(), 4 * SIGNS_OF_LIFE.total_seconds())


@timed
async def test_a_task_of_a_process_that_stands_still_is_one_of_it_alone(
    database: Database, database_url: str, work: Work
) -> None:
    """Two processes know the task, one is at it, and the other waits until that is dead."""
    ran = asyncio.Event()

    async def run(_: Database, __: datetime) -> None:
        ran.set()

    background = Background(tasks=[Task("held_elsewhere", HOUR, run)])
    async with hanging(database_url, "task", "held_elsewhere") as other, work(background):
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(ran.wait(), 2.5 * SIGNS_OF_LIFE.total_seconds())
        held = await standing(database, background, "held_elsewhere")
        assert held.state == "running"
        assert held.process is not None
        assert held.process.endswith(f":{other.pid}")
        other.send_signal(signal.SIGKILL)
        await asyncio.wait_for(ran.wait(), 4 * SIGNS_OF_LIFE.total_seconds())


async def test_a_task_runs_in_one_process_at_a_time(work: Work) -> None:
    """However many processes start together and however often it is due."""
    at_it = most = runs = 0
    enough = asyncio.Event()

    async def run(_: Database, __: datetime) -> None:
        nonlocal at_it, most, runs
        at_it += 1
        most = max(most, at_it)
        await asyncio.sleep(0.03)
        at_it -= 1
        runs += 1
        if runs == 4:
            enough.set()

    def background() -> Background:
        return Background(tasks=[Task("alone", timedelta(), run)])

    async with work(background()), work(background()), work(background()), asyncio.timeout(15):
        await enough.wait()
    assert most == 1


async def test_every_start_has_each_task_done_soon(work: Work) -> None:
    """A new release may bring new time zone data, though the task's next time is hours away."""
    ran: asyncio.Queue[None] = asyncio.Queue()

    async def run(_: Database, __: datetime) -> None:
        await ran.put(None)

    for _ in range(2):
        async with work(Background(tasks=[Task("at_start", HOUR, run)])), asyncio.timeout(10):
            await ran.get()
    assert ran.empty()


async def test_a_task_that_fails_is_told_of_and_tried_again(
    database: Database, settings: Settings, work: Work
) -> None:
    """Anybody may see that it fails, and only who runs the service sees why."""
    runs = 0
    mended = False

    async def fail(_: Database, __: datetime) -> None:
        nonlocal runs
        runs += 1
        if not mended:
            raise ValueError("the secret reason")

    background = Background(tasks=[Task("troubled", SOON, fail)])
    async with (
        started(settings) as app,
        client_of(app) as client,
        work(background),
    ):
        app.state.background = background

        async def fails() -> bool:
            tasks = (await client.get("/health")).json()["tasks"]
            return bool(tasks["troubled"]["state"] == "failing")

        async def tried_again() -> bool:
            return runs >= 2

        async def is_well() -> bool:
            return bool((await client.get("/health")).json()["status"] == "ok")

        await eventually(fails)
        await eventually(tried_again)
        answer = await client.get("/health")
        assert (answer.status_code, answer.json()["status"]) == (200, "degraded")
        assert "secret reason" not in answer.text
        told = await standing(database, background, "troubled")
        assert told.error == "ValueError: the secret reason"
        mended = True
        await eventually(is_well)
        told = await standing(database, background, "troubled")
        assert (told.error, told.finished_at is None) == (None, False)


async def test_a_task_that_nobody_does_becomes_late(database: Database, database_url: str) -> None:
    """With BACKGROUND_TASKS=false everywhere, and no worker, it has to be seen."""

    async def never(_: Database, __: datetime) -> None:
        raise AssertionError

    background = Background(tasks=[Task("abandoned", HOUR, never), Task("unknown", HOUR, never)])
    await rows(
        database_url,
        "INSERT INTO task_runs (name, process, started_at, finished_at)"
        " VALUES ('abandoned', 'gone:1', now() - interval '3 hours', now() - interval '3 hours')",
    )
    async with database.reading() as read:
        at_start = await standings(read, background, up_s=5)
        later = await standings(read, background, up_s=70)
    assert [task.state for task in at_start] == ["ok", "waiting"]
    assert [task.state for task in later] == ["late", "late"]


async def test_work_goes_on_when_the_connection_to_the_queue_is_lost(
    database: Database, database_url: str, work: Work
) -> None:
    """A database that restarts cuts everybody off; what was under way is done again."""
    begun: asyncio.Queue[bool] = asyncio.Queue()
    over = asyncio.Event()
    dropped = False

    async def run(_: Database, __: datetime, ___: dict[str, Any]) -> None:
        nonlocal dropped
        await begun.put(True)
        try:
            await over.wait()
        except asyncio.CancelledError:
            dropped = True
            raise

    await put(database, "cut_off", {})
    async with work(Background(jobs=[Job("cut_off", run)])), asyncio.timeout(20):
        await begun.get()
        assert await cut_off(database_url) > 0
        await begun.get()
        assert dropped
        over.set()


async def test_a_job_that_could_not_be_put_back_is_not_lost(
    database: Database, database_url: str, work: Work
) -> None:
    """The library would give up what it can't write; it is run again, sooner than it asked for."""
    ran: asyncio.Queue[None] = asyncio.Queue()
    refuse = (
        "CREATE FUNCTION disk_is_full() RETURNS trigger LANGUAGE plpgsql"
        " AS $$ BEGIN RAISE disk_full; END $$",
        "CREATE TRIGGER disk_is_full BEFORE UPDATE ON pgqueuer FOR EACH ROW"
        " WHEN (NEW.entrypoint = 'kept' AND NEW.status = 'queued') EXECUTE FUNCTION disk_is_full()",
    )
    times = 0

    async def run(_: Database, __: datetime, ___: dict[str, Any]) -> None:
        nonlocal times
        times += 1
        await ran.put(None)
        if times == 1:
            raise Postponed(HOUR)

    await put(database, "kept", {})
    try:
        for statement in refuse:
            await rows(database_url, statement)
        async with work(Background(jobs=[Job("kept", run)])), asyncio.timeout(20):
            await ran.get()
            await ran.get()
    finally:
        await rows(database_url, "DROP FUNCTION disk_is_full CASCADE")


@timed
async def test_what_is_under_way_at_the_end_is_put_back(
    database: Database, work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may take some seconds to end, and then it is there for the next process at once."""
    monkeypatch.setattr(process, "GRACE_SECONDS", 0.2)
    begun, over = asyncio.Event(), asyncio.Event()

    async def hang(_: Database, __: datetime, ___: dict[str, Any]) -> None:
        begun.set()
        await asyncio.Event().wait()

    async def end(_: Database, __: datetime, ___: dict[str, Any]) -> None:
        over.set()

    await put(database, "unfinished", {})
    async with work(Background(jobs=[Job("unfinished", hang)])):
        await asyncio.wait_for(begun.wait(), 10)
        ending = time.monotonic()
    assert time.monotonic() - ending < 3
    async with work(Background(jobs=[Job("unfinished", end)])):
        # Sooner than if it had to be missed first.
        await asyncio.wait_for(over.wait(), 0.9 * SIGNS_OF_LIFE.total_seconds())


async def test_what_is_nearly_done_at_the_end_is_finished(database: Database, work: Work) -> None:
    """A restart does not make people get the same letter twice."""
    begun = asyncio.Event()
    times = finished = 0

    async def run(_: Database, __: datetime, ___: dict[str, Any]) -> None:
        nonlocal times, finished
        times += 1
        begun.set()
        await asyncio.sleep(0.3)
        finished += 1

    await put(database, "nearly_done", {})
    for _ in range(2):
        async with work(Background(jobs=[Job("nearly_done", run)])):
            await asyncio.wait_for(begun.wait(), 10)
    assert (times, finished) == (1, 1)


@timed
async def test_a_watch_looks_at_once_when_woken_and_while_there_is_more(work: Work) -> None:
    """News are acted on within a fraction of a second, a backlog without a pause."""
    looks: asyncio.Queue[float] = asyncio.Queue()
    more = 0

    async def look(_: Database, now: datetime) -> bool:
        nonlocal more
        assert now.tzinfo == UTC
        await looks.put(time.monotonic())
        more -= 1
        return more > 0

    background = Background(watches=[Watch("woken", HOUR, look)])
    async with work(background), asyncio.timeout(10):
        await looks.get()
        more = 20
        began = time.monotonic()
        background.wake()
        for _ in range(20):
            last = await looks.get()
        assert last - began < 1
        await asyncio.sleep(0.3)
        assert looks.empty()


async def test_a_watch_that_fails_is_told_of_and_looks_again(
    database: Database, work: Work
) -> None:
    """One bad look is not the last."""
    mended = False

    async def look(_: Database, __: datetime) -> bool:
        if not mended:
            raise ValueError("no")
        return False

    background = Background(watches=[Watch("stumbling", SOON, look)])

    async def fails() -> bool:
        return (await standing(database, background, "stumbling")).state == "failing"

    async def is_well() -> bool:
        return (await standing(database, background, "stumbling")).state == "ok"

    async with work(background):
        await eventually(fails)
        mended = True
        await eventually(is_well)


async def test_what_no_release_knows_any_more_is_dropped(
    database: Database, database_url: str
) -> None:
    """Jobs of a kind that is gone do not pile up; those of a worker that was off for long stay."""

    async def never(*_: object) -> None:
        raise AssertionError

    await put(database, "gone", {})
    await put(database, "still_known", {})
    await put(database, "of_a_newer_release", {})
    await rows(
        database_url,
        "UPDATE pgqueuer SET execute_after = now() - interval '8 days'"
        " WHERE entrypoint IN ('gone', 'still_known')",
    )
    await queue.put_in(database, Background(jobs=[Job("still_known", never)]), due_now=True)
    left = await rows(
        database_url,
        "DELETE FROM pgqueuer WHERE entrypoint IN ('gone', 'still_known', 'of_a_newer_release')"
        " RETURNING entrypoint",
    )
    assert {row["entrypoint"] for row in left} == {"still_known", "of_a_newer_release"}


async def test_the_log_of_the_queue_does_not_grow_for_ever(
    database: Database, database_url: str
) -> None:
    """It has several lines a job, and nobody reads the old ones."""
    await rows(
        database_url,
        "INSERT INTO pgqueuer_log (created, job_id, status, priority, entrypoint)"
        " SELECT now() - make_interval(days => CASE n WHEN 1 THEN 1 ELSE 3 END),"
        " n, 'successful', 0, 'old' FROM generate_series(1, 7000) n",
    )
    await queue.purge_log(database, SystemClock().now())
    left = await rows(database_url, "DELETE FROM pgqueuer_log WHERE entrypoint = 'old' RETURNING 1")
    assert len(left) == 1


async def test_the_schema_is_the_one_that_the_library_wants(database_url: str) -> None:
    """An upgrade of the library that needs another one fails here, and not in production."""
    connection = await asyncpg.connect(database_url)
    try:
        plan = await queue.Jobs(queue.Connection(connection)).plan_upgrade()
    finally:
        await connection.close()
    assert list(plan.statements) == []
