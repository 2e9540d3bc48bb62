"""How news fans out over WebSockets: our server beside a bare `websockets` server, in one run.

`.venv/bin/python bench/fanout.py --sockets 5000 --seconds 10`; see `bench/README.md`.
"""

import argparse
import asyncio
import base64
import http.client
import json
import multiprocessing
import os
import resource
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, cast
from uuid import UUID

import asyncpg
import httpx
import uvloop
from pydantic import SecretStr
from websockets.asyncio.client import connect
from websockets.asyncio.server import ServerConnection, broadcast, serve

from eventmanager.accounts.models import GlobalRole
from eventmanager.accounts.tokens import sign_access_token
from eventmanager.core.config import Settings
from eventmanager.core.embedded import embedded_postgres
from eventmanager.core.ids import SessionId, UserId, uuid7

HERE = Path(__file__).resolve()
OURS = str(Path(sys.executable).parent / "eventmanager")
PATH = "/api/ws/notifications"
PAGE_BYTES = resource.getpagesize()
TICKS = os.sysconf("SC_CLK_TCK")
OPENING_AT_ONCE = 50
SOCKETS_PER_USER = 5
TEAM = 20
"""Users who share one of the events that change at the low rate."""
STALLED_AMONG = 1000
SETTLING_SECONDS = 3.0
MAX_SOCKETS = 6000
MAX_SECONDS = 30


# The clients: a process of its own, so that what reads is not what is measured.


class Reader(asyncio.Protocol):
    """One socket that is read as cheaply as can be; pings are answered, frames counted."""

    def __init__(self, clients: "Clients", request: bytes) -> None:
        self.clients = clients
        self.request = request
        self.buffer = b""
        self.opened: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.close_code: int | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self.transport.write(self.request)

    def connection_lost(self, _: Exception | None) -> None:
        self.clients.lost += 1
        if not self.opened.done():
            self.opened.set_exception(ConnectionError("closed while opening"))

    def data_received(self, data: bytes) -> None:
        data = self.buffer + data
        if not self.opened.done():
            head, end, data = data.partition(b"\r\n\r\n")
            if not end:
                self.buffer = head
                return
            if not head.startswith(b"HTTP/1.1 101"):
                self.opened.set_exception(ConnectionError(head[:200].decode()))
                return
            self.opened.set_result(None)
        start, size = 0, len(data)
        while size - start >= 2:
            length, at = data[start + 1], start + 2
            if length == 126:
                length, at = int.from_bytes(data[at : at + 2], "big"), at + 2
            elif length == 127:
                length, at = int.from_bytes(data[at : at + 8], "big"), at + 8
            if at + length > size:
                break
            self.take(data[start] & 0x0F, data, at, at + length)
            start = at + length
        self.buffer = data[start:]

    def take(self, opcode: int, data: bytes, start: int, end: int) -> None:
        if opcode in (1, 2):
            self.clients.heard(data, start)
        elif opcode == 9:
            # A mask of zeros changes nothing.
            self.transport.write(bytes((0x8A, 0x80 | end - start)) + bytes(4) + data[start:end])
        elif opcode == 8:
            self.close_code = int.from_bytes(data[start : start + 2], "big")
            self.transport.write(bytes((0x88, 0x80 | end - start)) + bytes(4) + data[start:end])
            self.transport.close()


