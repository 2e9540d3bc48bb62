"""What every answer has in common: problems, request ids, limits, health, and its log line."""

import json
import time
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from pydantic import SecretStr

from eventmanager.accounts.models import GlobalRole
from eventmanager.accounts.tokens import sign_access_token
from eventmanager.core.config import Settings
from eventmanager.core.errors import Unavailable
from eventmanager.core.ids import SessionId, UserId, uuid7
from tests.conftest import User, client_of, started, timed

_PROBLEM_MEMBERS = {"type", "title", "status", "detail", "code", "instance", "request_id"}


async def test_an_error_is_a_problem(alice: User) -> None:
    """RFC 9457, with a stable code and the id under which the log has it."""
    url = "/api/events/00000000-0000-0000-0000-000000000000"
    answer = await alice.client.get(url)
    assert answer.headers["Content-Type"] == "application/problem+json"
    problem = answer.json()
    assert problem.keys() == _PROBLEM_MEMBERS
    assert (problem["status"], problem["code"], problem["instance"]) == (404, "not_found", url)
    assert problem["type"] == "urn:eventmanager:problem:not_found"
    assert problem["request_id"] == answer.headers["X-Request-ID"]


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/nowhere", 404, "not_found"),
        ("POST", "/health", 405, "method_not_allowed"),
        ("DELETE", "/api/events", 405, "method_not_allowed"),
    ],
)
async def test_the_frameworks_own_refusals_are_problems_too(
    anonymous: httpx.AsyncClient, method: str, path: str, status: int, code: str
) -> None:
    """A client needs to know one shape."""
    answer = await anonymous.request(method, path)
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert answer.headers["Content-Type"] == "application/problem+json"


async def test_a_validation_error_keeps_the_shape_of_fastapi(alice: User) -> None:
    """`detail` is a list of loc, msg and type, without the input, which might be a password."""
    answer = await alice.client.post("/api/events", json={"title": "secret-input", "end_time": 5})
    assert answer.status_code == 422
    assert answer.headers["Content-Type"] == "application/json"
    body = answer.json()
    assert (body["status"], body["code"]) == (422, "validation_error")
    assert [item["loc"] for item in body["detail"]] == [
        ["body", "start_time"],
        ["body", "end_time"],
    ]
    assert all(item.keys() <= {"loc", "msg", "type", "ctx"} for item in body["detail"])
    assert "secret-input" not in answer.text


@pytest.mark.parametrize(("beside", "total"), [({}, None), ({"x": 0}, 101)])
async def test_of_many_errors_the_first_hundred_are_told(
    alice: User, beside: dict[str, int], total: int | None
) -> None:
    """And how many there are: a small body must not have an answer of megabytes."""
    event = {"title": "Lunch", "start_time": "2031-01-01T12:00Z", "end_time": "2031-01-01T13:00Z"}
    unknown = {f"unknown{n}": 0 for n in range(10)}
    body = {"events": [event | unknown] * 10} | beside
    answer = await alice.client.post("/api/events/batch", json=body)
    assert answer.status_code == 422
    assert {item["type"] for item in answer.json()["detail"]} == {"extra_forbidden"}
    assert (len(answer.json()["detail"]), answer.json().get("total")) == (100, total)


@timed
@pytest.mark.parametrize("path", ["/api/auth/register", "/api/auth/login", "/api/auth/password"])
async def test_a_heap_of_unknown_members_is_one_error(alice: User, path: str) -> None:
    """Before anybody asks who sends it: one error each would keep all others waiting."""
    body = json.dumps({f"{n:x}": 0 for n in range(80_000)})
    started = time.perf_counter()
    answer = await alice.client.post(
        path, content=body, headers={"Content-Type": "application/json"}
    )
    assert time.perf_counter() - started < 0.4
    assert answer.status_code == 422
    [item] = answer.json()["detail"]
    assert (item["loc"], item["type"]) == (["body"], "too_many_members")


async def test_every_list_in_a_body_has_an_end(app: FastAPI) -> None:
    """What would take no end of items has an error for each of them."""
    schemas = app.openapi()["components"]["schemas"]

    def lists(schema: object) -> Iterator[dict[str, Any]]:
        if isinstance(schema, dict):
            if schema.get("type") == "array":
                yield schema
            if "$ref" in schema:
                yield from lists(schemas[schema["$ref"].rpartition("/")[2]])
            for part in schema.values():
                yield from lists(part)
        elif isinstance(schema, list):
            for part in schema:
                yield from lists(part)

    for path, operations in app.openapi()["paths"].items():
        for operation in operations.values():
            for found in lists(operation.get("requestBody")):
                assert "maxItems" in found, (path, found)


async def test_a_request_id_is_the_callers_if_it_is_harmless(anonymous: httpx.AsyncClient) -> None:
    """It ties a client's log to ours, and can't forge lines in it."""
    given = await anonymous.get("/health/live", headers={"X-Request-ID": "trace-42.a_b"})
    assert given.headers["X-Request-ID"] == "trace-42.a_b"
    for hostile in ("a b", 'x"y', "x" * 65, ""):
        answer = await anonymous.get("/health/live", headers={"X-Request-ID": hostile})
        assert len(answer.headers["X-Request-ID"]) == 32


