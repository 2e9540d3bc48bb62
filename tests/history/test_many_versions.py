"""An event that was changed ten thousand times is as quick as one that was not."""

import statistics
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import httpx
import pytest

from eventmanager.core.database import Database, Query
from tests.conftest import MakeUser, User, timed
from tests.history.test_history import create

MANY = 10_000
# Each version renames the event, a second after the one before it; only the first has a location.
_REPEAT = Query(
    """
    WITH first AS (
        UPDATE versions SET timestamp = timestamp - make_interval(secs => $2)
        WHERE event_id = $1 RETURNING *
    ), written AS (
        INSERT INTO versions
            (event_id, version, id, owner_id, operation, data, timestamp, changed_by)
        SELECT event_id, n, gen_random_uuid(), owner_id, 'update',
               (data::jsonb || jsonb_build_object(
                   'version', n, 'title', 'Title ' || n, 'description', repeat('long ', 50)))::json,
               timestamp + make_interval(secs => n), changed_by
        FROM first, generate_series(2, $2::integer) n
    )
    UPDATE events SET version = $2, title = 'Title ' || $2, description = repeat('long ', 50),
        created_at = created_at - make_interval(secs => $2)
    WHERE id = $1
    """,
    ("event_id", "many"),
)


@dataclass
class Long:
    """An event of many versions, and one of few, of one owner."""

    owner: User
    event: str
    fresh: str


@pytest.fixture
async def long(make_user: MakeUser, database: Database) -> Long:
    """Made by SQL: ten thousand requests would take too long."""
    owner = await make_user()
    event = await create(owner, location="Room 1", transparency="transparent")
    fresh = await create(owner, location="Room 1", transparency="transparent")
    event_id = UUID(event.rpartition("/")[2])
    async with database.reading() as read:
        await read.all(_REPEAT, event_id=event_id, many=MANY)
    await owner.client.patch(fresh, json={"title": "Other", "description": "long " * 50})
    return Long(owner, event, fresh)


async def seconds(ask: Callable[[], Awaitable[httpx.Response]]) -> float:
    """Return how long an answer takes."""
    start = time.perf_counter()
    answer = await ask()
    taken = time.perf_counter() - start
    assert answer.is_success, answer.text
    return taken


async def test_reading_and_changing_take_no_longer(long: Long) -> None:
    """Asked in turns, so that what else the machine does concerns both; the issue says 1.2 times.

    The bound here is wider, since a test shares its machine with others.
    """
    client = long.owner.client
    taken: dict[tuple[str, str], list[float]] = {}
    for n in range(100):
        for url in (long.event, long.fresh):
            change = {"title": f"Title {url == long.fresh} {n}"}
            for method, body in (("GET", None), ("PATCH", change)):

                def ask(
                    method: str = method, url: str = url, body: Any = body
                ) -> Awaitable[httpx.Response]:
                    return client.request(method, url, json=body)

                taken.setdefault((method, url), []).append(await seconds(ask))
    for method in ("GET", "PATCH"):
        old = statistics.median(taken[method, long.event])
        new = statistics.median(taken[method, long.fresh])
        assert old < 1.5 * new, (method, old, new)


@timed
async def test_history_is_read_in_bounded_time(long: Long) -> None:
    """Its first page, its last, one version, a difference, its author, its past, and blame."""
    client = long.owner.client
    first = (await client.get(f"{long.event}/history?limit=1")).json()[0]
    at = first["timestamp"]
    window = "start=2027-03-01&end=2027-04-01"
    for path, most in (
        (f"{long.event}/history", 0.5),
        (f"{long.event}/history?skip={MANY - 100}", 0.5),
        (f"{long.event}/history?changed_by={long.owner.id}&start=2000-01-01&skip=9000", 0.5),
        (f"{long.event}/history/{first['id']}", 0.2),
        (f"{long.event}/diff/1/current", 0.2),
        (f"{long.event}?as_of={at}", 0.2),
        (f"/api/events?as_of={at}", 0.2),
        (f"/api/occurrences?{window}&as_of={at}", 0.2),
        (f"{long.event}/blame", 3.0),
    ):

        def ask(path: str = path) -> Awaitable[httpx.Response]:
            return client.get(path)

        taken = min([await seconds(ask) for _ in range(3)])
        assert taken < most, (path, taken)
    blamed = (await client.get(f"{long.event}/blame")).json()
    numbers = {field: item["version"] for field, item in blamed.items()}
    assert (numbers["title"], numbers["description"]) == (MANY, 2)
    assert numbers["location"] == 1
    assert (await client.get(f"{long.event}?as_of={at}")).json()["version"] == 1
