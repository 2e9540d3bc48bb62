"""The client is for programs that have nothing else of ours, and does not bring it in."""

import pydoc
import subprocess
import sys

import pytest

from eventmanager.client import AsyncClient, Client, Unreachable

SERVER_ONLY = {"asyncpg", "fastapi", "redis", "sqlalchemy", "starlette", "uvicorn"}


def test_importing_it_imports_no_server() -> None:
    """Neither ours, whatever features there will be, nor those it is built on."""
    program = "import sys, eventmanager.client; print(*sys.modules)"
    command = [sys.executable, "-c", program]
    said = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout
    modules = set(said.split())
    ours = {name for name in modules if name.startswith("eventmanager.")}
    assert {name for name in ours if not name.startswith("eventmanager.client")} == set()
    assert modules & SERVER_ONLY == set()


async def test_a_closed_client_says_so() -> None:
    """At once; it waits for nobody."""
    async with AsyncClient("http://127.0.0.1:9", access_token="x") as client:
        pass
    with pytest.raises(Unreachable, match="closed"):
        await client.me()
    assert [message async for message in client.notifications(after="x")] == []
    with Client("http://127.0.0.1:9", access_token="x") as waiting:
        pass
    with pytest.raises(Unreachable, match="closed"):
        waiting.me()
    assert list(waiting.notifications(after="x")) == []


def test_methods_say_what_they_do() -> None:
    """`help` shows their documentation, on the class and on a client."""
    with Client("http://127.0.0.1:9") as client:
        assert "Create an event" in (client.events.create.__doc__ or "")
        assert "Create an event" in pydoc.render_doc(type(client.events))
