"""MessagePack in and out, on every route, and JSON as it ever was."""

import struct
import time
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from typing import Any

import httpx
import orjson
import ormsgpack
import pytest
from fastapi import FastAPI
from hypothesis import given
from hypothesis import strategies as st
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse

from eventmanager.core.negotiation import Negotiation, msgpack_to_json, preferred
from tests.conftest import User, client_of, timed

MSGPACK = "application/msgpack"
X_MSGPACK = "application/x-msgpack"
JSON = "application/json"
STANDUP = {
    "title": "Standup ☕",
    "description": None,
    "start_time": "2031-03-03T09:00:00Z",
    "end_time": "2031-03-03T09:15:00Z",
    "recurrence_pattern": "RRULE:FREQ=DAILY;COUNT=3",
}


@pytest.mark.parametrize(
    ("accept", "answer"),
    [
        ("", JSON),
        ("*/*", JSON),
        ("application/*", JSON),
        (JSON, JSON),
        ("text/html,application/xhtml+xml,*/*;q=0.8", JSON),
        (MSGPACK, MSGPACK),
        (X_MSGPACK, X_MSGPACK),
        ("application/vnd.msgpack", "application/vnd.msgpack"),
        ("Application/X-MsgPack", X_MSGPACK),
        # The higher quality wins, wherever it stands.
        (f"{JSON};q=0.5, {MSGPACK}", MSGPACK),
        (f"{MSGPACK};q=0.5, {JSON}", JSON),
        (f"{JSON};q=0.8, {MSGPACK};q=0.9", MSGPACK),
        (f"{MSGPACK};q=0.5, */*", JSON),
        (f"{MSGPACK};q=0.5, */*;q=0.1", MSGPACK),
        (f"{MSGPACK};q=0.3, {X_MSGPACK};q=0.4, {JSON};q=0.2", X_MSGPACK),
        (f"{MSGPACK} ; v=1 ; Q=0.1 , {JSON};q=0.2", JSON),
        # At the same one what is named more exactly, then what is named first.
        (f"*/*, {MSGPACK}", MSGPACK),
        (f"application/*, {MSGPACK}", MSGPACK),
        (f"{MSGPACK}, {JSON}", MSGPACK),
        (f"{JSON}, {MSGPACK}", JSON),
        (f"{X_MSGPACK}, {MSGPACK}", X_MSGPACK),
        # Quality 0 is a refusal; who refuses all we have gets JSON.
        (f"{MSGPACK};q=0", JSON),
        (f"{MSGPACK};q=0, {X_MSGPACK}", X_MSGPACK),
        (f"{JSON};q=0, {MSGPACK};q=0.1", MSGPACK),
        (f"*/*;q=0, {MSGPACK};q=0.001", MSGPACK),
        ("image/png", JSON),
        # What makes no sense is passed over.
        (f"{MSGPACK};q=2", JSON),
        (f"{MSGPACK};q=high, {X_MSGPACK};q=0.1", X_MSGPACK),
        (f";;,,=,{MSGPACK}", MSGPACK),
        ("application/msgpack2", JSON),
        ("msgpack", JSON),
    ],
)
def test_accept_chooses_the_form(accept: str, answer: str) -> None:
    """As RFC 9110, 12.5.1 says; a client that does not name MessagePack never gets it."""
    assert preferred(accept.encode(), JSON.encode()).decode() == answer


def test_a_problem_may_be_preferred_by_its_own_name() -> None:
    """Who reads MessagePack, but problems as JSON, gets both as wished."""
    accept = f"application/problem+json, {MSGPACK};q=0.9".encode()
    assert preferred(accept, b"application/problem+json") == b"application/problem+json"
    assert preferred(accept, JSON.encode()) == MSGPACK.encode()


@pytest.fixture
async def packed(app: FastAPI, alice: User) -> AsyncIterator[httpx.AsyncClient]:
    """Alice, with a client that reads and writes MessagePack only."""
    headers = {
        "Authorization": alice.client.headers["Authorization"],
        "Accept": X_MSGPACK,
        "Content-Type": X_MSGPACK,
    }
    async with client_of(app, headers=headers) as client:
        yield client


def read(answer: httpx.Response) -> Any:
    """Unpack an answer, which says how long it is."""
    assert answer.headers["Content-Type"] == X_MSGPACK
    assert answer.headers["Content-Length"] == str(len(answer.content))
    assert answer.headers["Vary"] == "Accept"
    return ormsgpack.unpackb(answer.content)


