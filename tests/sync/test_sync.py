"""A copy that follows the pages of a sync is what the server shows."""

import itertools
import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import uuid4

import orjson
import pytest
from fastapi import FastAPI

from eventmanager.core.config import Settings
from eventmanager.core.database import Database, Query
from eventmanager.sync import queries
from eventmanager.sync.tokens import Mark, write_token
from tests.conftest import PASSWORD, MakeUser, MovableClock, User, register, started
from tests.events.conftest import share
from tests.sync.conftest import Connection, Copy, Json, listing, retitle

_hours = itertools.count()


def meeting(**fields: Any) -> Json:
    """Return the body of an event at a time of its own that takes up nobody's time."""
    day, hour = divmod(next(_hours), 24)
    start = f"2028-{1 + day // 28 % 12:02}-{1 + day % 28:02}T{hour:02}"
    return {
        "title": "Meeting",
        "start_time": f"{start}:00:00Z",
        "end_time": f"{start}:30:00Z",
        "transparency": "transparent",
        **fields,
    }


async def create(user: User, **fields: Any) -> str:
    """Create an event and return its id."""
    answer = await user.client.post("/api/events", json=meeting(**fields))
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])


async def send(user: User, method: str, path: str, body: Any = None) -> Any:
    """Do something that succeeds and return what is answered."""
    answer = await user.client.request(method, f"/api/events/{path}", json=body)
    assert answer.is_success, answer.text
    return answer.json() if answer.content else None


async def change(user: User, event_id: str, **fields: Any) -> None:
    """Change some fields of an event."""
    await send(user, "PATCH", event_id, fields)


# --- What is told to whom -------------------------------------------------------------------------


@dataclass
class Scene:
    """An event and a series of alice's; bob is their Editor, carol their Viewer.

    dave may read another event of alice's, eve nothing; `binned` is in the bin.
    """

    alice: User
    bob: User
    carol: User
    dave: User
    eve: User
    event: str
    series: str
    binned: str
    other: str

    @property
    def people(self) -> dict[str, User]:
        """Everybody, by name."""
        return {name: getattr(self, name) for name in ("alice", "bob", "carol", "dave", "eve")}


@pytest.fixture
async def scene(make_user: MakeUser) -> Scene:
    """Five users, and what alice shares."""
    alice, bob, carol, dave, eve = [await make_user() for _ in range(5)]
    event, binned, other = [await create(alice) for _ in range(3)]
    series = await create(
        alice,
        start_time="2028-02-01T09:00:00Z",
        end_time="2028-02-01T10:00:00Z",
        recurrence_pattern="FREQ=DAILY;COUNT=10",
    )
    for event_id in (event, series, binned):
        await share(alice, event_id, bob, "Editor")
        await share(alice, event_id, carol, "Viewer")
    await share(alice, other, dave, "Viewer")
    await change(bob, event, title="Second")
    await send(alice, "DELETE", binned)
    return Scene(alice, bob, carol, dave, eve, event, series, binned, other)


Act = Callable[[Scene], Awaitable[object]]
READERS = ("alice", "bob", "carol")


async def _revoke_and_share(s: Scene) -> None:
    await send(s.alice, "DELETE", f"{s.event}/permissions/{s.carol.id}")
    await share(s.alice, s.event, s.carol, "Editor")


async def _share_and_revoke(s: Scene) -> None:
    await share(s.alice, s.event, s.dave, "Viewer")
    await send(s.alice, "DELETE", f"{s.event}/permissions/{s.dave.id}")


async def _delete_and_restore(s: Scene) -> None:
    await send(s.alice, "DELETE", s.event)
    await send(s.alice, "POST", f"{s.event}/restore")


async def _revoke_and_edit(s: Scene) -> None:
    await send(s.alice, "DELETE", f"{s.event}/permissions/{s.carol.id}")
    await change(s.bob, s.event, title="Not for carol")


