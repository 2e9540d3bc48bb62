"""Listening without a gap: each message once and in order, whatever becomes of server and line."""

import asyncio
import re
import time
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager, closing, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import orjson
import pytest
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosedError
from websockets.frames import Close
from websockets.http11 import Request
from websockets.utils import accept_key

from eventmanager.client import (
    AsyncClient,
    Client,
    CursorExpired,
    Invalid,
    RateLimited,
    Unauthorized,
)
from eventmanager.client.client import Options
from eventmanager.client.errors import error_of_close
from eventmanager.client.following import Trail
from eventmanager.client.models import Event, Notification, QuietHours
from eventmanager.messages.positions import write_position
from eventmanager.realtime.subscriber import EXPIRED, SESSION_ENDED, STOPPING, TOO_SLOW, Ending
from tests.client.conftest import Line, granted, options
from tests.conftest import PASSWORD, User, timed
from tests.e2e.conftest import Server, launched, wait_until_ready
from tests.realtime.conftest import Connection, Worker, make_event, share, stage, until

NINE = datetime(2027, 7, 5, 9, tzinfo=UTC)
HOUR = timedelta(hours=1)
WRITES = 50


async def next_of(messages: AsyncIterator[Notification]) -> Notification:
    """Wait for the next message, not for ever."""
    async with asyncio.timeout(10):
        return await anext(messages)


async def numbers(messages: AsyncIterator[Notification], count: int) -> list[int]:
    """Return the numbers that `stage` gave the next messages."""
    return [(await next_of(messages)).data["number"] for _ in range(count)]


async def listening(here: Worker) -> None:
    """Wait until a socket is open."""
    await until(lambda: bool(here.app.state.news.hub.subscribers()))


async def test_it_begins_with_what_happens_from_now_on(
    here: Worker, aside: Connection, client: AsyncClient, alice: User
) -> None:
    """And each message is typed, and has the cursor to go on from."""
    await stage(aside, alice.id, "before")
    async with aclosing(client.notifications()) as messages:
        first = asyncio.create_task(next_of(messages))
        await listening(here)
        await stage(aside, alice.id, "some", count=3)
        assert (await first).type == "some"
        second = await next_of(messages)
    await until(lambda: not here.app.state.news.hub.subscribers())
    async with aclosing(client.notifications(after=second.cursor)) as messages:
        assert await numbers(messages, 1) == [3]
    kept = [message async for message in client.notifications.list(page_size=2)]
    assert [message.type for message in kept] == ["before", *3 * ["some"]]
    assert kept[2] == second


async def test_what_is_read_is_marked(aside: Connection, client: AsyncClient) -> None:
    """Up to a cursor; how many are left is counted up to another."""
    me = await client.me()
    await aside.execute("DELETE FROM read_marks WHERE user_id = $1", me.id)
    await stage(aside, me.id, "some", count=3)
    kept = [message async for message in client.notifications.list()]
    await client.notifications.mark_read(kept[-2].cursor)
    unread = await client.notifications.unread()
    assert [m async for m in client.notifications.list(after=unread.cursor)] == []


@pytest.mark.parametrize("after", [None, ""])
async def test_what_is_lost_before_the_first_message_comes_too(
    after: str | None, here: Worker, line: Line, aside: Connection, alice: User
) -> None:
    """Without a cursor of a message, it goes on from where it began to listen."""
    async with (
        AsyncClient(line.url, **options(alice)) as client,
        aclosing(client.notifications(after)) as messages,
    ):
        first = asyncio.create_task(next_of(messages))
        await listening(here)
        line.is_down = True
        line.cut()
        await until(lambda: not here.app.state.news.hub.subscribers())
        await stage(aside, alice.id, "some", count=2)
        line.is_down = False
        assert (await first).data["number"] == 1
        assert await numbers(messages, 1) == [2]


@pytest.mark.parametrize("ending", [STOPPING, TOO_SLOW], ids=["1012", "1013"])
async def test_a_socket_that_the_server_closes_is_opened_again(
    ending: Ending, here: Worker, aside: Connection, client: AsyncClient, alice: User
) -> None:
    """As often as it does; between two messages and in the midst of many."""
    async with aclosing(client.notifications()) as messages:
        heard = asyncio.create_task(numbers(messages, 300))
        for _ in range(3):
            await listening(here)
            await stage(aside, alice.id, "some", count=100)
            ended = set(here.app.state.news.hub.subscribers())
            for subscriber in ended:
                subscriber.end(ending)
            # The next socket may be open already: that there is none may never be seen.
            await until(lambda: ended.isdisjoint(here.app.state.news.hub.subscribers()))  # noqa: B023
        assert await heard == 3 * list(range(1, 101))


