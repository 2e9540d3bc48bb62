"""Reading on from a cursor, by polls, sockets and streams: none skipped or doubled."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any
from uuid import UUID

import asyncpg
import httpx
import orjson
import pytest

from eventmanager.core.clock import SystemClock
from eventmanager.core.config import Settings
from eventmanager.core.database import Database
from eventmanager.core.errors import CursorExpired
from eventmanager.messages.positions import write_position
from eventmanager.messages.service import COUNTED, purge_messages
from eventmanager.realtime import protocol, resuming, streams
from tests.conftest import User, timed
from tests.realtime.conftest import (
    PATIENCE_SECONDS,
    Connection,
    Worker,
    close_code,
    log_lines,
    make_event,
    share,
    stage,
    told,
    until,
    worker,
)
from tests.realtime.test_sockets import narrow, refusal

LIST = "/api/notifications"
STREAM = "/api/notifications/stream"


async def polled(user: User, **query: Any) -> list[dict[str, Any]]:
    """Return one page of the user's notifications."""
    answer = await user.client.get(LIST, params=query)
    assert answer.status_code == 200, answer.text
    page: list[dict[str, Any]] = answer.json()
    return page


async def count(user: User) -> tuple[int, bool]:
    """Return how many of the user's notifications are not read, and whether there are more."""
    said = (await user.client.get(f"{LIST}/unread")).json()
    return said["unread"], said["more"]


def numbers(messages: list[dict[str, Any]]) -> list[int]:
    """Return the numbers that `stage` gave messages."""
    return [message["data"]["number"] for message in messages]


class Events:
    """What a client of server-sent events makes of a stream."""

    def __init__(self, response: httpx.Response) -> None:
        self.response = response
        self._lines = response.aiter_lines()
        self.comments = 0

    async def next(self, *, seconds: float = PATIENCE_SECONDS) -> dict[str, str]:
        """Return the fields of the next event; none at the stream's end."""
        fields: dict[str, str] = {}
        async with asyncio.timeout(seconds):
            async for line in self._lines:
                name, _, value = line.partition(":")
                if not line and fields:
                    return fields
                if line and not name:
                    self.comments += 1
                elif line:
                    fields[name] = value.removeprefix(" ")
        return {}


@asynccontextmanager
async def listening(at: Worker, user: User, **kwargs: Any) -> AsyncIterator[Events]:
    """Open a stream as the user."""
    async with at.client(user) as client, client.stream("GET", STREAM, **kwargs) as response:
        if response.status_code != 200:
            await response.aread()
        yield Events(response)


async def test_notifications_are_listed_in_order_and_in_pages(
    aside: Connection, alice: User, bob: User
) -> None:
    """Each page begins where the one before ended; others' are not among them."""
    await stage(aside, bob.id, "some", count=7)
    await stage(aside, alice.id, "other")
    link, seen = f"{LIST}?limit=3", list[dict[str, Any]]()
    pages = 0
    while link:
        answer = await bob.client.get(link)
        seen += answer.json()
        link = answer.links.get("next", {}).get("url", "")
        pages += 1
    assert (numbers(seen), pages) == (list(range(1, 8)), 3)
    assert numbers(await polled(bob, after=seen[4]["cursor"])) == [6, 7]
    assert await polled(bob, after=seen[-1]["cursor"]) == []
    assert {message["type"] for message in seen} == {"some"}


async def test_what_is_listed_is_what_was_told(here: Worker, alice: User, bob: User) -> None:
    """The same JSON, cursor and all, by every way."""
    async with here.open(bob) as socket, listening(here, bob) as events:
        await share(alice, await make_event(alice), bob)
        message = await told(socket)
        event = await events.next()
    assert await polled(bob) == [message]
    assert (event["id"], event["event"]) == (message["cursor"], message["type"])
    assert orjson.loads(event["data"]) == message


async def test_a_poll_skips_nothing_while_a_transaction_is_held_open(
    aside: Connection, database_url: str, bob: User
) -> None:
    """What is younger waits for it, so that it cannot appear behind a cursor."""
    late = await asyncpg.connect(database_url)
    try:
        await stage(aside, bob.id, "before")
        transaction = late.transaction()
        await transaction.start()
        await stage(late, bob.id, "late")
        await stage(aside, bob.id, "younger")
        first = await polled(bob)
        assert [message["type"] for message in first] == ["before"]
        assert (await bob.client.get(f"{LIST}/unread")).json()["unread"] == 1
        await transaction.commit()
        rest = await polled(bob, after=first[-1]["cursor"])
        assert [message["type"] for message in rest] == ["late", "younger"]
    finally:
        await late.close()