async def _refused(s: Scene) -> None:
    for user, status in ((s.carol, 403), (s.eve, 403), (s.alice, 422)):
        answer = await user.client.patch(f"/api/events/{s.event}", json={"title": ""})
        assert answer.status_code in {status, 422}


_SECOND = "occurrences/2028-02-02T09:00:00Z"
# What is done, to which event of the scene, and who then reads that it changed or is gone.
ACTS: dict[str, tuple[Act, str, Sequence[str], Sequence[str]]] = {
    "text": (lambda s: change(s.bob, s.event, title="New"), "event", READERS, ()),
    "move": (
        lambda s: change(
            s.bob, s.event, start_time="2027-01-01T09:00:00Z", end_time="2027-01-01T10:00:00Z"
        ),
        "event",
        READERS,
        (),
    ),
    "occurrence": (
        lambda s: send(s.bob, "PATCH", f"{s.series}/{_SECOND}", {"title": "Special"}),
        "series",
        READERS,
        (),
    ),
    "occurrence taken out": (
        lambda s: send(s.bob, "DELETE", f"{s.series}/{_SECOND}"),
        "series",
        READERS,
        (),
    ),
    "rollback": (lambda s: send(s.bob, "POST", f"{s.event}/rollback/1"), "event", READERS, ()),
    "delete": (lambda s: send(s.alice, "DELETE", s.event), "event", (), READERS),
    "restore": (lambda s: send(s.alice, "POST", f"{s.binned}/restore"), "binned", READERS, ()),
    "delete and restore": (_delete_and_restore, "event", READERS, ()),
    "share": (
        lambda s: share(s.alice, s.event, s.dave, "Viewer"),
        "event",
        (*READERS, "dave"),
        (),
    ),
    "share with a stranger": (
        lambda s: share(s.alice, s.event, s.eve, "Owner"),
        "event",
        (*READERS, "eve"),
        (),
    ),
    "role": (
        lambda s: send(s.alice, "PUT", f"{s.event}/permissions/{s.carol.id}", {"role": "Editor"}),
        "event",
        READERS,
        (),
    ),
    "revoke": (
        lambda s: send(s.alice, "DELETE", f"{s.event}/permissions/{s.carol.id}"),
        "event",
        ("alice", "bob"),
        ("carol",),
    ),
    "leave": (
        lambda s: send(s.bob, "DELETE", f"{s.event}/permissions/{s.bob.id}"),
        "event",
        ("alice", "carol"),
        ("bob",),
    ),
    "revoke and edit": (_revoke_and_edit, "event", ("alice", "bob"), ("carol",)),
    "revoke and share": (_revoke_and_share, "event", READERS, ()),
    "share and revoke": (_share_and_revoke, "event", READERS, ("dave",)),
    "dry run": (
        lambda s: send(s.alice, "PATCH", f"{s.event}?dry_run=true", {"title": "New"}),
        "event",
        (),
        (),
    ),
    "refused": (_refused, "event", (), ()),
    "nothing": (lambda s: send(s.bob, "GET", s.event), "event", (), ()),
}


@pytest.mark.parametrize("name", ACTS)
async def test_a_change_comes_to_those_whom_it_concerns(scene: Scene, name: str) -> None:
    """Each reader's copy takes it over; nobody else learns even an id."""
    act, subject, changed, removed = ACTS[name]
    copies = {who: Copy(user.client) for who, user in scene.people.items()}
    for copy in copies.values():
        await copy.sync()
    await act(scene)
    event_id = getattr(scene, subject)
    for who, copy in copies.items():
        told = await copy.sync()
        expected = {event_id} if who in changed else set(), {event_id} if who in removed else set()
        assert told == expected, who
        assert copy.events == await listing(copy.client), who
        assert await copy.sync() == (set(), set()), who