async def chunks(count: int) -> AsyncIterator[bytes]:
    """Yield so many pieces of 64 KiB."""
    for _ in range(count):
        yield b" " * 65_536


@pytest.mark.parametrize("path", ["/api/events", "/api/auth/login"])
async def test_a_body_over_one_mebibyte_is_refused_while_it_is_read(alice: User, path: str) -> None:
    """With a declared length or without one, and the batch alone may be larger, of a user."""
    declared = await alice.client.post(path, content=b" " * (1_048_576 + 1))
    streamed = await alice.client.post(path, content=chunks(17))
    for answer in (declared, streamed):
        assert (answer.status_code, answer.json()["code"]) == (413, "body_too_large")
    batch = await alice.client.post("/api/events/batch", content=chunks(17))
    assert batch.status_code == 422
    assert (await alice.client.post("/api/events/batch", content=chunks(129))).status_code == 413


@pytest.mark.parametrize("kind", ["application/json", "application/msgpack"])
@pytest.mark.parametrize("token", ["", "Bearer x", "forged"])
async def test_strangers_send_no_large_batch(
    anonymous: httpx.AsyncClient, settings: Settings, kind: str, token: str
) -> None:
    """A body is read before anybody asks whose it is, so 8 MiB would be everybody's to send."""
    if token == "forged":
        changed = {"access_token_secret": SecretStr("somebody else's secret, long enough")}
        token = f"Bearer {signed(settings.model_copy(update=changed))}"
    headers = {"Content-Type": kind, "Authorization": token}
    answer = await anonymous.post("/api/events/batch", content=chunks(17), headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (413, "body_too_large")


async def test_a_large_batch_with_an_old_token_says_so(
    anonymous: httpx.AsyncClient, settings: Settings
) -> None:
    """401 has a client renew its token and send it again; 413 would have it give up."""
    headers = {"Authorization": f"Bearer {signed(settings, days=-30)}"}
    answer = await anonymous.post("/api/events/batch", content=chunks(17), headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (401, "invalid_token")


def signed(settings: Settings, *, days: int = 0) -> str:
    """Return an access token of nobody, from so many days on."""
    return sign_access_token(
        settings,
        user_id=UserId(uuid7()),
        session_id=SessionId(uuid7()),
        role=GlobalRole.USER,
        now=datetime.now(UTC) + timedelta(days=days),
    )


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b"null", b'"x"', b"[" * 50_000, b"\xff\xfe", b'{"title": NaN}']
)
async def test_a_body_that_is_no_event_is_a_validation_error(alice: User, body: bytes) -> None:
    """Whatever is sent, the answer says that it is not valid, and nothing breaks."""
    answer = await alice.client.post(
        "/api/events", content=body, headers={"Content-Type": "application/json"}
    )
    assert (answer.status_code, answer.json()["code"]) == (422, "validation_error")


async def test_health_names_what_works(settings: Settings) -> None:
    """For people, for load balancers and for supervisors."""
    async with started(settings) as app, client_of(app) as client:
        answer = await client.get("/health")
        assert answer.status_code == 200
        assert answer.json().keys() == {"status", "db", "redis", "version", "news", "tasks"}
        assert (answer.json()["status"], answer.json()["db"]) == ("ok", "ok")
        assert (await client.get("/health/ready")).status_code == 200
        assert (await client.get("/health/live")).json() == {"status": "ok"}


@pytest.fixture
def broken(app: FastAPI) -> Iterator[FastAPI]:
    """The application with a route that fails in ways no route of ours should."""

    async def fail(kind: str) -> None:
        raise Unavailable if kind == "away" else RuntimeError("a-secret-detail")

    app.add_api_route("/fail", fail, include_in_schema=False)
    yield app
    app.router.routes.pop()


async def test_an_unexpected_error_tells_nothing_but_its_request_id(
    broken: FastAPI, settings: Settings
) -> None:
    """The traceback is in the log, under that id, and not in the answer."""
    async with client_of(broken) as client:
        answer = await client.get("/fail?kind=bug")
    assert answer.status_code == 500
    assert "a-secret-detail" not in answer.text
    lines = (settings.log_dir / "app.log").read_text().splitlines()
    logged = [json.loads(line) for line in lines if answer.json()["request_id"] in line]
    assert any("a-secret-detail" in line.get("traceback", "") for line in logged)


async def test_an_absent_database_is_503_with_retry_after(broken: FastAPI) -> None:
    """A client knows that trying again makes sense, and when."""
    async with client_of(broken) as client:
        answer = await client.get("/fail?kind=away")
    assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
    assert int(answer.headers["Retry-After"]) > 0


async def test_every_request_has_one_line_in_the_log(alice: User, settings: Settings) -> None:
    """With method, path, status and time, and without the query, where a secret might be."""
    answer = await alice.client.get("/api/events?q=not-for-the-log")
    text = (settings.log_dir / "app.log").read_text()
    [line] = [row for row in text.splitlines() if answer.headers["X-Request-ID"] in row]
    logged = json.loads(line)
    assert (logged["method"], logged["path"], logged["status"]) == ("GET", "/api/events", 200)
    assert logged["ms"] > 0
    assert logged["user_id"] == str(alice.id)
    assert "not-for-the-log" not in text
