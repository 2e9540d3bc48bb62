"""News is whole whatever is killed: workers, Redis and PostgreSQL, while many write and listen.

`CHAOS_SECONDS`, `CHAOS_SOCKETS` and `CHAOS_HELD_SECONDS` say how long, for how many sockets, and
for how much of it one transaction is held open; `CHAOS_AWAY_SECONDS` for how long Redis is away.
The suite's own figures are small.
"""

import asyncio
import itertools
import os
import random
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, Final

import asyncpg
import httpx
import orjson
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import WebSocketException

from tests.e2e.conftest import (
    EVERY_WAY,
    Server,
    launched,
    needs_proc,
    wait_until_ready,
)
from tests.e2e.test_truth import User, at, free_port, say, sign_up
from tests.postgres import Postgres
from tests.realtime.conftest import RedisServer, redis_binary, until

SECONDS: Final = float(os.environ.get("CHAOS_SECONDS", "5"))
SOCKETS: Final = int(os.environ.get("CHAOS_SOCKETS", "40"))
HELD_SECONDS: Final = float(os.environ.get("CHAOS_HELD_SECONDS", str(SECONDS / 4)))
AWAY_SECONDS: Final = float(os.environ.get("CHAOS_AWAY_SECONDS", "2"))
WRITES_PER_SECOND: Final = 50
EVENTS: Final = 10
READERS: Final = 8
READERS_PER_EVENT: Final = 4
WORKERS: Final = 2
PAUSE_SECONDS: Final = (0.5, 1.5)
"""Between two kills."""
DOWN_SECONDS: Final = 0.7
RETRY_SECONDS: Final = 0.1
BULK_SECONDS: Final = 0.5
"""Between two changes of all events at once, which keep everybody else from them."""
PATIENCE_SECONDS: Final = 60.0
VICTIMS: Final = ("worker", "worker", "redis", "postgres")

Json = dict[str, Any]


@dataclass
class House:
    """All that runs, and what is left of it at the moment."""

    server: Server
    postgres: Postgres
    redis: RedisServer | None
    kills: dict[str, int] = field(default_factory=lambda: dict.fromkeys(VICTIMS, 0))

    async def kill(self, victim: str) -> None:
        """Kill something without warning, and have it come back."""
        if victim == "worker":
            # None while those that were killed before are being replaced.
            for worker in sorted(self.server.workers(), key=lambda pid: pid.number)[:1]:
                worker.kill()
        elif victim == "postgres":
            await asyncio.to_thread(self.postgres.kill)
            await asyncio.to_thread(self.postgres.start)
        elif self.redis is not None:
            await asyncio.to_thread(self.redis.kill)
            await asyncio.sleep(DOWN_SECONDS)
            await asyncio.to_thread(self.redis.start)
        self.kills[victim] += 1


