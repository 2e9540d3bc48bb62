"""A dump that is restored on another server: all of it is there, and goes on there as before.

Each server counts its transactions itself, and here the one of the dump has counted further.
"""

import subprocess
from collections.abc import AsyncIterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import asyncpg
import httpx
import pytest
from fastapi import FastAPI

from eventmanager.core.config import Settings
from eventmanager.core.embedded import embedded_postgres, programs
from eventmanager.migrations import migrate
from eventmanager.webhooks.dispatching import dispatch
from tests.conftest import User, client_of, register, started
from tests.events.conftest import meeting, share
from tests.sync.conftest import Copy, listing

AHEAD = 3000
LIST = "/api/notifications"


@dataclass(frozen=True)
class Restored:
    """The application on the server that the dump was restored on, and what was known before."""

    app: FastAPI
    url: str
    alice: User
    bob: User
    event_id: str
    untouched: str
    told: list[dict[str, Any]]
    """What Bob had been told."""


def run(program: str, *arguments: str) -> None:
    """Run one of PostgreSQL's programs."""
    command = [str(programs.binaries() / program), *arguments]
    subprocess.run(command, check=True, capture_output=True)


async def count_on(url: str, transactions: int) -> None:
    """Use up numbers of transactions."""
    connection = await asyncpg.connect(url)
    for _ in range(transactions):
        await connection.execute("SELECT pg_current_xact_id()")
    await connection.close()


def there(app: FastAPI, user: User) -> User:
    """Return a user who is signed in at another application."""
    headers = {"Authorization": user.client.headers["Authorization"]}
    return User(user.id, user.username, user.email, client_of(app, headers=headers))


async def told(user: User, after: str | None = None, limit: int = 200) -> Any:
    """Return what a user was told."""
    params: dict[str, Any] = {"limit": limit} | ({"after": after} if after else {})
    answer = await user.client.get(LIST, params=params)
    assert answer.status_code == 200, answer.text
    return answer.json()


@pytest.fixture(scope="module")
async def restored(
    settings: Settings, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Restored]:
    """A service that moved from one server to another while people were using it."""
    place = tmp_path_factory.mktemp("servers")
    with ExitStack() as servers:
        old, new = (
            servers.enter_context(embedded_postgres(place / name, durable=False))
            for name in ("old", "new")
        )
        await migrate(old)
        await count_on(old, AHEAD)
        async with started(settings.model_copy(update={"database_url": old})) as app:
            alice, bob = [await register(app) for _ in range(2)]
            answer = await alice.client.post("/api/events", json=meeting("09:00", "10:00"))
            event_id = answer.json()["id"]
            await share(alice, event_id, bob, "Editor")
            answer = await bob.client.post("/api/events", json=meeting("09:00", "10:00"))
            untouched = answer.json()["id"]
            await bob.client.post("/api/webhooks", json={"url": "https://hooks.example.com/"})
            for title in ("Two", "Three"):
                await alice.client.patch(f"/api/events/{event_id}", json={"title": title})
            before = await told(bob)
            await bob.client.post(f"{LIST}/read", json={"cursor": before[1]["cursor"]})
            await dispatch(app.state.database, datetime.now(UTC))
        run("pg_dump", "-d", old, "-f", str(place / "dump.sql"))
        run("psql", "-q", "-v", "ON_ERROR_STOP=1", "-d", new, "-f", str(place / "dump.sql"))
        await migrate(new)
        async with started(settings.model_copy(update={"database_url": new})) as app:
            alice, bob = there(app, alice), there(app, bob)
            yield Restored(app, new, alice, bob, event_id, untouched, before)


def known(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return messages without their places."""
    return [{name: m[name] for name in m if name != "cursor"} for m in messages]


async def test_what_was_told_before_is_still_there_in_its_order(restored: Restored) -> None:
    """And what was read is read; its cursors are new ones, with which one goes on."""
    bob = restored.bob
    again = await told(bob)
    assert known(again) == known(restored.told)
    assert known(await told(bob, again[0]["cursor"])) == known(restored.told[1:])
    answer = await bob.client.get(f"{LIST}/unread")
    assert answer.json()["unread"] == 1


async def test_changes_are_told_as_before(restored: Restored) -> None:
    """To who polls, and to the webhooks, which hear of nothing that was told before."""
    app, alice, bob = restored.app, restored.alice, restored.bob
    last = (await told(bob))[-1]["cursor"]
    [webhook] = (await bob.client.get("/api/webhooks")).json()
    deliveries = f"/api/webhooks/{webhook['id']}/deliveries"
    before = (await bob.client.get(deliveries)).json()
    await alice.client.patch(f"/api/events/{restored.event_id}", json={"title": "Moved"})
    [message] = await told(bob, last)
    assert message["data"]["changes"] == [{"field": "title", "before": "Three", "after": "Moved"}]
    while await dispatch(app.state.database, datetime.now(UTC)):
        pass
    after = (await bob.client.get(deliveries)).json()
    assert len(after) == len(before) + 1 == 3


async def test_a_sync_finds_everything(restored: Restored) -> None:
    """Of before and of afterwards."""
    bob = restored.bob
    copy = Copy(bob.client)
    assert (await copy.sync())[0] == {restored.event_id, restored.untouched}
    await restored.alice.client.patch(f"/api/events/{restored.event_id}", json={"location": "B"})
    assert (await copy.sync())[0] == {restored.event_id}
    assert copy.events == await listing(bob.client)


async def test_numbers_are_brought_in_line_once(restored: Restored) -> None:
    """A later start finds them so, and nobody's cursors are gone again."""
    last = (await told(restored.bob))[-1]["cursor"]
    await migrate(restored.url)
    assert await told(restored.bob, last) == []


async def test_cursors_from_before_are_gone(restored: Restored) -> None:
    """Even when the new server has counted as far: what came in between would be missed."""
    bob, cursor = restored.bob, restored.told[-1]["cursor"]

    async def refused() -> httpx.Response:
        answer = await bob.client.post(f"{LIST}/read", json={"cursor": cursor})
        assert answer.status_code == 410, answer.text
        return await bob.client.get(LIST, params={"after": cursor})

    assert (await refused()).json()["code"] == "cursor_expired"
    await count_on(restored.url, 2 * AHEAD)
    assert (await refused()).json()["code"] == "cursor_expired"
    fresh = (await bob.client.get(f"{LIST}/unread")).json()["cursor"]
    assert await told(bob, fresh) == []
