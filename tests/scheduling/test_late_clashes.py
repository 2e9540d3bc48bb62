"""Two endless series that meet later than could be seen when they were written."""

import json
from datetime import UTC, datetime
from typing import Any

import asyncpg

from eventmanager.core.config import Settings
from eventmanager.core.database import Database
from eventmanager.events.upkeep import TASKS
from eventmanager.scheduling.queries import LATE_CLASHES, MAX_LATE_CLASHES
from tests.conftest import MovableClock, User, register, started

YEAR = datetime.now(UTC).year
_, EXTEND = TASKS


def every(years: int, *, first: int, title: str) -> dict[str, Any]:
    """Return a series on 1 July, from eight to nine."""
    return {
        "title": title,
        "start_time": f"{first}-07-01T08:00:00Z",
        "end_time": f"{first}-07-01T09:00:00Z",
        "recurrence_pattern": f"FREQ=YEARLY;INTERVAL={years}",
    }


async def told(user: User, database_url: str) -> list[dict[str, Any]]:
    """Return what the server itself has told a user."""
    connection = await asyncpg.connect(database_url)
    rows = await connection.fetch(
        "SELECT type, event_id, data FROM messages"
        " WHERE $1 = ANY(recipients) AND initiator_id IS NULL ORDER BY position",
        user.id,
    )
    await connection.close()
    assert all(row["type"] == "late_clash" for row in rows)
    return [json.loads(row["data"]) | {"event_id": str(row["event_id"])} for row in rows]


async def test_what_first_clashes_beyond_the_horizon_is_told_to_the_owner(
    alice: User, database_url: str
) -> None:
    """It could not be refused, so it must not be hidden; it is told once."""
    fifth, fourth = (
        every(5, first=YEAR + 1, title="Fifth"),
        every(4, first=YEAR + 2, title="Fourth"),
    )
    ids = []
    for body in (fifth, fourth):
        answer = await alice.client.post("/api/events", json=body)
        assert answer.status_code == 201
        ids.append(answer.json()["id"])
    assert await told(alice, database_url) == []
    for _ in range(2):
        window = {"start": f"{YEAR + 6}-07-01", "end": f"{YEAR + 6}-07-02"}
        found = (await alice.client.get("/api/occurrences", params=window)).json()
        assert len(found) == 2
    [message] = await told(alice, database_url)
    assert {message["event_id"], message["other_event_id"]} == set(ids)
    assert {message["title"], message["other_title"]} == {"Fifth", "Fourth"}
    assert (message["clashes"], message["first"]) == (1, f"{YEAR + 6}-07-01T08:00:00Z")
    window = {"start": f"{YEAR + 6}-01-01", "end": f"{YEAR + 7}-01-01"}
    assert len((await alice.client.get("/api/conflicts", params=window)).json()) == 1


async def test_a_clash_that_was_allowed_is_not_told_again_each_month(
    alice: User, database_url: str
) -> None:
    """Its owner knows of it: they meet every year, and the first time was asked for."""
    for title in ("One", "Two"):
        body = every(1, first=YEAR + 1, title=title)
        answer = await alice.client.post("/api/events", json=body, params={"on_conflict": "allow"})
        assert answer.status_code == 201
    window = {"start": f"{YEAR + 7}-01-01", "end": f"{YEAR + 8}-01-01"}
    assert len((await alice.client.get("/api/conflicts", params=window)).json()) == 1
    assert await told(alice, database_url) == []


async def test_the_task_extends_what_nobody_looks_at(settings: Settings, database_url: str) -> None:
    """Years later the clash is told before anybody opens the calendar."""
    clock = MovableClock()
    async with started(settings, clock=clock) as app:
        user = await register(app)
        for body in (
            every(5, first=YEAR + 1, title="Fifth"),
            every(4, first=YEAR + 2, title="Fourth"),
        ):
            assert (await user.client.post("/api/events", json=body)).status_code == 201
        database: Database = app.state.database
        then = datetime(YEAR + 4, 8, 1, tzinfo=UTC)
        await user.client.aclose()
        await EXTEND.run(database, then)
        assert len(await told(user, database_url)) == 1
        connection = await asyncpg.connect(database_url)
        stored_until = await connection.fetchval(
            "SELECT stored_until FROM timelines WHERE owner_id = $1", user.id
        )
        await connection.close()
        assert stored_until == datetime(YEAR + 6, 9, 1, tzinfo=UTC)


async def test_very_many_late_clashes_are_looked_for_within_bounds(
    alice: User, database: Database
) -> None:
    """Dozens of series at one time make millions of pairs, for which no reader could wait."""
    daily = {
        "start_time": f"{YEAR + 1}-01-01T08:00:00Z",
        "end_time": f"{YEAR + 1}-01-01T09:00:00Z",
        "recurrence_pattern": "FREQ=DAILY;COUNT=300",
    }
    events = [daily | {"title": f"At eight {number}"} for number in range(10)]
    answer = await alice.client.post(
        "/api/events/batch", json={"events": events}, params={"on_conflict": "allow"}
    )
    assert answer.status_code == 201
    begin, end = datetime(YEAR, 1, 1, tzinfo=UTC), datetime(YEAR + 3, 1, 1, tzinfo=UTC)
    async with database.reading() as read:
        rows = await read.all(LATE_CLASHES, owner_id=alice.id, start=begin, end=end)
    assert len(rows) == 45
    assert sum(row["clashes"] for row in rows) == MAX_LATE_CLASHES < 45 * 300
    assert {row["first"] for row in rows} == {datetime(YEAR + 1, 1, 1, 8, tzinfo=UTC)}
