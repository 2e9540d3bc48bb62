"""Writing down what was done: a row in the transaction of the act, then a line in `audit.log`."""

from datetime import datetime
from typing import Any
from uuid import UUID

import orjson
import structlog

from eventmanager.core.audit import queries
from eventmanager.core.audit.origin import here
from eventmanager.core.database import Reading
from eventmanager.core.ids import uuid7

_audit = structlog.get_logger("audit")


async def enter(
    tx: Reading,
    act: str,
    *,
    user_id: UUID | None,
    now: datetime,
    event_id: UUID | None = None,
    subject_id: UUID | None = None,
    **details: Any,
) -> None:
    """Write an act of a user's into the audit log, in the transaction of the act itself.

    `subject_id` is whom it was done to. Nobody who is known did it where `user_id` is None. Call
    `mirror` with the same once it is committed.
    """
    await tx.first(
        queries.INSERT,
        id=uuid7(),
        at=now,
        act=act,
        user_id=user_id,
        event_id=event_id,
        subject_id=subject_id,
        details=orjson.dumps(details, default=str).decode(),
        **here().columns(),
    )


def mirror(act: str, **fields: Any) -> None:
    """Write a committed act into `audit.log`, with where it came from; ids become text."""
    came = here()
    told = {name: str(v) if isinstance(v, UUID) else v for name, v in fields.items()}
    _audit.info(act, **told, address=came.address, user_agent=came.user_agent)
