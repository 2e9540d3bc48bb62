"""Doing a request once, however often it is sent.

The answer is kept in the transaction of the request's own write: it is there if and only if the
write is, and a server that is killed leaves no key behind. A request that fails keeps nothing.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, TypeVar
from uuid import UUID

import orjson
from starlette.responses import Response

from eventmanager.core.database import Database, Transaction
from eventmanager.core.errors import KeyInUse, KeyReused
from eventmanager.core.idempotency import queries

T = TypeVar("T")

KEPT_FOR: Final = timedelta(hours=24)
REPLAYED: Final = "Idempotent-Replayed"


class Replay(Exception):  # it ends a transaction with an answer, and is no error
    """The request was done before: this is what it was answered."""

    def __init__(self, answer: Response) -> None:
        self.answer = answer


@dataclass(frozen=True, slots=True)
class Once:
    """A request with an `Idempotency-Key`; `fingerprint` is a digest of all that it asks."""

    user_id: UUID
    route: str
    key: str
    fingerprint: bytes
    now: datetime

    @property
    def _name(self) -> dict[str, Any]:
        return {"user_id": self.user_id, "route": self.route, "key": self.key}

    async def begin(self, tx: Transaction) -> None:
        """Raise `Replay` if it was done before, `KeyInUse` if it is being done, `KeyReused`."""
        name = f"{self.user_id} {self.route} {self.key}"
        turn = await tx.first(queries.TAKE_TURN, name=name)
        if turn is None or not turn["taken"]:
            raise KeyInUse
        row = await tx.first(queries.KEPT, after=self.now - KEPT_FOR, **self._name)
        if row is None:
            return
        if row["fingerprint"] != self.fingerprint:
            raise KeyReused(loc=("header", "Idempotency-Key"), type=KeyReused.code)
        headers = orjson.loads(row["headers"]) | {REPLAYED: "true"}
        raise Replay(Response(row["body"], status_code=row["status"], headers=headers))

    async def keep(self, tx: Transaction, answer: Response) -> None:
        """Keep the answer, to be given again for a day."""
        headers = {
            name: value for name, value in answer.headers.items() if name != "content-length"
        }
        await tx.first(
            queries.KEEP,
            fingerprint=self.fingerprint,
            status=answer.status_code,
            headers=orjson.dumps(headers).decode(),
            body=bytes(answer.body),
            created_at=self.now,
            **self._name,
        )


async def transact(
    db: Database,
    work: Callable[[Transaction], Awaitable[T]],
    *,
    once: Once | None,
    answer: Callable[[T], Response] | None,
) -> T:
    """Run `work` as one transaction, with its answer kept if the request is to be done `once`.

    Raises what `Once.begin` does.
    """
    if once is None or answer is None:
        return await db.transaction(work)

    async def kept(tx: Transaction) -> T:
        await once.begin(tx)
        result = await work(tx)
        await once.keep(tx, answer(result))
        return result

    return await db.transaction(kept)


async def forget(db: Database, now: datetime) -> None:
    """Forget the answers that are too old to be given again."""
    async with db.reading() as read:
        await read.first(queries.FORGET, before=now - KEPT_FOR)