async def test_a_line_that_breaks_loses_nothing(line: Line, aside: Connection, alice: User) -> None:
    """Cut without a word, in the midst of messages, again and again."""
    async with AsyncClient(line.url, **options(alice)) as client:
        await client.me()
        after = (await client.notifications.unread()).cursor
        await stage(aside, alice.id, "some", count=500, size=5_000)
        messages = client.notifications(after=after)
        async with aclosing(messages):
            heard: list[int] = []
            while len(heard) < 500:
                heard += await numbers(messages, min(83, 500 - len(heard)))
                line.cut()
    assert heard == list(range(1, 501))
    assert line.connections > 5


async def test_the_client_that_waits_goes_on_too(
    here: Worker, line: Line, aside: Connection, alice: User
) -> None:
    """In its thread, until it is closed from another."""
    client = Client(line.url, **options(alice))
    heard: list[int] = []

    def listen() -> None:
        messages = client.notifications(types=["some"])
        heard.extend(message.data["number"] for message in messages)

    thread = asyncio.create_task(asyncio.to_thread(listen))
    for round_ in range(1, 4):
        await listening(here)
        await stage(aside, alice.id, "other")
        await stage(aside, alice.id, "some", count=20)
        line.cut()
        await until(lambda: len(heard) == 20 * round_)  # noqa: B023  # called before the next
    await asyncio.to_thread(client.close)
    async with asyncio.timeout(5):
        await thread
    assert heard == 3 * list(range(1, 21))


async def test_only_what_is_asked_for_is_heard(client: AsyncClient, alice: User, bob: User) -> None:
    """By types and by events; the cursor goes on past the others."""
    first, second = [await make_event(bob) for _ in range(2)]
    cursor = (await client.notifications.unread()).cursor
    for event_id in (first, second):
        await share(bob, event_id, alice)
        await bob.client.patch(f"/api/events/{event_id}", json={"title": "Other"})
    async with aclosing(client.notifications(after=cursor, events=[second])) as messages:
        heard = [await next_of(messages) for _ in range(2)]
    assert [m.type for m in heard] == ["permission_granted", "event_updated"]
    assert {str(m.event_id) for m in heard} == {second}
    updates = client.notifications(after=cursor, types={"event_updated"})
    async with aclosing(updates):
        assert [str((await next_of(updates)).event_id) for _ in range(2)] == [first, second]


async def test_a_cursor_that_has_expired_is_said(here: Worker, client: AsyncClient) -> None:
    """Before the socket is open and after, by the same error; there is nothing to go on with."""
    with pytest.raises(CursorExpired) as caught:
        await anext(client.notifications(after=write_position(2**40, 1)))
    assert (caught.value.status, caught.value.facts) == (410, {"restart": "/api/sync"})
    with pytest.raises(Invalid):
        await anext(client.notifications(after="nonsense"))
    heard = asyncio.create_task(next_of(client.notifications()))
    await listening(here)
    for subscriber in here.app.state.news.hub.subscribers():
        subscriber.end(EXPIRED)
    with pytest.raises(CursorExpired):
        await heard


async def test_a_session_that_ends_is_begun_anew_or_said_to_be_over(
    here: Worker, aside: Connection, client: AsyncClient, alice: User
) -> None:
    """With a password it listens on and nothing is lost; with tokens alone it can't."""
    tokens = await granted(here, alice)
    url = f"http://127.0.0.1:{here.port}"
    async with (
        AsyncClient(url, **tokens) as guest,
        aclosing(client.notifications()) as messages,
        aclosing(guest.notifications()) as others,
    ):
        both = [asyncio.create_task(next_of(each)) for each in (messages, others)]
        hub = here.app.state.news.hub
        await until(lambda: len(hub.subscribers()) == 2)
        sessions = {str(subscriber.session_id) for subscriber in hub.subscribers()}
        for session_id in sessions:
            assert (await alice.client.delete(f"/api/auth/sessions/{session_id}")).is_success
        await until(lambda: sessions.isdisjoint({str(s.session_id) for s in hub.subscribers()}))
        await stage(aside, alice.id, "some")
        assert (await both[0]).type == "some"
        with pytest.raises(Unauthorized):
            await both[1]


