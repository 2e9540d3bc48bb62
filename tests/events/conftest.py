"""What the tests of events share."""

from typing import Any

from tests.conftest import User

Body = dict[str, Any]


def meeting(start: str, end: str, **fields: Any) -> Body:
    """Return the body of an event on 2027-03-10, from `start` to `end` as HH:MM in UTC."""
    return {
        "title": "Meeting",
        "start_time": f"2027-03-10T{start}:00Z",
        "end_time": f"2027-03-10T{end}:00Z",
        **fields,
    }


async def share(owner: User, event_id: str, user: User, role: str) -> None:
    """Give a user a role on an event."""
    body = [{"user_id": str(user.id), "role": role}]
    answer = await owner.client.post(f"/api/events/{event_id}/share", json=body)
    assert answer.status_code == 201, answer.text
