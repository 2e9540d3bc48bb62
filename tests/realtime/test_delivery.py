"""News reaches every other reader, once and in order, whichever worker they are connected to."""

import asyncio
from contextlib import AsyncExitStack, suppress
from datetime import UTC, datetime
from uuid import UUID

import asyncpg
import pytest

from eventmanager.accounts.models import GlobalRole
from eventmanager.accounts.sessions import Caller
from eventmanager.core.config import Settings
from eventmanager.core.database import Database
from eventmanager.core.ids import SessionId, UserId, uuid7
from eventmanager.messages.queries import NEXT
from eventmanager.realtime import hub as hub_module
from eventmanager.realtime import relay
from eventmanager.realtime.hub import BATCH, NAMED_RECIPIENTS, Hub
from tests.conftest import MakeUser, User, timed
from tests.realtime.conftest import (
    PATIENCE_SECONDS,
    Connection,
    RedisServer,
    Worker,
    close_code,
    make_event,
    share,
    stage,
    told,
    until,
    worker,
)


async def test_a_grant_reaches_its_user_on_another_worker(
    two_workers: tuple[Worker, Worker], alice: User, bob: User
) -> None:
    """The described flow: Bob listens on one worker while Alice shares through the other."""
    one, other = two_workers
    event_id = await make_event(alice)
    async with other.open(bob) as socket:
        await share(alice, event_id, bob, through=one)
        message = await told(socket)
    assert message["type"] == "permission_granted"
    assert message["event_id"] == event_id
    assert message["user_id"] == str(bob.id)
    assert message["role"] == "Viewer"


@timed
async def test_a_wake_up_is_what_brings_the_news(
    two_workers: tuple[Worker, Worker], alice: User, bob: User
) -> None:
    """Across workers too it takes far less than the second after which each looks by itself."""
    one, other = two_workers
    event_id = await make_event(alice)
    await share(alice, event_id, bob)
    loop = asyncio.get_running_loop()
    taken = []
    async with other.open(bob) as socket, one.client(alice) as client:
        for number in range(10):
            await client.put(f"/api/events/{event_id}", json={"title": f"Title {number}"})
            answered = loop.time()
            await told(socket)
            taken.append(loop.time() - answered)
    assert sorted(taken)[5] < 0.3


async def test_a_message_says_what_happened(here: Worker, alice: User, bob: User) -> None:
    """All that a client needs to show it, and to go on from it."""
    event_id = await make_event(alice, title="Retro")
    async with here.open(bob) as socket:
        await share(alice, event_id, bob, "Editor", through=here)
        message = await told(socket)
    assert UUID(message.pop("id")).version == 7
    assert message.pop("cursor").isascii()
    assert message["occurred_at"].endswith("Z")
    assert datetime.fromisoformat(message.pop("occurred_at")) <= datetime.now(UTC)
    assert message == {
        "type": "permission_granted",
        "event_id": event_id,
        "initiator_id": str(alice.id),
        "user_id": str(bob.id),
        "role": "Editor",
        "message": "\u201cRetro\u201d was shared with you. Your role is Editor.",
        "data": {"user_id": str(bob.id), "role": "Editor", "title": "Retro"},
    }


async def test_every_kind_of_change_reaches_every_other_reader_and_not_its_author(
    here: Worker, alice: User, bob: User, make_user: MakeUser
) -> None:
    """Carol reads along; Alice, who does it all, hears only of what Bob does at the end."""
    carol = await make_user()
    event_id = await make_event(alice)
    await share(alice, event_id, carol)
    url = f"/api/events/{event_id}"
    async with (
        here.open(alice) as of_alice,
        here.open(bob) as of_bob,
        here.open(carol) as of_carol,
        here.client(alice) as client,
    ):
        await share(alice, event_id, bob, through=here)
        await client.put(f"{url}/permissions/{bob.id}", json={"role": "Editor"})
        await client.put(url, json={"title": "Renamed"})
        await client.put(
            url, json={"start_time": "2027-04-01T09:00Z", "end_time": "2027-04-01T10:00Z"}
        )
        async with here.client(bob) as of_bobs:
            assert (await of_bobs.put(url, json={"title": "Bob's"})).status_code == 200
        (first, *_) = (await client.get(f"{url}/history")).json()
        assert (await client.post(f"{url}/rollback/{first['id']}")).status_code == 200
        await client.delete(f"{url}/permissions/{bob.id}")
        await client.delete(url)
        to_carol = [await told(of_carol) for _ in range(8)]
        to_bob = [await told(of_bob) for _ in range(6)]
        to_alice = await told(of_alice)
    kinds = ["permission_granted", "permission_updated", "event_updated", "event_updated"]
    assert [m["type"] for m in to_bob] == [*kinds, "event_rolled_back", "permission_revoked"]
    assert [m["type"] for m in to_carol] == [
        *kinds,
        "event_updated",
        "event_rolled_back",
        "permission_revoked",
        "event_deleted",
    ]
    assert to_alice["type"] == "event_updated"
    assert to_alice["initiator_id"] == str(bob.id)
    assert "user_id" not in to_alice
    cursors = [m["cursor"] for m in to_carol]
    assert len(set(cursors)) == 8