async def test_what_one_wants_to_be_told_is_set(client: AsyncClient) -> None:
    """For all of a user's clients; and taken back."""
    nights = QuietHours(start="22:00", end="07:00", time_zone="Europe/Berlin")
    saved = await client.notifications.save_settings(types=["reminder"], quiet_hours=nights)
    assert (saved.types, saved.quiet_hours) == (["reminder"], nights)
    assert await client.notifications.settings() == saved
    assert (await client.notifications.save_settings()).types is None


async def test_one_may_wait_for_a_while_only(
    here: Worker, line: Line, aside: Connection, alice: User
) -> None:
    """As often as one likes, whatever it waits for: what comes meanwhile comes the next time."""

    async def a_little(messages: AsyncIterator[Notification]) -> Notification | None:
        with suppress(TimeoutError):
            async with asyncio.timeout(0.05):
                return await anext(messages)
        return None

    async with (
        AsyncClient(line.url, **options(alice)) as client,
        aclosing(client.notifications()) as messages,
    ):
        line.is_down = True
        assert await a_little(messages) is None
        line.is_down = False
        while not here.app.state.news.hub.subscribers():
            assert await a_little(messages) is None
        assert await a_little(messages) is None
        await stage(aside, alice.id, "some", count=2)
        line.cut()
        heard: list[Notification] = []
        async with asyncio.timeout(10):
            while len(heard) < 2:
                came = await a_little(messages)
                heard += [came] if came else []
        assert [each.data["number"] for each in heard] == [1, 2]
    assert [each async for each in messages] == []


async def test_names_in_place_of_lists_are_refused(client: AsyncClient) -> None:
    """Each letter would be taken for a type, and nothing ever be heard."""
    with pytest.raises(TypeError, match="collections"):
        client.notifications(types="event_updated")
    with pytest.raises(TypeError, match="collections"):
        client.notifications(events=str(uuid4()))


@asynccontextmanager
async def odd_server(asked: list[str], *rounds: list[Any]) -> AsyncIterator[str]:
    """A server that says the rounds, one a connection, and closes each with 1012.

    What it is asked for is written down.
    """
    left = iter(rounds)

    async def say(connection: ServerConnection) -> None:
        assert connection.request is not None
        asked.append(connection.request.path)
        for frame in next(left, []):
            await connection.send(frame if isinstance(frame, str) else orjson.dumps(frame).decode())
        await connection.close(1012)

    async with serve(say, "127.0.0.1", 0) as server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


def message(number: int) -> dict[str, Any]:
    """Return a notification of a server that is newer than the client."""
    return {
        "id": str(uuid4()),
        "cursor": f"c{number}",
        "type": "something_new",
        "occurred_at": "2027-01-01T00:00:00Z",
        "data": {"number": number},
        "member_of_tomorrow": True,
    }


async def test_what_is_no_notification_is_passed_over_and_none_comes_twice() -> None:
    """Frames without a cursor are not for it; a server that repeats itself is not repeated."""
    first, second, third = (message(number) for number in (1, 2, 3))
    odd = [
        {"type": "subscribed", "id": "1", "events": None, "types": None},
        {"type": "acked", "id": "2", "cursor": "c9"},
        {"type": "presence", "event_id": str(uuid4()), "present": []},
        "{",
        [],
        "1",
    ]
    asked: list[str] = []
    rounds: list[list[Any]] = [[*odd, first, first, second], [first, second, third]]
    async with (
        odd_server(asked, *rounds) as url,
        AsyncClient(url, trust_env=False, access_token="x") as client,
        aclosing(client.notifications(after="c0")) as messages,
    ):
        assert await numbers(messages, 3) == [1, 2, 3]
    assert asked == [f"/api/ws/notifications?after=c{number}" for number in (0, 2)]


async def test_what_is_made_otherwise_is_handed_on() -> None:
    """By a newer server: nobody stays behind it for ever, and nobody misses it."""
    odd = message(1) | {"event_id": 7, "data": None}
    async with (
        odd_server([], [odd, message(2)]) as url,
        AsyncClient(url, trust_env=False, access_token="x") as client,
        aclosing(client.notifications(after="c0")) as messages,
    ):
        first = await next_of(messages)
        assert (first.type, first.cursor, first.event_id) == ("something_new", "c1", None)
        assert first.data == odd
        assert (await next_of(messages)).cursor == "c2"
    with pytest.raises(Invalid):
        Trail().take(orjson.dumps(message(1) | {"id": 1}))