class Clients:
    """All sockets of a run, told what to do over a pipe."""

    def __init__(self, pipe: Connection) -> None:
        self.pipe = pipe
        self.readers: list[Reader] = []
        self.lost = 0
        self.count = 0
        self.latencies: list[float] = []
        self.timed = False

    def heard(self, data: bytes, start: int) -> None:
        self.count += 1
        if self.timed:
            now = time.time()
            at = data.index(b'"occurred_at":"', start) + 15
            stamp = data[at : data.index(b'"', at)].decode()
            self.latencies.append(now - datetime.fromisoformat(stamp).timestamp())

    async def run(self) -> None:
        while True:
            name, *arguments = await asyncio.to_thread(self.pipe.recv)
            if name == "end":
                return
            self.pipe.send(await getattr(self, name)(*arguments))

    async def open(self, port: int, targets: list[tuple[str, str]]) -> int:
        slots = asyncio.Semaphore(OPENING_AT_ONCE)
        loop = asyncio.get_running_loop()

        async def one(path: str, header: str) -> Reader:
            key = base64.b64encode(os.urandom(16)).decode()
            request = (
                f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: Upgrade\r\n"
                f"Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n"
                f"{header}\r\n"
            ).encode()
            async with slots:
                make = partial(Reader, self, request)
                _, reader = await loop.create_connection(make, "127.0.0.1", port)
                await reader.opened
            return reader

        self.readers += await asyncio.gather(*(one(*target) for target in targets))
        return len(self.readers)

    async def begin(self, *, timed: bool) -> None:
        self.count, self.timed, self.latencies = 0, timed, []

    async def begin_timed(self) -> None:
        await self.begin(timed=True)

    async def begin_counting(self) -> None:
        await self.begin(timed=False)

    async def report(self) -> tuple[int, list[float], int]:
        return self.count, self.latencies, self.lost

    async def stall(self) -> None:
        self.readers[0].transport.pause_reading()

    async def resume(self) -> int | None:
        self.readers[0].transport.resume_reading()
        await asyncio.sleep(1)
        return self.readers[0].close_code

    async def close(self) -> None:
        for reader in self.readers:
            reader.transport.abort()
        self.readers.clear()
        await asyncio.sleep(0.5)
        self.lost = 0


def run_clients(pipe: Connection) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    uvloop.run(Clients(pipe).run())


@dataclass
class Herd:
    """The other end of the pipe."""

    pipe: Connection

    async def ask(self, *command: Any) -> Any:
        self.pipe.send(command)
        return await asyncio.to_thread(self.pipe.recv)


@contextmanager
def clients() -> Iterator[Herd]:
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=run_clients, args=(theirs,))
    process.start()
    try:
        yield Herd(ours)
    finally:
        ours.send(("end",))
        process.join(5)
        process.kill()


# The two servers.


@dataclass
class Site:
    """A running server: who may listen to what, and how a change is told to a group."""

    name: str
    port: int
    pid: int
    targets: list[tuple[str, str]] = field(default_factory=list)
    change: Callable[[str], Any] = print
    log: Path | None = None

    def cpu_seconds(self) -> float:
        """Processor time that the process has used, in user and kernel mode."""
        parts = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(parts[11]) + int(parts[12])) / TICKS

    def resident_bytes(self) -> int:
        return int(Path(f"/proc/{self.pid}/statm").read_text().split()[1]) * PAGE_BYTES


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
    return port


