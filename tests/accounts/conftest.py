"""Admins, other workers, clocks that move, clients that hold a refresh token, and the audit log."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from eventmanager.accounts import service
from eventmanager.core.config import Settings
from eventmanager.core.database import Database, Query
from tests.conftest import PASSWORD, MakeUser, MovableClock, User, client_of, started


async def renew(app: FastAPI, token: str) -> httpx.Response:
    """Refresh with this token in the cookie, from a browser that has no other."""
    async with client_of(app, headers={"Cookie": f"refresh_token={token}"}) as browser:
        return await browser.post("/api/auth/refresh")


async def me(app: FastAPI, access_token: str) -> httpx.Response:
    """Ask an application who the owner of an access token is."""
    async with client_of(app, headers={"Authorization": f"Bearer {access_token}"}) as client:
        return await client.get("/api/me")


_ENTRIES = Query("SELECT * FROM audit_log WHERE request_id = $1 ORDER BY id", ("request_id",))


async def entered(database: Database, request_id: str) -> list[dict[str, Any]]:
    """Return the entries that a request left in the audit log."""
    async with database.reading() as read:
        rows = await read.all(_ENTRIES, request_id=request_id)
    return [{**row, "details": json.loads(row["details"])} for row in rows]


def written(settings: Settings, log: str) -> list[dict[str, Any]]:
    """Return the lines of one log."""
    lines = (settings.log_dir / f"{log}.log").read_text().splitlines()
    return [json.loads(line) for line in lines]


@dataclass
class Tokens:
    """What a sign-in gave."""

    access: str
    refresh: str


SignIn = Callable[..., Awaitable[Tokens]]


async def sign_in_to(app: FastAPI, username: str, password: str = PASSWORD) -> Tokens:
    """Begin one more session of a user."""
    async with client_of(app) as client:
        answer = await client.post(
            "/api/auth/login", json={"username": username, "password": password}
        )
    assert answer.status_code == 200, answer.text
    return Tokens(answer.json()["access_token"], answer.cookies["refresh_token"])


@pytest.fixture
async def tokens(app: FastAPI, alice: User) -> Tokens:
    """Begin a second session of Alice."""
    return await sign_in_to(app, alice.username)


@pytest.fixture
async def admin(app: FastAPI, make_user: MakeUser) -> User:
    """Make an Admin and sign them in."""
    user = await make_user()
    name = f"admin-{user.username}"
    await service.create_user(
        app.state.database,
        username=name,
        email=f"{name}@example.com",
        password=PASSWORD,
        admin=True,
        passwords=app.state.passwords,
        now=app.state.clock.now(),
    )
    access = (await sign_in_to(app, name)).access
    user.client.headers["Authorization"] = f"Bearer {access}"
    profile = (await user.client.get("/api/me")).json()
    return User(type(user.id)(profile["id"]), name, profile["email"], user.client)


@pytest.fixture(scope="session")
async def another_worker(settings: Settings) -> AsyncIterator[FastAPI]:
    """Start a second application over the same database, as a second worker would."""
    async with started(settings) as app:
        yield app


@pytest.fixture
def clock() -> MovableClock:
    """Return the clock of `clocked`."""
    return MovableClock()


@pytest.fixture
async def clocked(settings: Settings, clock: MovableClock) -> AsyncIterator[FastAPI]:
    """Start an application over the same database whose clock the test moves."""
    async with started(settings, clock=clock) as app:
        yield app
