"""Who may open a socket, and how each one ends."""

import asyncio
import socket as sockets
from contextlib import suppress
from typing import Any
from uuid import UUID

import orjson
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.typing import Subprotocol

from eventmanager.core.config import Settings
from eventmanager.core.ids import SessionId, UserId, uuid7
from eventmanager.core.limits.rates import parse_rates
from eventmanager.messages.letters import MSGPACK, Letter
from eventmanager.messages.positions import write_position
from eventmanager.realtime import protocol
from eventmanager.realtime import subscriber as subscriber_module
from eventmanager.realtime.subscriber import (
    QUEUED_BYTES,
    QUEUED_MESSAGES,
    TOO_SLOW,
    Backlog,
    Subscriber,
)
from tests.conftest import User, timed
from tests.realtime.conftest import (
    GOODBYE,
    PATH,
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


async def refusal(
    opening: connect, *, media_type: str = "application/problem+json"
) -> tuple[int, dict[str, Any]]:
    """Return the status and the problem with which a handshake is refused."""
    with pytest.raises(InvalidStatus) as refused:
        await opening
    response = refused.value.response
    assert response.headers["Content-Type"] == media_type
    return response.status_code, orjson.loads(response.body)


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({}, "unauthenticated"),
        ({"Authorization": "Basic YTpi"}, "unauthenticated"),
        ({"Authorization": "Bearer not.a.token"}, "invalid_token"),
    ],
)
async def test_a_stranger_is_refused_before_the_socket_is_open(
    here: Worker, headers: dict[str, str], code: str
) -> None:
    """401 and a problem, as on every other route."""
    status, problem = await refusal(connect(here.url, additional_headers=headers, proxy=None))
    assert status == 401
    assert problem["code"] == code
    assert problem["instance"] == PATH
    assert problem["request_id"]


async def test_a_token_in_the_address_is_not_taken(here: Worker, bob: User) -> None:
    """Addresses end up in logs."""
    token = bob.client.headers["Authorization"].removeprefix("Bearer ")
    status, _ = await refusal(connect(f"{here.url}?token={token}", proxy=None))
    assert status == 401


async def test_an_ended_session_opens_no_socket(here: Worker, bob: User) -> None:
    """Its token has not expired yet, but is worth nothing."""
    await bob.client.post("/api/auth/logout")
    await asyncio.sleep(0.5)  # for as long a worker may remember the session
    status, problem = await refusal(here.open(bob))
    assert (status, problem["code"]) == (401, "session_ended")


@pytest.mark.parametrize(
    "origin", ["https://evil.example", "null", "http://127.0.0.1:1", "//", "", "http://["]
)
async def test_a_page_of_another_origin_is_refused(
    here: Worker, settings: Settings, bob: User, origin: str
) -> None:
    """Even with a token; and the security log says so."""
    status, problem = await refusal(here.open(bob, headers={"Origin": origin}))
    assert (status, problem["code"]) == (403, "foreign_origin")
    line = log_lines(settings, "security")[-1]
    assert (line["event"], line["code"], line["path"]) == ("refused", "foreign_origin", PATH)


async def test_our_own_pages_and_those_of_cors_origins_may_connect(
    settings: Settings, alice: User, bob: User
) -> None:
    """The scheme may be another one than ours: a proxy speaks TLS for us."""
    allowed = Settings(
        _env_file=None,
        database_url=settings.database_url,
        access_token_secret=settings.access_token_secret,
        refresh_token_secret=settings.refresh_token_secret,
        cors_origins="https://A.example/, http://localhost:3000",
    )
    async with worker(allowed) as one:
        own = [f"http://127.0.0.1:{one.port}", f"https://127.0.0.1:{one.port}"]
        for origin in [*own, "https://a.example", "http://localhost:3000"]:
            async with one.open(bob, headers={"Origin": origin}) as socket:
                await share(alice, await make_event(alice), bob, through=one)
                assert (await told(socket))["type"] == "permission_granted"
        status, _ = await refusal(one.open(bob, headers={"Origin": "http://a.example"}))
        assert status == 403


@pytest.mark.parametrize("wrong", ["*", "a.example", "https://a.example/path", "ftp://a.example"])
def test_an_entry_of_cors_origins_that_is_no_origin_is_refused_at_start(wrong: str) -> None:
    """Better than a page that cannot connect for a reason nobody sees."""
    with pytest.raises(ValueError, match="CORS_ORIGINS"):
        Settings(_env_file=None, cors_origins=wrong)


