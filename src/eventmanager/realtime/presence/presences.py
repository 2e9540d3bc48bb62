"""Who is at an event now: what the sockets of all processes say, for those who watch the event.

Each process keeps what its own sockets say, and every few seconds puts all of it into the store
again: what a killed process has said expires there, and a store that has lost everything is filled.
A list goes to the sockets that watch its event as a whole whenever it has changed, and only as fast
as they take it: what they have missed in between they need not know.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Collection, Iterable
from contextlib import asynccontextmanager, suppress
from typing import Final, Literal

import asyncpg
import structlog

from eventmanager.core.clock import Clock
from eventmanager.core.database import Database
from eventmanager.core.errors import Forbidden, TooManyEvents, Unavailable
from eventmanager.core.ids import EventId, UserId, uuid7
from eventmanager.messages.letters import Letter
from eventmanager.realtime.presence import queries
from eventmanager.realtime.presence.stores import (
    Key,
    PostgresStore,
    RedisStore,
    Said,
    Store,
    StoreAway,
    named,
)
from eventmanager.realtime.relay import cancelled
from eventmanager.realtime.subscriber import Subscriber
from eventmanager.realtime.wire import MAX_PRESENT, Presence, Present, State

EXPIRY_SECONDS: Final = 18.0
HEARTBEAT_SECONDS: Final = 6.0
"""How often everything is stored again, and looked at for what has expired: twice may fail."""
CHECK_SECONDS: Final = 0.8
"""How often it is checked that those who are at an event may still read it."""
RETRY_SECONDS: Final = 1.0
BUSY_SECONDS: Final = 0.1
"""How soon a socket that still had something else to take is looked at again."""
REST_SECONDS: Final = 0.05
REST_MOST_SECONDS: Final = 1.0
REST_RATIO: Final = 3
ROUND: Final = 64
"""How many sockets are told before others have their turn."""
LAST_SECONDS: Final = 1.0
MAX_EVENTS: Final = 50
"""How many events one socket may be at."""

_DATABASE_AWAY: Final = (Unavailable, asyncpg.PostgresError)
_log = structlog.get_logger("app")


def who(said: Iterable[Said]) -> list[Said]:
    """Return one for each user, editing if one of their sockets says so; those who edit first."""
    best: dict[UserId, Said] = {}
    for one in said:
        before = best.get(one.user_id)
        if before is None or _rank(one) < _rank(before):
            best[one.user_id] = one
    return sorted(best.values(), key=_rank)


def _rank(said: Said) -> tuple[object, ...]:
    return said.state != "editing", said.since, said.user_id


class Presences:
    """What the sockets of this process say and watch, and what they are still to be told."""

    def __init__(self, database: Database, *, store: Store, name: str, clock: Clock) -> None:
        self._database = database
        # Everybody hears what they say themselves; under this name they know it.
        self._name = name
        self._store = store
        self._clock = clock
        self._said: dict[Key, Said] = {}
        self._speakers: dict[Subscriber, set[EventId]] = {}
        # What each socket has asked for; of that, what it has yet to be found out whether it may
        # read; and the sockets of each event that may.
        self._watched: dict[Subscriber, frozenset[EventId]] = {}
        self._unchecked: dict[Subscriber, set[EventId]] = {}
        self._watchers: dict[EventId, set[Subscriber]] = {}
        # What each watched event's list was when it was read last; without an entry it is empty.
        self._lists: dict[EventId, Letter] = {}
        # What is to be stored, and whether the other processes are to be told of it.
        self._unsaved: dict[Key, bool] = {}
        self._unread: set[EventId] = set()
        self._due: dict[Subscriber, dict[EventId, None]] = {}
        self._woken = asyncio.Event()
        self._heartbeat_at_s = self._check_at_s = 0.0
        self._retry_at_s = 0.0
        self._is_away = False

    @classmethod
    @asynccontextmanager
    async def running(
        cls, database: Database, *, redis_url: str, clock: Clock
    ) -> AsyncIterator["Presences"]:
        """Keep it up until the block ends, and then say that the sockets of this process left."""
        name = uuid7().hex
        store: Store = (
            RedisStore(redis_url, name=name) if redis_url else PostgresStore(database, name=name)
        )
        presences = cls(database, store=store, name=name, clock=clock)
        task = asyncio.create_task(presences._run(), name="presence")
        try:
            yield presences
        finally:
            await cancelled(task)
            for subscriber in list(presences._speakers):
                presences.leave(subscriber)
            with suppress(TimeoutError, StoreAway, *_DATABASE_AWAY):
                async with asyncio.timeout(LAST_SECONDS):
                    await presences._save()
            await store.aclose()

    async def announce(
        self, subscriber: Subscriber, *, event_id: EventId, state: State | Literal["away"]
    ) -> None:
        """Take it that a socket's user is `viewing` or `editing` an event, or `away` from it.

        Raises `Forbidden`, `TooManyEvents` and `Unavailable`.
        """
        if state == "away":
            self._forget(subscriber, event_id)
            return
        of_socket = self._speakers.get(subscriber, set())
        if event_id not in of_socket and len(of_socket) >= MAX_EVENTS:
            raise TooManyEvents(f"A socket may be at {MAX_EVENTS} events: be away from one first")
        readable = await self._readable([(subscriber.user_id, event_id)])
        if not readable:
            self._forget(subscriber, event_id)
            raise Forbidden("You may not read this event, or there is none")
        key = event_id, subscriber.socket_id
        before = self._said.get(key)
        if before is None or before.state != state:
            self._said[key] = Said(
                event_id,
                subscriber.socket_id,
                subscriber.user_id,
                readable[subscriber.user_id, event_id],
                state,
                self._clock.now(),
            )
            self._speakers.setdefault(subscriber, set()).add(event_id)
            self._change(key)

    def watch(self, subscriber: Subscriber, event_ids: Collection[EventId]) -> None:
        """Tell a socket from now on, and of no others, who is at those events that it may read."""
        for event_id in self._watched.pop(subscriber, ()):
            watchers = self._watchers.get(event_id, set())
            watchers.discard(subscriber)
            if not watchers:
                self._watchers.pop(event_id, None)
                self._lists.pop(event_id, None)
        self._due.pop(subscriber, None)
        self._unchecked.pop(subscriber, None)
        if event_ids:
            self._watched[subscriber] = frozenset(event_ids)
            self._unchecked[subscriber] = set(event_ids)
            self._woken.set()

    def look_again(self, subscriber: Subscriber, event_id: EventId) -> None:
        """Take it that a socket's user may read an event, which may have been otherwise before."""
        if event_id in self._watched.get(subscriber, ()):
            self._unchecked.setdefault(subscriber, set()).add(event_id)
            self._woken.set()

    def leave(self, subscriber: Subscriber) -> None:
        """Take it that a socket is closed."""
        self.watch(subscriber, ())
        for event_id in list(self._speakers.get(subscriber, ())):
            self._forget(subscriber, event_id)

    def hear(self, word: str) -> None:
        """Look at the events that another process names; without a word at all of them.

        As after one that can't be read: who knows what it was to say.
        """
        try:
            sender, event_ids = named(word)
        except ValueError:
            self._begin_again()
            return
        heard = self._watchers.keys() & event_ids
        if heard and sender != self._name:
            self._unread |= heard
            self._woken.set()

    def _begin_again(self) -> None:
        """Store and read everything: word may have been missed, and the store be a new one."""
        self._unsaved.update(dict.fromkeys(self._said, True))
        self._unread.update(self._watchers)
        self._woken.set()

    def _forget(self, subscriber: Subscriber, event_id: EventId) -> None:
        key = event_id, subscriber.socket_id
        if self._said.pop(key, None) is None:
            return
        of_socket = self._speakers[subscriber]
        of_socket.discard(event_id)
        if not of_socket:
            del self._speakers[subscriber]
        self._change(key)

    def _change(self, key: Key) -> None:
        self._unsaved[key] = True
        self._woken.set()

    async def _run(self) -> None:
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(self._patience_s()):
                    await self._woken.wait()
            self._woken.clear()
            began_s = time.monotonic()
            try:
                await self._look()
            except _DATABASE_AWAY:
                # The hub says so in the log; all that is due stays so.
                await asyncio.sleep(RETRY_SECONDS)
            except Exception as error:
                # Whatever goes wrong once, presence must go on for all who stay connected.
                _log.error("presence_failed", exc_info=error)
                await asyncio.sleep(RETRY_SECONDS)
            # A crowd at one event must not keep this process from what else it has to do.
            took_s = time.monotonic() - began_s
            await asyncio.sleep(max(REST_SECONDS, min(took_s * REST_RATIO, REST_MOST_SECONDS)))

    def _patience_s(self) -> float | None:
        if self._due or self._unchecked:
            return BUSY_SECONDS
        return CHECK_SECONDS if self._said else HEARTBEAT_SECONDS if self._watched else None

    async def _look(self) -> None:
        now_s = time.monotonic()
        if now_s >= self._check_at_s:
            self._check_at_s = now_s + CHECK_SECONDS
            await self._check()
        if now_s >= self._heartbeat_at_s:
            self._heartbeat_at_s = now_s + HEARTBEAT_SECONDS
            for key in self._said:
                self._unsaved.setdefault(key, False)
            # What nobody is at can't expire, and of who comes there is word.
            self._unread.update(self._lists)
            if self._said or self._watched:
                await self._store.purge()
        await self._admit()
        if not self._is_away or now_s >= self._retry_at_s:
            await self._share(now_s)
        if self._is_away:
            self._compare(self._taken(), self._said.values())
        await self._tell()

    async def _check(self) -> None:
        """Take away those who may no longer read the event they are at."""
        asked = {(one.user_id, one.event_id) for one in self._said.values()}
        if not asked:
            return
        readable = await self._readable(asked)
        for subscriber, event_ids in list(self._speakers.items()):
            for event_id in list(event_ids):
                pair = subscriber.user_id, event_id
                if pair in asked and pair not in readable:
                    self._forget(subscriber, event_id)

    async def _admit(self) -> None:
        """Let sockets watch what they may read of what they have asked for."""
        unchecked, self._unchecked = self._unchecked, {}
        asked = {(one.user_id, event_id) for one, some in unchecked.items() for event_id in some}
        if not asked:
            return
        try:
            readable = await self._readable(asked)
        except _DATABASE_AWAY:
            for subscriber, event_ids in unchecked.items():
                self._unchecked.setdefault(subscriber, set()).update(event_ids)
            raise
        for subscriber, event_ids in unchecked.items():
            # It may have been closed, or want something else by now.
            for event_id in event_ids & self._watched.get(subscriber, frozenset()):
                if (subscriber.user_id, event_id) in readable:
                    self._watchers.setdefault(event_id, set()).add(subscriber)
                    self._due.setdefault(subscriber, {})[event_id] = None
                    self._unread.add(event_id)

    async def _share(self, now_s: float) -> None:
        """Store what was said here, and read what was said anywhere.

        While the store is away, only what is said in this process is known.
        """
        try:
            await self._save()
            await self._read()
        except StoreAway as error:
            self._retry_at_s = now_s + RETRY_SECONDS
            if not self._is_away:
                self._is_away = True
                self._unread.update(self._watchers)
                _log.warning(
                    "presence_away", cause=str(error), consequence="presence is per process"
                )
        else:
            if self._is_away:
                self._is_away = False
                self._begin_again()
                _log.info("presence_back", consequence="presence is shared again")

    async def _save(self) -> None:
        unsaved, self._unsaved = self._unsaved, {}
        if not unsaved:
            return
        changed = {event_id for (event_id, _), is_change in unsaved.items() if is_change}
        self._unread |= changed
        try:
            await self._store.put(
                [self._said[key] for key in unsaved if key in self._said],
                gone=[key for key in unsaved if key not in self._said],
                changed=changed,
                seconds=EXPIRY_SECONDS,
            )
        except (StoreAway, *_DATABASE_AWAY):
            # All that is still said is stored as soon as it can be; the rest expires.
            self._unsaved = dict.fromkeys(self._said, True)
            raise

    async def _read(self) -> None:
        asked = self._taken()
        if not asked:
            return
        try:
            found = await self._store.present(asked)
        except (StoreAway, *_DATABASE_AWAY):
            self._unread |= asked
            raise
        self._compare(asked, found)

    def _taken(self) -> set[EventId]:
        """Return the events to look at, and forget them; what is heard from now on is new."""
        taken = self._unread & self._watchers.keys()
        self._unread.clear()
        return taken

    def _compare(self, event_ids: Collection[EventId], said: Iterable[Said]) -> None:
        """Remember the lists of the events; the sockets that watch those that changed are due."""
        by_event: dict[EventId, list[Said]] = {event_id: [] for event_id in event_ids}
        for one in said:
            if one.event_id in by_event:
                by_event[one.event_id].append(one)
        for event_id, of_event in by_event.items():
            before = self._lists.pop(event_id, None)
            after = _letter(event_id, of_event) if of_event else None
            if after is not None and event_id in self._watchers:
                self._lists[event_id] = after
            if (before and before.json) != (after and after.json):
                for subscriber in self._watchers.get(event_id, ()):
                    self._due.setdefault(subscriber, {})[event_id] = None

    async def _tell(self) -> None:
        """Send the sockets that have nothing else to take the lists that they are due."""
        ready = {
            subscriber: [event_id for event_id in due if event_id not in self._unread]
            for subscriber, due in self._due.items()
            if not subscriber.is_behind
        }
        asked = {(one.user_id, event_id) for one, due in ready.items() for event_id in due}
        if not asked:
            return
        readable = await self._readable(asked)
        for number, (subscriber, event_ids) in enumerate(ready.items(), start=1):
            if number % ROUND == 0:
                await asyncio.sleep(0)
            for event_id in event_ids:
                # The socket may have been closed, or want something else by now.
                if subscriber.is_behind or event_id not in self._due.get(subscriber, ()):
                    continue
                self._due[subscriber].pop(event_id)
                if (subscriber.user_id, event_id) in readable:
                    subscriber.offer(self._lists.get(event_id) or _letter(event_id, ()))
            if not self._due.get(subscriber, True):
                del self._due[subscriber]

    async def _readable(
        self, asked: Collection[tuple[UserId, EventId]]
    ) -> dict[tuple[UserId, EventId], str]:
        """Return those of the pairs where the user may read the event, with the user's name."""
        async with self._database.reading() as read:
            rows = await read.all(
                queries.READABLE,
                user_ids=[user_id for user_id, _ in asked],
                event_ids=[event_id for _, event_id in asked],
            )
        return {(row["user_id"], row["event_id"]): row["username"] for row in rows}


def _letter(event_id: EventId, said: Iterable[Said]) -> Letter:
    users = who(said)
    frame = Presence(
        type="presence",
        event_id=event_id,
        present=[
            Present(user_id=one.user_id, username=one.username, state=one.state, since=one.since)
            for one in users[:MAX_PRESENT]
        ],
        total=len(users),
    )
    return Letter(frame.json_bytes())