async def test_an_event_goes_in_and_out_as_messagepack(
    packed: httpx.AsyncClient, alice: User
) -> None:
    """Create, read, list, change, and the same event as JSON."""
    answer = await packed.post("/api/events", content=ormsgpack.packb(STANDUP))
    assert answer.status_code == 201, answer.content
    created = read(answer)
    assert {name: created[name] for name in STANDUP} == STANDUP
    path = answer.headers["Location"]

    as_json = await alice.client.get(path)
    assert as_json.headers["Content-Type"] == JSON
    assert read(await packed.get(path)) == as_json.json() == created
    assert created in read(await packed.get("/api/events"))

    # The tag is the event's version, whichever form it was read in.
    assert answer.headers["ETag"] == as_json.headers["ETag"] == '"1"'
    headers = {"If-Match": as_json.headers["ETag"]}
    content = ormsgpack.packb({"title": "Moved"})
    changed = await packed.patch(path, content=content, headers=headers)
    assert (read(changed)["title"], changed.headers["ETag"]) == ("Moved", '"2"')


async def test_a_batch_goes_in_as_messagepack(packed: httpx.AsyncClient) -> None:
    """The largest body there is."""
    events = [
        {"title": f"{day}", "start_time": f"2031-05-{day:02}", "end_time": f"2031-05-{day + 1:02}"}
        for day in range(1, 11)
    ]
    answer = await packed.post("/api/events/batch", content=ormsgpack.packb({"events": events}))
    assert [event["title"] for event in read(answer)] == [event["title"] for event in events]


async def test_a_timestamp_is_an_instant(packed: httpx.AsyncClient) -> None:
    """MessagePack's own kind of time, as libraries write it."""
    start, end = (datetime(2031, 4, 4, hour, tzinfo=UTC) for hour in (9, 10))
    body = {"title": "Stamped", "start_time": start, "end_time": end}
    content = ormsgpack.packb(body, option=ormsgpack.OPT_DATETIME_AS_TIMESTAMP_EXT)
    created = read(await packed.post("/api/events", content=content))
    assert created["start_time"] == "2031-04-04T09:00:00Z"


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "code"),
    [
        ("GET", "/api/events/00000000-0000-0000-0000-000000000000", None, 404, "not_found"),
        ("GET", "/nowhere", None, 404, "not_found"),
        ("DELETE", "/api/events", None, 405, "method_not_allowed"),
        ("POST", "/api/events", {"title": "no times"}, 422, "validation_error"),
        ("POST", "/api/events", None, 422, "validation_error"),
        ("POST", "/api/auth/login", {"username": "x", "password": "y"}, 401, "invalid_credentials"),
        ("POST", "/api/events", "x" * 1_100_000, 413, "body_too_large"),
    ],
)
async def test_every_refusal_is_messagepack_too(
    packed: httpx.AsyncClient, method: str, path: str, body: object, status: int, code: str
) -> None:
    """With the same members as in JSON."""
    content = None if body is None else ormsgpack.packb(body)
    answer = await packed.request(method, path, content=content)
    problem = read(answer)
    assert (answer.status_code, problem["status"], problem["code"]) == (status, status, code)
    assert problem["request_id"] == answer.headers["X-Request-ID"]


@pytest.fixture
def broken(app: FastAPI) -> Iterator[FastAPI]:
    """The application with a route that has a bug."""

    async def fail() -> None:
        raise RuntimeError

    app.add_api_route("/fail", fail, include_in_schema=False)
    yield app
    app.router.routes.pop()


async def test_an_unexpected_error_is_messagepack_too(broken: FastAPI) -> None:
    """Even what is answered outside every layer."""
    async with client_of(broken, headers={"Accept": X_MSGPACK}) as client:
        answer = await client.get("/fail")
    assert (answer.status_code, read(answer)["code"]) == (500, "internal_error")