@timed
async def test_a_socket_is_cut_when_its_session_ends(here: Worker, bob: User) -> None:
    """Within a second, on every worker; this one is not the one that ended it."""
    async with here.open(bob) as socket:
        assert (await bob.client.post("/api/auth/logout")).status_code < 300
        assert await close_code(socket, seconds=1) == 4401


@timed
async def test_a_socket_is_cut_when_its_user_is_disabled(
    here: Worker, aside: Connection, bob: User, alice: User
) -> None:
    """And only that user's."""
    async with here.open(bob) as of_bob, here.open(alice) as of_alice:
        await aside.execute("UPDATE users SET is_active = false WHERE id = $1", bob.id)
        assert await close_code(of_bob, seconds=1) == 4401
        await stage(aside, alice.id, "still_here")
        assert (await told(of_alice))["type"] == "still_here"


async def test_a_client_that_says_too_much_at_once_is_closed(here: Worker, bob: User) -> None:
    """A message above 64 KiB is not even kept."""
    async with here.open(bob) as socket:
        await socket.send("x" * 70_000)
        assert await close_code(socket) == 1009


def narrow(port: int) -> sockets.socket:
    """Connect with a receive buffer that is soon full."""
    made = sockets.socket()
    made.setsockopt(sockets.SOL_SOCKET, sockets.SO_RCVBUF, 4096)
    made.connect(("127.0.0.1", port))
    made.setblocking(False)
    return made


async def test_a_client_that_does_not_read_is_closed_and_holds_up_nobody(
    here: Worker, aside: Connection, alice: User, bob: User
) -> None:
    """Its queue is bounded; others go on, and once it reads again it learns why."""
    async with (
        here.open(bob, sock=narrow(here.port), max_queue=1) as stalled,
        here.open(alice) as lively,
    ):
        hub = here.app.state.news.hub
        (subscriber,) = [one for one in hub.subscribers() if one.user_id == bob.id]
        await stage(aside, bob.id, "much", count=400, size=30_000)
        await stage(aside, alice.id, "little")
        assert (await told(lively))["type"] == "little"
        await until(subscriber.ended.done)
        assert subscriber._bytes == 0
        assert await close_code(stalled, seconds=10) == 1013
    await until(lambda: not hub.subscribers())


