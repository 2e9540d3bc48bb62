"""One real, migrated PostgreSQL and one application for the whole run.

Tests keep out of each other's way by making users of their own: all data belongs to an owner.
"""

import asyncio
import itertools
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, nullcontext
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import hypothesis
import pytest
from fastapi import FastAPI
from pydantic import SecretStr

from eventmanager import app as composition
from eventmanager.accounts.passwords import Passwords
from eventmanager.app import create_app
from eventmanager.core import logging
from eventmanager.core.clock import Clock, SystemClock
from eventmanager.core.config import Settings
from eventmanager.core.database import Database
from eventmanager.core.embedded import embedded_postgres
from eventmanager.migrations import migrate

# How fast examples come and run says something of the machine, and nothing of what they show.
hypothesis.settings.register_profile(
    "suite", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("suite")

PASSWORD = "correct horse battery staple"
timed = pytest.mark.flaky(reruns=2, only_rerun=["AssertionError", "TimeoutError"])
"""For a test that holds what is promised against the clock, and for no other.

A machine that had something else to do breaks such a promise once; we do so every time.
"""
_numbers = itertools.count(1)


BUSY = ("tests/e2e/test_serve.py", "tests/postman/", "tests/e2e/")
WAITING = ("tests/realtime/", "tests/client/", "tests/core/", "tests/webhooks/")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files that take longest, each that is busy beside one that mostly waits.

    `make test` hands out whole files, in order. So the processors have enough to do at any time,
    but not too much, and no process is left alone with a long file when the others have finished.
    """

    def file_of(item: pytest.Item) -> str:
        return item.nodeid.partition("::")[0]

    def those(prefixes: tuple[str, ...]) -> list[str]:
        return list(dict.fromkeys(f for prefix in prefixes for f in files if f.startswith(prefix)))

    files = list(dict.fromkeys(map(file_of, items)))
    pairs = itertools.zip_longest(those(BUSY), those(WAITING))
    order = {file: n for n, file in enumerate(itertools.chain(*pairs))}
    items.sort(key=lambda item: order.get(file_of(item), len(order)))


class MovableClock:
    """The system's clock plus an offset that a test sets."""

    def __init__(self) -> None:
        self.offset = timedelta()

    def now(self) -> datetime:
        """Return the shifted instant."""
        return SystemClock().now() + self.offset


@dataclass
class User:
    """A registered user and a client that is signed in as them."""

    id: UUID
    username: str
    email: str
    client: httpx.AsyncClient


@pytest.fixture(scope="session")
def database_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A migrated database: `TEST_DATABASE_URL`, or an embedded PostgreSQL that does not fsync."""
    given = os.environ.get("TEST_DATABASE_URL")
    directory = tmp_path_factory.mktemp("postgres")
    server = nullcontext(given) if given else embedded_postgres(directory, durable=False)
    with server as url:
        asyncio.run(migrate(url))
        yield url


@pytest.fixture(scope="session")
def settings(database_url: str, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """Settings for the tests' applications; nothing is read from the environment's `.env`."""
    directory: Path = tmp_path_factory.mktemp("data")
    return Settings(
        _env_file=None,
        database_url=database_url,
        redis_url="",
        access_token_secret=SecretStr("a" * 20 + "for-tests-only-access"),
        refresh_token_secret=SecretStr("r" * 20 + "for-tests-only-refresh"),
        rate_limit_enabled=False,
        background_tasks=False,
        data_dir=directory / "data",
        log_dir=directory / "logs",
    )


@pytest.fixture(scope="session", autouse=True)
def quick_passwords() -> Iterator[None]:
    """Hashes that cost next to nothing: thousands of users are made, and nobody guesses theirs."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(composition, "Passwords", partial(Passwords, memory_kib=64))
        yield


@pytest.fixture(scope="session")
async def app(settings: Settings) -> AsyncIterator[FastAPI]:
    """The application, started."""
    logging.configure(settings.log_dir, level="INFO", stdout=False)
    async with started(settings) as app:
        yield app


@asynccontextmanager
async def started(settings: Settings, *, clock: Clock | None = None) -> AsyncIterator[FastAPI]:
    """Start an application of one's own, with a clock of one's own."""
    app = create_app(settings, clock=clock)
    async with app.router.lifespan_context(app):
        yield app


def client_of(app: FastAPI, **kwargs: Any) -> httpx.AsyncClient:
    """Return a client that talks to `app` in process."""
    transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
    return httpx.AsyncClient(transport=transport, base_url="https://testserver", **kwargs)


@pytest.fixture
async def anonymous(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    """A client that is not signed in."""
    async with client_of(app) as client:
        yield client


@pytest.fixture
async def database(app: FastAPI) -> Database:
    """The application's database."""
    database: Database = app.state.database
    return database


MakeUser = Callable[..., Awaitable[User]]


async def register(app: FastAPI, username: str | None = None) -> User:
    """Register a new user and return them signed in."""
    name = username or f"user{next(_numbers)}.{os.getpid()}"
    client = client_of(app)
    answer = await client.post(
        "/api/auth/register",
        json={"username": name, "email": f"{name}@example.com", "password": PASSWORD},
    )
    assert answer.status_code == 201, answer.text
    client.headers["Authorization"] = f"Bearer {answer.json()['access_token']}"
    me = (await client.get("/api/me")).json()
    return User(UUID(me["id"]), name, me["email"], client)


@pytest.fixture
async def make_user(app: FastAPI) -> AsyncIterator[MakeUser]:
    """Registers users on demand and closes their clients afterwards."""
    made: list[User] = []

    async def make(username: str | None = None) -> User:
        made.append(await register(app, username))
        return made[-1]

    yield make
    for user in made:
        await user.client.aclose()


@pytest.fixture
async def alice(make_user: MakeUser) -> User:
    """A user."""
    return await make_user()


@pytest.fixture
async def bob(make_user: MakeUser) -> User:
    """Another user."""
    return await make_user()
