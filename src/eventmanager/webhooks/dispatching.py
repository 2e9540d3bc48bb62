"""Making deliveries of messages, in the order of all and each exactly once.

How far it has come is one row. Whoever holds that row makes the next deliveries and moves it on in
one transaction, so it does not matter who that is, or when it dies. A transaction makes so many
deliveries and so many bytes of them; the row stays before a message that has more webhooks.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Final

import asyncpg

from eventmanager.core.database import Database, Transaction
from eventmanager.messages.schemas import Message
from eventmanager.webhooks import queries
from eventmanager.webhooks.delivering import Draft, make

MESSAGES_AT_ONCE: Final = 50
DELIVERIES_AT_ONCE: Final = 500
BYTES_AT_ONCE: Final = 8 * 1024 * 1024


async def dispatch(db: Database, now: datetime) -> bool:
    """Make deliveries of the next messages; True when there may be more."""

    async def work(tx: Transaction) -> bool:
        mark = await tx.first(queries.HELD_MARK)
        if mark is None:
            return False
        if await tx.first(queries.PASS_OVER):
            return False
        rows = await tx.all(
            queries.NEXT,
            after_transaction=mark["transaction_id"],
            after_position=mark["position"],
            messages=MESSAGES_AT_ONCE,
            deliveries=DELIVERIES_AT_ONCE,
            bytes=BYTES_AT_ONCE,
        )
        await make(tx, _drafts(rows), now=now)
        left = next((_place(row) for row in rows if not row["fits"]), None)
        # The message of what is left is looked at again, for the webhooks that it is still for.
        done = [_place(row) for row in rows if _place(row) != left and row["fits"]]
        if done:
            transaction_id, position = done[-1]
            await tx.first(queries.MOVE_MARK, transaction_id=str(transaction_id), position=position)
        return left is not None or len(set(done)) == MESSAGES_AT_ONCE

    return await db.transaction(work)


def _drafts(rows: Sequence[asyncpg.Record]) -> list[Draft]:
    """Return deliveries of messages, each read once and written once for all who read the same."""
    drafts = []
    messages: dict[tuple[int, int], Message] = {}
    for row in rows:
        if not row["fits"] or row["webhook_id"] is None:
            continue
        place = _place(row)
        if place not in messages:
            messages[place] = Message(dict(row))
        drafts.append(
            Draft(
                webhook_id=row["webhook_id"],
                message_id=row["id"],
                type=row["type"],
                occurred_at=row["occurred_at"],
                notification=messages[place].json(row["user_id"]),
            )
        )
    return drafts


def _place(row: asyncpg.Record) -> tuple[int, int]:
    return row["transaction_id"], row["position"]
