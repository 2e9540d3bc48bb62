"""Where it is held who is at an event: in Redis, or in PostgreSQL where there is none.

Either holds what each socket says until it expires, which its process moves on, and tells every
process of which events something has changed.
"""

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Protocol, TypeVar
from uuid import UUID

import orjson
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from eventmanager.core.database import Database
from eventmanager.core.ids import EventId, UserId
from eventmanager.realtime.presence import queries
from eventmanager.realtime.wire import State

CHANNEL: Final = "eventmanager_presence"
PATIENCE_SECONDS: Final = 0.5
WORDS: Final = 200
"""How many events one word names: NOTIFY takes 8,000 bytes."""
AT_ONCE: Final = 200
"""How many things Redis is asked for before this process does something else."""

T = TypeVar("T")


class StoreAway(Exception):  # nobody's request fails by it
    """Redis does not answer."""


@dataclass(frozen=True, slots=True)
class Said:
    """What one socket says its user does with an event, `viewing` or `editing`, and since when."""

    event_id: EventId
    socket_id: UUID
    user_id: UserId
    username: str
    state: State
    since: datetime

    @property
    def key(self) -> "Key":
        """Whose word it is, and about what."""
        return self.event_id, self.socket_id


Key = tuple[EventId, UUID]


class Store(Protocol):
    """Holds what all sockets say."""

    async def put(
        self,
        said: Sequence[Said],
        *,
        gone: Sequence[Key],
        changed: Collection[EventId],
        seconds: float,
    ) -> None:
        """Hold what sockets say for so long, and not what others said; tell all what changed."""

    async def present(self, event_ids: Collection[EventId]) -> list[Said]:
        """Return what is said about the events now."""

    async def purge(self) -> None:
        """Delete what has expired, where that does not go by itself."""

    async def aclose(self) -> None:
        """Close what is open."""


def words(sender: str, event_ids: Iterable[EventId]) -> list[str]:
    """Return what tells the other processes which events to look at."""
    distinct = [event_id.hex for event_id in dict.fromkeys(event_ids)]
    return [f"{sender} {','.join(distinct[n : n + WORDS])}" for n in range(0, len(distinct), WORDS)]


def named(word: str) -> tuple[str, list[EventId]]:
    """Return who has said a word, and the events that it names."""
    sender, _, ids = word.partition(" ")
    return sender, [EventId(UUID(hex=part)) for part in ids.split(",")]


class PostgresStore:
    """A table that is not logged."""

    def __init__(self, database: Database, *, name: str) -> None:
        self._database = database
        self._name = name

    async def put(
        self,
        said: Sequence[Said],
        *,
        gone: Sequence[Key],
        changed: Collection[EventId],
        seconds: float,
    ) -> None:
        """Do it in one statement; raises `Unavailable`."""
        # All processes write in the same order, so that no two wait for each other.
        ordered = sorted(said, key=lambda one: one.key)
        async with self._database.reading() as read:
            await read.all(
                queries.PUT,
                event_ids=[one.event_id for one in ordered],
                socket_ids=[one.socket_id for one in ordered],
                user_ids=[one.user_id for one in ordered],
                states=[one.state for one in ordered],
                sinces=[one.since for one in ordered],
                gone_events=[event_id for event_id, _ in gone],
                gone_sockets=[socket_id for _, socket_id in gone],
                seconds=seconds,
                channel=CHANNEL,
                words=words(self._name, changed),
            )

    async def present(self, event_ids: Collection[EventId]) -> list[Said]:
        """Do it in one statement; raises `Unavailable`."""
        async with self._database.reading() as read:
            rows = await read.all(queries.PRESENT, event_ids=list(event_ids))
        return [Said(**dict(row)) for row in rows]

    async def purge(self) -> None:
        """Delete what killed processes have left; raises `Unavailable`."""
        async with self._database.reading() as read:
            await read.first(queries.PURGE)

    async def aclose(self) -> None:
        """Leave the database to its owner."""


class RedisStore:
    """For each event a set of sockets, and for each of these a key with what it says.

    The key's expiry is Redis's own, so that no clock of ours matters. Raises `StoreAway`.
    """

    def __init__(self, url: str, *, name: str) -> None:
        self._name = name
        self._redis = Redis.from_url(
            url,
            protocol=2,
            socket_connect_timeout=PATIENCE_SECONDS,
            socket_timeout=PATIENCE_SECONDS,
            retry=Retry(NoBackoff(), 0),
        )

    async def put(
        self,
        said: Sequence[Said],
        *,
        gone: Sequence[Key],
        changed: Collection[EventId],
        seconds: float,
    ) -> None:
        """Do it a part at a time."""
        milliseconds = round(seconds * 1000)
        for part in _parts(said):
            await self._run(
                command
                for one in part
                for command in (
                    ("SADD", _key(one.event_id), one.socket_id.bytes),
                    ("PEXPIRE", _key(one.event_id), milliseconds),
                    ("SET", _key(*one.key), orjson.dumps(one), "PX", milliseconds),
                )
            )
        for gone_part in _parts(gone):
            await self._run(
                command
                for event_id, socket_id in gone_part
                for command in (
                    ("SREM", _key(event_id), socket_id.bytes),
                    ("DEL", _key(event_id, socket_id)),
                )
            )
        await self._run(("PUBLISH", CHANNEL, word) for word in words(self._name, changed))

    async def present(self, event_ids: Collection[EventId]) -> list[Said]:
        """Ask for the sockets of each event, and then for what each of them says."""
        found: list[Said] = []
        for some in _parts(list(event_ids)):
            members = await self._run(("SMEMBERS", _key(event_id)) for event_id in some)
            keys = [
                (event_id, UUID(bytes=member))
                for event_id, sockets in zip(some, members, strict=True)
                for member in sockets
            ]
            texts = await self._run(("GET", _key(*key)) for key in keys)
            # A key that has expired leaves its socket in the set, until that expires as well.
            found += [_said(text) for text in texts if text is not None]
        return found

    async def purge(self) -> None:
        """Leave it to Redis."""

    async def aclose(self) -> None:
        """Close the connections."""
        await self._redis.aclose()

    async def _run(self, commands: Iterable[tuple[Any, ...]]) -> list[Any]:
        try:
            async with self._redis.pipeline(transaction=False) as pipe:
                for command in commands:
                    pipe.execute_command(*command)
                answers: list[Any] = await pipe.execute()
        except (RedisError, OSError, TimeoutError) as error:
            raise StoreAway(repr(error)) from error
        return answers


def _key(event_id: EventId, socket_id: UUID | None = None) -> str:
    # In a Redis Cluster the braces keep all keys of an event on one node.
    about = f"eventmanager:presence:{{{event_id.hex}}}"
    return about if socket_id is None else f"{about}:{socket_id.hex}"


def _said(text: bytes) -> Said:
    fields = orjson.loads(text)
    ids = {name: UUID(fields[name]) for name in ("event_id", "socket_id", "user_id")}
    since = datetime.fromisoformat(fields["since"])
    return Said(**ids, username=fields["username"], state=fields["state"], since=since)  # type: ignore[arg-type]  # ids are what they were


def _parts(items: Sequence[T]) -> Iterator[Sequence[T]]:
    return (items[n : n + AT_ONCE] for n in range(0, len(items), AT_ONCE))