async def test_a_peer_that_never_reads_again_is_dropped(
    settings: Settings, aside: Connection, bob: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Uvicorn alone would wait for it for ever, and so would a server that stops."""
    monkeypatch.setattr(protocol, "LINGER_SECONDS", 0.2)
    async with worker(settings, send_buffer_bytes=4096) as one:
        client = await one.open(bob, sock=narrow(one.port), max_queue=1)
        try:
            await stage(aside, bob.id, "much", count=100, size=30_000)
            await until(lambda: not one.server.server_state.connections)
            await until(lambda: not one.app.state.news.hub.subscribers())
        finally:
            client.transport.abort()


async def test_a_client_that_floods_pings_is_closed(here: Worker, bob: User) -> None:
    """Each one is answered, so they are counted as messages are; a few at once are nothing."""
    async with here.open(bob, ping_interval=None) as socket:
        pongs = [await socket.ping() for _ in range(40)]
        async with asyncio.timeout(5):
            await asyncio.gather(*pongs)
        with suppress(ConnectionClosed):
            for _ in range(200):
                await socket.ping()
        assert await close_code(socket) == 1008


PING = b"\x89\x80\x00\x00\x00\x00"
EMPTY_PONG = b"\x8a\x80\x00\x00\x00\x00"
EMPTY_PART = b"\x00\x80\x00\x00\x00\x00"


@pytest.mark.parametrize(
    ("first", "frame"),
    [(PING, PING), (PING, EMPTY_PONG), (b"\x01" + EMPTY_PART[1:], EMPTY_PART)],
)
async def test_a_client_that_floods_and_reads_nothing_is_dropped(
    settings: Settings, bob: User, first: bytes, frame: bytes
) -> None:
    """Its answers would pile up here for as long as it likes."""
    async with worker(settings, send_buffer_bytes=4096) as one:
        client = await one.open(bob, sock=narrow(one.port), max_queue=1, ping_interval=None)
        try:
            (connection,) = one.server.server_state.connections
            client.transport.pause_reading()
            for _ in range(50):
                client.transport.write(first + frame * 1000)
                first = b""
                await asyncio.sleep(0.01)
                size = connection.transport.get_write_buffer_size()
                assert size < 64 * 1024
            await until(lambda: not one.server.server_state.connections)
        finally:
            client.transport.abort()


async def test_a_client_that_goes_away_leaves_nothing_behind(here: Worker, bob: User) -> None:
    """With or without a good-bye."""
    hub = here.app.state.news.hub
    async with here.open(bob) as polite:
        rude = await here.open(bob)
        assert len([one for one in hub.subscribers() if one.user_id == bob.id]) == 2
        rude.transport.abort()
        await polite.close()
        await until(lambda: not hub.subscribers())


async def test_a_server_that_stops_says_so(settings: Settings, bob: User) -> None:
    """1012: come again, to another worker or to this one's successor."""
    async with worker(settings) as one:
        socket = await one.open(bob)
    assert await close_code(socket) == 1012


@timed
@pytest.mark.parametrize("leaves", [False, True], ids=["stays", "leaves"])
async def test_a_server_that_stops_does_not_wait_for_a_peer_that_does_not_read(
    settings: Settings,
    aside: Connection,
    bob: User,
    monkeypatch: pytest.MonkeyPatch,
    *,
    leaves: bool,
) -> None:
    """It has seconds, and then it is gone; also one that has closed its socket itself."""
    monkeypatch.setattr(protocol, "LINGER_SECONDS", 0.2)
    loop = asyncio.get_running_loop()
    async with worker(settings, send_buffer_bytes=4096) as one:
        client = await one.open(bob, sock=narrow(one.port), max_queue=1)
        await stage(aside, bob.id, "some", count=30, size=30_000)
        (connection,) = one.server.server_state.connections
        await until(lambda: connection.transport.get_write_buffer_size() > 0)
        if leaves:
            client.transport.write(GOODBYE)
            await until(connection.transport.is_closing)
        began = loop.time()
    assert loop.time() - began < 3
    client.transport.abort()


async def test_connections_are_logged(here: Worker, settings: Settings, bob: User) -> None:
    """Who, and how it ended; the token never."""
    async with here.open(bob) as socket:
        await socket.close()
    await until(lambda: not here.app.state.news.hub.subscribers())
    await until(lambda: any(_closed(line, bob.id) for line in log_lines(settings, "app")))
    lines = [line for line in log_lines(settings, "app") if line.get("user_id") == str(bob.id)]
    opened, closed = [line for line in lines if line["event"].startswith("socket_")]
    assert opened["request_id"] == closed["request_id"]
    assert closed["code"] == 1000
    token = bob.client.headers["Authorization"].removeprefix("Bearer ")
    assert token not in (settings.log_dir / "app.log").read_text()


def _closed(line: dict[str, Any], user_id: UUID) -> bool:
    return line["event"] == "socket_closed" and line.get("user_id") == str(user_id)


async def test_a_server_that_cannot_refuse_closes_at_once(here: Worker) -> None:
    """Without ASGI's denial extension the code of the close says why: 4000 plus the status."""
    scope = {
        "type": "websocket",
        "path": PATH,
        "raw_path": PATH.encode(),
        "query_string": b"",
        "headers": [(b"host", b"testserver")],
        "scheme": "ws",
        "server": ("testserver", 80),
        "root_path": "",
        "subprotocols": [],
    }
    said: list[Any] = []

    async def receive() -> dict[str, Any]:
        return {"type": "websocket.connect"}

    async def send(message: Any) -> None:
        said.append(message)

    await here.app(scope, receive, send)
    assert [message["type"] for message in said] == ["websocket.accept", "websocket.close"]
    assert (said[1]["code"], said[1]["reason"]) == (4401, "unauthenticated")


@pytest.mark.parametrize(
    ("query", "code", "reason"),
    [
        ("ticket=nonsense", 4401, "invalid_token"),
        ("ticket=", 4401, "unauthenticated"),
        ("after=nonsense", 4422, "invalid_cursor"),
        (f"after={write_position(2**62, 1)}", 4410, "cursor_expired"),
    ],
)
async def test_a_page_can_read_why_its_socket_is_refused(
    here: Worker, settings: Settings, bob: User, query: str, code: int, reason: str
) -> None:
    """Browsers show a page nothing of a handshake's answer, so the close says it."""
    headers = {"Origin": f"http://127.0.0.1:{here.port}"}
    if "ticket" not in query:
        headers["Authorization"] = bob.client.headers["Authorization"]
    url = f"{here.url}?{query}"
    async with connect(
        url, additional_headers=headers, subprotocols=[Subprotocol(MSGPACK)], proxy=None
    ) as socket:
        # A browser fails a socket whose subprotocol is not answered, before it hears a close.
        assert socket.subprotocol == MSGPACK
        assert await close_code(socket) == code
        assert socket.close_reason == reason
    if code == 4401:
        line = log_lines(settings, "security")[-1]
        assert (line["event"], line["code"], line["status"]) == ("refused", reason, 401)


async def test_a_page_can_read_that_its_address_asks_too_often(
    settings: Settings, bob: User
) -> None:
    """As it reads any refusal; whoever can read a 429 is told when to come again."""
    strict = settings.model_copy(
        update={"rate_limit_enabled": True, "rate_limit_default": parse_rates("1/minute")}
    )
    async with worker(strict) as one:
        async with one.client(bob) as client:
            assert (await client.get("/api/me")).status_code == 200
        ours = {"Origin": f"http://127.0.0.1:{one.port}"}
        for query, headers in (("", ours), ("ticket=any", {})):
            async with connect(
                f"{one.url}?{query}",
                additional_headers=headers,
                subprotocols=[Subprotocol(MSGPACK)],
                proxy=None,
            ) as socket:
                assert socket.subprotocol == MSGPACK
                assert await close_code(socket) == 4429
                assert socket.close_reason == "rate_limited"
        # To a page of another origin nothing is opened.
        for headers in ({}, {"Origin": "https://evil.example"}):
            with pytest.raises(InvalidStatus) as refused:
                await one.open(bob, headers=headers)
            response = refused.value.response
            assert (response.status_code, response.headers["RateLimit-Remaining"]) == (429, "0")
            assert int(response.headers["Retry-After"]) > 0


async def test_a_subscribers_queue_is_bounded() -> None:
    """In number and in bytes; what is beyond ends the socket and frees what it held."""
    for size, fits in ((1, QUEUED_MESSAGES), (QUEUED_BYTES // 4, 4)):
        backlog = Backlog()
        subscriber = Subscriber(UserId(uuid7()), SessionId(uuid7()), backlog=backlog)
        letter = Letter(b"x" * size)
        for _ in range(fits):
            subscriber.offer(letter)
        assert not subscriber.ended.done()
        assert await subscriber.next() is letter
        subscriber.offer(letter)
        assert not subscriber.ended.done()
        assert backlog.bytes == size * fits
        subscriber.offer(Letter(b"x"))
        assert await subscriber.ended is TOO_SLOW
        assert (subscriber.is_behind, backlog.bytes) == (False, 0)


async def test_all_queues_together_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many sockets lag a little, the memory of a process is not theirs."""
    monkeypatch.setattr(subscriber_module, "QUEUED_BYTES_OF_ALL", 1000)
    backlog = Backlog()
    one, other = (
        Subscriber(UserId(uuid7()), SessionId(uuid7()), backlog=backlog) for _ in range(2)
    )
    one.offer(Letter(b"x" * 600))
    other.offer(Letter(b"x" * 600))
    assert await other.ended is TOO_SLOW
    assert not one.ended.done()
    assert backlog.bytes == 600
    one.end(TOO_SLOW)
    assert backlog.bytes == 0


async def test_a_user_has_so_many_sockets_and_streams_and_no_more(
    settings: Settings, alice: User, bob: User
) -> None:
    """One too many is refused before it opens, either way; others and successors are not."""
    few = settings.model_copy(update={"max_sockets_per_user": 2})
    stream = "/api/notifications/stream"
    async with worker(few) as one, one.client(bob) as client:
        async with one.open(bob) as first, client.stream("GET", stream) as second:
            assert second.status_code == 200
            with pytest.raises(InvalidStatus) as refused:
                await one.open(bob)
            response = refused.value.response
            assert response.status_code == 429
            assert int(response.headers["Retry-After"]) > 0
            problem = orjson.loads(response.body)
            assert (problem["code"], problem["limit"]) == ("too_many_sockets", 2)
            answer = await client.get(stream)
            assert (answer.status_code, answer.json()["code"]) == (429, "too_many_sockets")
            assert answer.headers["Retry-After"]
            async with one.open(alice):
                pass
            await first.close()
            hub = one.app.state.news.hub
            await until(lambda: len(hub.subscribers()) == 1)
            async with one.open(bob):
                pass
        await until(lambda: not hub.subscribers())
        assert not hub._sockets
