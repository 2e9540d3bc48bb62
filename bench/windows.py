"""What a window costs beside more and more events outside of it, and what writing series costs.

In process, without the network: `python bench/windows.py [--events 1000 10000 100000]`.
"""

import argparse
import asyncio
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
from pydantic import SecretStr

from eventmanager.app import create_app
from eventmanager.core import logging
from eventmanager.core.config import Settings
from eventmanager.core.embedded import embedded_postgres
from eventmanager.migrations import migrate

SERIES = 2_000
ROUNDS = 40
MONTH = {"start": "2028-03-01", "end": "2028-04-01"}
FIRST = datetime(2027, 1, 4, tzinfo=UTC)


async def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, nargs="+", default=[1_000, 10_000, 100_000])
    sizes: list[int] = parser.parse_args().events
    with (
        tempfile.TemporaryDirectory() as directory,
        embedded_postgres(Path(directory) / "postgres", durable=False) as url,
    ):
        await migrate(url)
        settings = Settings(
            _env_file=None,
            database_url=url,
            redis_url="",
            access_token_secret=SecretStr("a" * 40),
            refresh_token_secret=SecretStr("r" * 40),
            rate_limit_enabled=False,
            background_tasks=False,
            log_dir=Path(directory) / "logs",
        )
        logging.configure(settings.log_dir, level="WARNING", stdout=False)
        app = create_app(settings)
        transport = httpx.ASGITransport(app=app)
        async with (
            app.router.lifespan_context(app),
            httpx.AsyncClient(transport=transport, base_url="http://bench") as client,
        ):
            await measure(client, sizes)


async def measure(client: httpx.AsyncClient, sizes: list[int]) -> None:
    """Fill a user's calendar step by step, and measure at each."""
    await sign_up(client, "small")
    await series_costs(client)
    await sign_up(client, "large")
    for first in range(0, SERIES, 400):
        await batch(client, [weekly(n) for n in range(first, first + 400)])
    print(f"{SERIES:,} weekly series; a month (limit 1,000), a day, milliseconds:")
    there = 0
    for size in sizes:
        while there < size:
            await batch(client, [single(n) for n in range(there, min(there + 1_000, size))])
            there = min(there + 1_000, size)
        month = await cost(lambda: agenda(client, **MONTH, limit=1_000))
        day = await cost(lambda: agenda(client, start="2028-03-14", end="2028-03-15", limit=1_000))
        print(f"  {size:>8,} events outside: month {month}, day {day}")


async def series_costs(client: httpx.AsyncClient) -> None:
    """Print what it costs to create and to edit an endless daily series, of an hour or less."""
    minutes = iter(range(240, 1_400, 5))

    async def create() -> dict[str, Any]:
        minute = next(minutes)
        body = {
            "title": "Daily",
            "start_time": f"2027-01-04T{minute // 60:02}:{minute % 60:02}:00",
            "end_time": f"2027-01-04T{minute // 60:02}:{minute % 60 + 4:02}:00",
            "time_zone": "Europe/Berlin",
            "recurrence_pattern": "FREQ=DAILY",
        }
        answer = await client.post("/api/events", json=body)
        assert answer.status_code == 201, answer.text
        created: dict[str, Any] = answer.json()
        return created

    event = await create()
    print("an endless daily series, milliseconds:")
    print(f"  create: {await cost(create)}")
    days = iter(range(1, 1_000))

    async def edit() -> None:
        slot = datetime.fromisoformat(event["start_time"]) + timedelta(days=next(days))
        name = f"{slot:%Y-%m-%dT%H:%M:%S}Z"
        # In summer time a day later begins an hour earlier; those are skipped.
        answer = await client.patch(
            f"/api/events/{event['id']}/occurrences/{name}", json={"title": "Special"}
        )
        assert answer.status_code in {200, 404}, answer.text

    print(f"  edit one occurrence: {await cost(edit)}")


async def cost(request: Callable[[], Awaitable[Any]]) -> str:
    """Return the median and the range of a request's time."""
    times = []
    for _ in range(ROUNDS + 5):
        began = time.perf_counter()
        await request()
        times.append((time.perf_counter() - began) * 1_000)
    kept = sorted(times[5:])
    return f"{statistics.median(kept):.1f} ({kept[0]:.1f} to {kept[-1]:.1f})"


async def agenda(client: httpx.AsyncClient, **params: Any) -> None:
    """Ask for a window."""
    answer = await client.get("/api/occurrences", params=params)
    assert answer.status_code == 200, answer.text


async def batch(client: httpx.AsyncClient, events: list[dict[str, Any]]) -> None:
    """Create many events."""
    answer = await client.post("/api/events/batch", json={"events": events})
    assert answer.status_code == 201, answer.text


def weekly(number: int) -> dict[str, Any]:
    """Return a weekly series of five minutes that no other overlaps."""
    start = FIRST + timedelta(minutes=5 * number)
    return {
        "title": f"Series {number}",
        "start_time": start.isoformat(),
        "end_time": (start + timedelta(minutes=5)).isoformat(),
        "recurrence_pattern": "FREQ=WEEKLY",
    }


def single(number: int) -> dict[str, Any]:
    """Return an event that takes no time, in the five years before the window or after it."""
    years = timedelta(days=365 * 5)
    away = timedelta(minutes=26) * (number // 2 + 1)
    window = datetime(2028, 3, 1, tzinfo=UTC)
    start = window - away if number % 2 else window + timedelta(days=31) + away
    assert abs(start - window) < years + timedelta(days=31), "more events than five years hold"
    return {
        "title": f"Event {number}",
        "start_time": start.isoformat(),
        "end_time": (start + timedelta(minutes=20)).isoformat(),
        "transparency": "transparent",
    }


async def sign_up(client: httpx.AsyncClient, name: str) -> None:
    """Register a user and sign the client in as them."""
    body = {"username": name, "email": f"{name}@example.com", "password": "correct horse battery"}
    answer = await client.post("/api/auth/register", json=body)
    client.headers["Authorization"] = f"Bearer {answer.json()['access_token']}"


if __name__ == "__main__":
    asyncio.run(main())
