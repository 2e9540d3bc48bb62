"""Receivers on loopback, and a worker whose every step a test takes itself."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import orjson
import pytest
from fastapi import FastAPI

from eventmanager.core.background import Postponed
from eventmanager.core.background.queue import enqueue
from eventmanager.core.config import Settings
from eventmanager.core.database import Database, Query, Transaction
from eventmanager.webhooks.connecting import Lookups
from eventmanager.webhooks.delivering import JOB, Deliverer
from eventmanager.webhooks.dispatching import dispatch
from eventmanager.webhooks.lanes import Lanes
from tests.conftest import User, register, started

PATIENCE_SECONDS = 20.0
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


def answering(status: int, *headers: str, body: str = "") -> bytes:
    """Return an HTTP answer."""
    lines = [f"HTTP/1.1 {status} Whatever", f"Content-Length: {len(body)}", *headers, "", body]
    return "\r\n".join(lines).encode()


@dataclass
class Received:
    """One request as the receiver has it."""

    target: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body, read."""
        return orjson.loads(self.body)


@dataclass
class Receiver:
    """A web server that notes what it is sent and answers what it is told to, 200 by default.

    An answer of None leaves the client waiting.
    """

    port: int = 0
    received: list[Received] = field(default_factory=list)
    answers: list[bytes | None] = field(default_factory=list)
    connections: int = 0
    _news: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def url(self) -> str:
        """Where it takes webhooks."""
        return f"http://127.0.0.1:{self.port}/hook?room=1"

    async def until(self, count: int) -> list[Received]:
        """Wait until so many requests have come."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            while len(self.received) < count:
                self._news.clear()
                await self._news.wait()
        return self.received

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Take one request of a connection."""
        self.connections += 1
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
            headers = {
                name.lower(): value
                for name, _, value in (line.partition(": ") for line in head[1:] if line)
            }
            body = await reader.readexactly(int(headers["content-length"]))
            self.received.append(Received(head[0].split(" ")[1], headers, body))
            self._news.set()
            answer = self.answers.pop(0) if self.answers else OK
            if answer is None:
                await reader.read()
            else:
                writer.write(answer)
                await writer.drain()
        writer.close()


@asynccontextmanager
async def receiving(host: str = "127.0.0.1") -> AsyncIterator[Receiver]:
    """Run a receiver."""
    receiver = Receiver()
    server = await asyncio.start_server(receiver.serve, host, 0)
    receiver.port = server.sockets[0].getsockname()[1]
    async with server:
        yield receiver
        server.close()


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    """A receiver on loopback."""
    async with receiving() as receiver:
        yield receiver


@pytest.fixture(scope="module")
async def intranet(settings: Settings) -> AsyncIterator[FastAPI]:
    """An application whose webhooks may lead to loopback; it does no work beside the requests."""
    given = settings.model_copy(update={"webhook_allow_private": True})
    async with started(given) as app:
        yield app


@pytest.fixture
async def ada(intranet: FastAPI) -> AsyncIterator[User]:
    """A user of the intranet."""
    user = await register(intranet)
    yield user
    await user.client.aclose()


@pytest.fixture
async def ben(intranet: FastAPI) -> AsyncIterator[User]:
    """Another user of the intranet."""
    user = await register(intranet)
    yield user
    await user.client.aclose()


TAKE = Query("DELETE FROM pgqueuer WHERE entrypoint = $1 RETURNING payload", ("entrypoint",))


@dataclass
class Steps:
    """What workers do, one step at a time, with the very code that they run."""

    database: Database
    deliverer: Deliverer

    async def dispatch(self) -> None:
        """Make deliveries of all messages that are settled."""
        while await dispatch(self.database, datetime.now(UTC)):
            pass

    async def jobs(self) -> list[dict[str, Any]]:
        """Take all jobs out of the queue, whenever they are due."""
        async with self.database.reading() as read:
            rows = await read.all(TAKE, entrypoint=JOB)
        return [orjson.loads(row["payload"]) for row in rows]

    async def attempt(self, *, at: datetime | None = None) -> None:
        """Do all jobs that are in the queue, at a time of the test's own, each once."""
        for job in await self.jobs():
            await self.do(job, at=at)

    async def do(self, job: dict[str, Any], *, at: datetime | None = None) -> None:
        """Do one job; one that is postponed goes back into the queue."""
        try:
            await self.deliverer.deliver(self.database, at or datetime.now(UTC), job)
        except Postponed:

            async def put_back(tx: Transaction) -> None:
                await enqueue(tx, JOB, [job])

            await self.database.transaction(put_back)

    async def deliver(self, *, at: datetime | None = None) -> None:
        """Dispatch, and attempt."""
        await self.dispatch()
        await self.attempt(at=at)


@pytest.fixture
async def steps(intranet: FastAPI) -> Steps:
    """The worker's steps, with nothing left in the queue by other tests."""
    deliverer = Deliverer(Lanes(), Lookups(64), allow_private=True)
    steps = Steps(intranet.state.database, deliverer)
    await steps.dispatch()
    await steps.jobs()
    return steps


async def webhook_of(user: User, url: str, **more: Any) -> Any:
    """Create a webhook."""
    answer = await user.client.post("/api/webhooks", json={"url": url, **more})
    assert answer.status_code == 201, answer.text
    return answer.json()


async def deliveries_of(user: User, webhook: Any, **query: str) -> Any:
    """Return what was posted to a webhook, the latest first."""
    answer = await user.client.get(f"/api/webhooks/{webhook['id']}/deliveries", params=query)
    assert answer.status_code == 200, answer.text
    return answer.json()


_EVENT = {"start_time": "2030-01-01T09:00:00Z", "end_time": "2030-01-01T10:00:00Z"}


async def event_of(user: User, title: str = "Standup") -> Any:
    """Create an event that takes no time."""
    answer = await user.client.post(
        "/api/events", json=_EVENT | {"title": title, "transparency": "transparent"}
    )
    assert answer.status_code == 201, answer.text
    return answer.json()
