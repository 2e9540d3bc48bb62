"""One message goes to many sockets: fast, in the form each wants, whatever one of them does."""

import asyncio
import itertools
import os
import time
from contextlib import AsyncExitStack
from datetime import datetime
from typing import Any

import ormsgpack
import psutil  # type: ignore[import-untyped]  # it has no stubs
import pytest
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.asyncio.client import ClientConnection
from websockets.frames import Frame, Opcode
from websockets.typing import Subprotocol

from eventmanager.accounts.models import GlobalRole
from eventmanager.accounts.sessions import Caller
from eventmanager.core.config import Settings
from eventmanager.core.ids import SessionId, UserId, uuid7
from eventmanager.messages.letters import Letter
from eventmanager.messages.positions import read_position
from eventmanager.realtime import hub as hub_module
from eventmanager.realtime import protocol
from eventmanager.realtime.hub import Hub
from tests.conftest import User, timed
from tests.realtime.conftest import (
    Connection,
    Worker,
    close_code,
    make_event,
    share,
    stage,
    told,
    until,
    worker,
)
from tests.realtime.test_sockets import narrow

SOCKETS = int(os.environ.get("FANOUT_SOCKETS", "100"))
"""How many sockets there are where it matters; a thousand are for a machine with time."""
MSGPACK = Subprotocol("msgpack")


async def unpacked(client: ClientConnection) -> dict[str, Any]:
    """Wait for the next notification of a socket that takes MessagePack."""
    async with asyncio.timeout(5):
        frame = await client.recv()
    assert isinstance(frame, bytes)
    message: dict[str, Any] = ormsgpack.unpackb(frame)
    return message


@pytest.mark.parametrize("length", [2, 125, 126, 127, 65_535, 65_536, 200_000])
def test_a_frame_is_what_the_protocol_asks_for(length: int) -> None:
    """Its length takes one byte, three or nine; another implementation writes the same."""
    letter = Letter(b'"%b"' % (b"x" * (length - 2)))
    text = Frame(Opcode.TEXT, letter.json).serialize(mask=False)
    binary = Frame(Opcode.BINARY, ormsgpack.packb("x" * (length - 2))).serialize(mask=False)
    assert (letter.text_frame, letter.packed_frame) == (text, binary)


def test_what_many_are_sent_is_made_once() -> None:
    """The same bytes, not equal ones: five thousand sockets hold them once."""
    letter = Letter(b'{"type":"some","cursor":"x"}')
    assert letter.text_frame is letter.text_frame
    assert letter.packed_frame is letter.packed_frame


async def test_a_client_may_ask_for_messagepack(here: Worker, alice: User, bob: User) -> None:
    """The same object, in binary frames: what was missed and what comes."""
    await share(alice, await make_event(alice), bob)
    async with here.open(bob) as plain:
        async with here.open(bob, subprotocols=[Subprotocol("other"), MSGPACK]) as packed:
            assert packed.subprotocol == "msgpack"
            await share(alice, await make_event(alice), bob, through=here)
            first = await unpacked(packed)
            assert first == await told(plain)
        async with here.open(bob, subprotocols=[MSGPACK], after=first["cursor"]) as again:
            await share(alice, await make_event(alice), bob, through=here)
            assert await unpacked(again) == await told(plain)
            async with here.open(bob, subprotocols=[MSGPACK], after=first["cursor"]) as late:
                assert (
                    await unpacked(late)
                    == (
                        await bob.client.get(
                            "/api/notifications", params={"after": first["cursor"]}
                        )
                    ).json()[0]
                )


async def test_what_no_server_knows_is_not_selected(here: Worker, alice: User, bob: User) -> None:
    """RFC 6455, 4.2.2: the socket opens without a subprotocol, and speaks JSON."""
    async with here.open(bob, subprotocols=[Subprotocol("graphql-ws")]) as socket:
        assert socket.subprotocol is None
        await share(alice, await make_event(alice), bob, through=here)
        assert (await told(socket))["type"] == "permission_granted"


async def test_no_socket_is_compressed(here: Worker, bob: User) -> None:
    """A window for each socket would cost more memory than all the rest of it."""
    async with here.open(bob, compression="deflate") as socket:
        assert socket.request is not None
        assert "permessage-deflate" in socket.request.headers["Sec-WebSocket-Extensions"]
        assert socket.response is not None
        assert "Sec-WebSocket-Extensions" not in socket.response.headers


@pytest.mark.parametrize("packed", [False, True])
async def test_another_server_will_do(
    settings: Settings, aside: Connection, alice: User, bob: User, packed: bool
) -> None:
    """Where there is no outlet, it sends: what was missed, what is new, in order, until the end."""
    given: dict[str, Any] = {"subprotocols": [MSGPACK]} if packed else {}
    hear = unpacked if packed else told
    async with worker(settings) as one:
        one.server.config.ws_protocol_class = WebSocketsSansIOProtocol
        await stage(aside, bob.id, "before", count=5)
        (first, *_) = (await bob.client.get("/api/notifications")).json()
        async with one.open(bob, after=first["cursor"], **given) as socket:
            await stage(aside, bob.id, "after", count=5)
            heard = [await hear(socket) for _ in range(9)]
            assert [m["type"] for m in heard] == ["before"] * 4 + ["after"] * 5
            cursors = [read_position(m["cursor"]) for m in heard]
            assert cursors == sorted(cursors)
            assert (await bob.client.post("/api/auth/logout")).status_code < 300
            assert await close_code(socket) == 4401
        async with one.open(alice, **given) as socket:
            await stage(aside, alice.id, "new")
            assert (await hear(socket))["type"] == "new"


