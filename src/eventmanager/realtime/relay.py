"""Word gets around: a process that has committed messages wakes the hubs of all processes.

Through Redis where there is one, and through PostgreSQL's NOTIFY where there is none or it is away.
Every process listens to both. A wake-up carries nothing and may be lost: hubs look by themselves
every second. What others say on further channels is passed on.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Any, Final, Literal

import asyncpg
import structlog
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from eventmanager.core.database import Query
from eventmanager.core.ids import uuid7
from eventmanager.realtime import queries

CHANNEL: Final = "eventmanager_messages"
REST_SECONDS: Final = 0.01
"""A process wakes the others a hundred times a second at most."""
PATIENCE_SECONDS: Final = 1.0
HEARTBEAT_SECONDS: Final = 10.0
"""How long a connection may be silent before it has to prove that it is not dead."""
RECONNECT_SECONDS: Final = (0.1, 2.0)
REDIS_AVOIDED_SECONDS: Final = 1.0
"""How long NOTIFY is used after Redis failed, so that one that hangs holds up no news."""

RedisState = Literal["ok", "unavailable", "off"]
_REDIS_AWAY: Final = (RedisError, OSError, TimeoutError)
_POSTGRES_AWAY: Final = (
    OSError,
    TimeoutError,
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    # An idle connection that has been told of its end, and is not closed yet.
    asyncpg.InternalClientError,
)
_NOBODY: Final[Mapping[str, Callable[[str], None]]] = {}
_log = structlog.get_logger("app")


class Relay:
    """What a process says and hears of new messages; `heard` is called for either.

    `others` are called with what is said on channels of theirs, and with nothing when something may
    have been missed.
    """

    def __init__(
        self,
        *,
        database_url: str,
        redis_url: str,
        heard: Callable[[], None],
        others: Mapping[str, Callable[[str], None]] = _NOBODY,
    ) -> None:
        self._database_url = database_url
        self._heard = heard
        self._others = others
        # Everybody hears what they say themselves; under this name they know it.
        self._name = uuid7().hex
        self._news = asyncio.Event()
        self._postgres: asyncpg.Connection[asyncpg.Record] | None = None
        self._postgres_in_use = asyncio.Lock()
        self._postgres_tried = asyncio.Event()
        self._redis = _client(redis_url) if redis_url else None
        self._redis_tried = asyncio.Event()
        self._redis_avoided_until = 0.0

    @classmethod
    @asynccontextmanager
    async def running(
        cls,
        *,
        database_url: str,
        redis_url: str,
        heard: Callable[[], None],
        others: Mapping[str, Callable[[str], None]] = _NOBODY,
    ) -> AsyncIterator["Relay"]:
        """Listen and speak until the block ends."""
        relay = cls(database_url=database_url, redis_url=redis_url, heard=heard, others=others)
        tasks = [
            asyncio.create_task(relay._speak(), name="relay-speak"),
            asyncio.create_task(
                _always(relay._listen_to_postgres, name="postgres", tried=relay._postgres_tried),
                name="relay-postgres",
            ),
        ]
        if relay._redis is not None:
            listening = _always(relay._listen_to_redis, name="redis", tried=relay._redis_tried)
            tasks.append(asyncio.create_task(listening, name="relay-redis"))
        with suppress(TimeoutError):
            async with asyncio.timeout(PATIENCE_SECONDS):
                await relay._postgres_tried.wait()
                if relay._redis is not None:
                    await relay._redis_tried.wait()
        try:
            yield relay
        finally:
            await cancelled(*tasks)
            if relay._redis is not None:
                await relay._redis.aclose()

    def wake(self) -> None:
        """Say that messages were committed: to this process at once, to the others very soon."""
        self._heard()
        self._news.set()

    async def redis_state(self) -> RedisState:
        """Ask Redis whether it works, for a second at most."""
        if self._redis is None:
            return "off"
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                await _done(self._redis.ping())
        except _REDIS_AWAY:
            return "unavailable"
        return "ok"

    async def _speak(self) -> None:
        while True:
            await self._news.wait()
            self._news.clear()
            try:
                if not await self._publish():
                    await self._notify()
            except Exception as error:
                # A word that is lost only delays; a process without a voice would delay all news.
                _log.error("speaking_failed", exc_info=error)
            await asyncio.sleep(REST_SECONDS)

    async def _publish(self) -> bool:
        """Wake the others through Redis; False when nobody can have heard."""
        if self._redis is None or time.monotonic() < self._redis_avoided_until:
            return False
        try:
            listeners: int = await self._redis.publish(CHANNEL, self._name)
        except _REDIS_AWAY:
            self._redis_avoided_until = time.monotonic() + REDIS_AVOIDED_SECONDS
            return False
        # Not even ourselves: Redis is back, and nobody has subscribed yet.
        return listeners > 0

    async def _notify(self) -> None:
        """Wake the others through PostgreSQL, by a commit that waits for no disk."""
        # The listening task, which the connection belongs to, finds out if it is lost.
        with suppress(*_POSTGRES_AWAY):
            await self._tell_postgres(queries.NOTIFY, channel=CHANNEL, sender=self._name)

    async def _tell_postgres(self, statement: Query, **given: Any) -> None:
        async with self._postgres_in_use:
            if self._postgres is not None:
                values = statement.arguments(given)
                try:
                    await self._postgres.execute(statement.sql, *values, timeout=PATIENCE_SECONDS)
                except asyncpg.InternalClientError:
                    # The driver never takes such a connection for lost, so nobody would be told.
                    self._postgres.terminate()
                    raise

    async def _listen_to_postgres(self, connected: Callable[[], None]) -> None:
        """Hear notifications until the connection is lost."""
        connection = await asyncpg.connect(
            self._database_url,
            timeout=5,
            command_timeout=PATIENCE_SECONDS,
            server_settings={
                "application_name": "eventmanager relay",
                # A wake-up that a crash loses is found by looking, so its commit need not wait.
                "synchronous_commit": "off",
            },
        )
        lost = asyncio.Event()
        connection.add_termination_listener(lambda _: lost.set())
        try:
            for channel in (CHANNEL, *self._others):
                await connection.add_listener(channel, self._on_notification)
            self._postgres = connection
            connected()
            self._missed()
            while not lost.is_set():
                with suppress(TimeoutError):
                    async with asyncio.timeout(HEARTBEAT_SECONDS):
                        await lost.wait()
                if not lost.is_set():
                    await self._tell_postgres(queries.ALIVE)
        finally:
            self._postgres = None
            connection.terminate()

    def _on_notification(self, _: object, __: int, channel: str, said: object) -> None:
        self._pass_on(channel, str(said))

    def _pass_on(self, channel: str, said: str) -> None:
        if channel in self._others:
            self._others[channel](said)
        elif said != self._name:
            self._heard()

    def _missed(self) -> None:
        """Have everybody look for what was said while nobody listened here."""
        self._heard()
        for other in self._others.values():
            other("")

    async def _listen_to_redis(self, connected: Callable[[], None]) -> None:
        """Hear what is published until the connection is lost."""
        assert self._redis is not None
        async with self._redis.pubsub() as subscription:
            await subscription.subscribe(CHANNEL, *self._others)
            connected()
            self._missed()
            asked = False
            while True:
                message = await subscription.get_message(timeout=HEARTBEAT_SECONDS)
                if message is None and asked:
                    raise TimeoutError("Redis does not answer")
                asked = message is None
                if message is None:
                    await _done(subscription.ping())
                elif message["type"] == "message":
                    self._pass_on(message["channel"], message["data"])


async def cancelled(*tasks: asyncio.Task[None]) -> None:
    """Cancel tasks until they have ended.

    Once may not be enough: where redis-py closes a connection that is lost, what it raises takes
    the place of the cancellation.
    """
    pending = set(tasks)
    while pending:
        for task in pending:
            task.cancel()
        _, pending = await asyncio.wait(pending, timeout=PATIENCE_SECONDS)


def _client(url: str) -> "Redis":
    return Redis.from_url(
        url,
        protocol=2,
        decode_responses=True,
        socket_connect_timeout=PATIENCE_SECONDS,
        socket_timeout=PATIENCE_SECONDS / 2,
        retry=Retry(NoBackoff(), 0),
    )


async def _always(
    listen: Callable[[Callable[[], None]], Awaitable[None]],
    *,
    name: str,
    tried: asyncio.Event,
) -> None:
    """Listen again and again, after ever longer pauses, and log once when it stops working.

    Whatever goes wrong once: nobody else would listen again.
    """
    shortest, longest = RECONNECT_SECONDS
    pause = shortest
    works = True

    def connected() -> None:
        nonlocal pause, works
        if not works:
            _log.info("listening_again", to=name)
        pause, works = shortest, True
        tried.set()

    while True:
        try:
            await listen(connected)
            cause = "connection lost"
        except Exception as error:
            cause = repr(error)
        if works:
            _log.warning("listening_failed", to=name, cause=cause)
        works = False
        tried.set()
        await asyncio.sleep(pause)
        pause = min(pause * 2, longest)


async def _done(answer: Any) -> None:
    """Wait for a command that redis-py types as either an answer or a wait for one."""
    await answer
