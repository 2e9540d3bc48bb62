"""Deliveries: made in somebody's transaction, attempted by jobs, and their outcome written down.

A job that dies in the middle is taken again, so a receiver may get a delivery more than once, each
time with the same `webhook-id`. Deliveries are in no order.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, Literal
from uuid import UUID

import asyncpg
import orjson

from eventmanager.core.background import Job, Postponed, enqueue
from eventmanager.core.database import Database, Transaction
from eventmanager.core.ids import uuid7
from eventmanager.core.time import rfc3339
from eventmanager.webhooks import queries
from eventmanager.webhooks.connecting import GuardedNetwork, Lookups, TooManyLookups
from eventmanager.webhooks.lanes import Lanes
from eventmanager.webhooks.retrying import TRIED_FOR, next_pause
from eventmanager.webhooks.sending import Outcome, Sender
from eventmanager.webhooks.signing import sign

JOB: Final = "deliver_webhook"
ATTEMPTS_KEPT: Final = 50
BACKLOG_MAX: Final = 10_000
"""How many deliveries may wait for a webhook, whether its receiver fails or is only slow."""
OVERDUE: Final = TRIED_FOR + timedelta(hours=1)
"""After how long nothing is waited for any more: the last attempt may have had to wait."""
_NEARLY_A_DAY: Final = timedelta(hours=20)
_GONE: Final = 410
_LOOKUPS: Final = 64
_LOOKUPS_OF_EACH: Final = 8
_LOOKED_UP_AFTER: Final = timedelta(seconds=5)
_AT_ONCE: Final = 1000


@dataclass(frozen=True, slots=True)
class Draft:
    """A delivery to be made; `notification` is JSON."""

    webhook_id: UUID
    message_id: UUID
    type: str
    occurred_at: datetime
    notification: bytes

    @property
    def body(self) -> bytes:
        """What is signed and sent."""
        head = orjson.dumps({"type": self.type, "timestamp": rfc3339(self.occurred_at)})
        return b'%b,"data":%b}' % (head[:-1], self.notification)


async def make(tx: Transaction, drafts: Sequence[Draft], *, now: datetime) -> list[UUID]:
    """Make deliveries that are attempted once `tx` is committed; those made before stay alone.

    A webhook for which too many wait is disabled.
    """
    if not drafts:
        return []
    made = []
    for start in range(0, len(drafts), _AT_ONCE):
        part = drafts[start : start + _AT_ONCE]
        rows = await tx.all(
            queries.DELIVERIES,
            ids=[uuid7() for _ in part],
            webhook_ids=[draft.webhook_id for draft in part],
            message_ids=[draft.message_id for draft in part],
            types=[draft.type for draft in part],
            bodies=[draft.body for draft in part],
            now=now,
        )
        made += [row["id"] for row in rows]
    await enqueue(tx, JOB, [_payload(delivery_id, turn=0) for delivery_id in made])
    webhook_ids = list({draft.webhook_id for draft in drafts})
    for row in await tx.all(queries.OVERFULL, webhook_ids=webhook_ids, most=BACKLOG_MAX):
        await _disable(tx, row["id"], reason="backlog", now=now)
    return made


async def attempt_again(tx: Transaction, delivery_id: UUID, *, turn: int) -> None:
    """Have a delivery attempted soon, by a job of this turn."""
    await enqueue(tx, JOB, [_payload(delivery_id, turn=turn)])


async def give_up(tx: Transaction, webhook_id: UUID) -> None:
    """Let everything that waits for a webhook fail; it can be replayed."""
    await tx.first(queries.GIVE_UP, webhook_id=webhook_id)


@dataclass(frozen=True, slots=True)
class Deliverer:
    """Attempts deliveries, as many at once as there are lanes for.

    A name is looked up as the user whose webhook it is: who has names that hang waits alone.
    """

    lanes: Lanes
    lookups: Lookups
    allow_private: bool

    async def deliver(self, db: Database, now: datetime, payload: dict[str, Any]) -> None:
        """Attempt a delivery once, if it is still this job's turn; raises `Postponed`."""
        turn = {"delivery_id": UUID(payload["delivery_id"]), "turn": payload["turn"]}
        async with db.reading() as read:
            due = await read.first(queries.DUE, now=now, **turn)
        if due is None:
            return
        if due["is_active"]:
            async with self.lanes.place(
                user_id=due["user_id"],
                webhook_id=due["webhook_id"],
                is_failing=due["is_failing"],
            ):
                try:
                    outcome = await self._send(due, now=now)
                except TooManyLookups:
                    raise Postponed(_LOOKED_UP_AFTER) from None
            self.lanes.learn(due["webhook_id"], outcome)
        else:
            outcome = Outcome(None, "the account is disabled", "", 0)
        await db.transaction(lambda tx: _record(tx, due, outcome, now=now, **turn))

    async def _send(self, due: asyncpg.Record, *, now: datetime) -> Outcome:
        timestamp = int(now.timestamp())
        keys = [key for key in (due["secret"], due["old_secret"]) if key is not None]
        name = str(due["message_id"])
        headers = {
            "webhook-id": name,
            "webhook-timestamp": str(timestamp),
            "webhook-signature": sign(keys, id=name, timestamp=timestamp, body=due["body"]),
        }
        network = GuardedNetwork(
            allow_private=self.allow_private, resolve=self.lookups.of(due["user_id"])
        )
        sender = Sender(network, allow_http=self.allow_private)
        return await sender.post(due["url"], headers=headers, body=due["body"], now=now)


