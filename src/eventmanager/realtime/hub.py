"""One a process: reads new messages for the users whose sockets are open here.

A wake-up only says that there may be something new; a lost one costs a second. All sockets share
one cursor into the order of messages, so a message is read once however many sockets want it.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Final

import asyncpg
import structlog

from eventmanager.accounts.sessions import Caller
from eventmanager.core.clock import Clock
from eventmanager.core.database import Database
from eventmanager.core.errors import TooManySockets, Unavailable
from eventmanager.core.ids import EventId, SessionId, UserId
from eventmanager.messages import queries
from eventmanager.messages.positions import START, Position
from eventmanager.messages.schemas import Message
from eventmanager.messages.service import last_of, quiet_users
from eventmanager.messages.types import NotificationType
from eventmanager.realtime.subscriber import (
    FAILED,
    NOTHING,
    STOPPING,
    Backlog,
    Ending,
    Subscriber,
)

BATCH: Final = 256
LOOK: Final = 512
"""How many messages are looked through at once for those who listen here."""
ROUND: Final = 256
"""How many deliveries are made, in a few milliseconds, before the requests have their turn."""
NAMED_RECIPIENTS: Final = 1000
"""With more users than this, reading everybody's messages is cheaper than naming them."""
OPENING_SECONDS: Final = 5.0
RETRY_AFTER_SECONDS: Final = 30
"""For one who has too many sockets: nobody can know when another one closes."""
POLL_SECONDS: Final = 1.0
SETTLING_SECONDS: Final = 0.03
SETTLING_MOST_SECONDS: Final = 0.25
REST_SECONDS: Final = 0.01
LEFT: Final = Ending(1000, "left")
"""Said to nobody: the socket is over."""
_GIVING_ACCESS: Final = {NotificationType.PERMISSION_GRANTED, NotificationType.EVENT_RESTORED}

_log = structlog.get_logger("app")


