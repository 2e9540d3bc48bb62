"""A client that syncs among many writers, and one that is late: its copy is the server's."""

import asyncio
import itertools
import random
import time
from collections import Counter
from collections.abc import Callable
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

import asyncpg
import httpx
import pytest

from tests.conftest import PASSWORD
from tests.e2e.conftest import Server, make_database, serving
from tests.sync.conftest import Copy, listing, retitle

WRITERS: Final = 16
SECONDS: Final = 6.0
HELD_SECONDS: Final = 3.0
ROLES: Final = ("Owner", "Editor", "Viewer")
START: Final = datetime.now(UTC).replace(minute=0, second=0, microsecond=0) + timedelta(days=30)
_NAMES: Final = itertools.count(1)


async def sign_up(stack: AsyncExitStack, server: Server) -> tuple[httpx.AsyncClient, str]:
    """Register a user; return a client of theirs and their id."""
    client = await stack.enter_async_context(
        httpx.AsyncClient(
            base_url=server.base_url,
            timeout=30,
            trust_env=False,
            verify=False,
            # The server closes what has been idle for five seconds: be sure to do so before it.
            limits=httpx.Limits(keepalive_expiry=2),
        )
    )
    name = f"syncer{next(_NAMES)}"
    body = {"username": name, "email": f"{name}@example.com", "password": PASSWORD}
    answer = await client.post("/api/auth/register", json=body)
    assert answer.status_code == 201, answer.text
    client.headers["Authorization"] = f"Bearer {answer.json()['access_token']}"
    return client, (await client.get("/api/me")).json()["id"]


def at(dice: random.Random) -> dict[str, str]:
    """Return a time of half an hour in the next months."""
    start = START + timedelta(hours=dice.randrange(2_000))
    return {
        "start_time": start.isoformat(),
        "end_time": (start + timedelta(minutes=30)).isoformat(),
    }


async def write(
    number: int,
    client: httpx.AsyncClient,
    *,
    readers: list[str],
    shared: list[str],
    absent: str,
    enough: Callable[[], bool],
    statuses: Counter[tuple[str, int]],
) -> None:
    """Change a calendar in every way until it is enough, and what others share."""
    dice = random.Random(number)
    mine: list[str] = []
    while not enough():
        own = dice.choice(mine if dice.random() < 0.7 else shared) if mine and shared else absent
        path, other = f"/api/events/{own}", dice.choice(readers)
        series = {"recurrence_pattern": "FREQ=DAILY;COUNT=5"} if dice.random() < 0.2 else {}
        requests: list[tuple[str, str, Any]] = [
            ("POST", "/api/events", {"title": "New", "transparency": "transparent"}),
            ("PATCH", path, {"title": f"T{dice.random()}"}),
            ("PATCH", path, at(dice)),
            ("POST", f"{path}/share", [{"user_id": other, "role": dice.choice(ROLES)}]),
            ("PUT", f"{path}/permissions/{other}", {"role": dice.choice(ROLES)}),
            ("DELETE", f"{path}/permissions/{other}", None),
            ("DELETE", path, None),
            ("POST", f"{path}/restore", None),
            ("POST", f"{path}/rollback/1", None),
        ]
        [(method, url, body)] = dice.choices(requests, [4, 5, 3, 6, 2, 3, 1, 2, 1])
        if url == "/api/events":
            body |= at(dice) | series
        answer = await client.request(method, url, json=body)
        statuses[method, answer.status_code] += 1
        if url == "/api/events" and answer.is_success:
            mine.append(answer.json()["id"])
            if len(mine) % 3 == 0:
                shared.append(mine[-1])


async def hold(database_url: str, event_ids: list[str], enough: Callable[[], bool]) -> None:
    """Change events in a transaction that ends only once it is enough."""
    connection = await asyncpg.connect(database_url)
    try:
        async with connection.transaction():
            for event_id in event_ids:
                await retitle(connection, event_id, "Late")
            while not enough():  # noqa: ASYNC110  # time and a count have no event to set
                await asyncio.sleep(0.01)
    finally:
        await connection.close()


@pytest.fixture(scope="module")
async def sync_database(database_url: str) -> str:
    """A database of one's own, so that its transactions are these alone."""
    return await make_database(database_url)


async def test_a_copy_among_16_writers_and_a_late_one_is_the_servers(
    sync_database: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Two processes; small pages while everything changes, and one transaction stays open."""
    directory: Path = tmp_path_factory.mktemp("sync")
    statuses: Counter[tuple[str, int]] = Counter()
    with serving(directory, workers=2, DATABASE_URL=sync_database) as server:
        async with AsyncExitStack() as stack:
            people = [await sign_up(stack, server) for _ in range(WRITERS)]
            reader, reader_id = await sign_up(stack, server)
            late: list[str] = []
            for client in (reader, people[0][0]):
                body = {"title": "Early", "transparency": "transparent", **at(random.Random(0))}
                late.append((await client.post("/api/events", json=body)).json()["id"])
            await people[0][0].post(
                f"/api/events/{late[1]}/share", json=[{"user_id": reader_id, "role": "Viewer"}]
            )
            readers = [reader_id, reader_id, *(user_id for _, user_id in people[:3])]
            shared: list[str] = []
            began = time.monotonic()
            told: Counter[str] = Counter()
            held = asyncio.create_task(
                hold(
                    sync_database,
                    late,
                    lambda: time.monotonic() > began + HELD_SECONDS and told["syncs beside"] > 1,
                )
            )
            writers = [
                write(
                    number,
                    client,
                    readers=readers,
                    shared=shared,
                    absent=str(uuid4()),
                    enough=lambda: (
                        time.monotonic() > began + SECONDS
                        and told["syncs"] > told["syncs beside"]
                        and told["changed"] > 40
                        and told["removed"] > 0
                    ),
                    statuses=statuses,
                )
                for number, (client, _) in enumerate([*people[1:], people[0]])
            ]
            writing = asyncio.gather(*writers)
            copies = [Copy(reader), Copy(people[0][0])]
            while not writing.done():
                for limit, copy in zip((7, 50), copies, strict=True):
                    changed, removed = await copy.sync(limit=limit)
                    told.update(changed=len(changed), removed=len(removed))
                told["syncs"] += 1
                told["syncs beside"] += not held.done()
            await writing
            await held
            for copy in copies:
                await copy.sync(limit=7)
                assert copy.events == await listing(copy.client)
                assert copy.events[late[1]]["title"] == "Late"
                assert await copy.sync() == (set(), set())
            assert copies[0].events[late[0]]["title"] == "Late"
    assert told["syncs"] > told["syncs beside"] > 1
    assert told["changed"] > 40
    assert told["removed"] > 0
    assert not [status for _, status in statuses if status >= 500], statuses