async def test_a_refused_change_tells_nobody(here: Worker, alice: User, bob: User) -> None:
    """Bob's first news is of the change that was made."""
    event_id = await make_event(alice)
    await share(alice, event_id, bob)
    async with here.open(bob) as socket, here.client(alice) as client:
        stale = await client.put(
            f"/api/events/{event_id}", json={"title": "No"}, headers={"If-Match": '"7"'}
        )
        assert stale.status_code == 412
        await client.put(f"/api/events/{event_id}", json={"title": "Yes"})
        message = await told(socket)
    assert message["data"]["title"] == "Yes"


async def test_nothing_is_lost_doubled_or_disordered_under_load(
    two_workers: tuple[Worker, Worker], alice: User, bob: User
) -> None:
    """Two hundred changes through both workers at once reach each of Bob's sockets in order."""
    one, other = two_workers
    events = [await make_event(alice, title=f"Event {number}") for number in range(10)]
    for event_id in events:
        await share(alice, event_id, bob)
    changes = 20
    async with (
        one.open(bob) as first,
        other.open(bob) as second,
        one.client(alice) as to_one,
        other.client(alice) as to_other,
    ):

        async def change(event_id: str) -> None:
            for number in range(changes):
                client = (to_one, to_other)[number % 2]
                answer = await client.put(
                    f"/api/events/{event_id}", json={"title": f"Title {number}"}
                )
                assert answer.status_code == 200

        await asyncio.gather(*map(change, events))
        for socket in (first, second):
            heard = [await told(socket) for _ in range(changes * len(events))]
            assert len({m["id"] for m in heard}) == changes * len(events)
            for event_id in events:
                versions = [m["data"]["version"] for m in heard if m["event_id"] == event_id]
                assert versions == list(range(2, changes + 2))


async def test_a_socket_hears_only_what_is_committed_after_it_opened(
    here: Worker, alice: User, bob: User
) -> None:
    """The grant that Bob had before he connected is no news."""
    event_id = await make_event(alice)
    await share(alice, event_id, bob, through=here)
    async with here.open(bob) as socket, here.client(alice) as client:
        await client.put(f"/api/events/{event_id}", json={"title": "After"})
        assert (await told(socket))["type"] == "event_updated"


async def test_a_late_commit_is_not_skipped(
    here: Worker, aside: Connection, alice: User, bob: User
) -> None:
    """What an older transaction commits late comes first, and what it held up comes after it."""
    event_id = await make_event(alice)
    async with here.open(bob) as socket:
        late = aside.transaction()
        await late.start()
        await stage(aside, bob.id, "late")
        await share(alice, event_id, bob, through=here)
        # The hub has seen that something is there, and handed out nothing.
        await until(lambda: (here.app.state.news.hub._patience_s or 1) < 1)
        await late.commit()
        assert (await told(socket))["type"] == "late"
        assert (await told(socket))["type"] == "permission_granted"


async def test_who_connects_meanwhile_hears_exactly_what_is_committed_after(
    here: Worker, aside: Connection, alice: User, bob: User
) -> None:
    """A grant that is held up by an older transaction is old to Bob, that transaction's is new."""
    event_id = await make_event(alice)
    late = aside.transaction()
    await late.start()
    await stage(aside, bob.id, "late")
    # Alice's other socket makes the hub hold the grant back while Bob connects.
    async with here.open(bob) as earlier:
        await share(alice, event_id, bob, through=here)
        async with here.open(bob) as later:
            await late.commit()
            assert [(await told(earlier))["type"] for _ in range(2)] == [
                "late",
                "permission_granted",
            ]
            assert (await told(later))["type"] == "late"
            async with here.client(alice) as client:
                await client.put(f"/api/events/{event_id}", json={"title": "After"})
            assert (await told(later))["type"] == "event_updated"


