"""How often a client may ask: per process, shared through Redis, and while Redis is away."""

import asyncio
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import ormsgpack
import pytest
from fastapi import FastAPI
from pydantic import ValidationError

from eventmanager.core.config import Settings
from eventmanager.core.limits.middleware import client_key
from eventmanager.core.limits.rates import Rate, parse_rates
from eventmanager.core.limits.shared import PATIENCE_SECONDS
from eventmanager.core.limits.windows import Limit, Window
from tests.conftest import PASSWORD, register, started, timed
from tests.realtime.conftest import RedisServer, redis_binary

LOGIN = {"username": "nobody", "password": PASSWORD}


def client_at(app: FastAPI, address: str, **kwargs: Any) -> httpx.AsyncClient:
    """Return a client with an address of its own."""
    transport = httpx.ASGITransport(app=app, raise_app_exceptions=False, client=(address, 50_000))
    return httpx.AsyncClient(transport=transport, base_url="https://testserver", **kwargs)


@asynccontextmanager
async def limited(settings: Settings, rate: str, **others: object) -> AsyncIterator[FastAPI]:
    """Start an application that has limits."""
    changed = {"rate_limit_enabled": True, "rate_limit_default": parse_rates(rate)} | others
    async with started(settings.model_copy(update=changed)) as app:
        yield app


@pytest.fixture(scope="module")
async def strict(settings: Settings) -> AsyncIterator[FastAPI]:
    """Three requests a minute; logins and refreshes as by default."""
    async with limited(settings, "3/minute") as app:
        yield app


@pytest.fixture(scope="module")
async def usual(settings: Settings) -> AsyncIterator[FastAPI]:
    """An application with the limits that one has who sets nothing."""
    async with limited(settings, "200/minute") as app:
        yield app


@pytest.mark.parametrize(
    ("text", "rates"),
    [
        ("200/minute", (Rate(200, 60),)),
        (" 5 per 30 Seconds ", (Rate(5, 30),)),
        ("10/minute;100/2hours, 500/day", (Rate(10, 60), Rate(100, 7200), Rate(500, 86_400))),
    ],
)
def test_a_rate_reads_as_people_write_it(text: str, rates: tuple[Rate, ...]) -> None:
    """The notation is that of `limits`, Flask-Limiter and slowapi."""
    assert parse_rates(text) == rates


