"""One attempt ends soon and is bounded, whatever a receiver does; places are shared fairly."""

import asyncio
import socket
import ssl
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from shutil import which
from typing import Any
from uuid import uuid4

import pytest

from eventmanager.core.background import Postponed, places
from eventmanager.webhooks import sending
from eventmanager.webhooks.connecting import GuardedNetwork, Lookups
from eventmanager.webhooks.lanes import FAILING, UNKNOWN, Kind, Lanes
from eventmanager.webhooks.sending import Outcome, Sender
from tests.webhooks.conftest import answering, receiving

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
SENDER = Sender(GuardedNetwork(allow_private=True, resolve=Lookups(8).of(None)), allow_http=True)


@asynccontextmanager
async def serving(serve: Serve, *, tls: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    """Run a server that does as it likes, and return its port."""

    async def ended(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await serve(reader, writer)
        except ConnectionError:
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(ended, "127.0.0.1", 0, ssl=tls)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


async def post(port: int) -> Outcome:
    """Post to a server on loopback."""
    url = f"http://127.0.0.1:{port}/"
    return await SENDER.post(url, headers={"webhook-id": "1"}, body=b"{}", now=datetime.now(UTC))


async def endless_body(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer 200 and never stop."""
    writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
    while True:
        writer.write(b"x" * 65536)
        await writer.drain()


async def slow_body(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer 200 and begin a body that never goes on."""
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nso far")
    await reader.read()
    await asyncio.sleep(60)


async def silent(_: asyncio.StreamReader, __: asyncio.StreamWriter) -> None:
    """Take everything and say nothing."""
    await asyncio.sleep(60)


async def endless_headers(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Never come to the body."""
    writer.write(b"HTTP/1.1 200 OK\r\n")
    while True:
        writer.write(b"X-More: and more\r\n" * 1000)
        await writer.drain()


async def endless_hints(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Never come to the answer."""
    while True:
        writer.write(b"HTTP/1.1 103 Early Hints\r\nLink: </>\r\n\r\n")
        await writer.drain()
        await asyncio.sleep(0.001)


async def a_byte_at_a_time(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Keep the client waiting for the end of the status line."""
    while True:
        writer.write(b"H")
        await writer.drain()
        await asyncio.sleep(0.01)


async def other_protocol(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Speak something else."""
    writer.write(b"220 mail.example ESMTP\r\n")
    await writer.drain()


async def hang_up(_: asyncio.StreamReader, __: asyncio.StreamWriter) -> None:
    """Close at once."""


@pytest.mark.parametrize("serve", [endless_body, slow_body])
async def test_a_body_that_does_not_end_is_not_waited_for(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The status says it all; no more than 4 KiB are read, and not for long."""
    monkeypatch.setattr(sending, "_READ_SECONDS", 0.2)
    async with serving(serve) as port:
        outcome = await post(port)
    assert outcome.is_delivered
    assert len(outcome.answer) <= 200
    assert outcome.duration_ms < 2000


@pytest.mark.parametrize(
    "serve", [silent, endless_headers, endless_hints, a_byte_at_a_time, other_protocol, hang_up]
)
async def test_what_never_answers_is_a_failure_in_time(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A receiver can keep one of our hands busy for so long and no longer."""
    monkeypatch.setattr(sending, "ATTEMPT_SECONDS", 0.5)
    async with serving(serve) as port:
        outcome = await post(port)
    assert outcome.status is None
    assert outcome.error
    assert outcome.duration_ms < 2000


@pytest.mark.parametrize(
    ("status", "error"), [("200 OK", None), ("503 Busy", "the answer is 503")], ids=["200", "503"]
)
async def test_a_status_that_comes_just_in_time_counts(
    status: str, error: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Though the time is over before its body is: the receiver has it and said so."""
    monkeypatch.setattr(sending, "ATTEMPT_SECONDS", 0.5)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(0.3)
        writer.write(f"HTTP/1.1 {status}\r\nRetry-After: 60\r\nContent-Length: 9\r\n\r\n".encode())
        await reader.read()
        await asyncio.sleep(60)

    async with serving(serve) as port:
        outcome = await post(port)
    assert (outcome.status, outcome.error) == (int(status[:3]), error)
    assert outcome.asked == (timedelta(seconds=60) if error else None)
    assert outcome.duration_ms < 1000


async def test_nobody_there_is_a_failure() -> None:
    """With the reason, for the log of deliveries."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    outcome = await post(port)
    assert outcome.status is None
    assert outcome.error


async def test_what_an_answer_says_can_be_stored_and_shown() -> None:
    """PostgreSQL's JSON holds no NUL, and a terminal should not be told what to do."""
    async with receiving() as receiver:
        receiver.answers = [answering(500, body="a\x00b\x1b[31m\r\n" + "c" * 5000)]
        outcome = await post(receiver.port)
    assert outcome.answer.startswith("a b [31m c")
    assert len(outcome.answer) == 200


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[Path, Path]:
    """A certificate for hooks.example that it has made for itself, and its key."""
    if which("openssl") is None:
        pytest.skip("no openssl to make certificates with")
    certificate, key = tmp_path / "certificate.pem", tmp_path / "key.pem"
    made = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2"
    name = "-subj /CN=hooks.example -addext subjectAltName=DNS:hooks.example"
    subprocess.run(
        ["openssl", *made.split(), *name.split(), "-keyout", str(key), "-out", str(certificate)],
        check=True,
        capture_output=True,
    )
    return certificate, key


async def test_tls_is_for_the_name_and_not_for_the_address(
    certificate: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Though the address is connected to, the server is asked for the name and must prove it."""
    asked_for: list[str | None] = []
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    context.sni_callback = lambda _, name, __: asked_for.append(name)
    trust = ssl.create_default_context(cafile=certificate[0])

    async def resolve(_: str, __: int) -> list[str]:
        return ["127.0.0.1"]

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answering(200))
        await writer.drain()

    sender = Sender(GuardedNetwork(allow_private=True, resolve=resolve), allow_http=False)
    async with serving(serve, tls=context) as port:

        async def call(name: str) -> Outcome:
            url = f"https://{name}:{port}/"
            return await sender.post(url, headers={}, body=b"{}", now=datetime.now(UTC))

        stranger = await call("hooks.example")
        monkeypatch.setattr(sending, "_trust", lambda: trust)
        outcomes = [await call("hooks.example"), await call("other.example")]
    assert not stranger.is_delivered
    assert "certificate verify failed" in (stranger.error or "")
    assert [outcome.is_delivered for outcome in outcomes] == [True, False]
    assert asked_for == ["hooks.example", "hooks.example", "other.example"]


async def occupy(held: AsyncExitStack, lanes: Lanes, **whose: Any) -> bool:
    """Take a place, and say whether there was one."""
    try:
        await held.enter_async_context(lanes.place(**whose))
    except Postponed:
        return False
    return True


async def test_a_user_has_a_few_places(monkeypatch: pytest.MonkeyPatch) -> None:
    """Receivers that hang hold up their own user's deliveries and nobody else's."""
    monkeypatch.setattr(places, "SOON_SECONDS", 0.05)
    lanes, user, quick = Lanes(), uuid4(), uuid4()
    lanes.learn(quick, Outcome(200, None, "", 10))
    whose: dict[str, Any] = {"user_id": user, "is_failing": False}
    async with AsyncExitStack() as held:
        taken = [await occupy(held, lanes, webhook_id=quick, **whose) for _ in range(9)]
        assert taken == [True] * 8 + [False]
        # One that is not known to be quick has a single place, beside these.
        taken = [await occupy(held, lanes, webhook_id=uuid4(), **whose) for _ in range(2)]
        assert taken == [True, False]
        assert await occupy(held, lanes, user_id=uuid4(), webhook_id=uuid4(), is_failing=False)
    async with lanes.place(webhook_id=quick, **whose):
        pass


@pytest.mark.parametrize(
    ("is_failing", "kind"), [(True, FAILING), (False, UNKNOWN)], ids=["failing", "unknown"]
)
async def test_those_that_may_take_long_leave_places_to_those_that_are_quick(
    is_failing: bool, kind: Kind, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many users have webhooks that hang."""
    monkeypatch.setattr(places, "SOON_SECONDS", 0.01)
    lanes, quick = Lanes(), uuid4()
    lanes.learn(quick, Outcome(200, None, "", 10))
    async with AsyncExitStack() as held:
        taken = [
            await occupy(held, lanes, user_id=uuid4(), webhook_id=uuid4(), is_failing=is_failing)
            for _ in range(kind.of_all + 3)
        ]
        assert taken == [True] * kind.of_all + [False] * 3
        assert await occupy(held, lanes, user_id=uuid4(), webhook_id=quick, is_failing=False)
        # Nor do those that fail leave none to new ones, or the other way round.
        assert await occupy(
            held, lanes, user_id=uuid4(), webhook_id=uuid4(), is_failing=not is_failing
        )


@pytest.mark.parametrize("is_failing", [True, False], ids=["failing", "not failing"])
@pytest.mark.parametrize(
    "hung",
    [
        Outcome(None, "no answer", "", 15_000),
        Outcome(None, "the host name can't be resolved", "", 3000, lookup_goes_on=True),
    ],
    ids=["answer", "lookup"],
)
async def test_those_that_have_hung_leave_places_to_new_ones_and_to_those_that_fail(
    hung: Outcome, is_failing: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A few hostile accounts must not stand before everybody who has a new webhook."""
    monkeypatch.setattr(places, "SOON_SECONDS", 0.01)
    lanes = Lanes()
    async with AsyncExitStack() as held:
        for _ in range(UNKNOWN.of_all + FAILING.of_all):
            hanging = uuid4()
            lanes.learn(hanging, hung)
            await occupy(held, lanes, user_id=uuid4(), webhook_id=hanging, is_failing=is_failing)
        for failing in (True, False):
            assert await occupy(
                held, lanes, user_id=uuid4(), webhook_id=uuid4(), is_failing=failing
            )


async def test_a_receiver_that_takes_long_is_not_quick_any_more(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Though it answers well: only who is quick is given many places."""
    monkeypatch.setattr(places, "SOON_SECONDS", 0.01)
    lanes, webhook = Lanes(), uuid4()
    whose: dict[str, Any] = {"user_id": uuid4(), "webhook_id": webhook, "is_failing": False}
    for duration_ms, has_many in ((10, True), (14_000, False)):
        lanes.learn(webhook, Outcome(200, None, "", duration_ms))
        async with AsyncExitStack() as held:
            assert await occupy(held, lanes, **whose)
            assert await occupy(held, lanes, **whose) is has_many


async def test_those_that_wait_come_back_one_after_the_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Thousands that wait for one receiver must not all ask again every second."""
    monkeypatch.setattr(places, "SOON_SECONDS", 0.01)
    lanes = Lanes()
    whose: dict[str, Any] = {"user_id": uuid4(), "webhook_id": uuid4(), "is_failing": True}
    waits = []
    async with lanes.place(**whose):
        await asyncio.sleep(0.1)
    async with lanes.place(**whose):
        for _ in range(20):
            with pytest.raises(Postponed) as postponed:
                await lanes.place(**whose).__aenter__()
            waits.append(postponed.value.after)
    # As long as the one before took, each after the other; less the time that asking took.
    assert waits == sorted(waits)
    assert timedelta(seconds=1) < waits[-1] < timedelta(seconds=4)