async def test_what_was_known_is_forgotten_once_it_is_settled(
    here: Worker, aside: Connection, alice: User, bob: User
) -> None:
    """It is kept for the newcomer it concerns only, and not for as long as a socket is open."""
    hub: Hub = here.app.state.news.hub
    cursor = (await bob.client.get("/api/notifications/unread")).json()["cursor"]
    other = await asyncpg.connect(here.app.state.settings.database_url)
    async with here.open(alice) as of_alice:
        late = aside.transaction()
        await late.start()
        await stage(aside, alice.id, "late")
        await stage(other, bob.id, "known", count=3)
        async with here.open(bob), here.open(bob, after=cursor):
            of_bob = [one for one in hub.subscribers() if one.user_id == bob.id]
            assert sorted(len(one.known) for one in of_bob) == [0, 3]
            async with here.open(alice):
                assert not any(one.known for one in hub.subscribers() if one.user_id == alice.id)
            await late.commit()
            assert (await told(of_alice))["type"] == "late"
            await until(lambda: not any(one.known for one in hub.subscribers()))
            assert not hub._knowing
    await other.close()


class Broken:
    """A filter that fails."""

    def wants(self, type: str, event_id: UUID | None) -> bool:  # noqa: A002  # as the filter has it
        """Fail."""
        raise RuntimeError(f"{type} of {event_id}")


async def test_what_fails_at_one_socket_ends_that_one_alone(
    here: Worker, aside: Connection, bob: User
) -> None:
    """1011, and it comes again; the others hear what it was to hear."""
    hub: Hub = here.app.state.news.hub
    async with here.open(bob) as failing:
        (subscriber,) = [one for one in hub.subscribers() if one.user_id == bob.id]
        async with here.open(bob) as first, here.open(bob) as second:
            subscriber.wanted = Broken()
            await stage(aside, bob.id, "heard", count=3)
            for socket in (first, second):
                numbers = [(await told(socket))["data"]["number"] for _ in range(3)]
                assert numbers == [1, 2, 3]
            assert await close_code(failing) == 1011


async def test_a_lost_wake_up_only_delays(here: Worker, aside: Connection, bob: User) -> None:
    """Rows that somebody wrote without a word are found within a second or so."""
    async with here.open(bob) as socket:
        await stage(aside, bob.id, "found", count=600)
        numbers = [(await told(socket, seconds=3))["data"]["number"] for _ in range(600)]
    assert numbers == list(range(1, 601))


