"""What is sent again, what is not, and that it is done once."""

import asyncio
import re
import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import pytest

from eventmanager.client import ApiError, AsyncClient, Client, RateLimited, Tokens, Unreachable
from eventmanager.client.client import Options
from eventmanager.core.config import Settings
from eventmanager.core.limits.rates import parse_rates
from tests.client.conftest import Line, options
from tests.conftest import User, timed
from tests.realtime.conftest import until, worker

NINE = datetime(2027, 6, 7, 9, tzinfo=UTC)
HOUR = timedelta(hours=1)


async def test_a_lost_answer_is_asked_for_again_and_nothing_done_twice(
    line: Line, alice: User
) -> None:
    """The event is there once, and the client has it."""
    async with AsyncClient(line.url, **options(alice)) as client:
        await client.me()
        line.loses_answers = 2
        made = await client.events.create(title="Once", start_time=NINE, end_time=NINE + HOUR)
        assert line.loses_answers == 0
        line.loses_answers = 1
        assert (await client.events.update(made.id, title="Again")).version == 2
        line.loses_answers = 1
        await client.events.delete(made.id)
        assert [event.id async for event in client.events.list(deleted=True)] == [made.id]


async def test_a_lost_answer_to_a_refresh_costs_nothing(line: Line, alice: User) -> None:
    """The same token is sent again while that is forgiven, and the session lives."""
    async with AsyncClient(line.url, **options(alice)) as client:
        await client.me()
        client._account._due_at = 0.0
        client._account._password = None
        line.loses_answers = 1
        assert (await client.me()).username == alice.username
        assert line.loses_answers == 0
        client._account._due_at = 0.0
        assert (await client.me()).username == alice.username


async def test_what_has_no_key_is_not_sent_again(line: Line, alice: User, bob: User) -> None:
    """Whether a role was taken away is not known then, and said so."""
    async with AsyncClient(line.url, **options(alice)) as client:
        made = await client.events.create(title="Ours", start_time=NINE, end_time=NINE + HOUR)
        await client.events.share(made.id, {"user_id": bob.id, "role": "Viewer"})
        line.loses_answers = 1
        with pytest.raises(Unreachable):
            await client.events.revoke(made.id, bob.id)
        assert len(await client.events.permissions(made.id)) == 1


async def test_a_change_of_what_one_has_seen_is_not_sent_again(
    line: Line, alice: User, bob: User
) -> None:
    """If it was done, it was itself what has changed that since: a refusal would be a lie."""
    async with AsyncClient(line.url, **options(alice)) as client:
        made = await client.events.create(title="Ours", start_time=NINE, end_time=NINE + HOUR)
        await client.events.share(made.id, {"user_id": bob.id, "role": "Viewer"})
        seen = (await client.events.permissions(made.id)).etag
        line.loses_answers = 1
        with pytest.raises(Unreachable):
            await client.events.change_role(made.id, bob.id, "Editor", if_match=seen)
        roles = {one.user_id: one.role for one in await client.events.permissions(made.id)}
        assert roles[bob.id] == "Editor"
        line.loses_answers = 1
        again = await client.events.change_role(made.id, bob.id, "Viewer")
        assert (again.role, line.loses_answers) == ("Viewer", 0)


@timed
async def test_a_server_that_is_away_is_waited_for(line: Line, alice: User) -> None:
    """As long as it is patient, and no longer."""
    line.is_down = True
    async with AsyncClient(line.url, **options(alice, patience_s=0.5)) as client:
        began = time.monotonic()
        with pytest.raises(Unreachable):
            await client.me()
        assert time.monotonic() - began < 2
        waiting = asyncio.create_task(client.me())
        await asyncio.sleep(0.1)
        line.is_down = False
        assert (await waiting).username == alice.username


@timed
async def test_all_who_wait_for_tokens_give_up_together(line: Line, alice: User) -> None:
    """Not one after the other, each with a patience of its own."""
    line.is_down = True
    async with AsyncClient(line.url, **options(alice, patience_s=0.5)) as client:
        began = time.monotonic()
        answers = await asyncio.gather(*(client.me() for _ in range(20)), return_exceptions=True)
        assert time.monotonic() - began < 3
    assert {type(answer) for answer in answers} == {Unreachable}
    with Client(line.url, **options(alice, patience_s=0.5)) as waiting:
        began = time.monotonic()
        threads = (asyncio.to_thread(waiting.me) for _ in range(4))
        answers = await asyncio.gather(*threads, return_exceptions=True)
        assert time.monotonic() - began < 1.5
    assert {type(answer) for answer in answers} == {Unreachable}


