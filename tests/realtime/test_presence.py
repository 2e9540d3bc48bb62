"""Who is at an event now, as everybody who watches it sees it, whichever worker they are on."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import pytest
import redis
import uvicorn
from websockets.asyncio.client import ClientConnection

from eventmanager.cli import PONG_SECONDS
from eventmanager.core.config import Settings
from eventmanager.core.ids import EventId, UserId, uuid7
from eventmanager.realtime.presence import presences as presence
from eventmanager.realtime.presence.presences import who
from eventmanager.realtime.presence.stores import CHANNEL, WORDS, PostgresStore, Said, named, words
from eventmanager.realtime.wire import State
from tests.conftest import MakeUser, User, timed
from tests.realtime.conftest import (
    PATIENCE_SECONDS,
    Connection,
    RedisServer,
    Worker,
    make_event,
    share,
    told,
    until,
    worker,
)

NINE = datetime(2027, 3, 1, 9, tzinfo=UTC)
EVENT, ALICE, BOB = EventId(uuid7()), UserId(uuid7()), UserId(uuid7())


def said(user_id: UserId, state: State, minutes: int) -> Said:
    """Return what a socket of its own says since so many minutes after nine."""
    return Said(EVENT, uuid7(), user_id, "x", state, NINE + timedelta(minutes=minutes))


def test_a_user_is_listed_once_as_editing_if_anywhere() -> None:
    """Since when they do that, and those who edit come first."""
    listed = who(
        [
            said(BOB, "viewing", 0),
            said(ALICE, "viewing", 1),
            said(ALICE, "editing", 3),
            said(ALICE, "editing", 2),
            said(BOB, "viewing", 5),
        ]
    )
    assert [(one.user_id, one.state, one.since.minute) for one in listed] == [
        (ALICE, "editing", 2),
        (BOB, "viewing", 0),
    ]


def test_a_word_names_no_more_events_than_notify_takes() -> None:
    """8,000 bytes, and PostgreSQL refuses more."""
    event_ids = [EventId(uuid7()) for _ in range(WORDS + 1)]
    made = words(uuid7().hex, [*event_ids, *event_ids])
    assert all(len(word) < 8000 for word in made)
    assert [event_id for word in made for event_id in named(word)[1]] == event_ids


async def say(socket: ClientConnection, event_id: str, state: str) -> None:
    """Announce a state."""
    message = {"type": "presence", "event_id": event_id, "state": state}
    await socket.send(orjson.dumps(message).decode())


async def watch(socket: ClientConnection, *event_ids: str) -> None:
    """Subscribe to events."""
    await socket.send(orjson.dumps({"type": "subscribe", "events": event_ids}).decode())
    assert (await told(socket))["type"] == "subscribed"


async def listed(socket: ClientConnection, *, seconds: float = PATIENCE_SECONDS) -> dict[str, str]:
    """Return the next list of a socket: what each user does; other frames are passed over."""
    while True:
        frame = await told(socket, seconds=seconds)
        if frame["type"] == "presence":
            assert frame["total"] == len(frame["present"])
            return {one["username"]: one["state"] for one in frame["present"]}


async def lists(
    socket: ClientConnection, expected: dict[str, str], *, seconds: float = PATIENCE_SECONDS
) -> None:
    """Wait until a list is as expected."""
    async with asyncio.timeout(seconds):
        while await listed(socket, seconds=seconds) != expected:
            pass


async def shared(owner: User, *users: User) -> str:
    """Create an event that the users may read."""
    event_id = await make_event(owner)
    for user in users:
        await share(owner, event_id, user)
    return event_id


@timed
async def test_who_watches_an_event_sees_who_comes_and_goes(
    two_workers: tuple[Worker, Worker], alice: User, bob: User
) -> None:
    """Across workers, with Redis and without: on subscribing, at every change, and at the end."""
    one, other = two_workers
    event_id = await shared(alice, bob)
    async with one.open(alice) as watching:
        await watch(watching, event_id)
        assert await listed(watching) == {}
        async with other.open(bob) as socket:
            await say(socket, event_id, "viewing")
            assert await told(socket) == {
                "type": "announced",
                "event_id": event_id,
                "state": "viewing",
            }
            assert await listed(watching) == {bob.username: "viewing"}
            async with one.open(bob) as second:
                await watch(second, event_id)
                assert await listed(second) == {bob.username: "viewing"}
                await say(second, event_id, "editing")
                assert await listed(watching) == {bob.username: "editing"}
            assert await listed(watching) == {bob.username: "viewing"}
            await say(socket, event_id, "away")
            assert await listed(watching) == {}
            await say(socket, event_id, "editing")
            assert await listed(watching) == {bob.username: "editing"}
        assert await listed(watching, seconds=1) == {}


async def test_the_list_says_who_since_when(here: Worker, alice: User, bob: User) -> None:
    """And saying the same again changes nothing."""
    event_id = await shared(alice, bob)
    async with here.open(bob) as socket, here.open(alice) as watching:
        await watch(watching, event_id)
        await told(watching)
        before = datetime.now(UTC)
        await say(socket, event_id, "viewing")
        frame = await told(watching)
        [present] = frame["present"]
        assert (frame["event_id"], frame["total"]) == (event_id, 1)
        assert present["user_id"] == str(bob.id)
        assert before <= datetime.fromisoformat(present["since"]) <= datetime.now(UTC)
        await say(socket, event_id, "viewing")
        await say(socket, event_id, "editing")
        assert (await told(watching))["present"][0]["state"] == "editing"


async def test_a_filter_that_is_replaced_ends_its_presence(
    here: Worker, alice: User, bob: User
) -> None:
    """Only of what is in the last filter one hears who is there."""
    one, other = await shared(alice, bob), await shared(alice, bob)
    async with here.open(bob) as socket, here.open(alice) as watching:
        await watch(watching, one)
        assert (await told(watching))["event_id"] == one
        await watch(watching, other)
        assert (await told(watching))["event_id"] == other
        await say(socket, one, "viewing")
        await say(socket, other, "viewing")
        assert (await told(watching))["event_id"] == other
    assert not here.app.state.news.presences._said


async def test_a_stranger_may_neither_say_nor_see(
    here: Worker, alice: User, bob: User, make_user: MakeUser
) -> None:
    """Nor learn whether there is such an event: it is as if there were none."""
    event_id, carol = await shared(alice, bob), await make_user()
    async with here.open(carol) as stranger, here.open(bob) as socket, here.open(alice) as watching:
        await watch(stranger, event_id)
        await watch(watching, event_id)
        assert await listed(watching) == {}
        answers = []
        for asked in (event_id, str(uuid7())):
            await say(stranger, asked, "viewing")
            answers.append(await told(stranger))
        assert answers[0] == answers[1]
        assert (answers[0]["type"], answers[0]["code"]) == ("error", "forbidden")
        await say(socket, event_id, "viewing")
        assert await listed(watching) == {bob.username: "viewing"}
        # What the stranger hears next is the answer to this, and no list.
        await say(stranger, event_id, "away")
        assert (await told(stranger))["type"] == "announced"


async def test_of_what_one_may_not_read_nothing_is_looked_up(
    here: Worker, alice: User, bob: User
) -> None:
    """A thousand ids of nothing cost one look at the grants, and no more at every heartbeat."""
    event_id = await shared(alice, bob)
    presences = here.app.state.news.presences
    async with here.open(bob) as watching:
        await watch(watching, event_id, *(str(uuid7()) for _ in range(999)))
        assert await listed(watching) == {}
        assert [str(watched) for watched in presences._watchers] == [event_id]
    await until(lambda: not presences._watched)
    assert not any((presences._watchers, presences._unchecked, presences._due))


async def test_who_may_read_an_event_later_sees_who_is_there(
    two_workers: tuple[Worker, Worker], alice: User, bob: User
) -> None:
    """At once, and not with the next change: when it is shared, and when it is restored."""
    one, other = two_workers
    event_id = await make_event(alice)
    async with one.open(alice) as socket, other.open(bob) as watching:
        await watch(watching, event_id)
        await watch(socket, event_id)
        await say(socket, event_id, "editing")
        await lists(socket, {alice.username: "editing"})
        await share(alice, event_id, bob)
        assert await listed(watching) == {alice.username: "editing"}
        await alice.client.delete(f"/api/events/{event_id}")
        await alice.client.post(f"/api/events/{event_id}/restore")
        assert await listed(watching) in ({}, {alice.username: "editing"})


@timed
@pytest.mark.parametrize("ended", ["revoked", "deleted"])
async def test_a_user_who_may_no_longer_read_an_event_is_gone_from_it(
    two_workers: tuple[Worker, Worker],
    alice: User,
    bob: User,
    make_user: MakeUser,
    ended: str,
) -> None:
    """Within a second or so, and hears no more of it."""
    one, other = two_workers
    carol = await make_user()
    event_id = await shared(alice, bob, carol)
    async with one.open(bob) as socket, other.open(alice) as watching, one.open(carol) as third:
        for each in (socket, watching, third):
            await watch(each, event_id)
        await say(socket, event_id, "editing")
        await lists(watching, {bob.username: "editing"})
        await lists(third, {bob.username: "editing"})
        await lists(socket, {bob.username: "editing"})
        presences = one.app.state.news.presences
        if ended == "revoked":
            path = f"/api/events/{event_id}/permissions/{bob.id}"
            assert (await alice.client.delete(path)).status_code == 204
            await lists(watching, {}, seconds=1.5)
            await say(third, event_id, "viewing")
            await lists(watching, {carol.username: "viewing"})
        else:
            assert (await alice.client.delete(f"/api/events/{event_id}")).status_code == 204
        async with asyncio.timeout(1.5):
            await until(lambda: bob.id not in {one.user_id for one in presences._said.values()})
        heard: list[str] = []
        await socket.send('{"type":"ack","cursor":"x"}')
        while not heard or heard[-1] != "error":
            heard.append((await told(socket))["type"])
        assert "presence" not in heard


async def test_a_socket_may_be_at_so_many_events(
    here: Worker, alice: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And at no more of them until it is away from one."""
    monkeypatch.setattr(presence, "MAX_EVENTS", 2)
    presences = here.app.state.news.presences
    first, second, third = [await make_event(alice) for _ in range(3)]
    async with here.open(alice) as socket:
        answers = []
        for event_id, state in [
            (first, "viewing"),
            (second, "viewing"),
            (third, "viewing"),
            (second, "editing"),
            (first, "away"),
            (third, "viewing"),
        ]:
            await say(socket, event_id, state)
            answer = await told(socket)
            answers.append(answer.get("code", answer["type"]))
        assert answers == ["announced"] * 2 + ["too_many_events"] + ["announced"] * 3
        assert {str(event_id) for event_id, _ in presences._said} == {second, third}
    await until(lambda: not presences._said)