@pytest.fixture(scope="module", params=[*(["without Redis"] if EVERY_WAY else []), "with Redis"])
def house(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[House]:
    """A server of several workers with a PostgreSQL, and perhaps a Redis, of its own."""
    binary = redis_binary()
    if request.param == "with Redis" and binary is None:
        pytest.skip("there is no redis-server on this machine")
    with ExitStack() as stack:
        postgres = Postgres()
        stack.callback(postgres.remove)
        postgres.start()
        settings = {"DATABASE_URL": postgres.url}
        redis = RedisServer(binary) if request.param == "with Redis" and binary else None
        if redis is not None:
            stack.callback(redis.remove)
            redis.start()
            settings["REDIS_URL"] = redis.url
        server = stack.enter_context(
            launched(
                tmp_path_factory.mktemp("chaos"), port=free_port(), workers=WORKERS, **settings
            )
        )
        wait_until_ready(server)
        yield House(server, postgres, redis)


@dataclass
class Listener:
    """A client that keeps one socket open, and comes again with the cursor that it has."""

    user: User
    base_url: str
    cursor: str
    heard: list[Json] = field(default_factory=list)
    connected: int = 0

    @property
    def ids(self) -> dict[str, None]:
        """Which messages it has heard, in their order."""
        return dict.fromkeys(message["id"] for message in self.heard)

    async def listen(self) -> None:
        """Take down what is told, for ever."""
        url = self.base_url.replace("http", "ws", 1) + "/api/ws/notifications?after="
        headers = {"Authorization": self.user.client.headers["Authorization"]}
        while True:
            with suppress(OSError, TimeoutError, WebSocketException):
                async with connect(
                    url + self.cursor, additional_headers=headers, proxy=None, open_timeout=10
                ) as socket:
                    self.connected += 1
                    async for text in socket:
                        message = orjson.loads(text)
                        self.heard.append(message)
                        self.cursor = message["cursor"]
            await asyncio.sleep(RETRY_SECONDS)


@dataclass
class Writer:
    """A client that changes one event over and over, each change until it is acknowledged."""

    user: User
    path: str
    made: int = 0
    is_done: bool = False

    async def write(self, *, every: float) -> None:
        """Write until it is done; what is under way then is still finished."""
        while not self.is_done:
            began = time.monotonic()
            await self.change(self.made + 1)
            await asyncio.sleep(max(0.0, every - (time.monotonic() - began)))

    async def change(self, number: int) -> None:
        """Make one change exactly once."""
        key = {"Idempotency-Key": f"{self.path}-{number}"}
        while True:
            with suppress(httpx.TransportError):
                answer = await self.user.client.patch(
                    self.path, json={"title": f"Title {number}"}, headers=key
                )
                if answer.status_code == 200:
                    self.made += 1
                    return
                assert answer.status_code in {409, 503}, answer.text
            await asyncio.sleep(RETRY_SECONDS)


@dataclass
class Rivals:
    """Clients that change the same events, some of them all at once, and repeat nothing."""

    user: User
    paths: Sequence[str]
    is_done: bool = False

    async def edit(self) -> None:
        """Change one event after the other."""
        for number in itertools.takewhile(self._goes_on, itertools.count()):
            path = self.paths[number % len(self.paths)]
            await self._try("PATCH", path, {"location": f"Room {number}"})

    async def change_all(self) -> None:
        """Change all of them in one transaction, again and again."""
        ids = [path.rpartition("/")[2] for path in self.paths]
        for number in itertools.takewhile(self._goes_on, itertools.count()):
            body = {"ids": ids, "changes": {"description": f"Text {number}"}}
            await self._try("PATCH", "/api/events/batch", body)
            await asyncio.sleep(BULK_SECONDS)

    def _goes_on(self, _: int) -> bool:
        return not self.is_done

    async def _try(self, method: str, path: str, body: Json) -> None:
        with suppress(httpx.TransportError):
            answer = await self.user.client.request(method, path, json=body)
            assert answer.status_code in {200, 503}, answer.text
        await asyncio.sleep(RETRY_SECONDS)


@pytest.fixture
async def people(house: House) -> AsyncIterator[list[User]]:
    """Users who read, the first of whom also writes."""
    async with AsyncExitStack() as stack:
        yield [await sign_up(stack, house.server) for _ in range(READERS)]


async def make_events(people: Sequence[User]) -> list[Writer]:
    """Let one user own some events, each of which a few others may read."""
    owner, *others = people
    writers = []
    for number in range(EVENTS):
        made = await owner.client.post("/api/events", json={"title": "Chaos", **at(number)})
        path = f"/api/events/{made.json()['id']}"
        readers = [others[(number + n) % len(others)] for n in range(READERS_PER_EVENT)]
        grants = [{"user_id": reader.user_id, "role": "Viewer"} for reader in readers]
        assert (await owner.client.post(f"{path}/share", json=grants)).status_code == 201
        writers.append(Writer(owner, path))
    return writers


async def listed(user: User, after: str = "") -> list[Json]:
    """Return all that a user was told since a cursor, page by page."""
    found: list[Json] = []
    while True:
        given = {"limit": "200"} | ({"after": after} if after else {})
        page: list[Json] = (await user.client.get("/api/notifications", params=given)).json()
        found += page
        if len(page) < 200:
            return found
        after = page[-1]["cursor"]


async def hold_open(house: House, seconds: float) -> None:
    """Hold a transaction open, so that nothing that begins later is settled; it may be killed."""
    with suppress(OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
        connection = await asyncpg.connect(house.postgres.url, timeout=10)
        try:
            await connection.execute("BEGIN")
            await connection.execute("SELECT pg_current_xact_id()")
            await asyncio.sleep(seconds)
            await connection.execute("ROLLBACK")
        finally:
            connection.terminate()


async def kill_at_random(house: House, *, seconds: float) -> None:
    """Kill this and that for a while; nothing for as long as a transaction is held open."""
    victims = [victim for victim in VICTIMS if victim != "redis" or house.redis]
    ends = time.monotonic() + seconds
    half = time.monotonic() + (seconds - HELD_SECONDS) / 2
    held = False
    # However short it is, everybody is cut off once.
    for worker in house.server.workers():
        worker.kill()
    while time.monotonic() < ends:
        if not held and time.monotonic() > half:
            held = True
            holding = asyncio.create_task(hold_open(house, HELD_SECONDS))
            # A PostgreSQL that is killed would end the transaction.
            for victim in itertools.cycle(v for v in victims if v != "postgres"):
                await asyncio.sleep(random.uniform(*PAUSE_SECONDS))
                if holding.done():
                    break
                await house.kill(victim)
            await holding
        await house.kill(random.choice(victims))
        await asyncio.sleep(random.uniform(*PAUSE_SECONDS))


@needs_proc
@pytest.mark.timeout(120 + SECONDS + 2 * PATIENCE_SECONDS)
async def test_every_message_arrives_whatever_is_killed(
    house: House, people: list[User], capsys: pytest.CaptureFixture[str]
) -> None:
    """Each recipient hears each message at least once, in commit order per event, none skipped."""
    async with news(house, people) as (writers, listeners):
        await kill_at_random(house, seconds=SECONDS)
    # Some were cut off, and came again.
    assert sum(listener.connected for listener in listeners) > len(listeners)
    told = sum(len(listener.heard) for listener in listeners)
    made = sum(writer.made for writer in writers)
    say(capsys, f"{house.kills} killed, {made} changes, {told} messages to {SOCKETS} sockets")


@needs_proc
@pytest.mark.parametrize("house", ["with Redis"], indirect=True)
@pytest.mark.timeout(120 + 3 * AWAY_SECONDS + 2 * PATIENCE_SECONDS)
async def test_without_its_redis_nothing_stops(house: House, people: list[User]) -> None:
    """Writes go on and are told meanwhile, no socket is closed, and all of it is whole."""
    assert house.redis is not None
    async with news(house, people) as (writers, listeners):

        async def so_far() -> tuple[int, int]:
            """Return what is made and heard at the end of as long as Redis will be away."""
            await asyncio.sleep(AWAY_SECONDS)
            return sum(one.made for one in writers), sum(len(one.heard) for one in listeners)

        began = await so_far()
        left = await so_far()
        house.redis.kill()
        back = await so_far()
        await asyncio.to_thread(house.redis.start)
        await asyncio.sleep(1)
    assert back[0] - left[0] > (left[0] - began[0]) / 4
    assert back[1] - left[1] > back[0] - left[0]
    assert all(listener.connected == 1 for listener in listeners)


@asynccontextmanager
async def news(
    house: House, people: Sequence[User]
) -> AsyncIterator[tuple[list[Writer], list[Listener]]]:
    """Write and listen inside the block; afterwards all must have been told, whole."""
    writers = await make_events(people)
    readers = people[1:]
    began = {reader.user_id: (await listed(reader))[-1]["cursor"] for reader in readers}
    listeners = [
        Listener(reader, house.server.base_url, began[reader.user_id])
        for reader in itertools.islice(itertools.cycle(readers), SOCKETS)
    ]
    listening = [asyncio.create_task(listener.listen()) for listener in listeners]
    writing = [
        asyncio.create_task(writer.write(every=EVENTS / WRITES_PER_SECOND)) for writer in writers
    ]
    rivals = Rivals(people[0], [writer.path for writer in writers])
    rivalling = [asyncio.create_task(act) for act in (rivals.edit(), rivals.change_all())]
    try:
        await until(lambda: all(one.connected for one in listeners), seconds=PATIENCE_SECONDS)
        yield writers, listeners
        rivals.is_done = True
        for writer in writers:
            writer.is_done = True
        async with asyncio.timeout(PATIENCE_SECONDS):
            await asyncio.gather(*writing, *rivalling)
        await settle(listeners, began)
    finally:
        for task in (*writing, *rivalling, *listening):
            task.cancel()
        await asyncio.gather(*writing, *rivalling, *listening, return_exceptions=True)


async def settle(listeners: Sequence[Listener], began: dict[str, str]) -> None:
    """Wait until every listener has heard all there is to hear, and judge what it has heard."""
    for user_id, cursor in began.items():
        theirs = [listener for listener in listeners if listener.user.user_id == user_id]
        ids: list[str] = []
        with suppress(TimeoutError):
            async with asyncio.timeout(PATIENCE_SECONDS):
                # What was under way in a process that was killed may be committed yet.
                while not ids or any(list(listener.ids) != ids for listener in theirs):
                    with suppress(httpx.TransportError, ValueError, KeyError):
                        ids = [message["id"] for message in await listed(theirs[0].user, cursor)]
                    await asyncio.sleep(RETRY_SECONDS)
        for listener in theirs:
            heard = list(listener.ids)
            assert heard == ids, "not what was told, in the order in which it was committed"
            assert len(listener.heard) == len(heard), "something was told twice"
    owner = listeners[0].user
    seen: dict[str, list[int]] = {}
    for message in await listed(owner, began[owner.user_id]):
        seen.setdefault(message["event_id"], []).append(message["data"]["version"])
    for versions in seen.values():
        assert versions == list(range(2, 2 + len(versions))), "a version was not told of"