async def test_a_big_message_comes_whole_and_in_its_place(
    here: Worker, aside: Connection, bob: User
) -> None:
    """What does not fit into the connection waits, and what comes later waits behind it."""
    async with here.open(bob, sock=narrow(here.port)) as socket:
        for number, size in enumerate((10, 200_000, 10, 200_000, 10)):
            await stage(aside, bob.id, f"part{number}", size=size)
        heard = [await told(socket) for _ in range(5)]
    assert [m["type"] for m in heard] == [f"part{number}" for number in range(5)]
    assert [len(m["data"]["filling"]) for m in heard] == [10, 200_000, 10, 200_000, 10]


async def test_requests_have_their_turn_while_a_message_is_handed_out(
    here: Worker, aside: Connection, bob: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A message for everybody is many deliveries; nobody waits for the last of them."""
    monkeypatch.setattr(hub_module, "ROUND", 10)
    hub: Hub = here.app.state.news.hub
    recipients = [uuid7() for _ in range(40)]
    await aside.execute(
        "INSERT INTO users (id, username, email, password_hash, created_at)"
        " SELECT id, id, id, '', now() FROM unnest($1::uuid[]) id",
        recipients,
    )
    # A session each, or they would be ended before the message comes.
    await aside.execute(
        "INSERT INTO sessions"
        " (id, user_id, created_at, last_used_at, expires_at, address, user_agent)"
        " SELECT id, id, now(), now(), now() + interval '1 day', '', ''"
        " FROM unnest($1::uuid[]) id",
        recipients,
    )
    async with AsyncExitStack() as stack:
        crowd = [
            await stack.enter_async_context(
                hub.subscribed(Caller(UserId(user), SessionId(user), GlobalRole.USER, "x"))
            )
            for user in recipients
        ]
        seen = set()

        async def look() -> None:
            while (reached := sum(one.is_behind for one in crowd)) < len(crowd):
                seen.add(reached)
                await asyncio.sleep(0)

        looking = asyncio.create_task(look())
        await aside.execute(
            """
            INSERT INTO messages
                (id, recipients, owner_id, event_id, initiator_id, type, data, occurred_at)
            VALUES (gen_random_uuid(), $1, $2, NULL, NULL, 'x', '{}', now())""",
            recipients,
            bob.id,
        )
        async with asyncio.timeout(5):
            await looking
    assert seen == {0, 10, 20, 30}


@timed
async def test_sockets_of_an_ended_session_end_together(
    settings: Settings, alice: User, bob: User
) -> None:
    """However many there are, within a second; and only they."""
    many = settings.model_copy(update={"max_sockets_per_user": SOCKETS})
    async with worker(many) as one, AsyncExitStack() as stack, one.open(alice) as other:
        opened = [await stack.enter_async_context(one.open(bob)) for _ in range(SOCKETS)]
        assert (await bob.client.post("/api/auth/logout")).status_code < 300
        began = time.monotonic()
        codes = await asyncio.gather(*(close_code(socket, seconds=3) for socket in opened))
        assert time.monotonic() - began < 1 + SOCKETS / 500
        assert set(codes) == {4401}
        assert other.close_code is None


@timed
async def test_one_that_stops_reading_is_let_go_and_nobody_else_notices(
    settings: Settings, aside: Connection, bob: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It proves no longer that it reads: closed long before its queue is full, at no cost."""
    monkeypatch.setattr(protocol, "ASK_SECONDS", 0.2)
    many = settings.model_copy(update={"max_sockets_per_user": SOCKETS})
    process = psutil.Process()
    async with worker(many) as one, AsyncExitStack() as stack:
        one.server.config.ws_ping_timeout = 1
        stalled = await stack.enter_async_context(one.open(bob))
        opened = [await stack.enter_async_context(one.open(bob)) for _ in range(SOCKETS - 1)]
        hub: Hub = one.app.state.news.hub

        async def latencies(count: int) -> list[float]:
            async def heard(socket: ClientConnection) -> list[float]:
                found = []
                for _ in range(count):
                    message = await told(socket)
                    at = datetime.fromisoformat(message["occurred_at"]).timestamp()
                    found.append(time.time() - at)
                return found

            reading = [asyncio.create_task(heard(socket)) for socket in opened]
            for _ in range(count):
                await stage(aside, bob.id, "some", size=1000)
                one.app.state.news.hub.wake()
                await asyncio.sleep(0.1)
            return sorted(itertools.chain.from_iterable(await asyncio.gather(*reading)))

        before = await latencies(5)
        memory = process.memory_info().rss
        stalled.transport.pause_reading()
        stopped = time.monotonic()
        after = await latencies(20)
        await until(lambda: len(hub.subscribers()) == SOCKETS - 1, seconds=10)
        assert time.monotonic() - stopped < 10
        assert process.memory_info().rss - memory < 10_000_000
        assert after[len(after) * 99 // 100] < before[-1] + 0.25
        stalled.transport.resume_reading()
        assert await close_code(stalled) == 1013