async def test_hundreds_of_lists_come_as_fast_as_they_are_taken(here: Worker, alice: User) -> None:
    """A socket that watches all that it may is not cut off as one that does not keep up."""
    event = {
        "title": "One of many",
        "start_time": "2027-05-01T09:00:00Z",
        "end_time": "2027-05-01T10:00:00Z",
        "transparency": "transparent",
    }
    answer = await alice.client.post("/api/events/batch", json={"events": [event] * 400})
    assert answer.status_code == 201
    event_ids = [event["id"] for event in answer.json()]
    async with here.open(alice) as watching:
        await watch(watching, *event_ids, *(str(uuid7()) for _ in range(600)))
        heard = [(await told(watching))["event_id"] for _ in event_ids]
    assert sorted(heard) == sorted(event_ids)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """What takes seconds takes tenths of them."""
    monkeypatch.setattr(presence, "HEARTBEAT_SECONDS", 0.2)
    monkeypatch.setattr(presence, "EXPIRY_SECONDS", 0.6)


def fall_silent(one: Worker) -> None:
    """Let a worker's presence stand still, as if it had been killed."""
    presences = one.app.state.news.presences

    async def nothing() -> None:
        await asyncio.Event().wait()

    presences._look = nothing


@timed
@pytest.mark.usefixtures("impatient")
async def test_what_a_dead_worker_has_said_is_forgotten(
    two_workers: tuple[Worker, Worker], alice: User, bob: User
) -> None:
    """And what a living one says stays for longer than any expiry."""
    one, other = two_workers
    event_id = await shared(alice, bob)
    async with one.open(bob) as dead, other.open(alice) as watching, other.open(alice) as living:
        await watch(watching, event_id)
        await say(dead, event_id, "viewing")
        await say(living, event_id, "viewing")
        await lists(watching, {alice.username: "viewing", bob.username: "viewing"})
        fall_silent(one)
        await lists(watching, {alice.username: "viewing"}, seconds=3)
        with pytest.raises(TimeoutError):
            await listed(watching, seconds=0.9)


