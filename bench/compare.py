"""Our server against the plain implementation of the same description, in one run, as ratios.

`.venv/bin/python bench/compare.py --seconds 5 --rounds 3 --connections 16`; see `bench/README.md`.
"""

import argparse
import itertools
import json
import os
import secrets
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import asyncpg

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench import load

from eventmanager.core.embedded import embedded_postgres

HERE = Path(__file__).resolve().parent

OURS = [str(Path(sys.executable).parent / "eventmanager")]
PLAIN = ["-m", "uvicorn", "plain:app", "--app-dir", str(HERE), "--no-access-log"]

EVENTS = 1000
LIMIT = 100
WARM_UP_SECONDS = 1.0
SCENARIOS = (
    "get one event",
    f"list {LIMIT} events",
    "create, one user",
    "create, a user per connection",
    "update the title",
)


@dataclass
class Site:
    """A running server, and the user whose events are read and renamed."""

    name: str
    port: int
    token: str = ""
    event_ids: list[str] = field(default_factory=list)

    def call(self, method: str, path: str, body: Any = None) -> Any:
        """One request outside the measurement; a status other than 2xx raises `HTTPError`."""
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}{path}",
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Content-Type": "application/json", "Authorization": f"Bearer {self.token}"},
        )
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.load(answer)

    def new_user(self) -> str:
        """Register a user and answer with their access token."""
        name, password = f"bench-{secrets.token_hex(6)}", secrets.token_urlsafe(18)
        user = {"username": name, "password": password}
        self.call("POST", "/api/auth/register", user | {"email": f"{name}@example.com"})
        token: str = self.call("POST", "/api/auth/login", user)["access_token"]
        return token

    def traffic(self, scenario: str, connections: int) -> list[Iterator[bytes]]:
        """The requests of each connection."""
        match SCENARIOS.index(scenario):
            case 0:
                gets = [
                    load.encode("GET", self.path(id_), token=self.token) for id_ in self.event_ids
                ]
                return [itertools.cycle(gets[i::connections]) for i in range(connections)]
            case 1:
                page = load.encode("GET", f"/api/events?limit={LIMIT}", token=self.token)
                return [itertools.repeat(page)] * connections
            case 2:
                return [creations(self.new_user())] * connections
            case 3:
                return [creations(self.new_user()) for _ in range(connections)]
            case _:
                ids = [self.event_ids[i::connections] for i in range(connections)]
                return [self.renamings(mine) for mine in ids]

    def renamings(self, event_ids: list[str]) -> Iterator[bytes]:
        for n, event_id in enumerate(itertools.cycle(event_ids)):
            body = json.dumps({"title": f"Renamed {n}"}).encode()
            yield load.encode("PUT", self.path(event_id), token=self.token, body=body)

    def path(self, event_id: str) -> str:
        return f"/api/events/{event_id}"


def creations(token: str) -> Iterator[bytes]:
    """Endless new events of one user, an hour each with an hour between them."""
    first = datetime.now(UTC).replace(minute=0, second=0, microsecond=0) + timedelta(days=1)
    for n in itertools.count():
        start = first + timedelta(hours=2 * n)
        event = {
            "title": f"Meeting {n}",
            "description": "Weekly planning with the team",
            "location": "Room 4",
            "start_time": start.isoformat(),
            "end_time": (start + timedelta(hours=1)).isoformat(),
        }
        yield load.encode("POST", "/api/events", token=token, body=json.dumps(event).encode())


async def fill(site: Site) -> None:
    """Give the site its reader with `EVENTS` events, and check that it answers as it should."""
    site.token = site.new_user()
    events = itertools.islice(creations(site.token), EVENTS)
    result = await load.run([events] * 8, seconds=load.MAX_SECONDS, port=site.port)
    if result.statuses != {201: EVENTS}:
        raise RuntimeError(f"{site.name}: filling answered {result.statuses}")
    pages = [
        site.call("GET", f"/api/events?skip={skip}&limit={LIMIT}")
        for skip in range(0, EVENTS, LIMIT)
    ]
    site.event_ids = [event["id"] for page in pages for event in page]
    if len(set(site.event_ids)) != EVENTS:
        raise RuntimeError(f"{site.name}: listed {len(set(site.event_ids))} of {EVENTS} events")
    event_id = site.event_ids[0]
    site.call("PUT", site.path(event_id), {"title": "Renamed"})
    event = site.call("GET", site.path(event_id))
    if event["title"] != "Renamed" or event["version"] != 2:
        raise RuntimeError(f"{site.name}: the change of a title is not kept")


async def measure(
    sites: list[Site], *, seconds: float, rounds: int, connections: int
) -> dict[str, dict[str, list[load.Result]]]:
    """Results by scenario and site, one a round; the sites take turns within each round."""
    results: dict[str, dict[str, list[load.Result]]] = {}
    for scenario in SCENARIOS:
        results[scenario] = {site.name: [] for site in sites}
        for number in range(rounds + 1):  # Round 0 warms up and is not kept.
            for site in sites:
                result = await load.run(
                    site.traffic(scenario, connections),
                    seconds=seconds if number else WARM_UP_SECONDS,
                    port=site.port,
                )
                if number:
                    results[scenario][site.name].append(result)
        print(f"  {scenario}: done", file=sys.stderr)
    return results


