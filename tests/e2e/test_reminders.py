"""A reminder as its user gets it: on time, once, from several processes, by message and by mail."""

import asyncio
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from tests.conftest import timed
from tests.e2e.conftest import make_database, serving, sign_up, wait_for
from tests.mail_server import mailbox


def _remind(
    directory: Path, database_url: str, smtp_url: str
) -> tuple[datetime, list[dict[str, Any]]]:
    """Have an event that starts soon, and return when its reminder was due and what was told."""
    sender = "Events <events@example.com>"
    with (
        serving(
            directory, workers=2, DATABASE_URL=database_url, SMTP_URL=smtp_url, MAIL_FROM=sender
        ) as server,
        server.client() as client,
    ):
        sign_up(client)
        start = datetime.now(UTC) + timedelta(minutes=1, seconds=2)
        body = {
            "title": "Standup",
            "start_time": start.isoformat(),
            "end_time": (start + timedelta(minutes=15)).isoformat(),
            "reminders": [
                {"minutes_before": 1, "channel": "notification"},
                {"minutes_before": 1, "channel": "email"},
            ],
        }
        answer = client.post("/api/events", json=body)
        assert answer.status_code == 201, answer.text

        def told() -> list[dict[str, Any]]:
            found = client.get("/api/notifications").json()
            return [item for item in found if item["type"] == "reminder"]

        wait_for(lambda: bool(told()), what="for the reminder")
        # Both workers look every second, so a second one would have come by then.
        time.sleep(2.5)
        return start - timedelta(minutes=1), told()


@timed
async def test_it_comes_once_and_within_five_seconds(tmp_path: Path, database_url: str) -> None:
    """That is what a reminder is for; two workers that both look must not both tell."""
    url = await make_database(database_url)
    async with mailbox() as box:
        due, told = await asyncio.to_thread(_remind, tmp_path, url, box.url)
    [item] = told
    at = datetime.fromisoformat(item["occurred_at"])
    assert due <= at < due + timedelta(seconds=5)
    [mail] = box.mails
    assert mail["Subject"].startswith("Standup starts in 1 minute (")
    assert mail["From"] == "Events <events@example.com>"
    assert mail["Date"].datetime < due + timedelta(seconds=5)
