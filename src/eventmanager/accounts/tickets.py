"""Tickets: a browser's page can send no header with a WebSocket, so it sends one of these.

A ticket is in an address, and addresses end up in logs: it is good once, and for seconds.
"""

import secrets
from datetime import datetime, timedelta
from typing import Final

from eventmanager.accounts import queries
from eventmanager.accounts.sessions import Caller
from eventmanager.accounts.tokens import digest
from eventmanager.core.database import Database
from eventmanager.core.errors import InvalidToken
from eventmanager.core.ids import SessionId

LIFE_SECONDS: Final = 30
_TICKET_BYTES: Final = 32


async def issue(db: Database, *, caller: Caller, now: datetime) -> str:
    """Return a new ticket of the caller's session, which any worker will take."""
    ticket = secrets.token_urlsafe(_TICKET_BYTES)
    async with db.reading() as connection:
        await connection.first(
            queries.ISSUE_TICKET,
            digest=digest(ticket),
            session_id=caller.session_id,
            expires_at=now + timedelta(seconds=LIFE_SECONDS),
        )
    return ticket


async def take(db: Database, ticket: str, *, now: datetime) -> SessionId:
    """Use a ticket up and return whose session it is of; raises `InvalidToken`."""
    async with db.reading() as connection:
        row = await connection.first(queries.TAKE_TICKET, digest=digest(ticket), now=now)
    if row is None or not row["is_good"]:
        raise InvalidToken("The ticket is unknown, used, or more than 30 seconds old")
    return SessionId(row["session_id"])
