"""Reminders by email: a job each, which reads again what it is about when it is sent.

Until then, which may be hours if the mail server is away, the occurrence may be over, elsewhere or
cancelled, and its reader may not be one any more: then nothing is sent. If its series was split, it
is as the half says that has it now.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import asyncpg
import structlog

from eventmanager.core.background import Job
from eventmanager.core.database import Database
from eventmanager.core.ids import uuid7
from eventmanager.core.mail import Mail, Outbox
from eventmanager.core.smtp import SmtpServer
from eventmanager.messages.schemas import sentence
from eventmanager.messages.types import NotificationType
from eventmanager.reminders import queries, words

JOB: Final = "mail_reminder"
_log = structlog.get_logger("app")


def payload(row: Mapping[str, Any], *, now: datetime) -> dict[str, Any]:
    """Return what the job is given that mails a reminder which is due `now`."""
    return {
        "mail_id": str(uuid7()),
        "event_id": str(row["event_id"]),
        "user_id": str(row["user_id"]),
        "minutes_before": row["minutes_before"],
        "recurrence_id": row["recurrence_id"].isoformat(),
        "start_time": row["start_time"].isoformat(),
        "written_at": now.isoformat(),
    }


def mailing(server: SmtpServer) -> Job:
    """Return the kind of job that mails a reminder, with the places of a process."""
    outbox = Outbox(server)

    async def mail(db: Database, now: datetime, given: dict[str, Any]) -> None:
        async with db.reading() as read:
            row = await read.first(
                queries.STILL_TRUE,
                now=now,
                event_id=UUID(given["event_id"]),
                user_id=UUID(given["user_id"]),
                minutes_before=given["minutes_before"],
                recurrence_id=datetime.fromisoformat(given["recurrence_id"]),
                start_time=datetime.fromisoformat(given["start_time"]),
            )
        if row is None:
            _log.info("reminder_not_mailed", mail=given["mail_id"], reason="it isn't so any more")
            return
        written = _written(
            row,
            mail_id=UUID(given["mail_id"]),
            written_at=datetime.fromisoformat(given["written_at"]),
            now=now,
        )
        await outbox.send(written, now=now)

    return Job(JOB, mail)


def _written(row: asyncpg.Record, *, mail_id: UUID, written_at: datetime, now: datetime) -> Mail:
    """Return an email as it reads `now`."""
    facts = words.facts(dict(row), now=now)
    zoned = {"time_zone": row["time_zone"], "all_day": row["all_day"]}
    lines = [sentence(NotificationType.REMINDER, facts), ""]
    if not row["all_day"]:
        lines.append(f"Ends: {words.at(row['end_time'], **zoned)}")
    if row["location"]:
        lines.append(f"Where: {row['location']}")
    ahead = words.duration(row["minutes_before"])
    # Whoever has the address need not be who has registered with it.
    lines += [
        "",
        f"You asked to be reminded {ahead} before it starts.",
        f"The account \u201c{row['username']}\u201d asked for this email, and can turn it off in"
        " the reminders of the event. If it is not yours, ask whoever runs the server to"
        " disable it.",
    ]
    return Mail(
        id=mail_id,
        to=row["email"],
        subject=f"{row['title']} {facts['when']}",
        text="".join(" ".join(line.split()) + "\n" for line in lines),
        written_at=written_at,
    )
