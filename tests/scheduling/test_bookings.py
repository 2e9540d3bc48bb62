"""A booking without a lock sees what others book, whenever they commit."""

import asyncio
from itertools import pairwise
from uuid import UUID

import asyncpg

from tests.conftest import User
from tests.events.conftest import meeting


async def until_somebody_waits(observer: "asyncpg.Connection[asyncpg.Record]") -> None:
    """Return once a statement on this database waits for a lock."""
    for _ in range(1_000):
        if await observer.fetchval(
            "SELECT EXISTS (SELECT FROM pg_stat_activity"
            " WHERE datname = current_database() AND wait_event_type = 'Lock')"
        ):
            return
        await asyncio.sleep(0.01)
    raise TimeoutError


async def test_what_is_committed_while_a_booking_waits_is_not_overlooked(
    alice: User, database_url: str
) -> None:
    """Its snapshot is older than what it waited for, so it must look again, and then refuse."""
    event = (await alice.client.post("/api/events", json=meeting("08:00", "09:00"))).json()
    other = await asyncpg.connect(database_url)
    observer = await asyncpg.connect(database_url)
    transaction = other.transaction()
    await transaction.start()
    # Another process books eleven to twelve, and has not committed yet.
    await other.execute(
        "INSERT INTO occurrences (event_id, recurrence_id, owner_id, start_time, end_time, busy)"
        " VALUES ($1, '2027-03-10 11:00Z', $2, '2027-03-10 11:00Z', '2027-03-10 12:00Z', true)",
        UUID(event["id"]),
        alice.id,
    )
    await other.execute(
        "UPDATE timelines SET bookings = bookings + 1 WHERE owner_id = $1", alice.id
    )
    mine = asyncio.create_task(
        alice.client.post("/api/events", json=meeting("11:30", "12:30", title="Late"))
    )
    await until_somebody_waits(observer)
    await transaction.commit()
    answer = await mine
    assert (answer.status_code, answer.json()["code"]) == (409, "time_conflict")
    # What does not clash is booked all the same, though the count has moved on.
    assert (await alice.client.post("/api/events", json=meeting("12:00", "13:00"))).is_success
    await other.close()
    await observer.close()


async def test_everything_that_is_stored_is_counted(alice: User, database_url: str) -> None:
    """Creating, moving, rolling back and looking further ahead: each makes the count move on."""
    event = (await alice.client.post("/api/events", json=meeting("08:00", "09:00"))).json()
    url = f"/api/events/{event['id']}"
    connection = await asyncpg.connect(database_url)
    counts = []
    for method, path, body in (
        ("POST", "/api/events", meeting("10:00", "11:00", recurrence_pattern="FREQ=YEARLY")),
        ("PUT", url, {"end_time": "2027-03-10T09:30:00Z"}),
        ("POST", f"{url}/rollback/1", None),
        ("GET", "/api/occurrences?start=2034-01-01&end=2034-02-01", None),
        ("PUT", url, {"recurrence_pattern": "FREQ=YEARLY"}),
    ):
        assert (await alice.client.request(method, path, json=body)).is_success
        counts.append(
            await connection.fetchval(
                "SELECT bookings FROM timelines WHERE owner_id = $1", alice.id
            )
        )
    await connection.close()
    assert all(later > earlier for earlier, later in pairwise(counts)), counts