async def test_a_refused_connection_is_unreachable(alice: User) -> None:
    """Also for the client that waits; the cause is there for who wants it."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with (
        Client(f"http://127.0.0.1:{port}", **options(alice, patience_s=0.2)) as client,
        pytest.raises(Unreachable) as caught,
    ):
        await asyncio.to_thread(client.me)
    assert caught.value.__cause__ is not None


@asynccontextmanager
async def answering(*statuses: tuple[int, str]) -> AsyncIterator[tuple[str, list[bytes]]]:
    """A server that answers with statuses and headers, one after the other, and what it was sent.

    As a proxy does that has lost its server.
    """
    left, sent = iter(statuses), list[bytes]()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        sent.append(await reader.readuntil(b"\r\n\r\n"))
        status, header = next(left, (200, ""))
        body = b"null" if status == 200 else b"<h1>Sorry</h1>"
        head = f"HTTP/1.1 {status} x\r\n{header}Content-Length: {len(body)}\r\nConnection: close"
        writer.write(head.encode() + b"\r\n\r\n" + body)
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", sent


async def test_a_server_says_when_to_come_again() -> None:
    """Not before that it is asked again, with the same key."""
    async with (
        answering((503, "Retry-After: 1\r\n"), (429, "")) as (url, sent),
        AsyncClient(url, access_token="x", trust_env=False) as client,
    ):
        began = time.monotonic()
        await client.events.delete("1")
        assert time.monotonic() - began >= 1
    keys = {re.search(rb"idempotency-key: (\w+)", each, re.IGNORECASE) for each in sent}
    assert len(sent) == 3
    assert len({found[1] for found in keys if found}) == 1


@timed
async def test_who_waits_ends_with_the_client() -> None:
    """However long it was told to wait."""
    async with (
        answering((503, "Retry-After: 20\r\n")) as (url, sent),
        AsyncClient(url, access_token="x", trust_env=False) as client,
    ):
        waiting = asyncio.create_task(client.events.delete("1"))
        await until(lambda: bool(sent))
        await asyncio.sleep(0.1)
        began = time.monotonic()
        await client.aclose()
        with pytest.raises(Unreachable, match="closed"):
            await waiting
        assert time.monotonic() - began < 2


async def test_a_request_that_came_too_slowly_is_sent_again() -> None:
    """A proxy has given up waiting for it: 408."""
    async with (
        answering((408, "")) as (url, sent),
        AsyncClient(url, access_token="x", trust_env=False) as client,
    ):
        await client.events.delete("1")
    assert len(sent) == 2


@pytest.mark.parametrize("status", [302, 400, 403, 404])
async def test_only_the_server_itself_can_end_a_session(status: int) -> None:
    """What a proxy says for it is said, and the tokens are kept for when it is back."""
    tokens: Options = {"access_token": "a", "refresh_token": "r", "trust_env": False}
    async with (
        answering((401, ""), (status, "")) as (url, sent),
        AsyncClient(url, **tokens) as client,
    ):
        with pytest.raises(ApiError) as caught:
            await client.events.revoke("1", "2")
        assert client.tokens == Tokens(access_token="a", refresh_token="r")
    assert (caught.value.status, len(sent)) == (status, 2)


@pytest.mark.parametrize("status", [500, 503, 302, 401, 404])
async def test_what_is_no_use_is_not_sent_again(status: int) -> None:
    """A 503 to what has no key may have been done; whoever answers need not speak of problems."""
    async with (
        answering((status, "")) as (url, sent),
        AsyncClient(url, access_token="x", trust_env=False) as client,
    ):
        with pytest.raises(ApiError) as caught:
            await client.events.revoke("1", "2")
    assert (caught.value.status, caught.value.detail) == (status, "<h1>Sorry</h1>")
    assert len(sent) == 1


async def test_a_limit_is_waited_out(settings: Settings, alice: User) -> None:
    """If the server's `Retry-After` is within the client's patience; otherwise it is said."""
    limited = settings.model_copy(
        update={"rate_limit_enabled": True, "rate_limit_default": parse_rates("3/second")}
    )
    async with worker(limited) as one:
        url = f"http://127.0.0.1:{one.port}"
        async with AsyncClient(url, **options(alice)) as client:
            await asyncio.gather(*(client.me() for _ in range(5)))
        async with AsyncClient(url, **options(alice, patience_s=0.1)) as client:
            answers = await asyncio.gather(*(client.me() for _ in range(5)), return_exceptions=True)
    refused = [answer for answer in answers if isinstance(answer, RateLimited)]
    assert refused
    assert refused[0].retry_after is not None