def test_whoever_is_gone_is_gone_within_thirty_seconds() -> None:
    """Once all that a killed worker has said has expired; or once a ping was not answered."""
    ping_seconds = 20
    assert ping_seconds + PONG_SECONDS + 1 < 30
    assert presence.EXPIRY_SECONDS + presence.HEARTBEAT_SECONDS + 1 < 30
    assert presence.EXPIRY_SECONDS > 2 * presence.HEARTBEAT_SECONDS


async def test_presence_without_redis_survives_a_postgresql_that_lost_it(
    settings: Settings,
    aside: Connection,
    alice: User,
    bob: User,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """After a crash its table is empty; those who are still there are put into it again."""
    monkeypatch.setattr(presence, "HEARTBEAT_SECONDS", 0.3)
    async with worker(settings) as one, one.open(bob) as socket, one.open(alice) as watching:
        event_id = await shared(alice, bob)
        await say(socket, event_id, "viewing")
        await told(socket)
        await aside.execute("DELETE FROM presence")
        await asyncio.sleep(0.5)
        await watch(watching, event_id)
        assert await listed(watching) == {bob.username: "viewing"}


async def test_presence_goes_on_while_redis_is_away(
    settings: Settings, redis_server: RedisServer, alice: User, bob: User, make_user: MakeUser
) -> None:
    """Each worker knows its own sockets; once Redis is back, all know all; news is not held up."""
    with_redis = settings.model_copy(update={"redis_url": redis_server.url})
    carol = await make_user()
    event_id = await shared(alice, bob, carol)
    async with (
        worker(with_redis) as one,
        worker(with_redis) as other,
        one.open(alice) as watching,
        one.open(carol) as near,
        other.open(bob) as far,
    ):
        await watch(watching, event_id)
        await say(far, event_id, "viewing")
        await lists(watching, {bob.username: "viewing"})
        redis_server.kill()
        await say(near, event_id, "editing")
        await lists(watching, {carol.username: "editing"})
        await share(alice, await make_event(alice), bob)
        while (await told(far))["type"] != "permission_granted":
            pass
        redis_server.start()
        await lists(watching, {carol.username: "editing", bob.username: "viewing"})


@timed
async def test_a_redis_that_hangs_holds_up_nobody(
    settings: Settings, redis_server: RedisServer, alice: User, bob: User
) -> None:
    """Announcing is answered at once, and what one's own worker knows is known."""
    with_redis = settings.model_copy(update={"redis_url": redis_server.url})
    event_id = await shared(alice, bob)
    async with worker(with_redis) as one, one.open(alice) as watching, one.open(bob) as socket:
        await watch(watching, event_id)
        assert await listed(watching) == {}
        redis_server.pause()
        await say(socket, event_id, "viewing")
        assert (await told(socket, seconds=0.5))["type"] == "announced"
        await lists(watching, {bob.username: "viewing"}, seconds=3)
        redis_server.resume()


@asynccontextmanager
async def pinging(settings: Settings, *, seconds: float) -> AsyncIterator[Worker]:
    """A worker that pings more often than any other."""
    original = uvicorn.Config.__init__
    pings: dict[str, Any] = {"ws_ping_interval": seconds, "ws_ping_timeout": seconds}

    def quicker(self: uvicorn.Config, *args: Any, **kwargs: Any) -> None:
        original(self, *args, **kwargs | pings)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(uvicorn.Config, "__init__", quicker)
        async with worker(settings) as one:
            yield one


@timed
async def test_a_client_that_vanished_is_gone_once_it_answers_no_ping(
    settings: Settings, alice: User, bob: User
) -> None:
    """Its network is away, so nothing ever says that it has left."""
    event_id = await shared(alice, bob)
    async with pinging(settings, seconds=0.3) as one, one.open(alice) as watching:
        await watch(watching, event_id)
        async with one.open(bob, close_timeout=0.1) as socket:
            await say(socket, event_id, "viewing")
            await lists(watching, {bob.username: "viewing"})
            socket.transport.pause_reading()
            await lists(watching, {}, seconds=3)


@timed
async def test_a_worker_that_stops_takes_its_users_along(
    settings: Settings, alice: User, bob: User
) -> None:
    """At once, not when they expire."""
    event_id = await shared(alice, bob)
    async with worker(settings) as one, one.open(alice) as watching:
        await watch(watching, event_id)
        async with worker(settings) as other:
            socket = await other.open(bob)
            await say(socket, event_id, "viewing")
            await lists(watching, {bob.username: "viewing"})
        await lists(watching, {}, seconds=2)


GARBAGE = [b"nonsense", b"somebody 123,,", b"\xff\xfe", b"a b c", b"x " + b"0" * 32 + b",y"]


@timed
async def test_a_word_that_nobody_understands_hinders_nothing(
    settings: Settings, redis_server: RedisServer, aside: Connection, alice: User, bob: User
) -> None:
    """Whoever may publish on the channel, presence and news come across workers as before."""
    event_id = await shared(alice, bob)
    with_redis = settings.model_copy(update={"redis_url": redis_server.url})
    async with (
        worker(with_redis) as one,
        worker(with_redis) as other,
        one.open(alice) as of_alice,
        other.open(bob) as of_bob,
    ):
        await watch(of_alice, event_id)
        await lists(of_alice, {})
        with redis.Redis.from_url(redis_server.url) as client:
            for word in GARBAGE:
                assert client.publish(CHANNEL, word) == 2
                await aside.execute("SELECT pg_notify($1, $2)", CHANNEL, word.decode("latin-1"))
                # A word that is no text costs the connection, which is soon there again.
                await until(lambda: client.publish(CHANNEL, "") == 2)
        await say(of_bob, event_id, "editing")
        await lists(of_alice, {bob.username: "editing"}, seconds=2)
        await say(of_bob, event_id, "away")
        await lists(of_alice, {}, seconds=2)


async def test_what_has_expired_is_deleted(here: Worker, aside: Connection) -> None:
    """Nothing of a killed worker stays for ever."""
    await aside.execute(
        "INSERT INTO presence VALUES ($1, $1, $1, 'viewing', now(), now() - interval '1 second')",
        uuid7(),
    )
    await PostgresStore(here.app.state.database, name="test").purge()
    assert not await aside.fetchval("SELECT count(*) FROM presence WHERE expires_at <= now()")
