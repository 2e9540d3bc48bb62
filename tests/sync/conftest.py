"""A client that keeps a copy, as the documentation tells it to."""

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import asyncpg
import httpx
import pytest

Json: TypeAlias = dict[str, Any]
Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"


@dataclass
class Copy:
    """What a client has of a user's events, and where its next sync goes on."""

    client: httpx.AsyncClient
    events: dict[str, Json] = field(default_factory=dict)
    token: str | None = None
    pages: int = 0

    async def sync(
        self, *, limit: int = 100, between: Callable[[], Awaitable[object]] | None = None
    ) -> tuple[set[str], set[str]]:
        """Apply all pages and return the ids that changed and that were removed.

        `between` is done after every page but the last.
        """
        changed: set[str] = set()
        removed: set[str] = set()
        self.pages = 0
        params: dict[str, str | int] = {"limit": limit}
        if self.token is not None:
            params["sync_token"] = self.token
        while True:
            answer = await self.client.get("/api/sync", params=params)
            assert answer.status_code == 200, answer.text
            page = answer.json()
            self.pages += 1
            assert len(page["changed"]) + len(page["removed"]) <= limit
            for event in page["changed"]:
                self.events[event["id"]] = event
                changed.add(event["id"])
            for event_id in page["removed"]:
                self.events.pop(event_id, None)
                removed.add(event_id)
            assert (page["next_page"] is None) == (page["sync_token"] is not None)
            assert (page["next_page"] is None) == ("next" not in answer.links)
            if page["next_page"] is None:
                self.token = page["sync_token"]
                return changed, removed
            params = {"limit": limit, "cursor": page["next_page"]}
            if between is not None:
                await between()


async def listing(client: httpx.AsyncClient) -> dict[str, Json]:
    """Return what the list of events shows, by id."""
    found: dict[str, Json] = {}
    url: str | None = "/api/events?limit=200"
    while url is not None:
        answer = await client.get(url)
        assert answer.status_code == 200, answer.text
        found |= {event["id"]: event for event in answer.json()}
        url = answer.links.get("next", {}).get("url")
    return found


@pytest.fixture
async def aside(database_url: str) -> AsyncIterator[Connection]:
    """A connection of one's own, beside the application's."""
    connection = await asyncpg.connect(database_url)
    try:
        yield connection
    finally:
        await connection.close()


async def retitle(connection: Connection, event_id: str, title: str) -> None:
    """Change an event's title as the application does, in whatever transaction is open."""
    await connection.execute(
        """
        WITH e AS (
            UPDATE events SET title = $2, version = version + 1 WHERE id = $1 RETURNING *
        )
        INSERT INTO versions (event_id, version, id, owner_id, operation, data, timestamp)
        SELECT e.id, e.version, gen_random_uuid(), e.owner_id, 'update',
               CAST(CAST(v.data AS jsonb)
                    || jsonb_build_object('title', e.title, 'version', e.version) AS json),
               now()
        FROM e JOIN versions v ON v.event_id = e.id AND v.version = e.version - 1
        """,
        event_id,
        title,
    )