@contextmanager
def started(name: str, command: list[str], directory: Path, **env: str) -> Iterator[Site]:
    """Run a server of one process until the block ends."""
    port = free_port()
    output = directory / f"{name}.out"
    with output.open("wb") as out:
        process = subprocess.Popen(
            [*command, str(port)], env=os.environ | env, cwd=directory, stdout=out, stderr=out
        )
    try:
        for _ in range(300):
            if process.poll() is not None:
                raise RuntimeError(f"{name} did not start:\n{output.read_text()[-4000:]}")
            if answers(port):
                break
            time.sleep(0.1)
        yield Site(name, port, process.pid)
    finally:
        process.terminate()
        try:
            process.wait(25)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def answers(port: int) -> bool:
    """Whether the server answers anything at all; it listens long before."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("GET", "/health")
        connection.getresponse()
    except OSError:
        return False
    finally:
        connection.close()
    return True


async def bare(port: int) -> None:
    """The plainest server of `websockets`: sockets in groups, to which changes are broadcast."""
    groups: dict[str, set[ServerConnection]] = defaultdict(set)

    async def handler(connection: ServerConnection) -> None:
        assert connection.request is not None
        path = connection.request.path
        if path == "/control":
            async for message in connection:
                assert isinstance(message, str)
                group, _, payload = message.partition(" ")
                broadcast(groups[group], payload)
                await connection.send("ok")
            return
        for group in path[1:].split(","):
            groups[group].add(connection)
        await connection.wait_closed()
        for group in path[1:].split(","):
            groups[group].discard(connection)

    async with serve(handler, "127.0.0.1", port, compression=None, backlog=2048):
        await asyncio.get_running_loop().create_future()


USERS = """
    INSERT INTO users (id, username, email, password_hash, created_at)
    SELECT id, 'u' || id, id || '@example.com', '', now() FROM unnest($1::uuid[]) id"""
SESSIONS = """
    INSERT INTO sessions
        (id, user_id, created_at, last_used_at, expires_at, address, user_agent)
    SELECT s, u, now(), now(), now() + interval '1 day', '', ''
    FROM unnest($1::uuid[], $2::uuid[]) AS x (s, u)"""
GRANTS = """
    INSERT INTO grants (event_id, user_id, owner_id, role, start_time, granted_by, created_at)
    SELECT e.id, u, e.owner_id, 'Viewer', e.start_time, e.owner_id, now()
    FROM events e, unnest($2::uuid[]) u WHERE e.id = $1"""


@asynccontextmanager
async def filled(
    site: Site, database_url: str, settings: Settings, *, users: int, per_user: int
) -> AsyncIterator[None]:
    """Give our server its readers: one event that all share, and one for each team of 20."""
    ids = [uuid7() for _ in range(users + 1)]
    sessions = [uuid7() for _ in ids]
    now = datetime.now(UTC)
    tokens = [
        sign_access_token(
            settings,
            user_id=UserId(user),
            session_id=SessionId(session),
            role=GlobalRole.USER,
            now=now,
        )
        for user, session in zip(ids, sessions, strict=True)
    ]
    *readers, _ = ids
    site.targets = [
        (PATH, f"Authorization: Bearer {token}\r\n")
        for _ in range(per_user)
        for token in tokens[:-1]
    ]
    connection = await asyncpg.connect(database_url)
    await connection.execute(USERS, ids)
    await connection.execute(SESSIONS, sessions, ids)
    async with httpx.AsyncClient(
        base_url=f"http://127.0.0.1:{site.port}",
        headers={"Authorization": f"Bearer {tokens[-1]}"},
        trust_env=False,
        timeout=30,
    ) as client:
        groups = {"all": readers}
        groups |= {f"team{n}": readers[n : n + TEAM] for n in range(0, users, TEAM)}
        events: dict[str, str] = {}
        for number, (group, members) in enumerate(groups.items()):
            begin = now + timedelta(days=1, hours=2 * number)
            body = {
                "title": "Planning",
                "start_time": begin.isoformat(),
                "end_time": (begin + timedelta(hours=1)).isoformat(),
            }
            answer = await client.post("/api/events", json=body)
            answer.raise_for_status()
            events[group] = answer.json()["id"]
            await connection.execute(GRANTS, UUID(events[group]), members)
        await connection.execute("VACUUM ANALYZE")
        await connection.close()

        async def change(group: str) -> None:
            title = f"Planning {secrets.token_hex(6)}"
            answer = await client.put(f"/api/events/{events[group]}", json={"title": title})
            answer.raise_for_status()

        site.change = change
        yield


SAMPLE = {
    "id": str(uuid7()),
    "cursor": "AAAAAAAAAyAAAAAAAAAACQ",
    "type": "event_updated",
    "event_id": str(uuid7()),
    "initiator_id": str(uuid7()),
    "message": "\u201cPlanning 0123456789ab\u201d was changed.",
    "occurred_at": "",
    "data": {
        "title": "Planning 0123456789ab",
        "changes": [{"after": "Planning 0123456789ab", "field": "title", "before": "Planning 0"}],
        "version": 12,
    },
}


@asynccontextmanager
async def grouped(site: Site, *, users: int, per_user: int) -> AsyncIterator[None]:
    """Give the bare server the same readers in the same groups, and messages as ours are."""
    site.targets = [
        (f"/all,team{user - user % TEAM}", "") for _ in range(per_user) for user in range(users)
    ]
    one_at_a_time = asyncio.Lock()
    async with connect(f"ws://127.0.0.1:{site.port}/control", proxy=None) as control:

        async def change(group: str) -> None:
            stamp = datetime.now(UTC).isoformat().removesuffix("+00:00") + "Z"
            text = json.dumps(SAMPLE | {"occurred_at": stamp}, separators=(",", ":"))
            async with one_at_a_time:
                await control.send(f"{group} {text}")
                await control.recv()

        site.change = change
        yield


# What is measured.


@dataclass
class Figures:
    """What one server showed."""

    kib_per_socket: float = 0
    opened_per_second: float = 0
    p50_ms: float = 0
    p99_ms: float = 0
    busy_deliveries: int = 0
    busy_cores: float = 0
    per_core_second: float = 0
    calm_cores: float = 0
    busy_p99_ms: float = 0
    idle_cores: float = 0
    lost: int = 0


def p(latencies: list[float], percent: int) -> float:
    """A percentile, in milliseconds."""
    ordered = sorted(latencies)
    return 1000 * ordered[min(len(ordered) - 1, len(ordered) * percent // 100)]


async def paced(
    change: Callable[[str], Any], groups: list[str], *, rate: float, seconds: float
) -> None:
    """Change one group's event after the other at a steady rate, whatever each change takes."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    under_way: set[asyncio.Task[None]] = set()
    taken: list[float] = []

    async def timed(group: str) -> None:
        started = loop.time()
        await change(group)
        taken.append(loop.time() - started)

    for number in range(round(rate * seconds)):
        await asyncio.sleep(max(0.0, began + number / rate - loop.time()))
        under_way.add(asyncio.create_task(timed(groups[number % len(groups)])))
    await asyncio.gather(*under_way)
    print(f"changes: p50 {p(taken, 50):.1f} ms, p99 {p(taken, 99):.1f} ms", file=sys.stderr)


