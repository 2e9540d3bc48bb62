"""New time zone data: what is stored of the future is worked out anew."""

import json
from typing import Any
from uuid import UUID

import asyncpg
import pytest
from structlog.testing import capture_logs

from eventmanager.core.clock import SystemClock
from eventmanager.core.database import Database
from eventmanager.core.time import ZONE_DATA
from eventmanager.events.upkeep import TASKS
from tests.conftest import MakeUser, User
from tests.events.conftest import Body, share

RENEW, _ = TASKS
Connection = Any
"""An asyncpg connection, which is generic for mypy only."""


@pytest.fixture
async def connection(database_url: str) -> Any:
    """A look behind the scenes."""
    opened = await asyncpg.connect(database_url)
    yield opened
    await opened.close()


async def as_if_written_by_older_data(connection: Any, event: Body, owner: User) -> None:
    """Store the future of an event an hour late, as zones would have it that have changed since."""
    hour = "+ interval '1 hour'"
    await connection.execute(
        f"UPDATE occurrences SET recurrence_id = recurrence_id {hour},"
        f" start_time = start_time {hour}, end_time = end_time {hour}"
        " WHERE event_id = $1 AND recurrence_id > '2027-06-01' AND override IS NULL",
        UUID(event["id"]),
    )
    await connection.execute(
        "UPDATE timelines SET zone_data = '1999.1' WHERE owner_id = $1", owner.id
    )


async def renew(database: Database) -> None:
    """Run the task as a start does."""
    now = SystemClock().now()
    await RENEW.run(database, now)


async def starts(user: User, event: Body) -> list[str]:
    """Return when an event takes place from June 2027 on."""
    params = {"start": "2027-06-01", "end": "2027-07-01"}
    answer = await user.client.get(f"/api/events/{event['id']}/occurrences", params=params)
    return [item["start_time"] for item in answer.json()]


async def create(user: User, **fields: Any) -> Body:
    """Create a daily series at nine in Berlin."""
    body = {
        "title": "Standup",
        "start_time": "2027-05-20T09:00:00",
        "end_time": "2027-05-20T09:15:00",
        "time_zone": "Europe/Berlin",
        "recurrence_pattern": "FREQ=DAILY;COUNT=20",
    }
    answer = await user.client.post("/api/events", json=body | fields)
    assert answer.status_code == 201, answer.text
    created: Body = answer.json()
    return created


async def test_the_future_is_worked_out_anew_when_the_zones_have_changed(
    alice: User, bob: User, database: Database, connection: Connection
) -> None:
    """At nine on Berlin's clock again; as a version of its own, of which readers are told."""
    event = await create(alice)
    await share(alice, event["id"], bob, "Viewer")
    right = await starts(alice, event)
    await as_if_written_by_older_data(connection, event, alice)
    assert await starts(alice, event) != right
    await renew(database)
    assert await starts(alice, event) == right
    history = (await alice.client.get(f"/api/events/{event['id']}/history")).json()
    assert [item["changed_by"] for item in history] == [str(alice.id), None]
    rows = await connection.fetch(
        "SELECT recipients, data FROM messages WHERE initiator_id IS NULL AND event_id = $1",
        UUID(event["id"]),
    )
    assert {*rows[0]["recipients"]} == {alice.id, bob.id}
    assert json.loads(rows[0]["data"])["zone_data"] == ZONE_DATA
    marked = await connection.fetchval(
        "SELECT zone_data FROM timelines WHERE owner_id = $1", alice.id
    )
    assert marked == ZONE_DATA
    # A second start finds nothing to do.
    await renew(database)
    assert len((await alice.client.get(f"/api/events/{event['id']}/history")).json()) == 2


