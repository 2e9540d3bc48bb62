"""Writes that wait for one another: each decides, and tells, by what it finds once it may go on.

PostgreSQL looks again at a row that it has waited for, and at nothing else: whatever a statement
joins to it is as it was before the wait (READ COMMITTED). So these tests hold an event, let writes
of two workers queue up for it in a known order, and let it go.
"""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import datetime
from typing import Any

import asyncpg
import httpx
import pytest
from fastapi import FastAPI

from eventmanager.core.config import Settings
from tests.conftest import User, client_of, started
from tests.events.conftest import meeting, share

PATIENCE_SECONDS = 10.0
Waiting = asyncio.Task[httpx.Response]


@pytest.fixture(scope="module")
async def other_worker(settings: Settings) -> AsyncIterator[FastAPI]:
    """Another process, as far as these tests can tell: nothing but the database is shared."""
    async with started(settings) as app:
        yield app


class Held:
    """Events that a transaction of the test's has locked, and who waits for them."""

    def __init__(self, connection: "asyncpg.Connection[asyncpg.Record]") -> None:
        self._connection = connection
        self._waiting: list[Waiting] = []

    async def then(self, write: Coroutine[Any, Any, httpx.Response]) -> Waiting:
        """Begin a write, and return once it waits behind all that wait already."""
        task = asyncio.create_task(write)
        self._waiting.append(task)
        async with asyncio.timeout(PATIENCE_SECONDS):
            while await self._count() < len(self._waiting):
                assert not task.done(), task.result().text
                await asyncio.sleep(0.005)
        return task

    async def waited_for_by(self, write: Waiting) -> None:
        """Return once a write that is under way waits here."""
        self._waiting.append(write)
        look = (
            "SELECT bool_or(pg_backend_pid() = ANY(pg_blocking_pids(pid)))"
            " FROM pg_stat_activity WHERE datname = current_database()"
        )
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not await self._connection.fetchval(look):  # noqa: ASYNC110  # nobody tells
                await asyncio.sleep(0.005)

    async def _count(self) -> int:
        # Else a transaction sees what it saw when it first looked.
        await self._connection.execute("SELECT pg_stat_clear_snapshot()")
        count: int = await self._connection.fetchval(
            "SELECT count(*) FROM pg_stat_activity"
            " WHERE datname = current_database() AND wait_event_type = 'Lock'"
        )
        return count


@asynccontextmanager
async def held(database_url: str, *event_ids: str) -> AsyncIterator[Held]:
    """Lock events as long as the block runs; whoever waits goes on afterwards."""
    connection = await asyncpg.connect(database_url)
    try:
        async with connection.transaction():
            await connection.execute(
                "SELECT FROM events WHERE id = ANY($1::uuid[]) FOR NO KEY UPDATE", event_ids
            )
            yield Held(connection)
    finally:
        await connection.close()


def at(app: FastAPI, user: User) -> httpx.AsyncClient:
    """Return a client that is signed in as the user at another worker."""
    return client_of(app, headers={"Authorization": user.client.headers["Authorization"]})


async def create(owner: User, hour: int = 9, **fields: Any) -> str:
    """Create an event and return its id."""
    body = meeting(f"{hour:02}:00", f"{hour:02}:30", **fields)
    answer = await owner.client.post("/api/events", json=body)
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])


async def heard(user: User, event_id: str) -> list[dict[str, Any]]:
    """Return what a user was told about an event, in the order of the cursors."""
    answer = await user.client.get("/api/notifications", params={"limit": 200})
    assert answer.status_code == 200, answer.text
    return [message for message in answer.json() if message["event_id"] == event_id]


async def test_edits_that_wait_for_each_other_say_what_they_changed(
    other_worker: FastAPI, alice: User, bob: User, database_url: str
) -> None:
    """Each tells its own field, from what the edit before it has made of it."""
    event_id = await create(alice, title="One")
    await share(alice, event_id, bob, "Viewer")
    url = f"/api/events/{event_id}"
    async with held(database_url, event_id) as queue:
        first = await queue.then(alice.client.patch(url, json={"title": "Two"}))
        second = await queue.then(at(other_worker, alice).patch(url, json={"title": "Three"}))
    assert [(await one).json()["version"] for one in (first, second)] == [2, 3]
    edits = [m for m in await heard(bob, event_id) if m["type"] == "event_updated"]
    assert [(m["data"]["version"], m["data"]["changes"]) for m in edits] == [
        (2, [{"field": "title", "before": "One", "after": "Two"}]),
        (3, [{"field": "title", "before": "Two", "after": "Three"}]),
    ]


async def test_who_is_given_an_event_hears_of_the_edit_that_waited(
    other_worker: FastAPI, alice: User, bob: User, database_url: str
) -> None:
    """The edit is made after the grant, so its new reader must not miss it."""
    event_id = await create(alice)
    body = [{"user_id": str(bob.id), "role": "Viewer"}]
    async with held(database_url, event_id) as queue:
        shared = await queue.then(alice.client.post(f"/api/events/{event_id}/share", json=body))
        edited = await queue.then(
            at(other_worker, alice).patch(f"/api/events/{event_id}", json={"title": "New"})
        )
    assert ((await shared).status_code, (await edited).status_code) == (201, 200)
    types = [message["type"] for message in await heard(bob, event_id)]
    assert types == ["permission_granted", "event_updated"]


