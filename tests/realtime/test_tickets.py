"""Tickets, with which a page opens a socket: good once, soon, and for their session."""

import asyncio
import hashlib
from datetime import timedelta

import pytest
from websockets.asyncio.client import connect

from eventmanager.accounts import service
from eventmanager.core.config import Settings
from eventmanager.core.database import Database
from tests.conftest import MovableClock, User, timed
from tests.realtime.conftest import Connection, Worker, close_code, stage, told, until
from tests.realtime.test_sockets import refusal


async def ticket_of(user: User) -> str:
    """Get a ticket."""
    answer = await user.client.post("/api/auth/ws-ticket")
    assert answer.status_code == 201, answer.text
    assert answer.json()["expires_in"] == 30
    assert answer.headers["Cache-Control"] == "no-store"
    ticket: str = answer.json()["ticket"]
    return ticket


def opened_with(at: Worker, ticket: str, **headers: str) -> connect:
    """Open a socket as a browser does: with its origin, and no token."""
    origin = {"Origin": f"http://127.0.0.1:{at.port}"}
    url = f"{at.url}?ticket={ticket}"
    return connect(url, additional_headers=origin | headers, proxy=None)


async def closed(opening: connect) -> tuple[int, str | None]:
    """Return with which code and why a socket is closed at once: all that a browser's page sees."""
    async with opening as socket:
        return await close_code(socket), socket.close_reason


@timed
async def test_a_ticket_opens_a_socket_as_its_session_at_any_worker(
    two_workers: tuple[Worker, Worker], aside: Connection, bob: User
) -> None:
    """The application that made it is neither of the two; and the socket ends with the session."""
    for one in two_workers:
        async with opened_with(one, await ticket_of(bob)) as socket:
            await stage(aside, bob.id, "hello")
            assert (await told(socket))["type"] == "hello"
    async with opened_with(two_workers[0], await ticket_of(bob)) as socket:
        await bob.client.post("/api/auth/logout")
        assert await close_code(socket, seconds=1) == 4401


async def test_a_ticket_is_good_once(here: Worker, bob: User) -> None:
    """Of many sockets at once that come with it, one is opened."""
    ticket = await ticket_of(bob)
    results = await asyncio.gather(
        *(opened_with(here, ticket) for _ in range(8)), return_exceptions=True
    )
    sockets = [one for one in results if not isinstance(one, BaseException)]
    await until(lambda: sum(one.close_code is None for one in sockets) == 1)
    for one in sockets:
        await one.close()
    await until(lambda: not here.app.state.news.hub.subscribers())
    assert await closed(opened_with(here, ticket)) == (4401, "invalid_token")


@pytest.mark.parametrize("ticket", ["nonsense", "%00", "%ff", "x" * 5000])
async def test_what_is_no_ticket_is_refused(here: Worker, ticket: str) -> None:
    """As a bad token is."""
    assert await closed(opened_with(here, ticket)) == (4401, "invalid_token")


async def test_a_ticket_that_comes_too_late_is_refused(
    here: Worker, bob: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After thirty seconds."""
    early, late = await ticket_of(bob), await ticket_of(bob)
    clock = MovableClock()
    monkeypatch.setitem(here.app.state._state, "clock", clock)
    clock.offset += timedelta(seconds=28)
    async with opened_with(here, early):
        pass
    clock.offset += timedelta(seconds=3)
    assert await closed(opened_with(here, late)) == (4401, "invalid_token")


async def test_a_ticket_of_an_ended_session_is_refused(here: Worker, bob: User) -> None:
    """It is worth what the session is worth."""
    ticket = await ticket_of(bob)
    await bob.client.post("/api/auth/logout")
    await asyncio.sleep(0.5)  # for as long a worker may remember the session
    assert await closed(opened_with(here, ticket)) == (4401, "session_ended")


async def test_a_page_of_another_origin_cannot_use_a_ticket(here: Worker, bob: User) -> None:
    """Nor use it up."""
    ticket = await ticket_of(bob)
    status, _ = await refusal(opened_with(here, ticket, Origin="https://evil.example"))
    assert status == 403
    async with opened_with(here, ticket):
        pass


async def test_tickets_are_kept_as_digests_and_purged(
    here: Worker, settings: Settings, aside: Connection, database: Database, bob: User
) -> None:
    """Who reads the database or the logs can open nothing; what is of no use is not kept."""
    ticket = await ticket_of(bob)
    digest = hashlib.sha256(ticket.encode()).digest()
    kept = "SELECT count(*) FROM tickets WHERE digest = $1"
    assert await aside.fetchval(kept, digest) == 1
    clock = MovableClock()
    await service.purge(database, clock.now())
    assert await aside.fetchval(kept, digest) == 1
    clock.offset += timedelta(minutes=1)
    await service.purge(database, clock.now())
    assert await aside.fetchval(kept, digest) == 0
    ticket = await ticket_of(bob)
    async with opened_with(here, ticket):
        pass
    assert ticket not in (settings.log_dir / "app.log").read_text()