async def test_new_events_and_halves_of_series_come(scene: Scene) -> None:
    """A new event is its owner's alone; the second half of a series is for all its readers."""
    copies = {who: Copy(user.client) for who, user in scene.people.items()}
    for copy in copies.values():
        await copy.sync()
    created = await create(scene.alice)
    half = await send(
        scene.bob, "PATCH", f"{scene.series}/{_SECOND}?scope=following", {"title": "Second half"}
    )
    halves = {scene.series, half["id"]}
    assert len(halves) == 2
    assert await copies["alice"].sync() == ({created, *halves}, set())
    assert await copies["bob"].sync() == (halves, set())
    assert await copies["carol"].sync() == (halves, set())
    assert await copies["dave"].sync() == (set(), set())
    assert await copies["eve"].sync() == (set(), set())
    for copy in copies.values():
        assert copy.events == await listing(copy.client)


async def test_a_first_sync_is_the_list(scene: Scene) -> None:
    """Own and shared events, none of those in the bin, whatever the size of the pages."""
    for user in scene.people.values():
        expected = await listing(user.client)
        for limit in (1, 2, 500):
            copy = Copy(user.client)
            assert await copy.sync(limit=limit) == (set(expected), set())
            assert copy.events == expected
            assert copy.pages == max(1, -(-len(expected) // limit))


@pytest.mark.parametrize("synced_in_between", [True, False])
async def test_what_is_purged_is_removed(scene: Scene, synced_in_between: bool) -> None:
    """An event that leaves the bin for good leaves nothing but that its readers lost it."""
    copies = {who: Copy(user.client) for who, user in scene.people.items()}
    for copy in copies.values():
        await copy.sync()
    await send(scene.alice, "DELETE", scene.event)
    if synced_in_between:
        for who, copy in copies.items():
            assert await copy.sync() == (set(), {scene.event} if who in READERS else set()), who
    await send(scene.alice, "DELETE", f"{scene.event}?permanent=true")
    for who, copy in copies.items():
        assert await copy.sync() == (set(), {scene.event} if who in READERS else set()), who
        assert copy.events == await listing(copy.client)


# --- Late commits, and changes between pages ------------------------------------------------------


async def test_a_change_that_commits_late_is_not_missed(alice: User, aside: Connection) -> None:
    """It was written before the first sync and is seen by the second, past younger changes."""
    slow, quick = await create(alice), await create(alice)
    copy = Copy(alice.client)
    await copy.sync()
    transaction = aside.transaction()
    await transaction.start()
    await retitle(aside, slow, "Late")
    for round_ in range(3):
        await change(alice, quick, title=f"Quick {round_}")
        assert await copy.sync() == ({quick}, set())
        assert copy.events[slow]["title"] == "Meeting"
    await transaction.commit()
    assert await copy.sync() == ({slow}, set())
    assert copy.events[slow]["title"] == "Late"
    assert copy.events == await listing(alice.client)
    assert await copy.sync() == (set(), set())


async def test_a_first_sync_beside_a_late_commit_misses_nothing(
    alice: User, bob: User, aside: Connection
) -> None:
    """A grant and a revocation that were under way when the copy began come with the next sync."""
    shared, revoked = await create(alice), await create(alice)
    await share(alice, revoked, bob, "Viewer")
    transaction = aside.transaction()
    await transaction.start()
    await aside.execute(
        "INSERT INTO grants (event_id, user_id, owner_id, role, start_time, granted_by, created_at)"
        " SELECT id, $2, owner_id, 'Viewer', start_time, owner_id, now() FROM events WHERE id = $1",
        shared,
        bob.id,
    )
    await aside.execute("DELETE FROM grants WHERE event_id = $1 AND user_id = $2", revoked, bob.id)
    for event_id, operation in ((shared, "grant"), (revoked, "revoke")):
        await aside.execute(
            "INSERT INTO grant_changes"
            " (id, event_id, owner_id, user_id, operation, role, changed_at)"
            " VALUES (gen_random_uuid(), $1, $2, $3, $4, 'Viewer', now())",
            event_id,
            alice.id,
            bob.id,
            operation,
        )
    copy = Copy(bob.client)
    assert await copy.sync() == ({revoked}, set())
    await transaction.commit()
    assert await copy.sync() == ({shared}, {revoked})
    assert copy.events == await listing(bob.client)


async def test_a_late_commit_between_two_pages_comes_with_the_next_sync(
    alice: User, aside: Connection
) -> None:
    """The token is of the moment of the first page, whenever the last one was read."""
    events = [await create(alice) for _ in range(4)]
    copy = Copy(alice.client)
    await copy.sync()
    transaction = aside.transaction()
    await transaction.start()
    await retitle(aside, events[0], "Late")
    for event_id in events[1:]:
        await change(alice, event_id, title="Quick")
    committed = False

    async def commit() -> None:
        nonlocal committed
        if not committed:
            committed = True
            await transaction.commit()

    assert await copy.sync(limit=1, between=commit) == (set(events[1:]), set())
    assert await copy.sync() == ({events[0]}, set())
    assert copy.events == await listing(alice.client)


@pytest.mark.parametrize("first", [True, False])
async def test_pages_come_to_an_end_among_busy_writers(alice: User, bob: User, first: bool) -> None:
    """Between any two pages of one event, two are created, and others moved, deleted, shared."""
    events = [await create(alice) for _ in range(12)]
    copy = Copy(alice.client)
    if not first:
        await copy.sync()
        for event_id in events:
            await change(alice, event_id, title="New")
    numbers = itertools.count()

    async def act() -> None:
        number = next(numbers)
        for _ in range(2):
            await create(alice)
        await create(alice, start_time="2035-01-01T00:00:00Z", end_time="2035-01-01T01:00:00Z")
        if number < 4:
            await send(alice, "DELETE", events[-1 - number])
        elif number < 8:
            earlier = {"start_time": "2026-01-01T09:00:00Z", "end_time": "2026-01-01T10:00:00Z"}
            await change(alice, events[-1 - number], **earlier)
        elif number < 12:
            later = {"start_time": "2034-01-01T09:00:00Z", "end_time": "2034-01-01T10:00:00Z"}
            await change(alice, events[number - 8], **later)
            await share(alice, events[number - 8], bob, "Viewer")

    await copy.sync(limit=1, between=act)
    assert copy.pages <= 2 * len(events)
    await copy.sync(limit=3)
    assert copy.events == await listing(alice.client)


# --- Tokens ---------------------------------------------------------------------------------------


async def refused(user: User, **params: str) -> tuple[int, str]:
    """Return the status and code of a refused sync, which says how to begin again if it is 410."""
    answer = await user.client.get("/api/sync", params=params)
    body = answer.json()
    if answer.status_code == 410:
        assert answer.headers["Content-Type"] == "application/problem+json"
        assert body["restart"] == "/api/sync"
        assert (await user.client.get(body["restart"])).status_code == 200
    return answer.status_code, body["code"]


EXPIRED = (410, "sync_token_expired")


async def test_an_old_token_is_expired(settings: Settings) -> None:
    """After 30 days a token, after one day a cursor says how to begin again."""
    clock = MovableClock()
    async with started(settings, clock=clock) as app:
        clock.offset = timedelta(days=-30, minutes=1)
        user = await register(app)
        for _ in range(2):
            await create(user)
        token = (await user.client.get("/api/sync")).json()["sync_token"]
        page = (await user.client.get("/api/sync", params={"limit": 1})).json()

        async def at(offset: timedelta) -> None:
            clock.offset = offset
            body = {"username": user.username, "password": PASSWORD}
            answer = await user.client.post("/api/auth/login", json=body)
            user.client.headers["Authorization"] = f"Bearer {answer.json()['access_token']}"

        await at(timedelta(0))
        good = await user.client.get("/api/sync", params={"sync_token": token})
        assert good.status_code == 200
        assert await refused(user, cursor=page["next_page"]) == EXPIRED
        await at(timedelta(minutes=2))
        assert await refused(user, sync_token=token) == EXPIRED
        await user.client.aclose()


async def test_a_token_is_good_for_one_user_of_one_database(
    app: FastAPI, alice: User, bob: User, aside: Connection
) -> None:
    """Elsewhere transactions have other numbers, and bob lacks what alice had got before."""
    copy = Copy(alice.client)
    await copy.sync()
    assert copy.token is not None
    assert await refused(bob, sync_token=copy.token) == EXPIRED
    for history in ("another", ""):
        row = await aside.fetchrow(queries.PRESENT.sql)
        assert row is not None
        realm = f"{row['history']}{history}/{alice.id}"
        token = write_token(Mark(row["snapshot"], app.state.clock.now()), realm=realm)
        status = (await alice.client.get("/api/sync", params={"sync_token": token})).status_code
        assert status == (410 if history else 200)
    ahead = Mark("9000000000:9000000000:", app.state.clock.now())
    assert await refused(alice, sync_token=write_token(ahead, realm=realm)) == EXPIRED


async def test_what_is_no_token_is_not_valid(alice: User) -> None:
    """Garbage is 422; what looks like a token but was changed or is of an old form is expired."""
    for _ in range(2):
        await create(alice)
    token = (await alice.client.get("/api/sync")).json()["sync_token"]
    cursor = (await alice.client.get("/api/sync?limit=1")).json()["next_page"]
    for garbage in ("", "x", "garbage", "ä", "\x00", "W10", "[]", "A" * 5_000):
        assert await refused(alice, sync_token=garbage) == (422, "invalid_cursor"), garbage
        assert await refused(alice, cursor=garbage) == (422, "invalid_cursor"), garbage
    assert await refused(alice, sync_token="A" * 50_000) == (422, "validation_error")
    assert await refused(alice, sync_token=token, cursor=cursor) == (422, "validation_error")
    for other in (token[:-4], token[:-3] + "AAA", "c3luYzA" + token[7:], cursor):
        assert await refused(alice, sync_token=other) == EXPIRED
    for other in (cursor[:-4], cursor[:-3] + "AAA", token):
        assert await refused(alice, cursor=other) == EXPIRED
    assert await refused(alice, limit="0") == (422, "validation_error")
    assert await refused(alice, limit="501") == (422, "validation_error")


# --- Cost -----------------------------------------------------------------------------------------


async def test_a_sync_costs_what_has_changed(alice: User, bob: User, database: Database) -> None:
    """Of 1,000 own and 400 shared events, one that changed is one row of each index."""
    made = []
    # Without them the table of reminders would be so small that it is rightly read as a whole.
    reminders = [{"minutes_before": 10, "channel": "notification"}]
    for user, many in ((alice, 1_000), (bob, 400)):
        batch = {"events": [meeting(reminders=reminders) for _ in range(many)]}
        answer = await user.client.post("/api/events/batch", json=batch)
        made.append([event["id"] for event in answer.json()])
    for event_id in made[1]:
        await share(bob, event_id, alice, "Viewer")
    copy = Copy(alice.client)
    await copy.sync(limit=500)
    async with database.reading() as read:
        before = await read.first(queries.PRESENT)
        for user, event_id in ((alice, made[0][7]), (bob, made[1][7])):
            await change(user, event_id, title="New")
        after = await read.first(queries.PRESENT)
        assert before is not None
        assert after is not None
        statement = queries.CHANGES
        explain = Query(f"EXPLAIN (ANALYZE, FORMAT JSON) {statement.sql}", statement.parameters)
        row = await read.first(
            explain,
            caller_id=alice.id,
            since=before["snapshot"],
            until=after["snapshot"],
            after_id=None,
            limit=101,
        )
    assert row is not None
    assert await copy.sync() == ({made[0][7], made[1][7]}, set())
    rows = dict(_read(orjson.loads(row[0])))
    assert rows.keys() >= {"versions", "events", "grants", "reminders"}
    assert max(rows.values()) < 50, rows


def _read(node: Any) -> Sequence[tuple[str, float]]:
    """Return how many rows a plan has read of each table, those it then passed over among them."""
    total: dict[str, float] = {}
    nodes = [node]
    while nodes:
        here = nodes.pop()
        if isinstance(here, list):
            nodes.extend(here)
        elif isinstance(here, dict):
            nodes.extend(value for value in here.values() if isinstance(value, dict | list))
            if "Relation Name" in here:
                wasted = here.get("Rows Removed by Filter", 0)
                read = (here["Actual Rows"] + wasted) * here["Actual Loops"]
                total[here["Relation Name"]] = total.get(here["Relation Name"], 0) + read
    return list(total.items())


# --- All together ---------------------------------------------------------------------------------


async def test_copies_follow_300_random_acts(make_user: MakeUser) -> None:
    """Three users create, change, share, leave, delete and restore; each copy is the list."""
    dice = random.Random(20261123)
    users = [await make_user() for _ in range(3)]
    copies = [Copy(user.client) for user in users]
    events: list[str] = []
    done = dict.fromkeys(("ok", "refused"), 0)

    owners: dict[str, User] = {}

    async def act(user: User) -> None:
        event_id = dice.choice(events[-12:]) if events else str(uuid4())
        user = owners.get(event_id, user) if dice.random() < 0.6 else user
        other = dice.choice(users)
        role = dice.choice(["Owner", "Editor", "Viewer"])
        path = f"/api/events/{event_id}"
        series = {"recurrence_pattern": "FREQ=DAILY;COUNT=4"} if dice.random() < 0.3 else {}
        moved = {key: meeting()[key] for key in ("start_time", "end_time")}
        requests: list[tuple[int, str, str, Any]] = [
            (4, "POST", "/api/events", meeting(**series)),
            (5, "PATCH", path, {"title": f"T{dice.random()}"}),
            (3, "PATCH", path, moved),
            (5, "POST", f"{path}/share", [{"user_id": str(other.id), "role": role}]),
            (3, "PUT", f"{path}/permissions/{other.id}", {"role": role}),
            (3, "DELETE", f"{path}/permissions/{other.id}", None),
            (2, "DELETE", path, None),
            (4, "POST", f"{path}/restore", None),
            (2, "POST", f"{path}/rollback/1", None),
            (3, "PATCH", "occurrence", {"title": "Special"}),
            (2, "DELETE", "occurrence", None),
        ]
        [(_, method, url, body)] = dice.choices(requests, [weight for weight, *_ in requests])
        if url == "occurrence":
            found = (await user.client.get(f"{path}/occurrences")).json()
            if not isinstance(found, list) or not found:
                return
            scope = dice.choice(["this", "following"])
            name = dice.choice(found)["recurrence_id"]
            url = f"{path}/occurrences/{name}?scope={scope}"
        answer = await user.client.request(method, url, json=body)
        assert answer.status_code < 500, answer.text
        done["ok" if answer.is_success else "refused"] += 1
        if answer.is_success and method in {"POST", "PATCH"} and "share" not in url:
            made = answer.json().get("id", event_id)
            if made not in events:
                events.append(made)
                owners[made] = owners.get(event_id, user) if "occurrences" in url else user

    for _ in range(300):
        await act(dice.choice(users))
        if dice.random() < 0.2:
            limit = dice.choice([1, 2, 100])
            between = (lambda: act(dice.choice(users))) if dice.random() < 0.3 else None
            await dice.choice(copies).sync(limit=limit, between=between)
    assert done["ok"] > 120, done
    for copy in copies:
        await copy.sync(limit=2)
        assert copy.events == await listing(copy.client)
        assert copy.events
        fresh = Copy(copy.client)
        await fresh.sync()
        assert fresh.events == copy.events