async def delivered(herd: Herd, expected: int) -> tuple[int, list[float], int]:
    """Wait, but not for ever, until the clients have everything."""
    for _ in range(100):
        count, latencies, lost = await herd.ask("report")
        if count >= expected:
            break
        await asyncio.sleep(0.1)
    return count, latencies, lost


async def measure(site: Site, herd: Herd, options: argparse.Namespace) -> Figures:
    """Memory while nothing happens; then the low rate; then the high one."""
    figures = Figures()
    sockets = len(site.targets)
    users = sockets // SOCKETS_PER_USER
    await herd.ask("open", site.port, site.targets[:50])
    for _ in range(3):
        await site.change("all")
    await asyncio.sleep(1)
    before = site.resident_bytes()
    began = time.monotonic()
    await herd.ask("open", site.port, site.targets[50:])
    figures.opened_per_second = (sockets - 50) / (time.monotonic() - began)
    await asyncio.sleep(SETTLING_SECONDS)
    figures.kib_per_socket = (site.resident_bytes() - before) / (sockets - 50) / 1024
    spent = site.cpu_seconds()
    await asyncio.sleep(options.seconds)
    figures.idle_cores = (site.cpu_seconds() - spent) / options.seconds

    teams = [f"team{n}" for n in range(0, users, TEAM)]
    rate = options.calm / (TEAM * SOCKETS_PER_USER)
    await herd.ask("begin_timed")
    spent = site.cpu_seconds()
    await paced(site.change, teams, rate=rate, seconds=options.seconds)
    expected = round(rate * options.seconds) * TEAM * SOCKETS_PER_USER
    count, latencies, _ = await delivered(herd, expected)
    figures.calm_cores = (site.cpu_seconds() - spent) / options.seconds
    figures.p50_ms, figures.p99_ms = p(latencies, 50), p(latencies, 99)
    if count != expected:
        print(f"{site.name}: {count} of {expected} delivered", file=sys.stderr)

    rate = options.busy / sockets
    await herd.ask("begin_timed" if options.time_busy else "begin_counting")
    spent = site.cpu_seconds()
    await paced(site.change, ["all"], rate=rate, seconds=options.seconds)
    expected = round(rate * options.seconds) * sockets
    count, latencies, figures.lost = await delivered(herd, expected)
    cpu = site.cpu_seconds() - spent
    if count != expected:
        print(f"{site.name}: {count} of {expected} delivered", file=sys.stderr)
    if latencies:
        figures.busy_p99_ms = p(latencies, 99)
    figures.busy_deliveries = count
    figures.busy_cores = cpu / options.seconds
    figures.per_core_second = count / cpu
    await herd.ask("close")
    return figures