def stamp(data: bytes, tag: int = -1) -> bytes:
    """Return an extension of 4, 8 or 12 bytes."""
    return b"\xc7" + bytes([len(data)]) + struct.pack("b", tag) + data


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"\xc1", "byte without meaning"),
        (b"\xa5abc", ""),
        (b"\x82\xa1a\x01", "end of file"),
        (b"\xdd\xff\xff\xff\xff", "end of file"),
        (b"\xa1\xff", "UTF-8"),
        (b"\x80\x80", "more data"),
        (ormsgpack.packb({}) + ormsgpack.packb("end") + b"anything", "more data"),
        (b"\x91" * 100_000, "nested too deeply"),
        (b"\x91" * 500 + b"\xc0", "nested too deeply"),
        (b"\x81\x01\x01", "map key"),
        (b"\x81\xc4\x01a\x01", "map key"),
        (ormsgpack.packb({"title": b"bytes"}), "binary data"),
        (ormsgpack.packb({"title": float("nan")}), "not JSON compliant"),
        (ormsgpack.packb([float("-inf")]), "not JSON compliant"),
        (b"\xca\x7f\xc0\x00\x00", "not JSON compliant"),
        (stamp(b"\0" * 4, tag=5), "extension type"),
        (stamp(b"\0" * 5), "extension type"),
        (stamp(b"\xff" * 8), "extension type"),
        (stamp(b"\0" * 4 + b"\x7f" + b"\xff" * 7), "extension type"),
        (b'{"title": "JSON"}', "more data"),
    ],
)
async def test_what_is_not_messagepack_is_not_valid(
    packed: httpx.AsyncClient, content: bytes, said: str
) -> None:
    """Or has no equal in JSON; the answer says which, in the shape of every validation error."""
    answer = await packed.post("/api/events", content=content)
    problem = read(answer)
    assert (answer.status_code, problem["code"]) == (422, "validation_error")
    [item] = problem["detail"]
    assert (item["type"], item["loc"]) == ("msgpack_invalid", ["body"])
    assert said in item["msg"]


@pytest.mark.parametrize(
    "item",
    [
        *(b"\x00", b"\xff", b"\x80", b"\x90", b"\xa0", b"\xbf" + b"x" * 31, b"\xc0", b"\xc3"),
        *(b"\xca" + b"\1" * 4, b"\xcb" + b"\1" * 8),
        *(bytes([0xCC + n]) + b"\1" * 2**n for n in range(4)),
        *(bytes([0xD0 + n]) + b"\1" * 2**n for n in range(4)),
        *(b"\xd9\3abc", b"\xda\0\3abc", b"\xdb\0\0\0\3abc"),
        *(b"\xc4\3abc", b"\xc5\0\3abc", b"\xc6\0\0\0\3abc"),
        *(b"\xc7\4\xffabcd", b"\xc8\0\4\xffabcd", b"\xc9\0\0\0\4\xffabcd"),
        *(bytes([0xD4 + n, 0xFF]) + b"\0" * 2**n for n in range(5)),
        *(b"\xdc\0\0", b"\xdd\0\0\0\0", b"\xde\0\0", b"\xdf\0\0\0\0"),
    ],
    ids=lambda item: item[:4].hex(),
)
def test_a_body_has_a_hundred_thousand_items_at_most(item: bytes) -> None:
    """Whatever they are: text and timestamps are one each, and an array is one beside its own."""

    def said(count: int) -> str:
        try:
            msgpack_to_json(b"\xdd" + struct.pack(">I", count) + item * count)
        except HTTPException as error:
            # Binary data, for instance, is refused in any number.
            return str(error.detail)
        return ""

    assert "more than 100000 items" not in said(99_999)
    assert "more than 100000 items" in said(100_000)


@timed
def test_too_many_items_are_refused_at_once() -> None:
    """Half a gigabyte of empty arrays, that is, to who sends a body as large as a batch may be."""
    body = b"\x81\xa6events\xdd" + struct.pack(">I", 8_000_000) + b"\x90" * 8_000_000
    started = time.perf_counter()
    with pytest.raises(HTTPException):
        msgpack_to_json(body)
    assert time.perf_counter() - started < 0.5


async def test_only_who_reads_a_body_refuses_it(packed: httpx.AsyncClient) -> None:
    """An unknown path is unknown, whatever is sent to it."""
    assert (await packed.post("/nowhere", content=b"\xc1")).status_code == 404


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="utf-8")),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters(codec="utf-8")), inner),
)


@given(json_values)
def test_whatever_json_can_say_comes_through(value: object) -> None:
    """No value changes on the way."""
    assert orjson.loads(msgpack_to_json(ormsgpack.packb(value))) == value


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (struct.pack(">I", 1), "1970-01-01T00:00:01Z"),
        (struct.pack(">Q", (500_000_000 << 34) + 2**32), "2106-02-07T06:28:16.500000Z"),
        (struct.pack(">Iq", 0, -1), "1969-12-31T23:59:59Z"),
    ],
)
def test_timestamps_come_in_three_sizes(data: bytes, text: str) -> None:
    """Of 32, 64 and 96 bits."""
    assert orjson.loads(msgpack_to_json(stamp(data))) == text


@pytest.mark.parametrize(
    "content_type", [MSGPACK, X_MSGPACK, "Application/MsgPack; charset=binary"]
)
async def test_a_body_may_be_messagepack_and_the_answer_json(
    alice: User, content_type: str
) -> None:
    """What comes in and what goes out are chosen one by one."""
    content = ormsgpack.packb({"title": 5})
    headers = {"Content-Type": content_type}
    answer = await alice.client.post("/api/events", content=content, headers=headers)
    assert answer.headers["Content-Type"] == JSON
    assert ["body", "title"] in [item["loc"] for item in answer.json()["detail"]]


