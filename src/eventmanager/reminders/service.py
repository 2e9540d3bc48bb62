"""Setting reminders, and telling of those that are due.

Every process that works looks every second. It locks what it takes and tells of it in the same
transaction; whatever others have locked it passes over. So each reminder is told of once, and what
a process that died was about to tell is told by the next.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import asyncpg
import orjson
import structlog

from eventmanager.core.background import enqueue
from eventmanager.core.database import Database, Transaction
from eventmanager.core.errors import Invalid
from eventmanager.core.ids import EventId, UserId, uuid7
from eventmanager.core.time import rfc3339
from eventmanager.messages.schemas import sentence
from eventmanager.messages.types import NotificationType
from eventmanager.reminders import mailing, queries, words
from eventmanager.reminders.models import Channel
from eventmanager.reminders.schemas import Reminder
from eventmanager.webhooks import service as webhooks

_log = structlog.get_logger("app")


def check(reminders: Sequence[Reminder], *, mail: bool, loc: Sequence[str | int]) -> None:
    """Raise `Invalid` for an email where this server sends none."""
    for number, reminder in enumerate(reminders):
        if reminder.channel is Channel.EMAIL and not mail:
            raise Invalid(
                "This server sends no email (SMTP_URL is not set)",
                loc=(*loc, "reminders", number, "channel"),
                type="email_is_off",
            )


async def set_reminders(
    tx: Transaction,
    *,
    caller_id: UserId,
    event_id: EventId,
    reminders: Sequence[Reminder],
    now: datetime,
) -> None:
    """Replace the caller's reminders of an event that the transaction has locked."""
    await tx.first(
        queries.SET,
        caller_id=caller_id,
        event_id=event_id,
        minutes_before=[item.minutes_before for item in reminders],
        channels=[item.channel for item in reminders],
        now=now,
    )


def written(reminders: Sequence[Reminder]) -> list[dict[str, Any]]:
    """Return reminders as clients and statements read them, in the order of `REMINDERS_OF_E`."""
    found = [item.model_dump(mode="json") for item in reminders]
    return sorted(found, key=lambda item: (item["minutes_before"], item["channel"]))


async def remind(db: Database, now: datetime, *, emails_per_hour: int) -> bool:
    """Tell of the occurrences whose reminders are due, and return whether there may be more.

    Email is for a process that knows how to send it, which this one need not be. No user gets more
    of it than so many: nobody has confirmed that an address is the user's own.
    """

    async def work(tx: Transaction) -> bool:
        taken = await tx.all(queries.TAKE, now=now)
        if not taken:
            return False
        due = await tx.all(
            queries.LOOK,
            now=now,
            event_ids=[row["event_id"] for row in taken],
            user_ids=[row["user_id"] for row in taken],
            minutes_before=[row["minutes_before"] for row in taken],
            channels=[row["channel"] for row in taken],
        )
        await _tell(tx, due, now=now, emails_per_hour=emails_per_hour)
        return len(taken) >= queries.BATCH

    return await db.transaction(work)


async def _tell(
    tx: Transaction, due: Sequence[asyncpg.Record], *, now: datetime, emails_per_hour: int
) -> None:
    """Tell of what is due, each on its channel."""
    # Readers who are told of the same are told by one message.
    messages: dict[tuple[Any, ...], dict[str, Any]] = {}
    posts, mails = [], defaultdict(list)
    for row in due:
        key = (row["event_id"], row["recurrence_id"], row["minutes_before"])
        if row["channel"] == Channel.NOTIFICATION:
            if key not in messages:
                messages[key] = _message(row, now=now)
            messages[key]["recipients"].append(row["user_id"])
        elif row["channel"] == Channel.WEBHOOK:
            posts.append((row["user_id"], _notification(row, now=now)))
        else:
            mails[row["user_id"]].append(mailing.payload(dict(row), now=now))
    if messages:
        staged = orjson.dumps([*messages.values()], default=str)
        await tx.first(queries.TELL, now=now, messages=staged)
    await webhooks.notify(tx, posts, type=NotificationType.REMINDER, now=now)
    allowed = await _allowed(tx, mails, now=now, emails_per_hour=emails_per_hour)
    # A mail that is late says less, and a mail is soon sent.
    await enqueue(tx, mailing.JOB, allowed, is_urgent=True)


async def _allowed(
    tx: Transaction,
    mails: Mapping[UUID, Sequence[dict[str, Any]]],
    *,
    now: datetime,
    emails_per_hour: int,
) -> list[dict[str, Any]]:
    """Return what each user may still get of these mails in this hour."""
    if not mails:
        return []
    allowed: list[dict[str, Any]] = []
    counts = [len(of_user) for of_user in mails.values()]
    for row in await tx.all(queries.COUNT_MAILS, user_ids=[*mails], mails=counts, now=now):
        of_user = mails[row["user_id"]]
        before = row["mails"] - len(of_user)
        allowed += of_user[: max(0, emails_per_hour - before)]
        if before <= emails_per_hour < row["mails"]:
            _log.warning("reminders_not_mailed", user_id=row["user_id"], limit=emails_per_hour)
    return allowed


def _message(row: asyncpg.Record, *, now: datetime) -> dict[str, Any]:
    return {
        "id": uuid7(),
        "recipients": [],
        "owner_id": row["owner_id"],
        "event_id": row["event_id"],
        "data": words.facts(dict(row), now=now),
    }


def _notification(row: asyncpg.Record, *, now: datetime) -> dict[str, Any]:
    """Return a reminder as a notification reads, but for its cursor, since it is none."""
    facts = words.facts(dict(row), now=now)
    return {
        "id": uuid7(),
        "type": NotificationType.REMINDER,
        "event_id": row["event_id"],
        "initiator_id": None,
        "message": sentence(NotificationType.REMINDER, facts),
        "occurred_at": rfc3339(now),
        "data": facts,
    }
