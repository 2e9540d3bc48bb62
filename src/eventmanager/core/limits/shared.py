"""The same moving windows in Redis, shared by all processes.

Redis may go away and come back at any time: whoever asks meanwhile is told so at once.
"""

import asyncio
from collections.abc import Sequence
from contextvars import Context
from typing import Final

import structlog
from redis.asyncio import ConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from eventmanager.core.limits.rates import Rate
from eventmanager.core.limits.windows import Limit, Standing

PATIENCE_SECONDS: Final = 0.5
PROBE_EVERY_SECONDS: Final = 1.0
CONNECTIONS: Final = 8

# Each key is a list of instants in milliseconds, the oldest first, and has two arguments: how many
# it may hold and for how long. Answers whether all have room, then for each how many it holds and
# in how many milliseconds the oldest leaves. The clock is Redis's own, the same for every process.
_SCRIPT: Final = """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local answer = {1}
for i, key in ipairs(KEYS) do
  local amount, span = tonumber(ARGV[2 * i - 1]), tonumber(ARGV[2 * i])
  local oldest = tonumber(redis.call('LINDEX', key, 0) or nil)
  while oldest and oldest <= now - span do
    redis.call('LPOP', key)
    oldest = tonumber(redis.call('LINDEX', key, 0) or nil)
  end
  local held = redis.call('LLEN', key)
  if held >= amount then answer[1] = 0 end
  answer[2 * i] = held
  answer[2 * i + 1] = (oldest or now) + span - now
end
if answer[1] == 1 then
  for i, key in ipairs(KEYS) do
    redis.call('RPUSH', key, string.format('%.0f', now))
    redis.call('PEXPIRE', key, ARGV[2 * i])
  end
end
return answer
"""
_PROBE: Final = Limit("probe", Rate(1, 1))

_log = structlog.get_logger("app")


class SharedWindows:
    """The windows in one Redis."""

    def __init__(self, url: str) -> None:
        pool = ConnectionPool.from_url(
            url,
            max_connections=CONNECTIONS,
            protocol=2,
            driver_info=None,
            # A second attempt is what the process's own windows are for.
            retry=Retry(NoBackoff(), 0),
        )
        self._redis = Redis(connection_pool=pool)
        self._script = self._redis.register_script(_SCRIPT)
        self._turns = asyncio.Semaphore(CONNECTIONS)
        self._away: asyncio.Task[None] | None = None

    async def take(self, client: str, limits: Sequence[Limit]) -> list[Standing] | None:
        """Count one request of the client if every limit has room; tell how each stood before.

        None when Redis is away: at most half a second after it went, at once thereafter.
        """
        if self._away is not None:
            return None
        # Patience is for Redis: a crowd of our own requests must not look like its absence.
        async with self._turns:
            if self._away is not None:
                return None
            try:
                return await self._ask(client, limits)
            except (RedisError, OSError, TimeoutError) as error:
                self._give_up(error)
                return None

    async def aclose(self) -> None:
        """Close every connection."""
        if self._away is not None:
            self._away.cancel()
        await self._redis.aclose()
        await self._redis.connection_pool.disconnect()

    async def _ask(self, client: str, limits: Sequence[Limit]) -> list[Standing]:
        keys, arguments = [], []
        for limit in limits:
            rate = limit.rate
            # In a Redis Cluster the braces keep all keys of a client on one node.
            keys.append(
                f"eventmanager:limit:{{{client}}}:{limit.name}:{rate.amount}/{rate.seconds}"
            )
            arguments += [rate.amount, rate.seconds * 1000]
        async with asyncio.timeout(PATIENCE_SECONDS):
            _, *numbers = await self._script(keys, arguments)
        return [
            Standing(held < rate.amount, rate.amount, rate.amount - held, milliseconds / 1000)
            for rate, held, milliseconds in zip(
                (limit.rate for limit in limits), numbers[::2], numbers[1::2], strict=True
            )
        ]

    def _give_up(self, error: Exception) -> None:
        if self._away is None:
            _log.warning("redis_away", cause=repr(error), consequence="limits are per process")
            # The task outlives the request that noticed, so it leaves its log context behind.
            self._away = asyncio.create_task(self._until_it_is_back(), context=Context())

    async def _until_it_is_back(self) -> None:
        """Ask now and then, so that no request has to; with a write, as a replica answers pings."""
        while True:
            await asyncio.sleep(PROBE_EVERY_SECONDS)
            try:
                await self._ask("probe", [_PROBE])
            except (RedisError, OSError, TimeoutError):
                continue
            self._away = None
            _log.info("redis_back", consequence="limits are shared again")
            return
