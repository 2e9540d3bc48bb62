"""What users want to be told, and when not to be disturbed."""

import asyncio
from datetime import UTC, datetime, time, timedelta
from functools import partial
from typing import Any

import pytest

from eventmanager.core.config import Settings
from eventmanager.core.database import Database, Query
from eventmanager.messages.quiet import QuietHours
from tests.conftest import MakeUser, User
from tests.realtime.conftest import (
    GOODBYE,
    Connection,
    Worker,
    make_event,
    share,
    stage,
    told,
    until,
    worker,
)
from tests.realtime.test_sockets import narrow

SETTINGS = "/api/me/notification-settings"
LIST = "/api/notifications"
NIGHT = {"start": "22:00", "end": "07:00", "time_zone": "Europe/Berlin"}


async def types_of(user: User) -> list[str]:
    """Return the types of what a user is told, in order."""
    return [message["type"] for message in (await user.client.get(LIST)).json()]


@pytest.mark.parametrize(
    ("instant", "quiet"),
    [
        ("2027-01-10T20:59:59Z", False),
        ("2027-01-10T21:00:00Z", True),
        ("2027-01-11T05:59:59Z", True),
        ("2027-01-11T06:00:00Z", False),
        ("2027-07-10T19:59:59Z", False),
        ("2027-07-10T20:00:00Z", True),
        ("2027-07-11T05:00:00Z", False),
    ],
)
def test_quiet_hours_are_on_the_wall_clock(instant: str, quiet: bool) -> None:
    """In summer as in winter, and past midnight."""
    hours = QuietHours(time(22), time(7), "Europe/Berlin")
    assert hours.cover(datetime.fromisoformat(instant)) is quiet


def test_quiet_hours_may_be_in_the_middle_of_the_day() -> None:
    """A siesta ends on the same day."""
    hours = QuietHours(time(13), time(15), "UTC")
    asked = [datetime(2027, 1, 1, hour, tzinfo=UTC) for hour in (12, 13, 14, 15, 23)]
    assert [hours.cover(instant) for instant in asked] == [False, True, True, False, False]


async def test_settings_are_what_was_set(alice: User, bob: User) -> None:
    """And one's own; nothing set is everything wanted."""
    nothing = {"types": None, "quiet_hours": None}
    assert (await alice.client.get(SETTINGS)).json() == nothing
    wanted = {"types": ["event_deleted"], "quiet_hours": NIGHT}
    answer = await alice.client.put(SETTINGS, json=wanted)
    assert (answer.status_code, answer.json()) == (200, wanted)
    assert (await alice.client.get(SETTINGS)).json() == wanted
    assert (await bob.client.get(SETTINGS)).json() == nothing
    assert (await alice.client.put(SETTINGS, json={})).json() == nothing
    assert (await alice.client.get(SETTINGS)).json() == nothing


@pytest.mark.parametrize(
    "body",
    [
        {"types": ["event_painted"]},
        {"types": "event_deleted"},
        {"types": ["event_deleted"] * 100},
        {"quiet_hours": NIGHT | {"time_zone": "Mars/Olympus"}},
        {"quiet_hours": NIGHT | {"end": "22:00"}},
        {"quiet_hours": NIGHT | {"end": "24:00"}},
        {"quiet_hours": NIGHT | {"start": "7"}},
        {"quiet_hours": {"start": "22:00"}},
        {"volume": 11},
    ],
    ids=str,
)
async def test_settings_that_cannot_be_are_refused(alice: User, body: dict[str, Any]) -> None:
    """With the place of what is wrong, and without setting anything."""
    answer = await alice.client.put(SETTINGS, json=body)
    assert answer.status_code == 422, answer.text
    assert (await alice.client.get(SETTINGS)).json()["types"] is None


async def test_what_was_set_without_a_limit_can_be_read(alice: User, database: Database) -> None:
    """There was none once, and the same type may be there a hundred times."""
    assert (await alice.client.put(SETTINGS, json={})).status_code == 200
    types = ["event_deleted", "reminder"] * 50
    write = Query(
        "UPDATE notification_settings SET types = $1 WHERE user_id = $2", ("types", "user_id")
    )
    await database.transaction(lambda tx: tx.all(write, types=types, user_id=alice.id))
    answer = await alice.client.get(SETTINGS)
    assert (answer.status_code, answer.json()["types"]) == (200, ["event_deleted", "reminder"])


async def test_only_wanted_types_are_told(here: Worker, alice: User, bob: User) -> None:
    """From then on, on sockets and in the list, and without counting as unread."""
    event_id = await make_event(alice)
    await share(alice, event_id, bob)
    await bob.client.put(SETTINGS, json={"types": ["event_deleted"]})
    async with here.open(bob) as socket:
        await alice.client.patch(f"/api/events/{event_id}", json={"title": "Unwanted"})
        await alice.client.delete(f"/api/events/{event_id}")
        assert (await told(socket))["type"] == "event_deleted"
    assert await types_of(bob) == ["permission_granted", "event_deleted"]
    assert (await bob.client.get(f"{LIST}/unread")).json()["unread"] == 2
    await bob.client.put(SETTINGS, json={"types": []})
    await alice.client.post(f"/api/events/{event_id}/restore")
    assert await types_of(bob) == ["permission_granted", "event_deleted"]
    await bob.client.put(SETTINGS, json={})
    await alice.client.patch(f"/api/events/{event_id}", json={"title": "Wanted"})
    assert (await types_of(bob))[2:] == ["event_updated"]


