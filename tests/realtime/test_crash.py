"""What PostgreSQL forgets in a crash: numbers of transactions that left no trace on the disk."""

import asyncio
from collections.abc import Iterator

import asyncpg
import pytest

from eventmanager.core.config import Settings
from eventmanager.migrations import migrate
from tests.conftest import User, register, started
from tests.postgres import Postgres
from tests.realtime.conftest import make_event, share, told, worker

LIST = "/api/notifications"


@pytest.fixture
def postgres() -> Iterator[Postgres]:
    """Running, and migrated."""
    server = Postgres()
    server.start()
    yield server
    server.remove()


async def use_up_numbers(url: str) -> int:
    """Give numbers to transactions that leave no trace, and return the last one."""
    connection = await asyncpg.connect(url)
    # Or what is written now and then without being asked for would keep them.
    await connection.execute("ALTER SYSTEM SET wal_writer_delay = '10s'")
    await connection.execute("SELECT pg_reload_conf()")
    number = 0
    for _ in range(50):
        transaction = connection.transaction()
        await transaction.start()
        number = await connection.fetchval("SELECT pg_current_xact_id()::text::bigint")
        await transaction.rollback()
    await connection.close()
    return number


async def patched(user: User, event_id: str, title: str) -> None:
    """Change an event as soon as the database is there again."""
    async with asyncio.timeout(20):
        while True:
            answer = await user.client.patch(f"/api/events/{event_id}", json={"title": title})
            if answer.status_code == 200:
                return
            assert answer.status_code == 503, answer.text


async def test_after_a_crash_those_who_listen_miss_nothing(
    postgres: Postgres, settings: Settings
) -> None:
    """Though what happens has a number that they have seen the end of; with a cursor or without."""
    await migrate(postgres.url)
    async with worker(settings.model_copy(update={"database_url": postgres.url})) as here:
        alice, bob = await register(here.app), await register(here.app)
        event_id = await make_event(alice)
        await share(alice, event_id, bob)
        async with here.open(bob) as socket:
            await alice.client.patch(f"/api/events/{event_id}", json={"title": "Before"})
            assert (await told(socket))["data"]["title"] == "Before"
            used_up = await use_up_numbers(postgres.url)
            cursor = (await bob.client.get(f"{LIST}/unread")).json()["cursor"]
            async with here.open(bob) as later:
                postgres.kill()
                await asyncio.to_thread(postgres.start)
                for title in ("First", "Second"):
                    await patched(alice, event_id, title)
                for one in (socket, later):
                    assert (await told(one))["data"]["title"] == "First"
                    assert (await told(one))["data"]["title"] == "Second"
        # Else nothing was given twice, and this says nothing.
        assert await last_number(postgres.url) < used_up
        listed = (await bob.client.get(LIST, params={"after": cursor})).json()
        assert [message["data"]["title"] for message in listed] == ["First", "Second"]
        for user in (alice, bob):
            await user.client.aclose()


async def test_after_a_crash_a_sync_token_misses_nothing(
    postgres: Postgres, settings: Settings
) -> None:
    """What it has seen the end of is given no second time, since it was written to the disk."""
    await migrate(postgres.url)
    own = settings.model_copy(update={"database_url": postgres.url})
    async with started(own) as app:
        alice = await register(app)
        event_id = await make_event(alice)
        used_up = await use_up_numbers(postgres.url)
        token = (await alice.client.get("/api/sync")).json()["sync_token"]
        postgres.kill()
        await asyncio.to_thread(postgres.start)
        await patched(alice, event_id, "After")
        assert await last_number(postgres.url) > used_up
        changed = (await alice.client.get("/api/sync", params={"sync_token": token})).json()
        assert [event["title"] for event in changed["changed"]] == ["After"]
        await alice.client.aclose()


async def last_number(url: str) -> int:
    """Return the number of a transaction that begins now."""
    connection = await asyncpg.connect(url)
    number: int = await connection.fetchval("SELECT pg_current_xact_id()::text::bigint")
    await connection.close()
    return number