def delivering(*, allow_private: bool) -> Job:
    """Return the job that attempts deliveries, with the lanes and lookups of a process."""
    lookups = Lookups(_LOOKUPS, of_each=_LOOKUPS_OF_EACH)
    deliverer = Deliverer(Lanes(), lookups, allow_private)
    return Job(JOB, deliverer.deliver)


async def expire_deliveries(db: Database, now: datetime) -> None:
    """Let deliveries fail that should be over by now.

    Their turn has not come for a day, or the job whose turn it was is gone.
    """
    expired = _AT_ONCE
    while expired == _AT_ONCE:
        async with db.reading() as read:
            row = await read.first(queries.EXPIRE, before=now - OVERDUE, limit=_AT_ONCE)
        assert row is not None
        expired = row["expired"]


async def purge_deliveries(db: Database, now: datetime, *, days: int) -> None:
    """Delete the deliveries of more than so many days ago."""
    before = now - timedelta(days=days)
    # A UUIDv7 begins with its time in milliseconds.
    before_id = UUID(int=int(before.timestamp() * 1000) << 80)
    purged = _AT_ONCE
    while purged == _AT_ONCE:
        async with db.reading() as read:
            row = await read.first(
                queries.PURGE, before=before, before_id=before_id, limit=_AT_ONCE
            )
        assert row is not None
        purged = row["purged"]


async def _record(
    tx: Transaction,
    due: asyncpg.Record,
    outcome: Outcome,
    *,
    delivery_id: UUID,
    turn: int,
    now: datetime,
) -> None:
    """Write down an outcome, and what follows from it for the delivery and its webhook."""
    webhook_id = due["webhook_id"]
    webhook = await tx.first(queries.HELD_WEBHOOK, webhook_id=webhook_id)
    if webhook is None:
        return
    over = now + timedelta(milliseconds=outcome.duration_ms)
    attempts = [*orjson.loads(due["attempts"]), _attempt(outcome, at=now)]
    pause = _pause(due, outcome, attempts, now=over)
    state = "delivered" if outcome.is_delivered else "pending" if pause else "failed"
    moved = await tx.first(
        queries.ATTEMPTED,
        delivery_id=delivery_id,
        turn=turn,
        attempts=orjson.dumps(attempts[-ATTEMPTS_KEPT:]).decode(),
        state=state,
        next_attempt_at=None if pause is None else over + pause,
    )
    # That its user is disabled says nothing about a webhook.
    if moved is None or not due["is_active"]:
        return
    failing_since = None if outcome.is_delivered else webhook["failing_since"] or now
    if failing_since != webhook["failing_since"]:
        await tx.first(queries.FAILING_SINCE, webhook_id=webhook_id, failing_since=failing_since)
    if failing_since is None:
        return
    if pause is not None:
        next_job = _payload(delivery_id, turn=moved["turn"])
        await enqueue(tx, JOB, [next_job], after=pause)
    if outcome.status == _GONE:
        await _disable(tx, webhook_id, reason="gone", now=now)
    elif pause is None:
        # Where one delivery was attempted for a day and no other got through since. A day on which
        # we were away does not count.
        first_at = datetime.fromisoformat(_since(attempts, due["queued_at"])[0]["at"])
        if failing_since <= min(first_at, now - _NEARLY_A_DAY):
            await _disable(tx, webhook_id, reason="failing", now=now)


def _pause(
    due: asyncpg.Record,
    outcome: Outcome,
    attempts: Sequence[Mapping[str, Any]],
    *,
    now: datetime,
) -> timedelta | None:
    """Return after how long it is to be attempted again, None for never."""
    if outcome.is_delivered or outcome.status == _GONE or not due["is_active"]:
        return None
    return next_pause(
        failures=len(_since(attempts, due["queued_at"])),
        queued_at=due["queued_at"],
        now=now,
        asked=outcome.asked,
    )


async def _disable(
    tx: Transaction,
    webhook_id: UUID,
    *,
    reason: Literal["gone", "failing", "backlog"],
    now: datetime,
) -> None:
    """Disable a webhook and tell its user why, once."""
    if await tx.first(queries.DISABLE, webhook_id=webhook_id, now=now):
        await give_up(tx, webhook_id)
        told = {"webhook_id": webhook_id, "message_id": uuid7(), "reason": reason}
        await tx.first(queries.TELL_DISABLED, now=now, **told)


def _attempt(outcome: Outcome, *, at: datetime) -> dict[str, Any]:
    return {
        "at": rfc3339(at),
        "status": outcome.status,
        "error": outcome.error,
        "duration_ms": outcome.duration_ms,
        "answer": outcome.answer,
    }


def _since(attempts: Sequence[Mapping[str, Any]], start: datetime) -> list[Mapping[str, Any]]:
    """Return the attempts from `start` on, of which the last one always is."""
    later = [made for made in attempts if datetime.fromisoformat(made["at"]) >= start]
    return later or [attempts[-1]]


def _payload(delivery_id: UUID, *, turn: int) -> dict[str, Any]:
    return {"delivery_id": str(delivery_id), "turn": turn}