def table(results: dict[str, dict[str, list[load.Result]]]) -> str:
    """The medians of the rounds as Markdown, and with two sites the median and range of ratios."""
    sites = list(next(iter(results.values())))
    titles = ["scenario"]
    titles += [
        f"{site} {what}" for site in sites for what in ("req/s", "p50 ms", "p99 ms", "non-2xx")
    ]
    rows = [titles, ["---"] + ["---:"] * (len(titles) - 1)]
    for scenario, by_site in results.items():
        row = [scenario]
        for runs in by_site.values():
            row += [
                f"{statistics.median(run.per_second for run in runs):,.0f}",
                f"{statistics.median(run.p50_ms for run in runs):.1f}",
                f"{statistics.median(run.p99_ms for run in runs):.1f}",
                f"{sum(run.failures for run in runs)}",
            ]
        rows.append(row)
    if len(sites) == 2:
        rows[0].append("ratio")
        rows[1].append("---:")
        for row, by_site in zip(rows[2:], results.values(), strict=True):
            pairs = zip(*by_site.values(), strict=True)
            ratios = [ours.per_second / plain.per_second for plain, ours in pairs]
            low, high = min(ratios), max(ratios)
            row.append(f"{statistics.median(ratios):.2f} ({low:.2f} to {high:.2f})")
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


async def create_databases(url: str, names: list[str]) -> list[str]:
    """Create the databases; answers with the URL of each."""
    connection = await asyncpg.connect(url)
    for name in names:
        await connection.execute(f'CREATE DATABASE "{name}"')
    version = await connection.fetchval("SHOW server_version")
    await connection.close()
    print(f"PostgreSQL {version}, {os.cpu_count()} processors", file=sys.stderr)
    return [urlsplit(url)._replace(path=f"/{name}").geturl() for name in names]


async def analyze(url: str) -> None:
    """Let the planner know the data, so that no round depends on when autovacuum comes by."""
    connection = await asyncpg.connect(url)
    await connection.execute("VACUUM ANALYZE")
    await connection.close()


@contextmanager
def serving(name: str, command: list[str], *, url: str, directory: Path) -> Iterator[Site]:
    """Run a server with one worker until the block ends."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
    environment = os.environ | {
        "DATABASE_URL": url,
        "REDIS_URL": "",
        "ACCESS_TOKEN_SECRET": secrets.token_hex(32),
        "REFRESH_TOKEN_SECRET": secrets.token_hex(32),
        "ACCESS_TOKEN_EXPIRE_MINUTES": "60",
        "RATE_LIMIT_ENABLED": "false",
        "LOG_DIR": str(directory / f"{name}-logs"),
        "DATA_DIR": str(directory / f"{name}-data"),
    }
    output = directory / f"{name}.out"
    with output.open("wb") as out:
        process = subprocess.Popen(
            [*command, "--port", str(port)], env=environment, cwd=directory, stdout=out, stderr=out
        )
    try:
        if not answers(port, process):
            raise RuntimeError(f"{name} did not start:\n{output.read_text()[-4000:]}")
        yield Site(name, port)
    finally:
        process.terminate()
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def answers(port: int, process: subprocess.Popen[bytes]) -> bool:
    """Wait up to 30 seconds until the server accepts connections."""
    for _ in range(300):
        if process.poll() is not None:
            return False
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.1)
        else:
            return True
    return False


async def compare(options: argparse.Namespace) -> None:
    commands = {
        "plain": [options.plain_python, *PLAIN],
        "ours": [*OURS, "serve"],
    }
    names = [options.only] if options.only else list(commands)
    with tempfile.TemporaryDirectory(prefix="bench-") as name, ExitStack() as stack:
        directory = Path(name)
        urls = await create_databases(
            stack.enter_context(embedded_postgres(directory / "postgres")), names
        )
        sites = [
            stack.enter_context(serving(name, commands[name], url=url, directory=directory))
            for name, url in zip(names, urls, strict=True)
        ]
        for site, url in zip(sites, urls, strict=True):
            await fill(site)
            await analyze(url)
        results = await measure(
            sites, seconds=options.seconds, rounds=options.rounds, connections=options.connections
        )
    print(table(results))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=5, help="of each run, at most 20")
    parser.add_argument("--rounds", type=int, default=3, help="at most 10")
    parser.add_argument("--connections", type=int, default=16, help="at most 64")
    parser.add_argument("--only", choices=["plain", "ours"], help="measure one of them alone")
    parser.add_argument(
        "--plain-python",
        default=os.environ.get("PLAIN_PYTHON", sys.executable),
        help="the Python that has SQLAlchemy's greenlet (default: $PLAIN_PYTHON)",
    )
    options = parser.parse_args()
    if not (
        0 < options.seconds <= 20 and 0 < options.rounds <= 10 and 0 < options.connections <= 64
    ):
        parser.error("out of bounds; see --help")
    signal.signal(
        signal.SIGTERM, lambda *_: sys.exit("terminated")
    )  # So that the servers stop too.
    load.run_loop(compare(options))


if __name__ == "__main__":
    main()
