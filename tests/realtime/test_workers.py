"""The described flow against the program itself, with two workers, as its users run it."""

import asyncio
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.asyncio.client import ClientConnection, connect

from tests.e2e.conftest import Server, make_database, serving, sign_up
from tests.realtime.conftest import PATH, RedisServer, close_code, told

MEETING = {
    "title": "Shared",
    "start_time": "2027-03-01T09:00:00Z",
    "end_time": "2027-03-01T10:00:00Z",
}


def opened(server: Server, token: str) -> connect:
    """Open a socket with a token; which of the workers takes it is chance."""
    url = f"ws://127.0.0.1:{server.port}{PATH}"
    return connect(url, additional_headers={"Authorization": f"Bearer {token}"}, proxy=None)


class Sharing:
    """An owner who shares one new event after the other with a second user."""

    def __init__(self, server: Server) -> None:
        self.owner = server.client()
        self.other = server.client()
        sign_up(self.owner)
        self.token = sign_up(self.other)
        self.other_id: str = self.other.get("/api/me").json()["id"]
        self.days = iter(range(1, 29))

    def share(self) -> str:
        """Share a new event and return its id."""
        day = f"2027-03-{next(self.days):02}"
        body = {k: v.replace("2027-03-01", day) for k, v in MEETING.items()}
        event_id: str = _answered(self.owner.post("/api/events", json=body))["id"]
        grant = [{"user_id": self.other_id, "role": "Viewer"}]
        _answered(self.owner.post(f"/api/events/{event_id}/share", json=grant))
        return event_id

    async def reaches(self, *sockets: ClientConnection) -> None:
        """Share, and wait for the message on each of the sockets."""
        event_id = await asyncio.to_thread(self.share)
        for socket in sockets:
            message = await told(socket)
            assert message["type"] == "permission_granted"
            assert message["event_id"] == event_id
            assert message["user_id"] == self.other_id

    def close(self) -> None:
        """Close both clients."""
        self.owner.close()
        self.other.close()


def _answered(answer: httpx.Response) -> Any:
    assert answer.status_code == 201, answer.text
    return answer.json()


@pytest.mark.parametrize("redis", [False, True], ids=["without Redis", "with Redis"])
async def test_a_grant_reaches_its_user_whichever_worker_has_the_socket(
    database_url: str, tmp_path: Path, redis: bool, request: pytest.FixtureRequest
) -> None:
    """Eight sockets are spread over the two workers; each hears it, also when Redis goes away."""
    settings = {"DATABASE_URL": await make_database(database_url)}
    redis_server: RedisServer | None = request.getfixturevalue("redis_server") if redis else None
    if redis_server:
        settings["REDIS_URL"] = redis_server.url

    async def scenario(server: Server) -> None:
        sharing = await asyncio.to_thread(Sharing, server)
        sockets = [await opened(server, sharing.token) for _ in range(8)]
        await sharing.reaches(*sockets)
        if redis_server:
            redis_server.kill()
            await sharing.reaches(*sockets)
            redis_server.start()
            await sharing.reaches(*sockets)
        await asyncio.to_thread(sharing.close)
        server.send(signal.SIGTERM)
        assert [await close_code(socket) for socket in sockets] == [1012] * 8
        assert await asyncio.to_thread(server.ended) == 0

    await _with_server(tmp_path, settings, scenario)


async def _with_server(
    directory: Path, settings: dict[str, str], scenario: Callable[[Server], Any]
) -> None:
    """Run a scenario on a server with two workers, without holding up this thread's loop."""
    served = serving(directory, workers=2, **settings)  # type: ignore[arg-type]  # names of settings
    server = await asyncio.to_thread(served.__enter__)
    try:
        await scenario(server)
    finally:
        await asyncio.to_thread(served.__exit__, None, None, None)