@pytest.mark.parametrize("text", ["fast", "0/minute", "-1/minute", "5", "5/fortnight", "5/minute;"])
def test_a_wrong_rate_is_refused_at_start(
    text: str, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a sentence that says what would be right, under the name of the setting."""
    for name in ("DATABASE_URL", "ACCESS_TOKEN_SECRET", "REFRESH_TOKEN_SECRET"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("RATE_LIMIT_LOGIN", text)
    with pytest.raises(ValidationError) as refused:
        Settings(_env_file=None, log_dir=settings.log_dir)
    [item] = refused.value.errors()
    assert item["loc"] == ("rate_limit_login",)
    assert "is not a rate such as 200/minute" in item["msg"]


def test_a_window_moves() -> None:
    """No stretch of a minute ever holds more than the limit, wherever it begins."""
    window = Window(Limit("test", Rate(2, 60)))

    def ask(now: float) -> bool:
        admitted = window.standing("a", now).admitted
        if admitted:
            window.take("a", now)
        return admitted

    # A counter of fixed minutes would admit four within the ten seconds around 60.
    assert [ask(now) for now in (0, 55, 59, 60, 65, 114, 115)] == [
        *(True, True, False),
        *(True, False, False, True),
    ]
    assert window.standing("b", 115).remaining == 2


def test_a_refusal_says_exactly_when_to_come_back() -> None:
    """Not earlier, and not later; and being refused takes nothing."""
    window = Window(Limit("test", Rate(1, 60)))
    window.take("a", 100.0)
    standing = window.standing("a", 130.5)
    assert (standing.admitted, standing.remaining, standing.reset_seconds) == (False, 0, 29.5)
    assert not window.standing("a", 159.99).admitted
    assert window.standing("a", 160.0).admitted


def test_old_clients_are_forgotten() -> None:
    """Else every address that ever asked would stay in memory."""
    window = Window(Limit("test", Rate(5, 60)))
    for number in range(1000):
        window.take(f"client {number}", number)
    assert len(window) == 60


def test_who_is_refused_elsewhere_is_refused_here() -> None:
    """For as long as was said, and no longer; and that is forgotten too."""
    window = Window(Limit("test", Rate(5, 60)))
    window.close("a", 0, until=30)
    assert window.standing("a", 29.5) == (False, 5, 0, 0.5)
    assert window.standing("a", 30).remaining == 5
    for number in range(100):
        window.close(f"client {number}", number, until=number + 10)
    assert len(window._closed_until) == 10


@pytest.mark.parametrize(
    ("address", "key"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::9", "2001:db8:1:2::/64"),
        ("2001:db8:1:3::9", "2001:db8:1:3::/64"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("testclient", "testclient"),
    ],
)
def test_one_client_is_an_address_or_a_network(address: str, key: str) -> None:
    """Whoever has one IPv6 address has 2^64 of them."""
    assert client_key(address) == key


async def test_every_answer_says_what_is_left(strict: FastAPI) -> None:
    """Whatever it is: an answer, a refusal, or no such path."""
    async with client_at(strict, "198.51.100.1") as client:
        answers = [await client.get(path) for path in ("/api/me", "/nowhere", "/api/events")]
    assert [answer.status_code for answer in answers] == [401, 404, 401]
    headers = [answer.headers for answer in answers]
    assert [each["RateLimit-Limit"] for each in headers] == ["3", "3", "3"]
    assert [each["RateLimit-Remaining"] for each in headers] == ["2", "1", "0"]
    assert all(1 <= int(each["RateLimit-Reset"]) <= 60 for each in headers)
    assert all("Retry-After" not in each for each in headers)


async def test_one_too_many_is_a_problem(strict: FastAPI) -> None:
    """With all that a client needs to wait just long enough."""
    async with client_at(strict, "198.51.100.2") as client:
        for _ in range(3):
            await client.get("/api/me")
        answer = await client.get("/api/me")
    assert answer.status_code == 429
    assert answer.headers["Content-Type"] == "application/problem+json"
    problem = answer.json()
    assert (problem["code"], problem["status"], problem["limit"]) == ("rate_limited", 429, 3)
    assert answer.headers["Retry-After"] == str(problem["retry_after"])
    assert 55 <= problem["retry_after"] <= 60
    assert problem["request_id"] == answer.headers["X-Request-ID"]
    assert answer.headers["RateLimit-Remaining"] == "0"
    assert answer.headers["Vary"] == "Accept"


async def test_one_too_many_is_a_problem_in_messagepack_too(strict: FastAPI) -> None:
    """A client that reads nothing else must understand this above all."""
    headers = {"Accept": "application/x-msgpack"}
    async with client_at(strict, "198.51.100.3", headers=headers) as client:
        for _ in range(3):
            await client.get("/api/me")
        answer = await client.get("/api/me")
    assert answer.headers["Content-Type"] == "application/x-msgpack"
    assert ormsgpack.unpackb(answer.content)["code"] == "rate_limited"


async def test_a_refused_client_may_go_on_after_its_time(settings: Settings) -> None:
    """`Retry-After` is a promise."""
    async with limited(settings, "2/second") as app, client_at(app, "198.51.100.4") as client:
        # So many that even a machine that is slow today can't take a second for each two of them.
        answers = await asyncio.gather(*(client.get("/nowhere") for _ in range(30)))
        refused = [answer for answer in answers if answer.status_code == 429]
        assert refused
        await asyncio.sleep(max(int(answer.headers["Retry-After"]) for answer in refused))
        assert (await client.get("/nowhere")).status_code == 404


async def test_clients_do_not_take_from_each_other(strict: FastAPI) -> None:
    """Whatever one of them does."""
    async with (
        client_at(strict, "198.51.100.5") as greedy,
        client_at(strict, "198.51.100.6") as other,
    ):
        for _ in range(5):
            await greedy.get("/nowhere")
        assert (await other.get("/nowhere")).headers["RateLimit-Remaining"] == "2"


async def test_health_and_the_docs_are_never_limited(strict: FastAPI) -> None:
    """A supervisor that asks often must not conclude that the service is down."""
    async with client_at(strict, "198.51.100.7") as client:
        for path in (
            "/health",
            "/health/live",
            "/health/ready",
            "/docs",
            "/redoc",
            "/openapi.json",
        ):
            answers = [await client.get(path) for _ in range(4)]
            assert {answer.status_code for answer in answers} == {200}
            assert "RateLimit-Limit" not in answers[0].headers
        assert (await client.get("/healthy")).headers["RateLimit-Remaining"] == "2"


async def test_logins_have_a_limit_of_their_own(usual: FastAPI) -> None:
    """Five guesses a minute, on both ways to sign in together; all else goes on."""
    form = {"grant_type": "password"} | LOGIN
    async with client_at(usual, "198.51.100.8") as client:
        answers = [await client.post("/api/auth/login", json=LOGIN) for _ in range(3)]
        answers += [await client.post("/api/auth/token", data=form) for _ in range(2)]
        assert [answer.status_code for answer in answers] == [401, 401, 401, 400, 400]
        assert [answer.headers["RateLimit-Remaining"] for answer in answers] == list("43210")
        assert answers[0].headers["RateLimit-Limit"] == "5"
        refused = await client.post("/api/auth/login", json=LOGIN)
        assert (refused.status_code, refused.json()["limit"]) == (429, 5)
        assert (await client.post("/api/auth/token", data=form)).status_code == 429
        # The path as it may also be written is the same path.
        assert (await client.post("/api/auth/%6Cogin", json=LOGIN)).status_code == 429
        answer = await client.get("/api/me")
    assert answer.status_code == 401
    assert answer.headers["RateLimit-Limit"] == "200"
    # Five logins and this; refused ones took nothing.
    assert answer.headers["RateLimit-Remaining"] == "194"


async def test_a_password_change_counts_as_a_login(usual: FastAPI) -> None:
    """Who has stolen an access token must not try passwords there as fast as requests go."""
    user = await register(usual)
    guess = {"current_password": "wrong password", "new_password": PASSWORD}
    headers = {"Authorization": user.client.headers["Authorization"]}
    async with client_at(usual, "198.51.100.17", headers=headers) as client:
        answers = [await client.post("/api/auth/password", json=guess) for _ in range(4)]
        answers.append(await client.post("/api/auth/login", json=LOGIN))
        assert [answer.status_code for answer in answers] == [422] * 4 + [401]
        assert [answer.headers["RateLimit-Remaining"] for answer in answers] == list("43210")
        right = guess | {"current_password": PASSWORD}
        refused = await client.post("/api/auth/password", json=right)
        assert (refused.status_code, refused.json()["limit"]) == (429, 5)
        assert (await client.get("/api/me")).status_code == 200


async def test_refreshes_have_a_limit_of_their_own(usual: FastAPI) -> None:
    """Sixty a minute, and no login is spent."""
    async with client_at(usual, "198.51.100.9") as client:
        statuses = [(await client.post("/api/auth/refresh")).status_code for _ in range(61)]
        assert statuses == [401] * 60 + [429]
        answer = await client.post("/api/auth/login", json=LOGIN)
    assert answer.headers["RateLimit-Remaining"] == "4"


async def test_a_refresh_as_oauth_has_it_is_no_login(usual: FastAPI) -> None:
    """All clients behind one address may renew their tokens, and none can guess passwords by it."""
    refresh = {"grant_type": "refresh_token", "refresh_token": "x"}
    guesses: list[dict[str, Any]] = [
        {"grant_type": "password"} | LOGIN,
        LOGIN,
        {"grant_type": "refresh_token "} | LOGIN,
        {"grant_type": ["refresh_token", "password"], "refresh_token": "x"} | LOGIN,
        {"grant_type": ["password", "password"]} | LOGIN,
    ]
    async with client_at(usual, "198.51.100.16") as client:
        renewed = [await client.post("/api/auth/token", data=refresh) for _ in range(61)]
        assert [answer.status_code for answer in renewed] == [400] * 60 + [429]
        assert {answer.headers["RateLimit-Limit"] for answer in renewed} == {"60"}
        assert renewed[-1].headers["Retry-After"] == str(renewed[-1].json()["retry_after"])
        assert (await client.post("/api/auth/refresh")).status_code == 429
        answers = [await client.post("/api/auth/token", data=guess) for guess in guesses]
        assert [answer.headers["RateLimit-Remaining"] for answer in answers] == list("43210")
        assert (await client.post("/api/auth/login", json=LOGIN)).status_code == 429
        assert (await client.post("/api/auth/token", data=guesses[0])).status_code == 429
        answer = await client.get("/api/me")
    assert answer.headers["RateLimit-Remaining"] == "134", "what was refused took nothing"


@pytest.mark.parametrize(
    ("number", "kind", "body"),
    [
        (20, "multipart/form-data; boundary=x", b"--x\r\nnonsense"),
        (21, "application/x-www-form-urlencoded", b"a=b&" * 2000),
    ],
)
async def test_a_form_that_cannot_be_read_counts_too(
    strict: FastAPI, number: int, kind: str, body: bytes
) -> None:
    """Nobody can tell which grant it is, and still it is a request."""
    headers = {"Content-Type": kind}
    async with client_at(strict, f"198.51.100.{number}") as client:
        answers = [
            await client.post("/api/auth/token", content=body, headers=headers) for _ in range(5)
        ]
    assert [answer.status_code for answer in answers[3:]] == [429, 429]
    assert {answer.status_code for answer in answers[:3]} <= {400, 422}
    assert [answer.headers["RateLimit-Remaining"] for answer in answers] == list("21000")
    assert answers[4].json()["code"] == "rate_limited"


async def test_of_several_rates_the_tightest_is_told(settings: Settings) -> None:
    """`5/minute;8/hour` is both."""
    async with (
        limited(settings, "4/minute;2/hour") as app,
        client_at(app, "198.51.100.10") as client,
    ):
        first, _, third = [await client.get("/nowhere") for _ in range(3)]
    assert (first.headers["RateLimit-Limit"], first.headers["RateLimit-Remaining"]) == ("2", "1")
    assert third.status_code == 429
    assert 3590 <= int(third.headers["Retry-After"]) <= 3600


async def test_a_client_cannot_write_itself_another_address(strict: FastAPI) -> None:
    """No header is believed unless TRUSTED_PROXIES says whose."""
    names = ("X-Forwarded-For", "X-Real-IP", "Forwarded", "CF-Connecting-IP", "X-Client-IP")
    async with client_at(strict, "198.51.100.11") as client:
        statuses = [
            (
                await client.get("/nowhere", headers=dict.fromkeys(names, f"203.0.113.{n}"))
            ).status_code
            for n in range(5)
        ]
    assert statuses == [404, 404, 404, 429, 429]


async def test_a_new_ipv6_address_is_no_new_client(strict: FastAPI) -> None:
    """As long as it is of the same /64."""
    statuses = []
    for number in range(5):
        async with client_at(strict, f"2001:db8::{number:x}") as client:
            statuses.append((await client.get("/nowhere")).status_code)
    assert statuses == [404, 404, 404, 429, 429]


@pytest.mark.parametrize("extensions", [{}, {"websocket.http.response": {}}])
async def test_a_handshake_counts_as_a_request(
    strict: FastAPI, extensions: dict[str, object]
) -> None:
    """Else sockets would be the way around every limit; refused ones never reach the route."""
    address = "198.51.100.12" if extensions else "198.51.100.13"
    async with client_at(strict, address) as client:
        for _ in range(3):
            await client.get("/nowhere")
    sent: list[Any] = []

    async def receive() -> dict[str, str]:
        return {"type": "websocket.connect"}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": "websocket",
        "path": "/api/ws/notifications",
        "raw_path": b"/api/ws/notifications",
        "root_path": "",
        "scheme": "ws",
        "query_string": b"",
        "headers": [(b"host", b"testserver")],
        "client": (address, 1),
        "server": ("testserver", 80),
        "subprotocols": [],
        "extensions": extensions,
    }
    await strict(scope, receive, send)
    if extensions:
        assert (sent[0]["type"], sent[0]["status"]) == ("websocket.http.response.start", 429)
        assert b"rate_limited" in sent[1]["body"]
    else:
        assert [message["type"] for message in sent] == ["websocket.accept", "websocket.close"]
        assert (sent[1]["code"], sent[1]["reason"]) == (4429, "rate_limited")


async def test_what_the_collection_does_in_a_minute_is_allowed(usual: FastAPI) -> None:
    """Two people register, sign in with a typo among it, and work, all from one address."""
    async with client_at(usual, "198.51.100.14") as client:
        for _ in range(2):
            user = await register(usual)
            await user.client.aclose()
            for password in ("typo", PASSWORD):
                body = {"username": user.username, "password": password}
                answer = await client.post("/api/auth/login", json=body)
                assert answer.status_code in {200, 401}
            token = answer.json()["access_token"]
            for _ in range(40):
                answer = await client.get("/api/me", headers={"Authorization": f"Bearer {token}"})
                assert answer.status_code == 200


@pytest.fixture
def redis_server() -> Iterator[RedisServer]:
    """A Redis of the test's own, running."""
    binary = redis_binary()
    if binary is None:
        pytest.skip("there is no redis-server on this machine")
    server = RedisServer(binary)
    server.start()
    yield server
    server.remove()


async def eventually(holds: Callable[[], Awaitable[bool]]) -> None:
    """Wait until something holds, at most five seconds."""
    deadline = time.monotonic() + 5
    while not await holds():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.05)


