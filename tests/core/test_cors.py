"""Which pages of other origins may call the API, and what they can read of its answers."""

from collections.abc import AsyncIterator

import httpx
import pytest

from eventmanager.core.config import Settings
from eventmanager.core.limits.rates import parse_rates
from tests.conftest import User, register, started

LISTED = "https://a.example"
PREFLIGHT = {
    "Origin": LISTED,
    "Access-Control-Request-Method": "PATCH",
    "Access-Control-Request-Headers": "authorization,content-type,idempotency-key,if-match",
}


@pytest.fixture
async def bob(settings: Settings) -> AsyncIterator[User]:
    """A user of an application that lists one origin, and lets nobody sign in often."""
    update = {
        "cors_origins": frozenset({LISTED}),
        "rate_limit_enabled": True,
        "rate_limit_login": parse_rates("1/minute"),
    }
    async with started(settings.model_copy(update=update)) as app:
        user = await register(app)
        yield user
        await user.client.aclose()


async def test_a_preflight_of_a_listed_page_allows_what_clients_send(bob: User) -> None:
    """Without credentials, as browsers ask; it is counted towards no limit."""
    async with httpx.AsyncClient(
        transport=bob.client._transport, base_url=bob.client.base_url
    ) as anonymous:
        answer = await anonymous.options("/api/events/batch", headers=PREFLIGHT)
    assert answer.status_code == 200
    assert answer.headers["Access-Control-Allow-Origin"] == LISTED
    assert "PATCH" in answer.headers["Access-Control-Allow-Methods"]
    allowed = answer.headers["Access-Control-Allow-Headers"].lower()
    assert all(name in allowed for name in PREFLIGHT["Access-Control-Request-Headers"].split(","))
    assert "RateLimit-Limit" not in answer.headers


async def test_a_listed_page_gets_a_ticket_and_reads_what_it_needs(bob: User) -> None:
    """So it can open its socket, page through lists and change what it saw."""
    answer = await bob.client.post("/api/auth/ws-ticket", headers={"Origin": LISTED})
    assert answer.status_code < 300
    assert answer.headers["Access-Control-Allow-Origin"] == LISTED
    assert answer.headers["Access-Control-Allow-Credentials"] == "true"
    assert "Origin" in answer.headers["Vary"]
    exposed = answer.headers["Access-Control-Expose-Headers"]
    for name in ("Link", "ETag", "Location", "Retry-After", "RateLimit-Remaining"):
        assert name in exposed


async def test_a_listed_page_reads_why_it_is_refused(bob: User) -> None:
    """Whoever refuses: the application, the body limit, or the rate limit."""
    origin = {"Origin": LISTED}
    stranger = await bob.client.get("/api/events", headers=origin | {"Authorization": "Bearer x"})
    missing = await bob.client.get("/api/nothing", headers=origin)
    large = await bob.client.post("/api/events", content=b"x" * 2_000_000, headers=origin)
    credentials = {"username": "nobody", "password": "wrong"}
    often = [
        await bob.client.post("/api/auth/login", json=credentials, headers=origin) for _ in range(2)
    ][-1]
    refusals = (stranger, missing, large, often)
    assert [answer.status_code for answer in refusals] == [401, 404, 413, 429]
    for answer in refusals:
        assert answer.headers["Access-Control-Allow-Origin"] == LISTED
        assert answer.json()["code"]


async def test_a_page_that_is_not_listed_reads_nothing(bob: User) -> None:
    """Its preflight is refused, and its browser shows it no answer."""
    foreign = {"Origin": "https://evil.example"}
    answer = await bob.client.options("/api/events", headers=PREFLIGHT | foreign)
    assert answer.status_code == 400
    assert "Access-Control-Allow-Origin" not in answer.headers
    answer = await bob.client.get("/api/events", headers=foreign)
    assert "Access-Control-Allow-Origin" not in answer.headers


async def test_without_the_setting_nothing_is_said(alice: User) -> None:
    """As before, and as most want it."""
    answer = await alice.client.get("/api/events", headers={"Origin": LISTED})
    assert not [name for name in answer.headers if name.startswith("access-control")]
