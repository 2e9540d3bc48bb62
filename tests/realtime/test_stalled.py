"""News goes on, in seconds, where what it needs neither works nor fails but stands still."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import parse_qs, urlsplit

import asyncpg
import pytest

from eventmanager.core import database as database_module
from eventmanager.core.config import Settings
from eventmanager.core.database import Database, Query, Transaction
from eventmanager.core.errors import Unavailable
from tests.conftest import User, timed
from tests.realtime.conftest import (
    Connection,
    close_code,
    stage,
    told,
    worker,
)


class Line:
    """What connections to PostgreSQL go through, until it is cut without a word to anybody.

    The connections that are open then stay so, and nothing goes through them any more, as when a
    machine has lost its power. New ones work, as when another machine has taken its place.
    """

    def __init__(self, url: str) -> None:
        self._upstream = urlsplit(url)
        self._living: set[asyncio.StreamWriter] = set()
        self._cut: set[asyncio.StreamWriter] = set()
        self._pumps: set[asyncio.Task[None]] = set()

    @asynccontextmanager
    async def open(self) -> AsyncIterator[str]:
        """Yield the address of the database through it."""
        server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        user = self._upstream.username
        password = f":{self._upstream.password}" if self._upstream.password else ""
        try:
            yield f"postgresql://{user}{password}@127.0.0.1:{port}{self._upstream.path}"
        finally:
            server.close()
            for pump in list(self._pumps):
                pump.cancel()
            await asyncio.gather(*self._pumps, return_exceptions=True)
            for writer in self._living | self._cut:
                writer.close()

    def cut(self) -> int:
        """Swallow from now on what either side says; return how many connections that concerns."""
        self._cut |= self._living
        return len(self._cut)

    def reset(self) -> None:
        """Let both sides learn at last that the connections are lost."""
        for writer in self._cut:
            writer.close()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        parts = self._upstream
        directory = parse_qs(parts.query).get("host", [""])[0]
        if directory:
            path = f"{directory}/.s.PGSQL.5432"
            from_server, to_server = await asyncio.open_unix_connection(path)
        else:
            from_server, to_server = await asyncio.open_connection(parts.hostname, parts.port)
        self._living |= {writer, to_server}
        for source, target in ((reader, to_server), (from_server, writer)):
            pump = asyncio.create_task(self._pump(source, target))
            self._pumps.add(pump)
            pump.add_done_callback(self._pumps.discard)

    async def _pump(self, source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        try:
            while said := await source.read(64 * 1024):
                if target not in self._cut:
                    target.write(said)
        except OSError:
            pass
        if target not in self._cut:
            target.close()


@timed
async def test_a_server_that_falls_silent_is_soon_given_up(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Statements and transactions alike, and the next one takes a connection that works."""
    monkeypatch.setattr(database_module, "SILENT_SECONDS", 0.2)
    line = Line(database_url)
    loop = asyncio.get_running_loop()
    one = Query("SELECT 1", ())

    async with (
        line.open() as url,
        Database.connect(url, pool_size=2, statement_s=1) as database,
    ):

        async def reading() -> None:
            async with database.reading() as read:
                await read.first(one)

        async def in_transaction() -> None:
            async def work(tx: Transaction) -> None:
                await tx.first(one)
                line.cut()
                await tx.first(one)

            await database.transaction(work)

        await reading()
        assert line.cut()
        for stalled in (reading, in_transaction):
            began = loop.time()
            with pytest.raises(Unavailable):
                await stalled()
            assert loop.time() - began < 2
            # Each connection that is cut is found out by whoever takes it.
            async with asyncio.timeout(5):
                while True:
                    try:
                        await reading()
                    except Unavailable:
                        continue
                    break
        line.reset()


async def test_sockets_go_on_after_the_server_fell_silent(
    settings: Settings, aside: Connection, alice: User, bob: User
) -> None:
    """In seconds: news comes, and ended sessions are closed."""
    line = Line(settings.database_url)
    async with line.open() as url:
        through_it = settings.model_copy(update={"database_url": url})
        async with worker(through_it) as one, one.open(bob) as of_bob, one.open(alice) as of_alice:
            await stage(aside, bob.id, "before")
            assert (await told(of_bob))["type"] == "before"
            assert line.cut()
            await stage(aside, bob.id, "after")
            assert (await told(of_bob, seconds=20))["type"] == "after"
            await aside.execute("UPDATE sessions SET ended_at = now() WHERE user_id = $1", alice.id)
            assert await close_code(of_alice, seconds=10) == 4401
            # A server that stops would wait for these for ten seconds.
            line.reset()


@timed
async def test_requests_that_wait_for_a_lock_hold_up_no_news(
    settings: Settings, aside: Connection, alice: User, bob: User
) -> None:
    """All connections for requests are taken; messages and the ends of sessions come at once."""
    few = settings.model_copy(update={"database_pool_size": 2})
    waiting = Query("SELECT pg_advisory_xact_lock(7_001)", ())
    async with worker(few) as one, one.open(bob) as of_bob, one.open(alice) as of_alice:
        database: Database = one.app.state.database
        lock = aside.transaction()
        await lock.start()
        await aside.execute(waiting.sql)

        async def wait() -> None:
            async with database.reading() as read:
                await read.first(waiting)

        waits = [asyncio.create_task(wait()) for _ in range(2)]
        other = await asyncpg.connect(settings.database_url)
        try:
            async with asyncio.timeout(5):
                while await _waiting(other) < 2:  # noqa: ASYNC110  # nobody tells
                    await asyncio.sleep(0.01)
            await stage(other, bob.id, "told")
            assert (await told(of_bob, seconds=2))["type"] == "told"
            await other.execute("UPDATE sessions SET ended_at = now() WHERE user_id = $1", alice.id)
            assert await close_code(of_alice, seconds=1) == 4401
        finally:
            await lock.rollback()
            await asyncio.gather(*waits)
            await other.close()


async def _waiting(connection: Connection) -> int:
    count: int = await connection.fetchval(
        "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
    )
    return count