async def remaining(app: FastAPI, address: str) -> int:
    """Ask once and return how many requests the client has left, -1 when it was refused."""
    async with client_at(app, address) as client:
        answer = await client.get("/nowhere")
    return -1 if answer.status_code == 429 else int(answer.headers["RateLimit-Remaining"])


async def test_workers_share_limits_through_redis(
    settings: Settings, redis_server: RedisServer
) -> None:
    """A client that is sent to another worker each time has no more than one of them allows."""
    async with (
        limited(settings, "5/minute", redis_url=redis_server.url) as one,
        limited(settings, "5/minute", redis_url=redis_server.url) as other,
    ):
        left = [await remaining(app, "192.0.2.1") for app in (one, other, one, other, one, other)]
        assert left == [4, 3, 2, 1, 0, -1]
        assert await remaining(one, "192.0.2.1") == -1
        assert await remaining(other, "192.0.2.2") == 4
        # Many at once are as many as allowed, on both together.
        crowd = [remaining(app, "192.0.2.3") for app in (one, other) * 20]
        assert (await asyncio.gather(*crowd)).count(-1) == 35


@timed
@pytest.mark.usefixtures("app")  # which opens the logs
async def test_limits_stay_when_redis_goes_and_comes(
    settings: Settings, redis_server: RedisServer
) -> None:
    """Requests go on, at once; a limit that was reached stays reached; one log line each way."""
    log = settings.log_dir / "app.log"
    written = log.stat().st_size
    async with (
        limited(settings, "5/minute", redis_url=redis_server.url) as one,
        limited(settings, "5/minute", redis_url=redis_server.url) as other,
    ):
        assert [await remaining(one, "192.0.2.10") for _ in range(6)] == [4, 3, 2, 1, 0, -1]
        assert await remaining(other, "192.0.2.10") == -1
        assert [await remaining(one, "192.0.2.11") for _ in range(2)] == [4, 3]

        redis_server.kill()
        began = time.perf_counter()
        assert [await remaining(app, "192.0.2.10") for app in (one, other)] == [-1, -1]
        assert [await remaining(one, "192.0.2.11") for _ in range(4)] == [2, 1, 0, -1]
        assert [await remaining(other, "192.0.2.12") for _ in range(6)] == [4, 3, 2, 1, 0, -1]
        assert time.perf_counter() - began < 2

        # It comes back empty, as it kept nothing on disk.
        redis_server.start()
        addresses = (f"192.0.2.{number}" for number in range(20, 250))

        async def shared_again() -> bool:
            address = next(addresses)
            return [await remaining(app, address) for app in (one, other)] == [4, 3]

        await eventually(shared_again)
        assert [await remaining(app, "192.0.2.10") for app in (one, other)] == [-1, -1]
        assert await remaining(one, "192.0.2.11") == -1
        assert await remaining(other, "192.0.2.12") == -1
    with log.open("rb") as file:
        file.seek(written)
        text = file.read()
    assert text.count(b'"event":"redis_away","cause"') == 2
    assert text.count(b'"event":"redis_back","consequence"') == 2