async def test_one_who_stops_says_so() -> None:
    """1000: an error would be looked for in the server's log."""
    closed: asyncio.Queue[int | None] = asyncio.Queue()

    async def say(connection: ServerConnection) -> None:
        await connection.send(orjson.dumps(message(1)).decode())
        await connection.wait_closed()
        closed.put_nowait(connection.close_code)

    async with asyncio.timeout(10), serve(say, "127.0.0.1", 0) as server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        async with (
            AsyncClient(url, trust_env=False, access_token="x") as client,
            aclosing(client.notifications(after="c0")) as messages,
        ):
            await anext(messages)
        assert await closed.get() == 1000
        with Client(url, trust_env=False, access_token="x") as waiting:
            listening = waiting.notifications(after="c0")
            await asyncio.to_thread(next, listening)
            await asyncio.to_thread(listening.close)
        assert await closed.get() == 1000


async def test_a_client_that_is_closed_while_it_connects_ends() -> None:
    """With all that listens, which would otherwise listen to a socket that nobody closes."""
    asked, go_on = asyncio.Semaphore(0), asyncio.Event()

    async def wait(_connection: ServerConnection, _request: Request) -> None:
        asked.release()
        await go_on.wait()

    async def say(connection: ServerConnection) -> None:
        await connection.wait_closed()

    async with asyncio.timeout(10), serve(say, "127.0.0.1", 0, process_request=wait) as server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        client = AsyncClient(url, trust_env=False, access_token="x")
        waiting = Client(url, trust_env=False, access_token="x")
        heard = client.notifications(after="c0")
        both = [
            asyncio.create_task(anext(aiter(heard), None)),
            asyncio.create_task(asyncio.to_thread(next, waiting.notifications(after="c0"), None)),
        ]
        await asked.acquire()
        await asked.acquire()
        await client.aclose()
        await asyncio.to_thread(waiting.close)
        go_on.set()
        assert await asyncio.gather(*both) == [None, None]