async def test_overrides_go_with_their_slots(
    alice: User, database: Database, connection: Connection
) -> None:
    """The name of an occurrence is an instant, and that instant is another now."""
    event = await create(alice)
    url = f"/api/events/{event['id']}"
    await as_if_written_by_older_data(connection, event, alice)
    old_names = {
        "2027-06-03T08:00:00Z": {"title": "Special"},
        "2027-06-04T08:00:00Z": {"excluded": True},
    }
    await connection.execute(
        "UPDATE events SET overrides = $2 WHERE id = $1", UUID(event["id"]), json.dumps(old_names)
    )
    await connection.execute(
        'UPDATE occurrences SET override = \'{"title": "Special"}\''
        " WHERE event_id = $1 AND recurrence_id = '2027-06-03 08:00Z'",
        UUID(event["id"]),
    )
    await connection.execute(
        "DELETE FROM occurrences WHERE event_id = $1 AND recurrence_id = '2027-06-04 08:00Z'",
        UUID(event["id"]),
    )
    await renew(database)
    assert (await alice.client.get(url)).json()["overrides"] == {
        "2027-06-03T07:00:00Z": {"title": "Special"},
        "2027-06-04T07:00:00Z": {"excluded": True},
    }
    assert "2027-06-04T07:00:00Z" not in await starts(alice, event)


async def test_clashes_that_new_zones_bring_are_told(
    alice: User, database: Database, connection: Connection
) -> None:
    """Nobody can be refused any more, and nothing may be hidden."""
    event = await create(alice)
    await as_if_written_by_older_data(connection, event, alice)
    body = {
        "title": "Other",
        "start_time": "2027-06-03T07:00:00Z",
        "end_time": "2027-06-03T07:30:00Z",
    }
    other = (await alice.client.post("/api/events", json=body)).json()
    await renew(database)
    [row] = await connection.fetch(
        "SELECT data FROM messages WHERE $1 = ANY(recipients) AND type = 'late_clash'", alice.id
    )
    data = json.loads(row["data"])
    assert (data["other_event_id"], data["clashes"]) == (other["id"], 1)
    assert data["first"] == "2027-06-03T07:00:00Z"


async def test_what_has_not_changed_is_left_alone(
    alice: User, database: Database, connection: Connection
) -> None:
    """Most updates of the zones concern others: no version, no message, and the series goes on."""
    endless = await create(alice, recurrence_pattern="FREQ=DAILY")
    await connection.execute(
        "UPDATE timelines SET zone_data = '1999.1' WHERE owner_id = $1", alice.id
    )
    await renew(database)
    assert len((await alice.client.get(f"/api/events/{endless['id']}/history")).json()) == 1
    series = await connection.fetchval(
        "SELECT count(*) FROM series WHERE event_id = $1", UUID(endless["id"])
    )
    assert series == 1


async def test_one_owner_whose_rule_cannot_be_read_keeps_nobody_from_new_zones(
    make_user: MakeUser, database: Database, connection: Connection
) -> None:
    """Owners are taken one after the other; one that failed has a turn again at the next run."""
    bad, good = sorted([await make_user(), await make_user()], key=lambda owner: owner.id)
    for owner in (bad, good):
        event = await create(owner)
        right = await starts(owner, event)
        await as_if_written_by_older_data(connection, event, owner)
        if owner is bad:
            await connection.execute(
                "UPDATE events SET recurrence_pattern = 'FREQ=SOMETIMES' WHERE id = $1",
                UUID(event["id"]),
            )
    with capture_logs() as logs:
        await renew(database)
    told = [entry for entry in logs if entry["event"] == "zone_data_not_applied"]
    assert [entry["owner_id"] for entry in told] == [str(bad.id)]
    assert await starts(good, event) == right
    marks = await connection.fetch(
        "SELECT zone_data FROM timelines WHERE owner_id = ANY($1) ORDER BY owner_id",
        [bad.id, good.id],
    )
    assert [row["zone_data"] for row in marks] == ["1999.1", ZONE_DATA]


async def test_an_occurrence_needs_an_event(connection: Connection, alice: User) -> None:
    """Triggers stand in for a foreign key that would be checked row by row."""
    with pytest.raises(asyncpg.ForeignKeyViolationError):
        await connection.execute(
            "INSERT INTO occurrences"
            " (event_id, recurrence_id, owner_id, start_time, end_time, busy) VALUES"
            " (gen_random_uuid(), now(), $1, now(), now() + interval '1 hour', true)",
            alice.id,
        )
    event = await create(alice)
    await connection.execute("DELETE FROM events WHERE id = $1", UUID(event["id"]))
    left = await connection.fetchval(
        "SELECT count(*) FROM occurrences WHERE owner_id = $1", alice.id
    )
    assert left == 0
