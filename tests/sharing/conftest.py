"""What the tests of sharing share."""

from typing import Any
from uuid import UUID

import pytest

from eventmanager.core.database import Database, Query
from tests.conftest import User
from tests.events.conftest import meeting

_AUDITED = Query(
    "SELECT act, user_id, subject_id, details, address, request_id"
    " FROM audit_log WHERE event_id = $1 AND act LIKE 'permission%' ORDER BY id",
    ("event_id",),
)


@pytest.fixture
async def event(alice: User) -> str:
    """The address of an event of Alice's."""
    return await create(alice)


async def create(user: User) -> str:
    """Create an event and return its address."""
    answer = await user.client.post("/api/events", json=meeting("10:00", "11:00"))
    return str(answer.headers["Location"])


async def share(user: User, event: str, *shares: dict[str, Any]) -> int:
    """Share an event and return the status."""
    return (await user.client.post(f"{event}/share", json=list(shares))).status_code


def grant(user: User, role: str = "Viewer") -> dict[str, str]:
    """Return what shares an event with a user."""
    return {"user_id": str(user.id), "role": role}


def id_of(event: str) -> UUID:
    """Return the id in an event's address."""
    return UUID(event.rpartition("/")[2])


async def log(reader: User, event: str) -> list[dict[str, Any]]:
    """Return the log of an event's grants."""
    answer = await reader.client.get(f"{event}/permissions/history")
    assert answer.status_code == 200, answer.text
    entries: list[dict[str, Any]] = answer.json()
    return entries


async def audited(database: Database, event: str) -> list[dict[str, Any]]:
    """Return what the audit log has on an event's grants."""
    async with database.reading() as read:
        rows = await read.all(_AUDITED, event_id=id_of(event))
    return [dict(row) for row in rows]