async def deaf(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Accept a WebSocket, and never say anything again."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode()
    found = re.search(r"Sec-WebSocket-Key: (\S+)", head, re.IGNORECASE)
    assert found is not None
    writer.write(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Accept: {accept_key(found[1])}\r\n\r\n".encode()
    )
    with suppress(ConnectionError):
        await reader.read()
        await asyncio.sleep(5)
    writer.close()


@timed
async def test_sockets_are_closed_at_once() -> None:
    """Not each after the one before, where the other side does not answer any more."""
    async with await asyncio.start_server(deaf, "127.0.0.1", 0) as server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        client = AsyncClient(url, trust_env=False, access_token="x")
        waiting = Client(url, trust_env=False, access_token="x")
        own = [client.notifications(after="c0") for _ in range(4)]
        all_ = [asyncio.create_task(anext(each, None)) for each in own]
        for _ in range(4):
            listening = waiting.notifications(after="c0")
            all_.append(asyncio.create_task(asyncio.to_thread(next, listening, None)))
        await until(lambda: len(client._sockets) == len(waiting._sockets) == 4)
        began = time.monotonic()
        await client.aclose()
        await asyncio.to_thread(waiting.close)
        assert time.monotonic() - began < 7
        async with asyncio.timeout(10):
            assert await asyncio.gather(*all_) == 8 * [None]


def lost(code: int | None) -> list[float]:
    """Return how long many listeners wait whose sockets a server has closed, or only lost."""
    error = OSError() if code is None else ConnectionClosedError(Close(code, ""), None)
    return [Trail("c0").lost(error, token=None) for _ in range(200)]


def test_a_crowd_does_not_come_back_at_once() -> None:
    """All sockets of a server that stops are lost in the same moment; one alone comes at once."""
    assert 1.5 < max(lost(1012)) <= 2
    assert max(lost(1013)) <= 0.25
    assert max(lost(None)) <= 0.25
    full = RateLimited(429, code="rate_limited", detail="", retry_after=20)
    waits = [Trail("c0").lost(full, token=None) for _ in range(200)]
    assert 20 <= min(waits) < 23
    assert 27 < max(waits) <= 30.25


def test_what_may_be_lost_for_good_is_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    """A name that is wrong and a certificate that has expired mend themselves never."""
    caplog.set_level("INFO", "eventmanager.client")
    trail = Trail("c0")
    for _ in range(4):
        trail.lost(OSError("no such name"), token=None)
    assert [record.levelname for record in caplog.records] == [*2 * ["INFO"], *2 * ["WARNING"]]
    assert "no such name" in caplog.text


def test_an_error_of_a_socket_has_the_code_of_its_kind() -> None:
    """The same that a request would have had."""
    error = error_of_close(SESSION_ENDED.code, SESSION_ENDED.reason)
    assert isinstance(error, Unauthorized)
    assert (error.status, error.code) == (401, "session_ended")
    assert isinstance(error_of_close(4429, "rate_limited"), RateLimited)


def test_who_asks_too_often_comes_again_later() -> None:
    """Also where only the close says so: it is no end."""
    assert 0 < max(lost(4429)) <= 0.25


class Listener:
    """A user of a server that may be killed: what they have heard, by both kinds of client."""

    def __init__(self, url: str, name: str) -> None:
        own: Options = {"username": name, "password": PASSWORD, "trust_env": False}
        self.client = AsyncClient(url, **own)
        self.waiting = Client(url, **own)
        self.heard: list[int] = []
        self.heard_waiting: list[int] = []

    async def listen(self, after: str) -> None:
        """Listen until the last change was heard."""
        async for message in self.client.notifications(after, types=["event_updated"]):
            self.heard.append(int(message.data["version"]))
            if self.heard[-1] == WRITES + 1:
                return

    def wait(self, after: str) -> None:
        """Do the same in a thread."""
        with closing(self.waiting.notifications(after, types=["event_updated"])) as messages:
            for message in messages:
                self.heard_waiting.append(int(message.data["version"]))
                if self.heard_waiting[-1] == WRITES + 1:
                    return


async def registered(server: Server) -> str:
    """Register a user and return their name."""
    name = uuid4().hex
    body = {"username": name, "email": f"{name}@example.com", "password": PASSWORD}
    with server.client() as client:
        assert client.post("/api/auth/register", json=body).status_code == 201
    return name


async def test_a_server_that_is_killed_loses_and_doubles_nothing(
    database_url: str, tmp_path: Path
) -> None:
    """Every change is made once and heard once, in order, though the server dies in the midst."""
    tasks = "false"
    with launched(tmp_path, DATABASE_URL=database_url, BACKGROUND_TASKS=tasks) as server:
        await asyncio.to_thread(wait_until_ready, server)
        url, port = server.base_url, server.port
        writer = AsyncClient(
            url,
            username=await registered(server),
            password=PASSWORD,
            trust_env=False,
        )
        name = await registered(server)
        bob = Listener(url, name)
        async with writer, bob.client:
            made = await writer.events.create(title="0", start_time=NINE, end_time=NINE + HOUR)
            await writer.events.share(made.id, {"username": name, "role": "Viewer"})
            cursor = (await bob.client.notifications.unread()).cursor
            both = [
                asyncio.create_task(bob.listen(cursor)),
                asyncio.create_task(asyncio.to_thread(bob.wait, cursor)),
            ]
            writing = asyncio.create_task(write(writer, made, seconds=0.02))
            await until(lambda: len(bob.heard) > WRITES // 3, seconds=20)
            server.process.kill()
            await asyncio.to_thread(server.ended)
            with launched(
                tmp_path, port=port, DATABASE_URL=database_url, BACKGROUND_TASKS=tasks
            ) as again:
                await asyncio.to_thread(wait_until_ready, again)
                async with asyncio.timeout(40):
                    await asyncio.gather(writing, *both)
                    event = await writer.events.get(made.id)
                await asyncio.to_thread(bob.waiting.close)
    assert (event.version, event.title) == (WRITES + 1, str(WRITES))
    assert bob.heard == bob.heard_waiting == list(range(2, WRITES + 2))


async def write(client: AsyncClient, event: Event, *, seconds: float) -> None:
    """Change the event again and again."""
    for number in range(1, WRITES + 1):
        await client.events.update(event.id, title=str(number))
        await asyncio.sleep(seconds)