async def test_what_is_for_others_is_passed_over_in_steps(
    here: Worker,
    database: Database,
    aside: Connection,
    alice: User,
    bob: User,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """However much of it comes at once, no statement is asked to look through all of it."""
    monkeypatch.setattr(hub_module, "LOOK", 10)
    hub: Hub = here.app.state.news.hub
    async with here.open(bob) as socket:
        before = hub._cursor
        await stage(aside, alice.id, "for another", count=300)
        async with database.reading() as read:
            (row,) = await read.all(
                NEXT,
                after_transaction=str(before.transaction_id),
                after_position=before.number,
                recipients=[bob.id],
                limit=BATCH,
                look=10,
            )
        places = await aside.fetch(
            "SELECT position FROM messages WHERE recipients = ARRAY[$1::uuid] ORDER BY position",
            alice.id,
        )
        assert (row["last_position"], row["more"]) == (places[9]["position"], True)
        await stage(aside, bob.id, "at last")
        # By itself it looks once a second: thirty steps must not wait for that.
        assert (await told(socket, seconds=10))["type"] == "at last"


async def test_redis_may_go_and_come_back(
    settings: Settings, redis_server: RedisServer, alice: User, bob: User
) -> None:
    """Requests go on, news goes on through PostgreSQL, and through Redis once it is back."""
    with_redis = settings.model_copy(update={"redis_url": redis_server.url})
    async with (
        worker(with_redis) as one,
        worker(with_redis) as other,
        one.client(alice) as client,
        other.open(bob) as socket,
    ):

        async def health() -> str:
            answer = await client.get("/health")
            assert answer.status_code == 200
            state: str = answer.json()["redis"]
            return state

        async def grants() -> None:
            event_id = await make_event(alice)
            await share(alice, event_id, bob, through=one)
            assert (await told(socket))["event_id"] == event_id

        assert await health() == "ok"
        await grants()
        redis_server.kill()
        assert await health() == "unavailable"
        for _ in range(3):
            await grants()
        redis_server.start()
        assert await health() == "ok"
        for _ in range(3):
            await grants()
        for each in (one, other):
            await _subscribes_again(each, redis_server)


async def _subscribes_again(one: Worker, redis_server: RedisServer) -> None:
    """Wait until a publication of nobody's wakes this worker."""
    woken = asyncio.Event()
    its_relay = one.app.state.news.relay
    heard = its_relay._heard
    its_relay._heard = woken.set
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not woken.is_set():
                await asyncio.to_thread(redis_server.publish)
                with suppress(TimeoutError):
                    async with asyncio.timeout(0.05):
                        await woken.wait()
    finally:
        its_relay._heard = heard


async def test_a_redis_that_was_never_there_hinders_nothing(
    settings: Settings, alice: User, bob: User
) -> None:
    """The server starts and serves; health says what is missing."""
    absent = settings.model_copy(update={"redis_url": "redis://127.0.0.1:1"})
    async with worker(absent) as one, one.client(alice) as client, one.open(bob) as socket:
        assert (await client.get("/health")).json()["redis"] == "unavailable"
        await share(alice, await make_event(alice), bob, through=one)
        assert (await told(socket))["type"] == "permission_granted"


async def test_a_redis_that_hangs_hinders_nothing(
    settings: Settings,
    redis_server: RedisServer,
    alice: User,
    bob: User,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It is given half a second, then PostgreSQL carries the word; in the end all is as before."""
    monkeypatch.setattr(relay, "HEARTBEAT_SECONDS", 0.2)
    with_redis = settings.model_copy(update={"redis_url": redis_server.url})
    async with worker(with_redis) as one, worker(with_redis) as other, other.open(bob) as socket:
        redis_server.pause()
        events = [await make_event(alice) for _ in range(3)]
        for event_id in events:
            await share(alice, event_id, bob, through=one)
            assert (await told(socket))["event_id"] == event_id
        assert await one.app.state.news.relay.redis_state() == "unavailable"
        redis_server.resume()
        for each in (one, other):
            await _subscribes_again(each, redis_server)


async def test_a_relay_that_loses_postgresql_listens_again(
    settings: Settings, aside: Connection, alice: User, bob: User
) -> None:
    """Word gets around again after the connection of one worker, or of all, was ended."""
    async with worker(settings) as one, worker(settings) as other, other.open(bob) as socket:
        ended = await aside.fetchval(
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
            " WHERE application_name = 'eventmanager relay' AND datname = current_database()"
        )
        assert ended >= 2
        relays = [each.app.state.news.relay for each in (one, other)]
        await until(lambda: all(each._postgres is None for each in relays))
        await until(lambda: all(each._postgres is not None for each in relays))
        await share(alice, await make_event(alice), bob, through=one)
        assert (await told(socket))["type"] == "permission_granted"


@timed
async def test_a_relay_survives_whatever_ends_its_connection(
    settings: Settings, aside: Connection, alice: User, bob: User
) -> None:
    """However often, and while it speaks: word gets around as fast as before."""
    async with (
        worker(settings) as one,
        worker(settings) as other,
        other.open(bob) as socket,
        one.client(alice) as client,
    ):
        relays = [each.app.state.news.relay for each in (one, other)]

        async def speak() -> None:
            while True:
                for each in relays:
                    each.wake()
                await asyncio.sleep(0)

        speaking = asyncio.create_task(speak())
        for _ in range(8):
            await until(lambda: all(each._postgres is not None for each in relays))
            await aside.fetchval(
                "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
                " WHERE application_name = 'eventmanager relay' AND datname = current_database()"
            )
            await until(lambda: any(each._postgres is None for each in relays))
        speaking.cancel()
        await until(lambda: all(each._postgres is not None for each in relays))
        event_id = await make_event(alice)
        await share(alice, event_id, bob, through=one)
        await told(socket)
        loop = asyncio.get_running_loop()
        began = loop.time()
        for number in range(10):
            await client.put(f"/api/events/{event_id}", json={"title": f"Title {number}"})
            assert (await told(socket))["type"] == "event_updated"
        assert loop.time() - began < 4


async def test_a_crowd_hears_too(settings: Settings, alice: User, aside: Connection) -> None:
    """Above a thousand users the hub reads everybody's messages instead of naming them."""
    async with worker(settings) as one, AsyncExitStack() as stack:
        hub: Hub = one.app.state.news.hub
        crowd = [
            Caller(UserId(uuid7()), SessionId(uuid7()), GlobalRole.USER, "someone")
            for _ in range(NAMED_RECIPIENTS + 1)
        ]
        await asyncio.gather(
            *(stack.enter_async_context(hub.subscribed(caller)) for caller in crowd)
        )
        async with one.open(alice) as socket:
            await stage(aside, alice.id, "heard")
            assert (await told(socket))["type"] == "heard"