async def test_who_lost_an_event_does_not_hear_of_the_edit_that_waited(
    other_worker: FastAPI, alice: User, bob: User, database_url: str
) -> None:
    """What is written after the revocation is no business of theirs any more."""
    event_id = await create(alice)
    await share(alice, event_id, bob, "Viewer")
    grant = f"/api/events/{event_id}/permissions/{bob.id}"
    async with held(database_url, event_id) as queue:
        revoked = await queue.then(alice.client.delete(grant))
        edited = await queue.then(
            at(other_worker, alice).patch(f"/api/events/{event_id}", json={"title": "Secret"})
        )
    assert ((await revoked).status_code, (await edited).status_code) == (204, 200)
    types = [message["type"] for message in await heard(bob, event_id)]
    assert types == ["permission_granted", "permission_revoked"]


MOVE = {"start_time": "2027-03-11T09:00:00Z", "end_time": "2027-03-11T10:00:00Z"}


@pytest.mark.parametrize(
    ("method", "path", "body", "needed"),
    [
        ("PATCH", "", {"title": "Mine"}, "Editor"),
        ("PATCH", "", MOVE, "Editor"),
        ("POST", "/undo", None, "Editor"),
        ("DELETE", "", None, "Owner"),
        ("DELETE", "?permanent=true", None, "Owner"),
    ],
)
async def test_what_waits_is_refused_if_the_role_is_gone_by_then(
    other_worker: FastAPI,
    alice: User,
    bob: User,
    database_url: str,
    *,
    method: str,
    path: str,
    body: dict[str, str] | None,
    needed: str,
) -> None:
    """Once a revocation is answered, nothing that its user had under way is written."""
    event_id = await create(alice)
    await alice.client.patch(f"/api/events/{event_id}", json={"title": "Theirs"})
    await share(alice, event_id, bob, needed)
    grant = f"/api/events/{event_id}/permissions/{bob.id}"
    async with held(database_url, event_id) as queue:
        revoked = await queue.then(alice.client.delete(grant))
        there = at(other_worker, bob)
        late = await queue.then(there.request(method, f"/api/events/{event_id}{path}", json=body))
    assert (await revoked).status_code == 204
    assert (await late).status_code == 403, (await late).text
    event = (await alice.client.get(f"/api/events/{event_id}")).json()
    assert (event["title"], event["version"]) == ("Theirs", 2)


async def test_an_edit_of_an_old_version_is_refused_however_long_it_waited(
    other_worker: FastAPI, alice: User, database_url: str
) -> None:
    """If-Match names what the change is based on, and that is gone by then."""
    event_id = await create(alice)
    url = f"/api/events/{event_id}"
    async with held(database_url, event_id) as queue:
        first = await queue.then(alice.client.patch(url, json={"title": "Two"}))
        there = at(other_worker, alice)
        late = await queue.then(there.patch(url, json={"title": "3"}, headers={"If-Match": '"1"'}))
    assert ((await first).status_code, (await late).status_code) == (200, 412)
    assert (await late).json()["current_version"] == 2


async def test_an_edit_that_waited_for_a_grant_alone_is_made(
    other_worker: FastAPI, alice: User, bob: User, database_url: str
) -> None:
    """A grant is no version: what names the newest one in If-Match is still based on it."""
    event_id = await create(alice)
    body = [{"user_id": str(bob.id), "role": "Viewer"}]
    url = f"/api/events/{event_id}"
    async with held(database_url, event_id) as queue:
        await queue.then(alice.client.post(f"{url}/share", json=body))
        there = at(other_worker, alice)
        late = await queue.then(there.patch(url, json={"title": "2"}, headers={"If-Match": '"1"'}))
    assert (await late).status_code == 200, (await late).text
    assert (await late).headers["ETag"] == '"2"'


async def test_versions_are_told_in_their_order_whoever_began_first(
    other_worker: FastAPI, alice: User, bob: User, database_url: str
) -> None:
    """A change of many that began earlier than an edit, but came later, is told later."""
    first, second, third = sorted([await create(alice, hour) for hour in (9, 10, 11)])
    await share(alice, third, bob, "Viewer")
    async with held(database_url, second) as queue:
        # It has locked the first, and with it has a number; it waits for the second.
        body = {"ids": [first, second, third], "changes": {"location": "Room 4"}}
        bulk = await queue.then(alice.client.patch("/api/events/batch", json=body))
        edit = await at(other_worker, alice).patch(f"/api/events/{third}", json={"title": "New"})
        assert edit.json()["version"] == 2
    assert (await bulk).status_code == 200, (await bulk).text
    told = [m["data"]["version"] for m in await heard(bob, third) if m["type"] == "event_updated"]
    assert told == [2, 3]


