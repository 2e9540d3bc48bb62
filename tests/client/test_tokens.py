"""Tokens are renewed when they must be, once for all who wait, and a session is begun anew."""

import asyncio
import time
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from eventmanager.client import (
    AsyncClient,
    Client,
    RateLimited,
    Tokens,
    Unauthorized,
    Unreachable,
)
from eventmanager.core.config import Settings
from eventmanager.core.limits.rates import parse_rates
from tests.client.conftest import Line, bearer, granted, options
from tests.conftest import MovableClock, User, timed
from tests.realtime.conftest import Worker, until, worker

EXPIRED = timedelta(minutes=20)


@pytest.fixture
async def clocked(settings: Settings) -> AsyncIterator[tuple[Worker, MovableClock]]:
    """A server whose clock the test moves."""
    async with worker(settings) as one:
        clock = MovableClock()
        one.app.state.clock = clock
        yield one, clock


async def test_an_expired_token_is_renewed_once_for_all(
    clocked: tuple[Worker, MovableClock], alice: User
) -> None:
    """A refresh token that is used twice would end the session."""
    one, clock = clocked
    told: list[Tokens] = []
    tokens = await granted(one, alice, on_tokens=told.append)
    async with AsyncClient(f"http://127.0.0.1:{one.port}", **tokens) as client:
        await client.me()
        clock.offset = EXPIRED
        assert len({me.id for me in await asyncio.gather(*(client.me() for _ in range(20)))}) == 1
        assert told == [client.tokens]
        clock.offset = 2 * EXPIRED
        await client.me()
    assert len({pair.refresh_token for pair in told}) == 2


async def test_threads_renew_once_too(clocked: tuple[Worker, MovableClock], alice: User) -> None:
    """A client that waits may be shared by them."""
    one, clock = clocked
    told: list[Tokens] = []
    tokens = await granted(one, alice, on_tokens=told.append)
    clock.offset = EXPIRED
    url = f"http://127.0.0.1:{one.port}"
    with Client(url, **tokens) as client:
        await asyncio.gather(*(asyncio.to_thread(client.me) for _ in range(8)))
    assert len(told) == 1


async def test_a_token_is_renewed_before_it_ends(here: Worker, client: AsyncClient) -> None:
    """No request is refused for it on the way."""
    await client.me()
    first = client.tokens
    await client.me()
    assert client.tokens == first
    client._account._due_at = 0.0
    await client.me()
    assert client.tokens.access_token != first.access_token
    async with AsyncClient(f"http://127.0.0.1:{here.port}", trust_env=False) as stranger:
        answer = await stranger._http.get("/api/me", headers=bearer(first.access_token))
    assert answer.status_code == 200, "it was still good"


async def test_who_gives_up_waiting_for_a_renewal_does_not_end_the_session(
    clocked: tuple[Worker, MovableClock], alice: User
) -> None:
    """The token is spent by then: only its answer has the next one."""
    one, clock = clocked
    tokens = await granted(one, alice)
    async with AsyncClient(f"http://127.0.0.1:{one.port}", **tokens) as client:
        clock.offset = EXPIRED
        waiting = asyncio.create_task(client.me())
        await until(lambda: client._renewal is not None)
        waiting.cancel()
        await until(lambda: client.tokens.refresh_token != tokens["refresh_token"])
        clock.offset = 2 * EXPIRED
        assert (await client.me()).username == alice.username


async def test_a_token_that_is_still_good_does_while_it_cannot_be_renewed(
    settings: Settings, alice: User
) -> None:
    """A limit of renewals keeps nobody from working, as long as there is a token to work with."""
    limited = settings.model_copy(
        update={"rate_limit_enabled": True, "rate_limit_refresh": parse_rates("1/hour")}
    )
    async with worker(limited) as one:
        url = f"http://127.0.0.1:{one.port}"
        tokens = await granted(one, alice)
        waiting = Client(url, **await granted(one, alice))
        async with AsyncClient(url, **tokens) as client:
            client._account._due_at = 0.0
            await client.me()
            renewed = client.tokens
            client._account._due_at = 0.0
            assert (await client.me()).username == alice.username
            assert client.tokens == renewed != Tokens.model_validate(tokens)
            assert client._account._due_at > 0, "it does not ask again at once"
            waiting._account._due_at = 0.0
            assert (await asyncio.to_thread(waiting.me)).username == alice.username
            client._account._ends_at = 0.0
            with pytest.raises(RateLimited):
                await client.me()
        waiting.close()


async def test_renewals_are_not_due_together(here: Worker, alice: User) -> None:
    """Those who have signed in together would come back together, at every renewal."""
    due: set[float] = set()
    for _ in range(5):
        async with AsyncClient(f"http://127.0.0.1:{here.port}", **options(alice)) as client:
            await client.me()
            due.add(client._account._ends_at - client._account._due_at)
    assert len(due) == 5
    assert 30 <= min(due) <= max(due) <= 90