@timed
async def test_a_redis_that_hangs_delays_nobody(
    settings: Settings, redis_server: RedisServer
) -> None:
    """The first requests wait half a second at most, all others not at all."""
    process = redis_server._process
    assert process is not None
    async with limited(settings, "50/minute", redis_url=redis_server.url) as app:

        async def crowd(address: str) -> tuple[list[int], float]:
            """Return what a crowd of requests had left, and how long they took together."""
            began = time.perf_counter()
            left = await asyncio.gather(*(remaining(app, address) for _ in range(60)))
            return sorted(left), time.perf_counter() - began

        _, usual_s = await crowd("192.0.2.29")
        assert await remaining(app, "192.0.2.30") == 49
        process.send_signal(signal.SIGSTOP)
        try:
            left, took_s = await crowd("192.0.2.30")
            assert left == [-1] * 11 + list(range(49))
            # One after the other they would wait for half a minute.
            assert took_s < 3 * usual_s + 3 * PATIENCE_SECONDS
            alone_s = []
            for number in range(3):
                began = time.perf_counter()
                assert await remaining(app, f"192.0.2.{31 + number}") == 49
                alone_s.append(time.perf_counter() - began)
            assert min(alone_s) < PATIENCE_SECONDS * 0.8
        finally:
            process.send_signal(signal.SIGCONT)


async def test_it_starts_while_redis_is_away(settings: Settings, redis_server: RedisServer) -> None:
    """Nothing needs Redis to be there, then or later."""
    redis_server.kill()
    async with limited(settings, "2/minute", redis_url=redis_server.url) as app:
        assert [await remaining(app, "192.0.2.40") for _ in range(3)] == [1, 0, -1]
