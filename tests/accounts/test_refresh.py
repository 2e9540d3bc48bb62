"""Refresh tokens: one use each, forgiving a lost answer, unforgiving to a thief."""

import asyncio
from datetime import timedelta

import httpx
import pytest
from fastapi import FastAPI

from eventmanager.core.database import Database, Query
from tests.accounts.conftest import Tokens, me, renew, sign_in_to
from tests.conftest import MovableClock, User


async def test_each_use_gives_a_new_token(app: FastAPI, tokens: Tokens) -> None:
    """The chain goes on: what a refresh gave can be spent in turn, and both answers sign in."""
    first = await renew(app, tokens.refresh)
    assert first.status_code == 200
    assert first.json()["refresh_token"] == "stored in httpOnly cookie"
    assert first.headers["cache-control"] == "no-store"
    assert "HttpOnly" in first.headers["set-cookie"]
    second = await renew(app, first.cookies["refresh_token"])
    assert second.status_code == 200
    issued = {tokens.refresh, first.cookies["refresh_token"], second.cookies["refresh_token"]}
    assert len(issued) == 3
    assert (await me(app, second.json()["access_token"])).status_code == 200


async def test_a_replay_inside_ten_seconds_gets_the_same_successor(
    clocked: FastAPI, clock: MovableClock, alice: User
) -> None:
    """A lost answer or a second tab must not sign the user out, nor fork the chain."""
    token = (await sign_in_to(clocked, alice.username)).refresh
    first = await renew(clocked, token)
    clock.offset += timedelta(seconds=9)
    replay = await renew(clocked, token)
    assert replay.status_code == 200
    assert replay.cookies["refresh_token"] == first.cookies["refresh_token"]
    assert (await renew(clocked, first.cookies["refresh_token"])).status_code == 200


async def test_a_later_replay_ends_the_whole_session(
    clocked: FastAPI, clock: MovableClock, alice: User
) -> None:
    """Two hold the token, and one is a thief: all descendants die, and the access tokens too."""
    token = (await sign_in_to(clocked, alice.username)).refresh
    first = await renew(clocked, token)
    clock.offset += timedelta(seconds=11)
    assert (await me(clocked, first.json()["access_token"])).status_code == 200
    replay = await renew(clocked, token)
    assert (replay.status_code, replay.json()["code"]) == (401, "session_ended")
    assert (await renew(clocked, first.cookies["refresh_token"])).status_code == 401
    assert (await me(clocked, first.json()["access_token"])).status_code == 401


async def test_a_replay_leaves_other_sessions_alone(
    clocked: FastAPI, clock: MovableClock, alice: User
) -> None:
    """The family is one sign-in, not the user."""
    stolen = (await sign_in_to(clocked, alice.username)).refresh
    other = await sign_in_to(clocked, alice.username)
    await renew(clocked, stolen)
    clock.offset += timedelta(seconds=11)
    assert (await renew(clocked, stolen)).status_code == 401
    assert (await renew(clocked, other.refresh)).status_code == 200


async def test_twenty_at_once_get_one_successor(
    app: FastAPI, another_worker: FastAPI, tokens: Tokens
) -> None:
    """Twenty tabs on two workers race: the chain grows by one, and all of them stay signed in."""
    workers = [app, another_worker] * 10
    answers = await asyncio.gather(*(renew(worker, tokens.refresh) for worker in workers))
    assert {answer.status_code for answer in answers} == {200}
    (successor,) = {answer.cookies["refresh_token"] for answer in answers}
    assert (await renew(app, successor)).status_code == 200


async def test_a_session_lives_on_from_its_last_use(
    clocked: FastAPI, clock: MovableClock, alice: User
) -> None:
    """Seven days from each rotation, not from the sign-in; unused, it is over."""
    token = (await sign_in_to(clocked, alice.username)).refresh
    for _ in range(3):
        clock.offset += timedelta(days=6)
        answer = await renew(clocked, token)
        assert answer.status_code == 200
        token = answer.cookies["refresh_token"]
    clock.offset += timedelta(days=7, seconds=1)
    late = await renew(clocked, token)
    assert (late.status_code, late.json()["code"]) == (401, "session_ended")


@pytest.mark.parametrize("cookie", ["", "x", "\u00e4", "x" * 4000])
async def test_a_cookie_that_is_no_token_is_refused(
    anonymous: httpx.AsyncClient, cookie: str
) -> None:
    """401 for whatever a cookie can hold."""
    header = f"refresh_token={cookie}".encode("latin-1")
    answer = await anonymous.post("/api/auth/refresh", headers=[(b"Cookie", header)])
    assert answer.status_code == 401


async def test_refreshing_needs_the_cookie(anonymous: httpx.AsyncClient, tokens: Tokens) -> None:
    """A body or a header is not looked at: scripts cannot refresh."""
    answer = await anonymous.post(
        "/api/auth/refresh",
        json={"refresh_token": tokens.refresh},
        headers={"Authorization": f"Bearer {tokens.access}"},
    )
    assert answer.status_code == 401


async def test_an_access_token_is_no_refresh_token(app: FastAPI, tokens: Tokens) -> None:
    """One kind cannot stand for the other, in either place."""
    assert (await renew(app, tokens.access)).status_code == 401
    answer = await me(app, tokens.refresh)
    assert (answer.status_code, answer.json()["code"]) == (401, "invalid_token")


async def test_refresh_tokens_are_not_stored(
    app: FastAPI, database: Database, tokens: Tokens
) -> None:
    """Who reads the database cannot sign in with what they find there."""
    following = (await renew(app, tokens.refresh)).cookies["refresh_token"]
    known = Query("SELECT 1 FROM refresh_tokens WHERE digest = ANY($1::bytea[])", ("digests",))
    async with database.reading() as connection:
        found = await connection.all(known, digests=[tokens.refresh.encode(), following.encode()])
    assert found == []