async def is_alive(at: Worker, tokens: Tokens) -> bool:
    """Tell whether an access token is good, after the half second that an end may take."""
    await asyncio.sleep(0.6)
    async with AsyncClient(f"http://127.0.0.1:{at.port}", trust_env=False) as stranger:
        answer = await stranger._http.get("/api/me", headers=bearer(tokens.access_token))
    return answer.status_code == 200


async def test_a_session_ends_with_the_client_that_began_it(here: Worker, alice: User) -> None:
    """Unless somebody was told of its tokens, who may go on with them."""
    url = f"http://127.0.0.1:{here.port}"
    async with AsyncClient(url, **options(alice)) as client:
        await client.me()
    assert not await is_alive(here, client.tokens)
    with Client(url, **options(alice)) as waiting:
        await asyncio.to_thread(waiting.me)
    assert not await is_alive(here, waiting.tokens)
    kept: list[Tokens] = []
    async with AsyncClient(url, **options(alice, on_tokens=kept.append)) as client:
        await client.me()
    assert await is_alive(here, kept[0])
    async with AsyncClient(url, **await granted(here, alice)) as client:
        await client.me()
    assert await is_alive(here, client.tokens)


async def test_a_session_that_is_being_begun_ends_too(line: Line, alice: User) -> None:
    """Else nobody would ever end it: its tokens would come when the client is gone."""

    async def sessions() -> list[str]:
        listed = await alice.client.get("/api/auth/sessions")
        return [session["id"] for session in listed.json()]

    before = await sessions()
    for _ in range(5):
        client = AsyncClient(line.url, **options(alice))
        waiting = asyncio.create_task(client.me())
        connections = line.connections
        await until(lambda: line.connections > connections)  # noqa: B023  # called before the next
        await client.aclose()
        with pytest.raises(Unreachable, match="closed"):
            await waiting
    assert await sessions() == before


async def test_a_client_signs_out(here: Worker, alice: User) -> None:
    """Also with an access token that has ended; a password begins another session."""
    url = f"http://127.0.0.1:{here.port}"
    async with AsyncClient(url, **options(alice)) as client:
        await client.sign_out()
        await client.me()
        before = client.tokens
        await client.sign_out()
        assert not await is_alive(here, before)
        assert (await client.me()).username == alice.username
    given = await granted(here, alice)
    ended = given | {"access_token": "ended"}
    with Client(url, **ended) as waiting:
        await asyncio.to_thread(waiting.sign_out)
        assert not await is_alive(here, Tokens(access_token=given["access_token"]))
        with pytest.raises(Unauthorized):
            await asyncio.to_thread(waiting.me)


@timed
async def test_a_server_that_is_away_is_not_waited_for_at_the_end(line: Line, alice: User) -> None:
    """Whoever stops a program wants it to stop."""
    async with AsyncClient(line.url, **options(alice)) as client:
        await client.me()
        line.is_down = True
        line.cut()
        began = time.monotonic()
    assert time.monotonic() - began < 3


async def test_an_ended_session_is_begun_anew_with_the_password(client: AsyncClient) -> None:
    """A daemon goes on after somebody has signed it out."""
    await client.me()
    before = client.tokens
    await client._http.post("/api/auth/logout", headers=bearer(before.access_token))
    await asyncio.sleep(0.6)
    await client.me()
    assert client.tokens.access_token != before.access_token


async def test_without_a_password_an_ended_session_is_over(here: Worker, alice: User) -> None:
    """Said by an error of its own, and no request is sent for ever."""
    url = f"http://127.0.0.1:{here.port}"
    tokens = await granted(here, alice)
    async with AsyncClient(url, **tokens) as client:
        await client._http.post("/api/auth/logout", headers=bearer(client.tokens.access_token))
        await asyncio.sleep(0.6)
        with pytest.raises(Unauthorized):
            await client.me()
    async with AsyncClient(url, trust_env=False, access_token="nonsense") as client:
        with pytest.raises(Unauthorized) as caught:
            await client.me()
    assert caught.value.code == "invalid_token"


async def test_a_wrong_password_is_tried_once(here: Worker, alice: User) -> None:
    """However many ask at the same time: the server counts attempts."""
    failures: list[BaseException] = []
    wrong = options(alice, password="not it, not it")
    async with AsyncClient(f"http://127.0.0.1:{here.port}", **wrong) as client:
        for came in await asyncio.gather(*(client.me() for _ in range(5)), return_exceptions=True):
            assert isinstance(came, Unauthorized)
            failures.append(came)
        with pytest.raises(Unauthorized):
            await client.notifications().__anext__()
    entries = (await alice.client.get("/api/me/audit", params={"limit": 50})).json()
    assert len([entry for entry in entries if entry["act"] == "sign_in_failed"]) == 1


def test_secrets_are_not_shown() -> None:
    """What prints a client's tokens prints none."""
    assert "secret" not in repr(Tokens(access_token="secret-a", refresh_token="secret-r"))
