"""Sessions: a user's list of them, and how little they cost the database."""

import asyncio
import time
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
from fastapi import FastAPI

from eventmanager.accounts import queries, service
from eventmanager.accounts.sessions import SessionCache
from eventmanager.core.clock import SystemClock
from eventmanager.core.database import Database, Query
from eventmanager.core.errors import SessionEnded
from eventmanager.core.ids import SessionId
from tests.accounts.conftest import Tokens, renew, sign_in_to
from tests.conftest import PASSWORD, MovableClock, User, client_of


async def session_of(user: User) -> SessionId:
    """Return the id of the session a user's client is signed in with."""
    sessions = (await user.client.get("/api/auth/sessions")).json()
    (current,) = [session["id"] for session in sessions if session["current"]]
    return SessionId(UUID(current))


async def test_a_user_sees_where_they_are_signed_in(app: FastAPI, alice: User) -> None:
    """Newest first, with where each came from; over-long agents are cut, not refused."""
    async with client_of(app, headers={"User-Agent": "x" * 500}) as phone:
        names = {"username": alice.username, "password": PASSWORD}
        await phone.post("/api/auth/login", json=names)
    sessions = (await alice.client.get("/api/auth/sessions")).json()
    assert [session["current"] for session in sessions] == [False, True]
    assert sessions[0]["user_agent"] == "x" * 200
    assert sessions[0]["address"] == "127.0.0.1"
    assert sessions[0]["created_at"].endswith("Z")
    assert set(sessions[0]) == {
        "id",
        "created_at",
        "last_used_at",
        "expires_at",
        "address",
        "user_agent",
        "current",
    }


async def test_only_live_sessions_are_listed(
    clocked: FastAPI, clock: MovableClock, alice: User
) -> None:
    """Neither ended nor expired ones: the list is what could still act for the user."""
    clock.offset -= timedelta(days=8)
    await sign_in_to(clocked, alice.username)
    clock.offset += timedelta(days=8)
    ended = await sign_in_to(clocked, alice.username)
    headers = {"Authorization": f"Bearer {ended.access}"}
    async with client_of(clocked, headers=headers) as client:
        await client.post("/api/auth/logout")
    sessions = (await alice.client.get("/api/auth/sessions")).json()
    assert [session["current"] for session in sessions] == [True]


async def test_the_list_is_paged(app: FastAPI, alice: User) -> None:
    """Following `Link` shows each session once."""
    for _ in range(4):
        await sign_in_to(app, alice.username)
    seen: list[str] = []
    url: str | None = "/api/auth/sessions?limit=2"
    while url is not None:
        answer = await alice.client.get(url)
        seen += [session["id"] for session in answer.json()]
        url = answer.links.get("next", {}).get("url")
    assert len(seen) == 5
    assert seen == sorted(set(seen), reverse=True)


@pytest.mark.parametrize("cursor", ["x", "", "\u00e4", "W10"])
async def test_a_cursor_of_ones_own_making_is_refused(alice: User, cursor: str) -> None:
    """422, never a 500."""
    answer = await alice.client.get("/api/auth/sessions", params={"cursor": cursor})
    assert answer.status_code == 422


async def test_nobody_ends_the_session_of_another(alice: User, bob: User) -> None:
    """To Bob, Alice's session does not exist."""
    session_id = await session_of(alice)
    for unknown in (session_id, uuid4()):
        assert (await bob.client.delete(f"/api/auth/sessions/{unknown}")).status_code == 404
    assert (await alice.client.get("/api/me")).status_code == 200


class Counting:
    """A database that counts what it is asked, and may take its time."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.asked = 0

    def reading(self) -> Any:
        """Count, and lend a connection."""
        self.asked += 1
        return self.database.reading()


async def test_a_busy_session_costs_two_statements_a_second(
    database: Database, alice: User
) -> None:
    """A hundred requests at once share one look, and so do those of the next half second."""
    session_id = await session_of(alice)
    counting: Any = Counting(database)
    cache = SessionCache()
    now = SystemClock().now()
    started = time.monotonic()
    await asyncio.gather(
        *(cache.caller(counting, session_id=session_id, now=now) for _ in range(100))
    )
    assert counting.asked == 1
    while time.monotonic() - started < 1.1:
        await cache.caller(counting, session_id=session_id, now=now)
        await asyncio.sleep(0.01)
    assert counting.asked <= 3


async def test_a_waiter_that_goes_away_takes_nothing_from_the_others(
    database: Database, alice: User
) -> None:
    """The look that two requests share survives the disconnect of the first."""
    session_id = await session_of(alice)
    cache = SessionCache()
    now = SystemClock().now()
    first = asyncio.create_task(cache.caller(database, session_id=session_id, now=now))
    second = asyncio.create_task(cache.caller(database, session_id=session_id, now=now))
    await asyncio.sleep(0)
    first.cancel()
    assert (await second).user_id == alice.id


async def test_the_memory_is_bounded(database: Database) -> None:
    """Beyond its size the oldest are dropped, unknown sessions included."""
    cache = SessionCache(size=3)
    for _ in range(10):
        with pytest.raises(SessionEnded):
            await cache.caller(database, session_id=SessionId(uuid4()), now=SystemClock().now())
    assert len(cache._known) == 3
    assert cache._looking == {}


async def test_sessions_long_over_are_purged(
    clocked: FastAPI, clock: MovableClock, database: Database, alice: User
) -> None:
    """After thirty days their rows and tokens go; live ones, and recent ends, stay."""
    count = Query("SELECT count(*) FROM sessions WHERE user_id = $1", ("user_id",))
    spent = Query(
        "SELECT count(*) FROM refresh_tokens JOIN sessions ON id = session_id"
        " WHERE user_id = $1 AND used_at IS NOT NULL",
        ("user_id",),
    )
    clock.offset -= timedelta(days=40)
    await sign_in_to(clocked, alice.username)
    kept = (await sign_in_to(clocked, alice.username)).refresh
    for _ in range(7):
        kept = (await renew(clocked, kept)).cookies["refresh_token"]
        clock.offset += timedelta(days=6)
    assert clock.offset > timedelta()
    await service.purge(database, clock.now())
    async with database.reading() as connection:
        sessions = await connection.first(count, user_id=alice.id)
        tokens = await connection.first(spent, user_id=alice.id)
    assert sessions is not None
    assert tokens is not None
    # Alice's own, which her fixture made today, and the one that was kept alive.
    assert sessions[0] == 2
    assert tokens[0] == 4
    assert (await renew(clocked, kept)).status_code == 200


async def test_every_statement_prepares(database: Database) -> None:
    """PostgreSQL type-checks the statements of accounts against the migrated schema."""
    statements = [value for value in vars(queries).values() if isinstance(value, Query)]
    assert len(statements) > 15
    async with database.reading() as connection:
        for statement in statements:
            await connection._connection.prepare(statement.sql)


async def test_tokens_from_another_sign_in_are_other_tokens(
    app: FastAPI, anonymous: httpx.AsyncClient, alice: User, tokens: Tokens
) -> None:
    """Each sign-in is a session of its own; ending one leaves the other."""
    assert anonymous.cookies.get("refresh_token") is None
    again = await sign_in_to(app, alice.username)
    assert {again.access, again.refresh}.isdisjoint({tokens.access, tokens.refresh})
