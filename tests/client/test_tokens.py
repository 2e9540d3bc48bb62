"""Tokens are renewed when they must be, once for all who wait, and a session is begun anew."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from eventmanager.client import AsyncClient, Client, Tokens, Unauthorized
from eventmanager.core.config import Settings
from tests.client.conftest import bearer, granted, options
from tests.conftest import MovableClock, User
from tests.realtime.conftest import Worker, worker

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
