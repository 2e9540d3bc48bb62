"""Real servers on loopback, and a line to them that can be cut."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Unpack

import httpx
import pytest

from eventmanager.client import AsyncClient, Client
from eventmanager.client.client import Options
from tests.conftest import PASSWORD, User
from tests.realtime.conftest import Worker, aside, here

__all__ = ["aside", "here"]


class Line:
    """What lies between a client and a server; it can be cut, and lose what is on it."""

    def __init__(self, port: int) -> None:
        self._server_port = port
        self._writers: set[asyncio.StreamWriter] = set()
        self.is_down = False
        self.loses_answers = 0
        self.connections = 0
        self.port = 0

    @property
    def url(self) -> str:
        """Where it begins."""
        return f"http://127.0.0.1:{self.port}"

    def cut(self) -> None:
        """Abort all connections, with what is on its way."""
        for writer in list(self._writers):
            writer.transport.abort()

    async def carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Carry one connection to the server and back."""
        self._writers.add(writer)
        self.connections += 1
        try:
            if self.is_down:
                return
            there, back = await asyncio.open_connection("127.0.0.1", self._server_port)
            async with asyncio.TaskGroup() as both:
                both.create_task(self._copy(reader, back))
                both.create_task(self._copy(there, writer, is_answer=True))
        finally:
            self._writers.discard(writer)
            writer.transport.abort()

    async def _copy(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        *,
        is_answer: bool = False,
    ) -> None:
        try:
            while chunk := await reader.read(65536):
                if is_answer and self.loses_answers:
                    self.loses_answers -= 1
                    break
                writer.write(chunk)
                await writer.drain()
        except ConnectionError:
            pass
        writer.transport.abort()


@asynccontextmanager
async def line_to(port: int) -> AsyncIterator[Line]:
    """Lay a line to a server on this machine."""
    line = Line(port)
    server = await asyncio.start_server(line.carry, "127.0.0.1", 0)
    async with server:
        line.port = server.sockets[0].getsockname()[1]
        yield line
        server.close()
        line.cut()


@pytest.fixture
async def line(here: Worker) -> AsyncIterator[Line]:
    """A line to the tests' server."""
    async with line_to(here.port) as line:
        yield line


def options(user: User, **more: Unpack[Options]) -> Options:
    """Return what a client of the user is made with."""
    return {"username": user.username, "password": PASSWORD, "trust_env": False, **more}


@pytest.fixture
async def client(here: Worker, alice: User) -> AsyncIterator[AsyncClient]:
    """A client of Alice's."""
    async with AsyncClient(f"http://127.0.0.1:{here.port}", **options(alice)) as client:
        yield client


@pytest.fixture
def waiting(here: Worker, alice: User) -> Client:
    """A client of Alice's that waits, for use in a thread beside the server's."""
    return Client(f"http://127.0.0.1:{here.port}", **options(alice))


async def granted(at: Worker, user: User, **more: Unpack[Options]) -> Options:
    """Return what a client is made with that has only tokens of the user's."""
    async with at.client(user) as client:
        form = {"grant_type": "password", "username": user.username, "password": PASSWORD}
        answer = await client.post("/api/auth/token", data=form)
    said = answer.json()
    return {
        "access_token": said["access_token"],
        "refresh_token": said["refresh_token"],
        "trust_env": False,
        **more,
    }


def bearer(token: str | None) -> httpx.Headers:
    """Return the headers of a request with an access token."""
    return httpx.Headers({"Authorization": f"Bearer {token}"})
