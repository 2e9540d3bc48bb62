"""Which sessions live, remembered by each process for half a second.

So a session costs the database two statements a second however many requests it makes, and its end
is seen by every worker within a second. The worker that ends it forgets it at once.
"""

import asyncio
import time
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

from eventmanager.accounts import queries
from eventmanager.accounts.models import GlobalRole
from eventmanager.core.database import Database
from eventmanager.core.errors import SessionEnded
from eventmanager.core.ids import SessionId, UserId

REMEMBERED_SECONDS: Final = 0.5
REMEMBERED_SESSIONS: Final = 10_000


@dataclass(frozen=True, slots=True)
class Caller:
    """Who is asking, with the global role they have now, whatever their token says."""

    user_id: UserId
    session_id: SessionId
    role: GlobalRole
    username: str


@dataclass(frozen=True, slots=True)
class _Known:
    """What one look at the database said; `caller` is None for a session that is over."""

    caller: Caller | None
    expires_at: datetime | None
    looked_at: float


class SessionCache:
    """The sessions this process has asked about lately; the oldest are dropped beyond `size`."""

    def __init__(
        self, *, seconds: float = REMEMBERED_SECONDS, size: int = REMEMBERED_SESSIONS
    ) -> None:
        self._seconds = seconds
        self._size = size
        self._known: dict[SessionId, _Known] = {}
        self._looking: dict[SessionId, asyncio.Task[_Known]] = {}

    async def caller(self, database: Database, *, session_id: SessionId, now: datetime) -> Caller:
        """Return whose session it is. Raises `SessionEnded`, also for a disabled user."""
        known = self._known.get(session_id)
        if (
            known is None
            or time.monotonic() - known.looked_at >= self._seconds
            # Its end may have moved on since we looked: every rotation moves it.
            or (known.expires_at is not None and known.expires_at <= now)
        ):
            known = await self._look_once(database, session_id)
        if known.caller is None or known.expires_at is None or known.expires_at <= now:
            raise SessionEnded
        return known.caller

    def forget(self, session_id: SessionId) -> None:
        """Ask the database at the session's next request."""
        self._known.pop(session_id, None)
        self._looking.pop(session_id, None)

    def clear(self) -> None:
        """Forget every session."""
        self._known.clear()
        self._looking.clear()

    async def _look_once(self, database: Database, session_id: SessionId) -> _Known:
        """Look, or wait for the look that another request of the session has begun."""
        task = self._looking.get(session_id)
        if task is None:
            task = asyncio.create_task(self._look(database, session_id))
            self._looking[session_id] = task
        # A client that goes away must not take the look from the others that wait for it.
        return await asyncio.shield(task)

    async def _look(self, database: Database, session_id: SessionId) -> _Known:
        # The age counts from before the statement: what is ended after this must not be believed
        # for longer than a full term.
        looked_at = time.monotonic()
        task = asyncio.current_task()
        try:
            async with database.reading() as connection:
                row = await connection.first(queries.LIVE_SESSION, session_id=session_id)
        finally:
            # Forgotten while we looked: the answer is for those who waited, not to be kept.
            current = self._looking.get(session_id) is task
            if current:
                del self._looking[session_id]
        if row is None:
            known = _Known(None, None, looked_at)
        else:
            role = GlobalRole(row["role"])
            # The driver's UUIDs are a class of its own that not every serialiser takes.
            user_id = UserId(UUID(int=row["user_id"].int))
            caller = Caller(user_id, session_id, role, row["username"])
            known = _Known(caller, row["expires_at"], looked_at)
        if current:
            self._keep(session_id, known)
        return known

    def _keep(self, session_id: SessionId, known: _Known) -> None:
        self._known.pop(session_id, None)
        self._known[session_id] = known
        if len(self._known) > self._size:
            del self._known[next(iter(self._known))]
