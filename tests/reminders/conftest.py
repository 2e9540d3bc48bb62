"""What the tests of reminders share: events in the near future, and looks at made-up instants."""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from eventmanager.core.database import Database
from eventmanager.reminders import service
from tests.conftest import User
from tests.events.conftest import Body

SOON = datetime.now(UTC).replace(microsecond=0) + timedelta(hours=3)
"""When the events of these tests start, unless they say otherwise."""


PER_HOUR = 3
"""How many emails a user gets in an hour."""


def minutes(count: float) -> timedelta:
    """Return so many minutes."""
    return timedelta(minutes=count)


def told(*wanted: int, channel: str = "notification") -> list[Body]:
    """Return reminders of so many minutes before."""
    return [{"minutes_before": count, "channel": channel} for count in wanted]


async def event(user: User, *wanted: int, at: datetime = SOON, **fields: Any) -> Body:
    """Create an event of an hour with reminders, and return it."""
    body = {
        "title": "Standup",
        "start_time": at.isoformat(),
        "end_time": (at + timedelta(hours=1)).isoformat(),
        "reminders": told(*wanted),
        **fields,
    }
    answer = await user.client.post("/api/events", params={"on_conflict": "allow"}, json=body)
    assert answer.status_code == 201, answer.text
    created: Body = answer.json()
    return created


async def changed(user: User, event_id: str, path: str = "", **fields: Any) -> Body:
    """Change an event and return what is answered."""
    answer = await user.client.patch(f"/api/events/{event_id}{path}", json=fields)
    assert answer.status_code == 200, answer.text
    found: Body = answer.json()
    return found


async def moved(user: User, event_id: str, start: datetime, path: str = "") -> None:
    """Have an event, or the occurrence at `path`, take an hour from another start on."""
    times = {"start_time": start.isoformat(), "end_time": (start + timedelta(hours=1)).isoformat()}
    await changed(user, event_id, path, **times)


async def reminded(user: User) -> list[Body]:
    """Return what the user was reminded of, in order."""
    answer = await user.client.get("/api/notifications", params={"limit": 500})
    assert answer.status_code == 200, answer.text
    return [item["data"] for item in answer.json() if item["type"] == "reminder"]


Look = Callable[[datetime], Awaitable[None]]


@pytest.fixture
def look(database: Database) -> Look:
    """Looks for what is due at an instant, as every working process does every second."""

    async def at(now: datetime) -> None:
        while await service.remind(database, now, emails_per_hour=PER_HOUR):
            pass

    return at