async def stalled(
    site: Site, herd: Herd, options: argparse.Namespace
) -> dict[str, float | int | None]:
    """One of 1,000 sockets stops reading while each is told something once a second."""
    # One socket each: the users come round again after that.
    size = min(STALLED_AMONG, options.sockets // SOCKETS_PER_USER)
    await herd.ask("open", site.port, site.targets[:size])
    teams = [f"team{n}" for n in range(0, size, TEAM)]
    rate = options.calm / TEAM
    await herd.ask("begin_timed")
    await paced(site.change, teams, rate=rate, seconds=options.seconds)
    _, latencies, _ = await delivered(herd, round(rate * options.seconds) * TEAM)
    before_ms = p(latencies, 99)
    assert site.log is not None
    log = site.log.stat().st_size
    await herd.ask("stall")
    began, before = time.monotonic(), site.resident_bytes()
    await herd.ask("begin_timed")
    load = asyncio.create_task(paced(site.change, teams, rate=rate, seconds=15))
    closed_after, most = None, before
    while not load.done():
        await asyncio.sleep(0.05)
        most = max(most, site.resident_bytes())
        if closed_after is None:
            with site.log.open("rb") as file:
                file.seek(log)
                if b"socket_closed" in file.read():
                    closed_after = time.monotonic() - began
    await load
    _, latencies, _ = await delivered(herd, round(15 * rate) * TEAM * (size - 1) // size)
    found = {
        "p99 before, ms": round(before_ms, 1),
        "p99 of the others, ms": round(p(latencies, 99), 1),
        "grown, MB": round((most - before) / 1e6, 2),
        "closed after, s": closed_after and round(closed_after, 1),
        "close code it reads then": await herd.ask("resume"),
    }
    await herd.ask("close")
    return found


async def fan_out(options: argparse.Namespace) -> None:
    users = options.sockets // SOCKETS_PER_USER
    many = {"users": users, "per_user": SOCKETS_PER_USER}
    results: dict[str, Figures] = {}
    stall: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(prefix="bench-") as name, ExitStack() as stack:
        directory = Path(name)
        herd = stack.enter_context(clients())
        if options.only != "ours":
            command = [sys.executable, str(HERE), "--bare"]
            with started("bare websockets", command, directory) as site:
                async with grouped(site, **many):
                    results[site.name] = await measure(site, herd, options)
        if options.only != "bare":
            url = stack.enter_context(embedded_postgres(directory / "postgres"))
            secret = secrets.token_hex(32)
            settings = Settings(
                _env_file=None,
                database_url=url,
                access_token_secret=SecretStr(secret),
                refresh_token_secret=SecretStr(secret[::-1]),
                access_token_expire_minutes=60,
            )
            with started(
                "ours",
                [OURS, "serve", "--port"],
                directory,
                DATABASE_URL=url,
                REDIS_URL="",
                ACCESS_TOKEN_SECRET=secret,
                REFRESH_TOKEN_SECRET=secret[::-1],
                RATE_LIMIT_ENABLED="false",
                BACKGROUND_TASKS="false",
                LOG_DIR=str(directory / "logs"),
                DATA_DIR=str(directory / "data"),
            ) as site:
                site.log = directory / "logs" / "app.log"
                async with filled(site, url, settings, **many):
                    results[site.name] = await measure(site, herd, options)
                    if options.sockets >= STALLED_AMONG:
                        stall = await stalled(site, herd, options)
    print(table(results, options))
    if stall:
        print(f"\nOne of {STALLED_AMONG} sockets stops reading, {options.calm} deliveries/s:\n")
        print("\n".join(f"- {name}: {value}" for name, value in stall.items()))


def table(results: dict[str, Figures], options: argparse.Namespace) -> str:
    """The figures as Markdown, and the ratio where there are two."""
    rows: list[tuple[str, Callable[[Figures], float], str]] = [
        ("memory of an idle socket, KiB", lambda f: f.kib_per_socket, ".1f"),
        ("sockets opened, 1/s", lambda f: f.opened_per_second, ",.0f"),
        ("idle: cores used", lambda f: f.idle_cores, ".3f"),
        (f"{options.calm:,}/s: median, ms", lambda f: f.p50_ms, ".1f"),
        (f"{options.calm:,}/s: p99, ms", lambda f: f.p99_ms, ".1f"),
        (f"{options.calm:,}/s: cores used", lambda f: f.calm_cores, ".3f"),
        (f"{options.busy:,}/s: deliveries", lambda f: f.busy_deliveries, ",.0f"),
        (f"{options.busy:,}/s: cores used", lambda f: f.busy_cores, ".3f"),
        ("deliveries per core-second", lambda f: f.per_core_second, ",.0f"),
        ("sockets lost", lambda f: f.lost, ".0f"),
    ]
    if options.time_busy:
        rows.append((f"{options.busy:,}/s: p99, ms", lambda f: f.busy_p99_ms, ".1f"))
    names = list(results)
    lines = [["", *names], ["---", *["---:"] * len(names)]]
    if len(names) == 2:
        lines[0].append("ratio")
        lines[1].append("---:")
    for title, value, form in rows:
        values = [value(figures) for figures in results.values()]
        line = [title, *(format(one, form) for one in values)]
        if len(values) == 2:
            line.append(f"{values[1] / values[0]:.2f}" if values[0] else "")
        lines.append(line)
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sockets", type=int, default=5000, help=f"at most {MAX_SOCKETS}")
    parser.add_argument(
        "--seconds", type=float, default=10, help=f"of each load, at most {MAX_SECONDS}"
    )
    parser.add_argument("--calm", type=int, default=1000, help="deliveries a second, the low rate")
    parser.add_argument("--busy", type=int, default=20_000, help="and the high one")
    parser.add_argument("--time-busy", action="store_true", help="latencies at the high rate too")
    parser.add_argument("--only", choices=["bare", "ours"], help="measure one of them alone")
    parser.add_argument("--bare", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.bare:
        uvloop.run(bare(options.bare))
        return
    if not (100 <= options.sockets <= MAX_SOCKETS and 0 < options.seconds <= MAX_SECONDS):
        parser.error("out of bounds; see --help")
    if not (0 < options.calm <= 10_000 and 0 < options.busy <= 200_000):
        parser.error("out of bounds; see --help")
    # Client and server need one file each a socket.
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 2 * MAX_SOCKETS), hard))
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("terminated"))
    uvloop.run(fan_out(options))


if __name__ == "__main__":
    main()