async def test_an_edit_behind_a_change_of_many_says_what_it_changed(
    other_worker: FastAPI, alice: User, bob: User, database_url: str
) -> None:
    """Even if that began before another edit: its number is less than the event has already."""
    first, second, third = sorted([await create(alice, hour) for hour in (9, 10, 11)])
    await share(alice, third, bob, "Viewer")
    url = f"/api/events/{third}"
    async with AsyncExitStack() as later:
        async with held(database_url, second) as before:
            body = {"ids": [first, second, third], "changes": {"location": "Room 4"}}
            bulk = await before.then(alice.client.patch("/api/events/batch", json=body))
            edit = await at(other_worker, alice).patch(url, json={"title": "New"})
            assert edit.json()["version"] == 2
            queue = await later.enter_async_context(held(database_url, third))
        await queue.waited_for_by(bulk)
        late = await queue.then(at(other_worker, alice).patch(url, json={"description": "Why"}))
    assert ((await bulk).status_code, (await late).json()["version"]) == (200, 4)
    edits = [m for m in await heard(bob, third) if m["type"] == "event_updated"]
    assert [[change["field"] for change in m["data"]["changes"]] for m in edits] == [
        ["title"],
        ["location"],
        ["description"],
    ]


async def test_the_times_of_versions_have_their_order(
    other_worker: FastAPI, alice: User, database_url: str
) -> None:
    """A change that has waited began before the one it waited for: by time one finds both."""
    first, second = sorted([await create(alice, hour, title="One") for hour in (9, 10)])
    url = f"/api/events/{second}"
    async with held(database_url, first) as queue:
        body = {"ids": [first, second], "changes": {"location": "Room 4"}}
        bulk = await queue.then(alice.client.patch("/api/events/batch", json=body))
        edit = await at(other_worker, alice).patch(url, json={"title": "Two"})
        assert edit.json()["version"] == 2
    assert (await bulk).status_code == 200
    history = (await alice.client.get(f"{url}/history")).json()
    times = {version["version"]: version["timestamp"] for version in history}
    written = [datetime.fromisoformat(times[version]) for version in (1, 2, 3)]
    assert written[0] < written[1] < written[2]
    for version, (title, location) in {2: ("Two", None), 3: ("Two", "Room 4")}.items():
        then = (await alice.client.get(url, params={"as_of": times[version]})).json()
        assert (then["version"], then["title"], then["location"]) == (version, title, location)
        assert then["updated_at"] == times[version]


async def test_a_second_half_begins_when_its_first_ends(
    other_worker: FastAPI, alice: User, database_url: str
) -> None:
    """Also where the split waited, in its process, for edits that others made meanwhile."""
    event_id = await create(alice, 10, recurrence_pattern="FREQ=DAILY;COUNT=9")
    url = f"/api/events/{event_id}"
    split = f"{url}/occurrences/2027-03-14T10:00:00Z?scope=following"
    async with held(database_url, event_id) as queue:
        edit = await queue.then(alice.client.patch(url, json={"title": "Two"}))
        cut = asyncio.create_task(alice.client.patch(split, json={"title": "Second"}))
        late = await queue.then(at(other_worker, alice).patch(url, json={"title": "Three"}))
    assert [(await one).status_code for one in (edit, late, cut)] == [200, 200, 200]
    history = (await alice.client.get(f"{url}/history")).json()
    [ended] = [version for version in history if version["operation"] == "split"]
    assert (await cut).json()["created_at"] == ended["timestamp"]


async def test_a_change_of_many_holds_nothing_that_its_user_may_not_change(
    alice: User, bob: User, database_url: str
) -> None:
    """It is refused when its turn comes, and meanwhile nobody has to wait for it."""
    theirs = await create(alice)
    await share(alice, theirs, bob, "Viewer")
    mine = await create(bob)
    assert theirs < mine
    async with held(database_url, mine) as queue:
        body = {"ids": [mine, theirs], "changes": {"location": "Room 4"}}
        bulk = await queue.then(bob.client.patch("/api/events/batch", json=body))
        async with asyncio.timeout(PATIENCE_SECONDS):
            edit = await alice.client.patch(f"/api/events/{theirs}", json={"title": "Ours"})
        assert edit.status_code == 200
    assert (await bulk).status_code == 403
    assert (await bulk).json()["event_id"] == theirs


async def test_a_grant_is_told_after_what_came_before_it(
    other_worker: FastAPI, alice: User, bob: User, database_url: str
) -> None:
    """Grants and versions of one event have one order: that in which they came to be."""
    first, second, third = sorted([await create(alice, hour) for hour in (9, 10, 11)])
    body = {"ids": [first, second, third], "changes": {"location": "Room 4"}}
    async with held(database_url, second) as queue:
        bulk = await queue.then(alice.client.patch("/api/events/batch", json=body))
        await share(User(alice.id, "", "", at(other_worker, alice)), third, bob, "Viewer")
    assert (await bulk).status_code == 200, (await bulk).text
    types = [message["type"] for message in await heard(bob, third)]
    assert types == ["permission_granted", "event_updated"]