async def test_json_says_that_it_could_have_been_otherwise(alice: User) -> None:
    """A cache that did not know would hand one client's form to another."""
    answer = await alice.client.post("/api/events", json=STANDUP)
    path = answer.headers["Location"]
    unchanged = await alice.client.get(path, headers={"If-None-Match": '"1"'})
    for each in (answer, unchanged, await alice.client.get("/nowhere")):
        assert each.headers["Vary"] == "Accept"
    assert unchanged.status_code == 304
    packed = {"Accept": MSGPACK, "If-None-Match": '"1"'}
    unchanged = await alice.client.get(path, headers=packed)
    assert (unchanged.status_code, unchanged.content) == (304, b"")
    assert unchanged.headers["Vary"] == "Accept"
    gone = await alice.client.delete(path, headers={"Accept": MSGPACK})
    assert (gone.status_code, gone.content) == (204, b"")
    assert "Content-Type" not in gone.headers


async def test_what_is_no_json_stays_what_it_is(anonymous: httpx.AsyncClient) -> None:
    """Pages and their files have one form."""
    answer = await anonymous.get("/docs", headers={"Accept": MSGPACK})
    assert answer.headers["Content-Type"].startswith("text/html")
    assert "Vary" not in answer.headers
    schema = await anonymous.get("/openapi.json", headers={"Accept": MSGPACK})
    assert ormsgpack.unpackb(schema.content)["openapi"].startswith("3.1")


async def test_the_schema_names_every_form(app: FastAPI) -> None:
    """Wherever it names JSON, for bodies, answers and problems alike."""
    found = 0
    for operations in app.openapi()["paths"].values():
        for operation in operations.values():
            for part in (operation.get("requestBody", {}), *operation["responses"].values()):
                content = part.get("content", {})
                if any(name.endswith("json") for name in content):
                    assert {MSGPACK, X_MSGPACK} <= content.keys()
                    found += 1
    assert found > 50


def answering(response: Response) -> httpx.AsyncClient:
    """Return a client of an application that answers just this, and reads MessagePack."""
    app = Negotiation(response)
    transport = httpx.ASGITransport(app=app)
    headers = {"Accept": MSGPACK}
    return httpx.AsyncClient(transport=transport, base_url="http://testserver", headers=headers)


@pytest.mark.parametrize(
    ("vary", "becomes"),
    [
        ("Origin", "Origin, Accept"),
        ("accept, Origin", "accept, Origin"),
        ("*", "*"),
    ],
)
@pytest.mark.parametrize("accept", [MSGPACK, JSON])
async def test_another_vary_is_kept(vary: str, becomes: str, accept: str) -> None:
    """An answer may depend on more than one header."""
    async with answering(JSONResponse({}, headers={"Vary": vary})) as client:
        answer = await client.get("/", headers={"Accept": accept})
    assert answer.headers.get_list("Vary") == [becomes]


async def test_a_stream_is_not_held_back() -> None:
    """Only what is JSON waits to be whole; a JSON answer in pieces becomes one."""
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any:
        return {"type": "http.disconnect"}

    async def pieces() -> AsyncIterator[bytes]:
        for piece in (b'{"a":', b" [1, 2]", b"}"):
            sent.append(piece)
            yield piece

    scope = {"type": "http", "method": "GET", "headers": [(b"accept", MSGPACK.encode())]}
    scope["asgi"] = {"spec_version": "2.4"}  # type: ignore[assignment]  # a scope holds anything
    await Negotiation(StreamingResponse(pieces(), media_type="text/csv"))(scope, receive, send)
    assert [isinstance(each, bytes) for each in sent[:4]] == [False, True, False, True]

    sent.clear()
    await Negotiation(StreamingResponse(pieces(), media_type=JSON))(scope, receive, send)
    [start, body] = sent[3:]
    assert (b"content-type", MSGPACK.encode()) in start["headers"]
    assert ormsgpack.unpackb(body["body"]) == {"a": [1, 2]}


@pytest.mark.parametrize("response", [PlainTextResponse("plain"), JSONResponse({"a": 1})])
async def test_head_is_left_alone(response: Response) -> None:
    """It has no body to encode."""
    async with answering(response) as client:
        answer = await client.head("/")
    assert answer.headers["Content-Type"].startswith(("text/plain", JSON))


def test_a_refused_body_is_an_http_exception() -> None:
    """The one kind of error that FastAPI lets pass while it reads a body."""
    with pytest.raises(HTTPException):
        msgpack_to_json(b"\xc1")
