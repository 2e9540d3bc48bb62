"""Making deliveries of messages, in the order of all and each exactly once.

How far it has come is one row. Whoever holds that row makes the next deliveries and moves it on in
one transaction, so it does not matter who that is, or when it dies.
"""

from datetime import datetime
from typing import Final

from eventmanager.core.database import Database, Transaction
from eventmanager.realtime.schemas import Message
from eventmanager.webhooks import queries
from eventmanager.webhooks.delivering import Draft, make

MESSAGES_AT_ONCE: Final = 50


async def dispatch(db: Database, now: datetime) -> bool:
    """Make deliveries of the next messages; True when there may be more."""

    async def work(tx: Transaction) -> bool:
        mark = await tx.first(queries.HELD_MARK)
        if mark is None:
            return False
        if mark["is_foreign"]:
            await tx.first(queries.BEGIN_ANEW)
            return False
        if await tx.first(queries.PASS_OVER):
            return False
        rows = await tx.all(
            queries.NEXT,
            after_transaction=mark["transaction_id"],
            after_position=mark["position"],
            limit=MESSAGES_AT_ONCE,
        )
        # Written once for all its recipients that read the same.
        messages = {row["id"]: Message(dict(row)) for row in rows if row["webhook_id"]}
        drafts = [
            Draft(
                webhook_id=row["webhook_id"],
                message_id=row["id"],
                type=row["type"],
                occurred_at=row["occurred_at"],
                notification=messages[row["id"]].json(row["user_id"]),
            )
            for row in rows
            if row["webhook_id"]
        ]
        await make(tx, drafts, now=now)
        if rows:
            last = rows[-1]
            await tx.first(
                queries.MOVE_MARK,
                transaction_id=str(last["transaction_id"]),
                position=last["position"],
            )
        return len({(row["transaction_id"], row["position"]) for row in rows}) == MESSAGES_AT_ONCE

    return await db.transaction(work)