class Hub:
    """The open sockets of this process, and how far the messages are read for them.

    `on_access` is called when the user of one may read an event that they could not read before.
    """

    def __init__(self, database: Database, *, clock: Clock, sockets_per_user: int) -> None:
        self._database = database
        self._clock = clock
        self._sockets_per_user = sockets_per_user
        self._sockets: Counter[UserId] = Counter()
        self._backlog = Backlog()
        self._subscribers: dict[UserId, set[Subscriber]] = {}
        self._newcomers: dict[Subscriber, asyncio.Future[None]] = {}
        # Who was told nothing of what had been committed when they came, and up to where it stands.
        self._knowing: list[tuple[Position, list[Subscriber]]] = []
        self._cursor = START
        self._woken = asyncio.Event()
        self._patience_s: float | None = None
        self._fails = False
        self.on_access: Callable[[Subscriber, EventId], None] = lambda _, __: None

    @classmethod
    @asynccontextmanager
    async def running(
        cls, database: Database, *, clock: Clock, sockets_per_user: int
    ) -> AsyncIterator["Hub"]:
        """Read on until the block ends; sockets that are open then are told to come again."""
        hub = cls(database, clock=clock, sockets_per_user=sockets_per_user)
        task = asyncio.create_task(hub._run(), name="hub")
        try:
            yield hub
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
            for subscriber in hub.subscribers():
                subscriber.end(STOPPING)

    def wake(self) -> None:
        """Look for new messages soon."""
        self._woken.set()

    def subscribers(self) -> list[Subscriber]:
        """Return the open sockets of this process."""
        return [one for of_user in self._subscribers.values() for one in of_user]

    @asynccontextmanager
    async def subscribed(
        self, caller: Caller, *, after: Position | None = None
    ) -> AsyncIterator[Subscriber]:
        """Let a socket of the caller hear, inside the block, all that is committed from now on.

        With `after`, all that comes later than that; see `Subscriber` for what of it is queued.
        Raises `TooManySockets`, or `Unavailable` when the database does not answer in time.
        """
        user_id = caller.user_id
        if self._sockets[user_id] >= self._sockets_per_user:
            raise TooManySockets(limit=self._sockets_per_user, retry_after=RETRY_AFTER_SECONDS)
        subscriber = Subscriber(
            user_id, SessionId(caller.session_id), after=after, backlog=self._backlog
        )
        self._sockets[user_id] += 1
        try:
            admitted = asyncio.get_running_loop().create_future()
            self._newcomers[subscriber] = admitted
            self.wake()
            try:
                async with asyncio.timeout(OPENING_SECONDS):
                    await admitted
            except TimeoutError as error:
                raise Unavailable from error
            yield subscriber
        finally:
            # Whoever still tells it something, as what has waited in quiet hours, must not go on.
            subscriber.end(LEFT)
            self._newcomers.pop(subscriber, None)
            of_user = self._subscribers.get(user_id, set())
            of_user.discard(subscriber)
            if not of_user:
                self._subscribers.pop(user_id, None)
            self._sockets[user_id] -= 1
            if not self._sockets[user_id]:
                del self._sockets[user_id]

    async def _run(self) -> None:
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(self._patience_s):
                    await self._woken.wait()
            self._woken.clear()
            try:
                await self._look()
            except Exception as error:
                # Whatever goes wrong once, news must go on for all who stay connected.
                self._failed(error)
            else:
                self._fails = False
            # However often it is woken, it looks a hundred times a second at most.
            await asyncio.sleep(REST_SECONDS)

    def _failed(self, error: Exception) -> None:
        self._patience_s = POLL_SECONDS
        if not self._fails:
            expected = isinstance(error, Unavailable | asyncpg.PostgresError)
            _log.error(
                "news_unavailable",
                cause=repr(error.__cause__ or error),
                exc_info=None if expected else error,
            )
        self._fails = True

    async def _look(self) -> None:
        """Hand out what is new, and let those in who have asked to hear what comes after it."""
        newcomers = list(self._newcomers)
        if not self._subscribers:
            self._patience_s = None
            if newcomers:
                await self._begin()
                await self._admit(newcomers)
            return
        rows = await self._next()
        messages = [row for row in rows if row["id"] is not None]
        mail: dict[UserId, list[Message]] = {}
        try:
            for row in messages:
                # Before it is read: one that cannot be must not be met for ever.
                self._cursor = Position(row["transaction_id"], row["position"])
                self._sort(Message(dict(row)), row["recipients"], mail)
        finally:
            await self._hand_out(mail)
        if len(messages) < BATCH:
            # What lies between is for others.
            self._cursor = max(self._cursor, last_of(rows[0]) or START)
        if len(messages) == BATCH or rows[0]["more"]:
            self.wake()
        self._forget_known()
        self._patience_s = self._until_next(unsettled=rows[0]["unsettled"])
        await self._admit(newcomers)

    def _forget_known(self) -> None:
        """Let go of what will not be met again."""
        for newest, subscribers in self._knowing:
            if newest <= self._cursor:
                for subscriber in subscribers:
                    subscriber.known = NOTHING
        self._knowing = [some for some in self._knowing if some[0] > self._cursor]

    async def _begin(self) -> None:
        """Pass over all that was told while nobody listened."""
        async with self._database.reading() as read:
            row = await read.first(queries.LAST)
        self._cursor = (last_of(row) if row else None) or START
        self._patience_s = POLL_SECONDS

    async def _next(self) -> list[asyncpg.Record]:
        users = list(self._subscribers) if len(self._subscribers) <= NAMED_RECIPIENTS else None
        transaction_id, position = self._cursor
        async with self._database.reading() as read:
            return await read.all(
                queries.NEXT,
                after_transaction=str(transaction_id),
                after_position=position,
                recipients=users,
                limit=BATCH,
                look=LOOK,
            )

    def _sort(
        self, message: Message, recipients: list[UserId], mail: dict[UserId, list[Message]]
    ) -> None:
        for user_id in recipients:
            if user_id in self._subscribers:
                # Here, so that a message that cannot be written keeps no other from its recipients.
                message.letter(user_id)
                mail.setdefault(user_id, []).append(message)
                if message.type in _GIVING_ACCESS and message.event_id is not None:
                    for subscriber in self._subscribers[user_id]:
                        self.on_access(subscriber, EventId(message.event_id))

    async def _hand_out(self, mail: dict[UserId, list[Message]]) -> None:
        """Give each socket at once all that is new to it: one write, however many messages."""
        deliveries = 0
        for user_id, messages in mail.items():
            for subscriber in self._subscribers.get(user_id, ()):
                try:
                    deliveries += _deliver(subscriber, messages)
                except Exception as error:
                    # The cursor has moved on: the others would never hear of this.
                    _log.error("delivery_failed", exc_info=error)
                    subscriber.end(FAILED)
            if deliveries >= ROUND:
                deliveries = 0
                await asyncio.sleep(0)

    def _until_next(self, *, unsettled: bool) -> float:
        """Return how long to wait for a wake-up; less while an older transaction holds some up."""
        if not unsettled:
            return POLL_SECONDS
        before = self._patience_s or POLL_SECONDS
        return min(before * 2, SETTLING_MOST_SECONDS) if before < POLL_SECONDS else SETTLING_SECONDS

    async def _admit(self, newcomers: list[Subscriber]) -> None:
        if not newcomers:
            return
        # One statement, however many come at once.
        users = {subscriber.user_id for subscriber in newcomers}
        quiet = await quiet_users(self._database, users, now=self._clock.now())
        # Who goes on after a message knows by its place what is new.
        asking = [subscriber for subscriber in newcomers if subscriber.after is None]
        rows = []
        if asking:
            async with self._database.reading() as read:
                rows = await read.all(
                    queries.COMMITTED,
                    recipients=list({subscriber.user_id for subscriber in asking}),
                    after_transaction=str(self._cursor.transaction_id),
                    after_position=self._cursor.number,
                )
        if rows:
            known = frozenset(row["id"] for row in rows)
            for subscriber in asking:
                subscriber.known = known
            newest = max(Position(row["transaction_id"], row["position"]) for row in rows)
            self._knowing.append((newest, asking))
        for subscriber in newcomers:
            admitted = self._newcomers.pop(subscriber, None)
            if admitted is None or admitted.done():
                continue
            subscriber.until = self._cursor
            subscriber.is_quiet = subscriber.user_id in quiet
            if subscriber.is_quiet and subscriber.after and subscriber.after < self._cursor:
                # What it has missed waits as well.
                subscriber.held = subscriber.after, self._cursor
                subscriber.until = subscriber.after
            self._subscribers.setdefault(subscriber.user_id, set()).add(subscriber)
            admitted.set_result(None)


def _deliver(subscriber: Subscriber, messages: list[Message]) -> int:
    """Give a socket what is new to it, and return how much that was."""
    heard = [message for message in messages if _is_for(subscriber, message)]
    if subscriber.is_quiet:
        for message in heard:
            subscriber.hold(message.place)
    elif heard:
        subscriber.offer(*[message.letter(subscriber.user_id) for message in heard])
    return len(heard)


def _is_for(subscriber: Subscriber, message: Message) -> bool:
    return (
        subscriber.hears(message.place, message.id)
        and subscriber.session_id != message.session_id
        and subscriber.wants(message.type, message.event_id)
    )