async def test_a_long_night_is_told_as_fast_as_it_is_taken(
    here: Worker, aside: Connection, alice: User, bob: User
) -> None:
    """More than any queue holds; and one who does not read keeps nobody else waiting."""
    count, size = 400, 5_000
    for user in (alice, bob):
        await user.client.put(SETTINGS, json={"quiet_hours": around_now()})
    hub = here.app.state.news.hub
    async with (
        here.open(alice, sock=narrow(here.port), max_queue=1) as stalled,
        here.open(bob, sock=narrow(here.port), max_queue=1) as slow,
    ):
        for user in (alice, bob):
            await stage(aside, user.id, "at night", count=count, size=size)
        await until(
            lambda: all(one.held and one.held[0] < one.held[1] for one in hub.subscribers())
        )
        for user in (alice, bob):
            await user.client.put(SETTINGS, json={})
        numbers = []
        for _ in range(count):
            numbers.append((await told(slow))["data"]["number"])
            if len(numbers) % 100 == 0:
                # A client that has something else to do.
                await asyncio.sleep(0.2)
        assert numbers == list(range(1, count + 1))
        await stage(aside, bob.id, "morning")
        assert (await told(slow))["type"] == "morning"
        stalled.transport.abort()


@pytest.mark.parametrize("how", ["stream", "socket"])
async def test_who_leaves_while_the_night_is_told_leaves_nothing_behind(
    settings: Settings, aside: Connection, bob: User, how: str
) -> None:
    """What waited for them would count for ever against what may wait for all."""
    await bob.client.put(SETTINGS, json={"quiet_hours": around_now()})
    async with worker(settings, send_buffer_bytes=4096) as one:
        hub = one.app.state.news.hub
        raw = narrow(one.port)
        if how == "stream":
            token = bob.client.headers["Authorization"]
            request = f"GET {LIST}/stream HTTP/1.1\r\nHost: x\r\nAuthorization: {token}\r\n\r\n"
            raw.send(request.encode())
            leave = close = raw.close
        else:
            client = await one.open(bob, sock=raw, max_queue=1)
            leave, close = partial(client.transport.write, GOODBYE), client.transport.abort
        try:
            await until(lambda: len(hub.subscribers()) == 1)
            (subscriber,) = hub.subscribers()
            await stage(aside, bob.id, "at night", count=400, size=5_000)
            await until(lambda: subscriber.held is not None)
            await bob.client.put(SETTINGS, json={})
            await until(lambda: subscriber.is_behind)
            assert night_is_told()
            leave()
            await until(lambda: not hub.subscribers())
            await until(lambda: not night_is_told())
            assert hub._backlog.bytes == 0
        finally:
            close()


def night_is_told() -> bool:
    """Tell whether somebody is being told what has waited in quiet hours."""
    return any("_end_quiet" in repr(task.get_coro()) for task in asyncio.all_tasks())


def around_now() -> dict[str, str]:
    """Return quiet hours that began an hour ago and end in an hour."""
    now, hour = datetime.now(UTC), timedelta(hours=1)
    return {"start": f"{now - hour:%H:%M}", "end": f"{now + hour:%H:%M}", "time_zone": "UTC"}


@pytest.mark.parametrize("resuming", [False, True], ids=["a new socket", "one that resumes"])
async def test_in_quiet_hours_nothing_is_sent_and_nothing_is_lost(
    here: Worker, alice: User, bob: User, make_user: MakeUser, resuming: bool
) -> None:
    """It can be listed meanwhile; the socket is told when they end, in order, and goes on."""
    carol = await make_user()
    event_id = await make_event(alice)
    for reader in (bob, carol):
        await share(alice, event_id, reader)
    cursor = (await bob.client.get(LIST)).json()[-1]["cursor"]
    await bob.client.put(SETTINGS, json={"quiet_hours": around_now()})
    titles = ["First"] if resuming else []
    if resuming:
        await alice.client.patch(f"/api/events/{event_id}", json={"title": "First"})
    after = cursor if resuming else None
    async with here.open(bob, after=after) as socket, here.open(carol) as witness:
        for title in ("Second", "Third"):
            await alice.client.patch(f"/api/events/{event_id}", json={"title": title})
            titles.append(title)
            assert (await told(witness))["data"]["title"] == title
        # Whoever hears the answer first was sent nothing before it.
        await socket.send('{"type": "subscribe"}')
        assert (await told(socket))["type"] == "subscribed"
        listed = (await bob.client.get(LIST, params={"after": cursor})).json()
        assert [message["data"]["title"] for message in listed if "title" in message["data"]][
            -len(titles) :
        ] == titles
        await bob.client.put(SETTINGS, json={})
        for title in titles:
            assert (await told(socket))["data"]["title"] == title
        await alice.client.patch(f"/api/events/{event_id}", json={"title": "Morning"})
        assert (await told(socket))["data"]["title"] == "Morning"