@pytest.mark.parametrize("wrong", ["x", "AAAA", "A" * 22, "!" * 22, "\u00e9", "A" * 200])
async def test_a_cursor_that_is_none_is_refused(here: Worker, bob: User, wrong: str) -> None:
    """422 everywhere, and it says where it was."""
    for path in (LIST, STREAM):
        answer = await bob.client.get(path, params={"after": wrong})
        assert (answer.status_code, answer.json()["code"]) == (422, "invalid_cursor"), path
        assert answer.json()["detail"][0]["loc"] == ["query", "after"]
    answer = await bob.client.post(f"{LIST}/read", json={"cursor": wrong})
    assert (answer.status_code, answer.json()["detail"][0]["loc"]) == (422, ["body", "cursor"])
    if wrong.isascii():
        answer = await bob.client.get(STREAM, headers={"Last-Event-ID": wrong})
        assert answer.status_code == 422
    status, problem = await refusal(here.open(bob, after=wrong), media_type="application/json")
    assert (status, problem["code"]) == (422, "invalid_cursor")


async def write(url: str, recipient_id: UUID, *, count: int, writers: int = 4) -> None:
    """Write messages from several connections, in transactions that end in any order."""

    async def one(number: int) -> None:
        connection = await asyncpg.connect(url)
        for turn in range(count // writers):
            async with connection.transaction():
                await stage(connection, recipient_id, f"{number}.{turn}")
                await asyncio.sleep(0.002 * (number * turn % 5))
        await connection.close()

    await asyncio.gather(*(one(number) for number in range(writers)))


def all_of(count: int, writers: int = 4) -> set[str]:
    """Return the types that `write` gives its messages."""
    return {f"{number}.{turn}" for number in range(writers) for turn in range(count // writers)}


async def test_a_socket_resumes_in_the_middle_of_writes(
    here: Worker, aside: Connection, database_url: str, bob: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is cut off again and again while others write, and has every message once, in order."""
    monkeypatch.setattr(resuming, "PAGE", 5)
    await stage(aside, bob.id, "first")
    seen = [(await polled(bob))[0]]
    writing = asyncio.create_task(write(database_url, bob.id, count=160))
    wanted = all_of(160)
    while len(seen) <= len(wanted):
        async with here.open(bob, after=seen[-1]["cursor"]) as socket:
            seen += [await told(socket) for _ in range(min(23, len(wanted) + 1 - len(seen)))]
    await writing
    cursors = [message["cursor"] for message in seen]
    assert len(set(cursors)) == len(cursors)
    assert {message["type"] for message in seen[1:]} == wanted
    assert seen == await polled(bob, limit=500)


async def test_a_stream_resumes_in_the_middle_of_writes(
    two_workers: tuple[Worker, Worker], aside: Connection, database_url: str, bob: User
) -> None:
    """By `Last-Event-ID`, as browsers do, and now at one worker and then at the other."""
    await stage(aside, bob.id, "first")
    seen = [(await polled(bob))[0]["cursor"]]
    writing = asyncio.create_task(write(database_url, bob.id, count=120))
    turn = 0
    while len(seen) <= 120:
        turn += 1
        headers = {"Last-Event-ID": seen[-1]}
        async with listening(two_workers[turn % 2], bob, headers=headers) as events:
            wanted = min(17, 121 - len(seen))
            seen += [(await events.next())["id"] for _ in range(wanted)]
    await writing
    assert seen == [message["cursor"] for message in await polled(bob, limit=500)]


async def test_a_socket_that_resumes_hears_a_late_commit(
    here: Worker, aside: Connection, database_url: str, bob: User
) -> None:
    """A transaction is open when it comes; what is younger was committed before."""
    await stage(aside, bob.id, "first")
    cursor = (await polled(bob))[0]["cursor"]
    late = await asyncpg.connect(database_url)
    try:
        transaction = late.transaction()
        await transaction.start()
        await stage(late, bob.id, "late")
        await stage(aside, bob.id, "younger")
        async with here.open(bob, after=cursor) as socket:
            await asyncio.sleep(0.1)
            await transaction.commit()
            kinds = [(await told(socket))["type"] for _ in range(2)]
            await stage(aside, bob.id, "last")
            kinds.append((await told(socket))["type"])
        assert kinds == ["late", "younger", "last"]
    finally:
        await late.close()


async def test_a_long_backlog_comes_whole(here: Worker, aside: Connection, bob: User) -> None:
    """More than fits a socket's queue is no reason to be cut off."""
    await stage(aside, bob.id, "many", count=1000, size=2000)
    cursor = (await polled(bob, limit=1))[0]["cursor"]
    async with here.open(bob, after=cursor) as socket:
        got = [(await told(socket))["data"]["number"] for _ in range(999)]
    assert got == list(range(2, 1001))


async def test_an_expired_cursor_is_gone_everywhere(
    here: Worker, aside: Connection, database: Database, bob: User
) -> None:
    """410 with where to begin again; the newest that was purged is still good to go on from."""
    await stage(aside, bob.id, "old", count=2)
    await aside.execute(
        "UPDATE messages SET occurred_at = now() - interval '31 days' WHERE $1 = ANY(recipients)",
        bob.id,
    )
    first, second = await polled(bob)
    # Younger messages of other tests are in the way of none but the purge of ours.
    await purge_messages(database, SystemClock().now() + timedelta(days=3650), days=30)
    await stage(aside, bob.id, "new")
    for path in (LIST, STREAM):
        answer = await bob.client.get(path, params={"after": first["cursor"]})
        assert (answer.status_code, answer.json()["code"]) == (410, "cursor_expired")
        assert answer.json()["restart"] == "/api/sync"
    status, problem = await refusal(here.open(bob, after=first["cursor"]))
    assert (status, problem["code"], problem["restart"]) == (410, "cursor_expired", "/api/sync")
    assert [m["type"] for m in await polled(bob)] == ["new"]
    assert [m["type"] for m in await polled(bob, after=second["cursor"])] == ["new"]


async def test_who_missed_nothing_goes_on_after_a_purge(
    here: Worker, aside: Connection, database: Database, alice: User, bob: User
) -> None:
    """However old the cursor: what was purged since was for others, or had been read."""
    await stage(aside, bob.id, "read")
    await stage(aside, alice.id, "for another", count=3)
    read = (await polled(bob))[0]["cursor"]
    missed = (await polled(alice))[0]["cursor"]
    await aside.execute(
        "UPDATE messages SET occurred_at = now() - interval '31 days' WHERE recipients && $1",
        [alice.id, bob.id],
    )
    await purge_messages(database, SystemClock().now() + timedelta(days=3650), days=30)
    await stage(aside, bob.id, "new")
    assert [m["type"] for m in await polled(bob, after=read)] == ["new"]
    async with (
        here.open(bob, after=read) as socket,
        listening(here, bob, params={"after": read}) as events,
    ):
        assert (await told(socket))["type"] == "new"
        assert (await events.next())["event"] == "new"
    # Though it is before the same messages, for Alice it is too old.
    for path in (LIST, STREAM):
        assert (await alice.client.get(path, params={"after": missed})).status_code == 410
    assert (await refusal(here.open(alice, after=missed)))[0] == 410


async def test_what_is_purged_during_a_replay_closes_the_socket(
    here: Worker, aside: Connection, bob: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    """4410: it must not go on as if nothing were missing."""
    await stage(aside, bob.id, "first")
    cursor = (await polled(bob))[0]["cursor"]
    await stage(aside, bob.id, "second")

    async def expired(*_: object, **__: object) -> list[object]:
        raise CursorExpired

    monkeypatch.setattr(resuming, "messages", expired)
    async with here.open(bob, after=cursor) as socket:
        assert await close_code(socket) == 4410


async def test_what_cannot_be_replayed_closes_the_socket(
    here: Worker,
    settings: Settings,
    aside: Connection,
    bob: User,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """1011, whatever it was: it can't go on, and the log says why."""
    await stage(aside, bob.id, "first", count=2)
    cursor = (await polled(bob))[0]["cursor"]

    async def fail(*_: object, **__: object) -> list[object]:
        raise RuntimeError("never expected")

    monkeypatch.setattr(resuming, "messages", fail)
    async with here.open(bob, after=cursor) as socket:
        assert await close_code(socket) == 1011
    failed = [line for line in log_lines(settings, "app") if line["event"] == "socket_failed"]
    assert "never expected" in str(failed[-1])


async def test_a_cursor_of_another_database_is_gone(here: Worker, bob: User) -> None:
    """After a restore numbers run anew: to wait for them to catch up would be to miss much."""
    cursor = write_position(2**40, 1)
    answer = await bob.client.get(LIST, params={"after": cursor})
    assert (answer.status_code, answer.json()["code"]) == (410, "cursor_expired")
    answer = await bob.client.post(f"{LIST}/read", json={"cursor": cursor})
    assert answer.status_code == 410
    assert (await refusal(here.open(bob, after=cursor)))[0] == 410


async def test_only_what_is_old_enough_is_purged(
    aside: Connection, database: Database, bob: User
) -> None:
    """In batches, and what is younger stays."""
    await stage(aside, bob.id, "young")
    await purge_messages(database, SystemClock().now(), days=30)
    assert [message["type"] for message in await polled(bob)] == ["young"]


async def test_reading_never_goes_backwards(aside: Connection, bob: User) -> None:
    """A tab that is behind takes nothing back."""
    assert await count(bob) == (0, False)
    await stage(aside, bob.id, "some", count=3)
    cursors = [message["cursor"] for message in await polled(bob)]
    assert await count(bob) == (3, False)
    for cursor, left in ((cursors[1], 1), (cursors[0], 1), (cursors[2], 0), (cursors[0], 0)):
        answer = await bob.client.post(f"{LIST}/read", json={"cursor": cursor})
        assert (answer.status_code, answer.content) == (204, b"")
        assert await count(bob) == (left, False)


async def test_no_more_than_a_thousand_are_counted(aside: Connection, bob: User) -> None:
    """Nobody reads a larger number, and to count it would cost."""
    for more in (False, True):
        await stage(aside, bob.id, "many", count=1 if more else COUNTED)
        assert await count(bob) == (COUNTED, more)


async def test_what_is_counted_and_what_comes_after_are_all(
    aside: Connection, database_url: str, bob: User
) -> None:
    """Who counts and goes on from there hears of each once, also of what is committed late."""
    late = await asyncpg.connect(database_url)
    try:
        before = (await bob.client.get(f"{LIST}/unread")).json()["cursor"]
        await stage(aside, bob.id, "counted", count=2)
        async with late.transaction():
            await stage(late, bob.id, "late")
            await stage(aside, bob.id, "younger")
            unread = (await bob.client.get(f"{LIST}/unread")).json()
        assert unread["unread"] == 2
        after = await polled(bob, after=unread["cursor"])
        assert [message["type"] for message in after] == ["late", "younger"]
        assert len(await polled(bob, after=before)) == 4
    finally:
        await late.close()


async def test_a_stream_says_now_and_then_that_it_lives(
    here: Worker, aside: Connection, bob: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With comments, which clients pass over."""
    monkeypatch.setattr(streams, "COMMENT_SECONDS", 0.02)
    async with listening(here, bob) as events:
        assert events.response.headers["Content-Type"].startswith("text/event-stream")
        async with asyncio.timeout(PATIENCE_SECONDS):
            while events.comments < 4:
                await stage(aside, bob.id, "some")
                assert (await events.next())["event"] == "some"
                await asyncio.sleep(0.1)


@timed
async def test_a_stream_ends_with_its_session(here: Worker, bob: User) -> None:
    """Within a second; and what comes next is refused."""
    async with listening(here, bob) as events:
        await bob.client.post("/api/auth/logout")
        assert await events.next(seconds=1) == {}
    await asyncio.sleep(0.5)
    async with listening(here, bob) as events:
        assert events.response.status_code == 401


@timed
async def test_a_stream_does_not_hold_up_a_server_that_stops(settings: Settings, bob: User) -> None:
    """Nor is it cut in the middle: it ends."""
    loop = asyncio.get_running_loop()
    async with worker(settings) as one:
        client = one.client(bob)
        response = await client.send(client.build_request("GET", STREAM), stream=True)
        began = loop.time()
    assert loop.time() - began < 3
    assert await Events(response).next() == {}
    await client.aclose()


async def test_a_stream_whose_client_leaves_leaves_nothing_behind(here: Worker, bob: User) -> None:
    """Its place in the hub is free at once."""
    hub = here.app.state.news.hub
    async with listening(here, bob):
        assert len(hub.subscribers()) == 1
    await until(lambda: not hub.subscribers())


async def test_a_stream_that_is_not_read_is_cut_off(
    settings: Settings, aside: Connection, bob: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the bounds of a socket; its connection and its queue are gone."""
    monkeypatch.setattr(protocol, "LINGER_SECONDS", 0.2)
    monkeypatch.setattr(streams, "CLOSE_SECONDS", 0.2)
    async with worker(settings, send_buffer_bytes=4096) as one:
        raw = narrow(one.port)
        token = bob.client.headers["Authorization"]
        request = f"GET {STREAM} HTTP/1.1\r\nHost: x\r\nAuthorization: {token}\r\n\r\n"
        raw.send(request.encode())
        hub = one.app.state.news.hub
        await until(lambda: len(hub.subscribers()) == 1)
        (subscriber,) = hub.subscribers()
        await stage(aside, bob.id, "much", count=400, size=30_000)
        await until(subscriber.ended.done)
        await until(lambda: not hub.subscribers())
        await until(lambda: not one.server.server_state.connections)
        raw.close()


async def test_a_stream_without_a_token_is_refused(
    anonymous: httpx.AsyncClient,
) -> None:
    """Before it begins, as the problem of any other route."""
    answer = await anonymous.get(STREAM)
    assert (answer.status_code, answer.json()["code"]) == (401, "unauthenticated")
