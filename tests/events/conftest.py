"""What the tests of events share: bodies, and grants made directly until sharing has routes."""

from collections.abc import Awaitable, Callable
from typing import Any
from uuid import UUID

import pytest

from eventmanager.core.database import Database, Query

_GRANT = Query(
    """
    INSERT INTO grants (event_id, user_id, owner_id, role, start_time, granted_by, created_at)
    SELECT id, $2, owner_id, $3, start_time, owner_id, now() FROM events WHERE id = $1
    """,
    ("event_id", "user_id", "role"),
)

Share = Callable[[str, UUID, str], Awaitable[None]]
Body = dict[str, Any]


def meeting(start: str, end: str, **fields: Any) -> Body:
    """Return the body of an event on 2027-03-10, from `start` to `end` as HH:MM in UTC."""
    return {
        "title": "Meeting",
        "start_time": f"2027-03-10T{start}:00Z",
        "end_time": f"2027-03-10T{end}:00Z",
        **fields,
    }


@pytest.fixture
def share(database: Database) -> Share:
    """Give a user a role on an event."""

    async def give(event_id: str, user_id: UUID, role: str) -> None:
        async with database.reading() as read:
            await read.first(_GRANT, event_id=UUID(event_id), user_id=user_id, role=role)

    return give
