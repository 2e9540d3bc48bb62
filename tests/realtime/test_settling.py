"""A transaction that is left open anywhere holds up news; then somebody says so."""

from collections.abc import AsyncIterator
from uuid import uuid4

import asyncpg
import httpx
import pytest

from eventmanager.core.config import Settings
from eventmanager.doctor import Finding, examine
from eventmanager.realtime import settling
from tests.conftest import User
from tests.realtime.conftest import Connection, log_lines, stage, told, until, worker


@pytest.fixture
async def elsewhere(database_url: str) -> AsyncIterator[Connection]:
    """A connection to another database of the same server."""
    connection = await asyncpg.connect(
        database_url, database="postgres", server_settings={"application_name": "forgetful"}
    )
    yield connection
    await connection.close()


@pytest.fixture
async def reader(aside: Connection) -> AsyncIterator[str]:
    """A role that may read all data, and nothing of what others do."""
    name = f"reader_{uuid4().hex}"
    await aside.execute(f"CREATE ROLE {name} IN ROLE pg_read_all_data")
    yield name
    await aside.execute(f"DROP ROLE {name}")


async def news_of(client: httpx.AsyncClient) -> tuple[int, str, str]:
    """Return what health says."""
    answer = await client.get("/health")
    health = answer.json()
    return answer.status_code, health["status"], health["news"]["state"]


async def found_by_the_doctor(settings: Settings, *, role: str = "") -> Finding:
    """Return what it says about news, to a role that may not see everything."""
    if role:
        url = settings.database_url
        url += f"{'&' if '?' in url else '?'}role={role}"
        settings = settings.model_copy(update={"database_url": url})
    (finding,) = [one for one in await examine(settings) if one.what == "News"]
    return finding


async def test_what_holds_up_news_is_named(
    settings: Settings,
    aside: Connection,
    elsewhere: Connection,
    reader: str,
    bob: User,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Once in the log, in the health of the service, and by the doctor, until it has ended."""
    monkeypatch.setattr(settling, "HELD_UP_SECONDS", 0.5)
    monkeypatch.setattr(settling, "INTERVAL_SECONDS", 0.1)
    async with worker(settings) as one, one.client(bob) as client, one.open(bob) as socket:
        its = one.app.state.news.settling
        assert (await news_of(client))[2] == "ok"
        pid = elsewhere.get_server_pid()
        left_open = elsewhere.transaction()
        await left_open.start()
        await elsewhere.execute("SELECT pg_current_xact_id()")
        lines = len(log_lines(settings, "app"))
        await stage(aside, bob.id, "late")
        await until(lambda: its.hold_up is not None)
        assert await news_of(client) == (200, "degraded", "held_up")
        finding = await found_by_the_doctor(settings)
        assert f"process {pid} (forgetful) of database postgres" in finding.found
        assert f"pg_terminate_backend({pid})" in finding.advice
        finding = await found_by_the_doctor(settings, role=reader)
        assert finding.found.endswith(f"process {pid} (forgetful) of database postgres")
        await left_open.rollback()
        assert (await told(socket))["type"] == "late"
        await until(lambda: its.hold_up is None)
        assert (await news_of(client))[2] == "ok"
        assert (await found_by_the_doctor(settings)).is_well
        said = [line for line in log_lines(settings, "app")[lines:] if "news_" in line["event"]]
        events = [line["event"] for line in said]
        assert list(dict.fromkeys(events)) == ["news_held_up", "news_told_again"]
        # It has looked ten times a second. The suite's own application, which looks now and then,
        # may have said so once as well.
        assert all(events.count(event) <= 2 for event in events)
        assert (said[0]["pid"], said[0]["database"]) == (pid, "postgres")
        assert said[0]["application_name"] == "forgetful"
