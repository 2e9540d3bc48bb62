"""Requests that are made to hurt: each gets a plain answer, cheaply, and nobody else notices."""

import base64
import json
import re
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

import httpx
import pytest

from tests.conftest import timed
from tests.e2e.conftest import Pid, Server, needs_proc, pid_of, serving, sign_up

CPU_LIMIT_S: Final = 0.05
# Storing thousands of occurrences is work that was asked for.
STORING_CPU_LIMIT_S: Final = 0.12
MEBIBYTE: Final = 1024 * 1024
EVENT: Final = {
    "title": "hostile",
    "start_time": "2027-01-15T09:00:00",
    "end_time": "2027-01-15T10:00:00",
    "time_zone": "Europe/Berlin",
    "transparency": "transparent",
}


def listed(numbers: Iterable[int]) -> str:
    """Return numbers as a BY part wants them."""
    return ",".join(map(str, numbers))


SIXTY: Final = listed(range(60))
HOURS: Final = listed(range(24))
EVERY_SECOND: Final = f"BYHOUR={HOURS};BYMINUTE={SIXTY};BYSECOND={SIXTY}"
EVERY_PLACE: Final = f"BYSETPOS={listed(range(1, 367))},{listed(range(-366, 0))}"

REFUSED: Final = {
    "empty": "",
    "blank": " \r\n ",
    "no rule": "hello",
    "no frequency": "BYDAY=MO",
    "hourly": "FREQ=HOURLY",
    "minutely": "RRULE:FREQ=MINUTELY;COUNT=5",
    "secondly": "freq=secondly",
    "30 February": "FREQ=DAILY;BYMONTH=2;BYMONTHDAY=30",
    "30 February, yearly": "FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=30",
    "31 in short months": "FREQ=MONTHLY;BYMONTH=2,4,6,9,11;BYMONTHDAY=31",
    "day 366 in March": "FREQ=YEARLY;BYYEARDAY=366;BYMONTH=3",
    "6th Monday of the month": "FREQ=MONTHLY;BYDAY=6MO",
    "place that no set has": "FREQ=DAILY;BYSETPOS=300;BYHOUR=1,2",
    "interval beyond all": "FREQ=YEARLY;INTERVAL=9999999999;BYMONTH=2;BYMONTHDAY=29",
    "long number": "FREQ=DAILY;COUNT=" + "9" * 3_900,
    "count zero": "FREQ=DAILY;COUNT=0",
    "negative interval": "FREQ=DAILY;INTERVAL=-1",
    "count and until": "FREQ=DAILY;COUNT=3;UNTIL=20280101",
    "until before start": "FREQ=DAILY;UNTIL=20270101",
    "until no date": "FREQ=DAILY;UNTIL=20270230",
    "twice": "FREQ=DAILY;FREQ=DAILY",
    "two rules": "RRULE:FREQ=DAILY\nRRULE:FREQ=WEEKLY",
    "line of another kind": "DTSTART:20270115T090000\nRRULE:FREQ=DAILY",
    "nothing left": "FREQ=DAILY;COUNT=1\nEXDATE:20270115T090000",
    "folder as zone": "FREQ=DAILY\nEXDATE;TZID=../../etc/passwd:20270116T090000",
    "every second": f"FREQ=DAILY;{EVERY_SECOND}",
    "every minute": f"FREQ=DAILY;BYHOUR={HOURS};BYMINUTE={SIXTY}",
    "too long": "FREQ=DAILY;BYMONTH=" + "1," * 3_000 + "1",
    "half a million letters": "A" * 500_000,
    "half a million lines": "\n" * 500_000,
    "Arabic digits": "FREQ=DAILY;COUNT=\u0663",
    "dotless i": "FREQ=DA\u0131LY",
    "null bytes as text": "FREQ=DAILY\\x00",
}

ODD: Final = {
    "lower case": "rrule:freq=daily;count=3",
    "milliard": "FREQ=DAILY;INTERVAL=2;COUNT=1000000000",
    "29 February": "FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=29",
    "29 February, a Monday": "FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=29;BYDAY=MO",
    "interval of ages": "FREQ=DAILY;INTERVAL=9999999999",
    "until for ever": "FREQ=WEEKLY;UNTIL=99991231",
    "every place": f"FREQ=MONTHLY;BYMONTHDAY={listed(range(1, 32))};{EVERY_PLACE};COUNT=999999999",
    "first and last second": f"FREQ=DAILY;{EVERY_SECOND};BYSETPOS=1,-1",
    "every second, few places": f"FREQ=YEARLY;{EVERY_SECOND};{EVERY_PLACE}",
    "every minute of a day": f"FREQ=YEARLY;BYMONTH=12;BYHOUR={HOURS};BYMINUTE={SIXTY}",
    "full": "FREQ=DAILY;BYHOUR=0,4,8,12,16,20",
    "many days off": "FREQ=DAILY\nEXDATE:" + ",".join(["20270116T090000"] * 240),
    "many dates": "RDATE:" + ",".join(f"202802{day:02}T090000" for day in range(1, 30)),
    "Friday 13": "FREQ=MONTHLY;BYDAY=FR;BYMONTHDAY=13",
}


@pytest.fixture(scope="module")
def server(fresh_database: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with one worker, which must survive all of it."""
    directory = tmp_path_factory.mktemp("hostile")
    with serving(directory, DATABASE_URL=fresh_database) as running:
        yield running


@pytest.fixture(scope="module")
def client(server: Server) -> Iterator[httpx.Client]:
    """A signed-in client."""
    with server.client() as client:
        sign_up(client)
        for _ in range(20):
            client.post("/api/events", json=EVENT | {"recurrence_pattern": "FREQ=DAILY"})
        yield client


@pytest.fixture
def process(server: Server) -> Pid:
    """The process that answers."""
    return pid_of(server.process.pid)


def mean_cpu_s(process: Pid, act: Callable[[], object]) -> float:
    """Return the CPU seconds of the server for one `act`, the lower of two means of three."""

    def mean() -> float:
        before = process.cpu_s()
        for _ in range(3):
            act()
        return (process.cpu_s() - before) / 3

    return min(mean(), mean())


# --- Patterns -------------------------------------------------------------------------------------


@needs_proc
@pytest.mark.parametrize("name", REFUSED)
def test_a_pattern_that_makes_no_sense_is_refused_cheaply(
    client: httpx.Client, process: Pid, name: str
) -> None:
    """One shape of error for all of them, a reason in words, and next to no work."""
    body = EVENT | {"recurrence_pattern": REFUSED[name]}
    answer = client.post("/api/events", json=body)
    assert answer.status_code == 422, answer.text
    [item] = answer.json()["detail"]
    reason = item.pop("ctx").pop("reason")
    assert reason
    assert len(reason) < 300
    assert item == {
        "loc": ["body", "recurrence_pattern"],
        "msg": "recurrence_pattern must be a valid RRULE string",
        "type": "invalid_rrule",
    }
    assert mean_cpu_s(process, lambda: client.post("/api/events", json=body)) < CPU_LIMIT_S


@needs_proc
@pytest.mark.parametrize("name", ODD)
def test_an_odd_pattern_is_accepted_cheaply(client: httpx.Client, process: Pid, name: str) -> None:
    """What RFC 5545 allows works, however strange, and no pattern costs much more than another."""
    body = EVENT | {"recurrence_pattern": ODD[name]}
    answer = client.post("/api/events", json=body)
    assert answer.status_code == 201, answer.text
    assert answer.json()["recurrence_pattern"] == ODD[name]
    assert mean_cpu_s(process, lambda: client.post("/api/events", json=body)) < STORING_CPU_LIMIT_S


@pytest.mark.parametrize("series", [100])
def test_a_batch_of_series_does_not_stop_the_others(
    server: Server, client: httpx.Client, series: int
) -> None:
    """A large import is one user's business, and must not be felt by another."""
    batch = {"events": [EVENT | {"recurrence_pattern": "FREQ=DAILY"}] * series}
    with felt_by_another(server) as worst:
        assert client.post("/api/events/batch", json=batch).status_code in (201, 422)
    assert max(worst) < 0.5


class felt_by_another:  # noqa: N801  # used as a function that is a context manager
    """Another user's requests while the block runs; gives how long each took."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._ask)
        self.seconds: list[float] = [0.0]

    def __enter__(self) -> list[float]:
        self._thread.start()
        time.sleep(0.2)
        return self.seconds

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(30)

    def _ask(self) -> None:
        with self._server.client() as client:
            sign_up(client)
            while not self._stop.wait(0.02):
                began = time.monotonic()
                assert client.get("/api/me").status_code == 200
                self.seconds.append(time.monotonic() - began)


# --- Bodies ---------------------------------------------------------------------------------------


def test_a_large_body_is_refused_before_it_is_sent(server: Server, client: httpx.Client) -> None:
    """The declared length is enough: not one byte of the ten megabytes has to travel."""
    answer = exchange(server, head(client, f"Content-Length: {10 * MEBIBYTE}"))
    assert answer.status == 413
    assert answer.json["code"] == "body_too_large"


def test_a_body_without_end_is_refused_where_the_limit_is(
    server: Server, client: httpx.Client
) -> None:
    """Chunks carry no length, so the server counts, and answers before the client is done."""
    chunk = b"%x\r\n%s\r\n" % (65536, b" " * 65536)
    answer = exchange(server, head(client, "Transfer-Encoding: chunked"), *[chunk] * 17)
    assert answer.status == 413
    assert answer.json["code"] == "body_too_large"


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize("path", ["/api/events", "/api/auth/login", "/api/auth/token"])
def test_who_sends_ten_megabytes_anyway_still_reads_the_answer(
    server: Server, client: httpx.Client, chunked: bool, path: str
) -> None:
    """Most clients read only after they have sent, and a reset would hide the reason from them."""
    body = b'{"title": "' + b"x" * (10 * MEBIBYTE) + b'"}'
    content: Any = (body[n : n + 65536] for n in range(0, len(body), 65536)) if chunked else body
    headers = {"Authorization": client.headers["Authorization"]}
    kind = "application/x-www-form-urlencoded" if path.endswith("token") else "application/json"
    headers["Content-Type"] = kind
    with server.client() as fresh:
        answer = fresh.post(path, content=content, headers=headers)
    assert answer.status_code == 413, answer.text
    assert answer.json()["code"] == "body_too_large"


def event(**changes: object) -> bytes:
    """Return an event's JSON with these members instead."""
    return json.dumps(EVENT | changes).encode()


DEEP: Final = 100_000
MALFORMED: Final = {
    "nothing": b"",
    "half": event()[:-1],
    "no JSON": b"title=x",
    "null": b"null",
    "number": b"1",
    "string": b'"x"',
    "list": b"[]",
    "empty object": b"{}",
    "deep lists": b"[" * DEEP,
    "deep lists, closed": b"[" * DEEP + b"]" * DEEP,
    "deep objects": b'{"a":' * DEEP + b"1" + b"}" * DEEP,
    "deep in a field": b'{"title": ' + b"[" * DEEP + b"]" * DEEP + b"}",
    "no UTF-8": b'{"title": "\xff\xfe"}',
    "UTF-8 surrogate": b'{"title": "\xed\xa0\x80"}',
    "byte order mark": b"\xef\xbb\xbf" + event(nonsense=1),
    "endless number": b'{"title": ' + b"9" * 100_000 + b"}",
    "not a number": b'{"title": NaN}',
    "infinity": b'{"title": -Infinity}',
    "huge exponent": b'{"title": 1e999999}',
    "raw NUL": b'{"title": "a\x00b"}',
    "NUL in the title": event(title="a\0b"),
    "NUL in the description": event(description="\0"),
    "NUL in the location": event(location="\0"),
    "NUL in the pattern": event(recurrence_pattern="FREQ=DAILY\0"),
    "NUL in the zone": event(time_zone="Europe/Berlin\0"),
    "NUL in a time": event(start_time="2027-01-15T09:00:00\0"),
    "NUL in a name": event(**{"a\0b": 1}),
    "surrogate in the title": event(title="\ud800"),
    "surrogate in the description": event(description="a\udfffb"),
    "surrogate in the pattern": event(recurrence_pattern="\ud800"),
    "surrogate in the zone": event(time_zone="\ud800"),
    "surrogate in a time": event(start_time="\ud800"),
    "surrogate in the status": event(status="\ud800"),
    "surrogate in a name": event(**{"\ud800": 1}),
    "time as a number": event(start_time=1),
    "time as a huge number": event(start_time=10**400),
    "time as true": event(start_time=True),
    "time as a list": event(start_time=[2027]),
    "year 0": event(start_time="0000-01-01T00:00:00Z"),
    "year 1": event(start_time="0001-01-01T00:00:00+14:00"),
    "year 9999": event(end_time="9999-12-31T23:59:59-14:00"),
    "year 10000": event(end_time="10000-01-01T00:00:00Z"),
    "all-day in year 9999": event(start_time="9999-12-30", end_time="9999-12-31"),
    "day 32": event(start_time="2027-01-32T00:00:00Z"),
    "second 61": event(start_time="2027-01-15T09:00:61Z"),
    "offset of a week": event(start_time="2027-01-15T09:00:00+99:99"),
    "end before start": event(end_time="2027-01-15T08:00:00"),
    "title of a megabyte": event(title="x" * 900_000),
    "title as an object": event(title={"$gt": ""}),
    "unknown fields": event(id="x", owner_id="y", version=3),
    "thousand unknown fields": event(**{f"f{n}": n for n in range(1000)}),
    "zone that is a path": event(time_zone="../../etc/passwd"),
    "zone of a megabyte": event(time_zone="x" * 900_000),
    "null title": event(title=None),
}
OTHER_BODIES: Final = [name for name in MALFORMED if "in the" not in name and "time" not in name]


@pytest.mark.parametrize("name", list(MALFORMED))
def test_a_malformed_event_is_told_so(server: Server, client: httpx.Client, name: str) -> None:
    """Nothing in a body is our mistake, and the answer says whose it is."""
    body = MALFORMED[name]
    answer = exchange(server, head(client, f"Content-Length: {len(body)}"), body)
    assert answer.status in (400, 422), answer.body
    judge(answer)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/api/events/batch"),
        ("PUT", "/api/events/01936b0e-7c00-7a4e-9d3c-0f6a2b1c4d5e"),
        ("POST", "/api/auth/register"),
        ("POST", "/api/auth/login"),
        ("POST", "/api/auth/token"),
        ("POST", "/api/auth/password"),
        ("PATCH", "/api/admin/users/01936b0e-7c00-7a4e-9d3c-0f6a2b1c4d5e"),
    ],
)
def test_every_route_takes_every_body(
    server: Server, client: httpx.Client, method: str, path: str
) -> None:
    """The same bodies everywhere, alone, in a list, and as the value of every field."""
    for name in OTHER_BODIES:
        inner = MALFORMED[name]
        bodies = [inner, b'{"events": [' + inner + b"]}"]
        if "deep" not in name:
            fields = (b"username", b"email", b"password", b"current_password", b"new_password")
            value = inner.partition(b": ")[2].removesuffix(b"}") or b"{}"
            bodies.append(b"{" + b",".join(b'"%s": %s' % (f, value) for f in fields) + b"}")
        for body in bodies:
            request = head(client, f"Content-Length: {len(body)}", method=method, path=path)
            answer = exchange(server, request, body)
            assert 400 <= answer.status < 500, (name, body[:200], answer.body)
            judge(answer)


@pytest.mark.parametrize("value", ["\ud800", "a\ud800", "\0"])
@pytest.mark.parametrize(
    "path", ["/api/auth/register", "/api/auth/login", "/api/auth/token", "/api/auth/password"]
)
def test_text_that_cannot_be_stored_is_refused_in_every_field(
    server: Server, client: httpx.Client, path: str, value: str
) -> None:
    """JSON can say what neither UTF-8 nor PostgreSQL can hold."""
    good = {
        "/api/auth/register": {"username": "n", "email": "n@example.com", "password": "p" * 9},
        "/api/auth/login": {"username": "n", "password": "p" * 9},
        "/api/auth/token": {"grant_type": "password", "username": "n", "password": "p" * 9},
        "/api/auth/password": {"current_password": "p" * 9, "new_password": "q" * 9},
    }[path]
    for name in (*good, "unknown"):
        body = json.dumps(good | {name: value + "pppppppp"}).encode()
        answer = exchange(server, head(client, f"Content-Length: {len(body)}", path=path), body)
        assert 400 <= answer.status < 500, (name, answer.body)
        judge(answer)


@pytest.mark.parametrize(
    "body",
    [
        b"grant_type=password&username=%FF%FE&password=%FF",
        b"grant_type=password&username=%00&password=%00",
        b"grant_type=password&username=%ED%A0%80&password=x",
        b"grant_type=\xff\xfe",
        b"=&=&&&%%%",
        b"&" * 100_000,
        b"a=1&" * 5_000,
        b"grant_type=refresh_token&refresh_token=%FF",
        b"grant_type=refresh_token&refresh_token=" + b"x" * 100_000,
        b"username=a&username=b",
    ],
)
def test_a_hostile_form_is_refused(server: Server, client: httpx.Client, body: bytes) -> None:
    """OAuth clients send forms, and forms can be as wrong as JSON."""
    kind = "application/x-www-form-urlencoded"
    request = head(client, f"Content-Length: {len(body)}", path="/api/auth/token", kind=kind)
    answer = exchange(server, request, body)
    assert 400 <= answer.status < 500, answer.body
    judge(answer)


@pytest.mark.parametrize(
    "kind",
    [
        "",
        "text/plain",
        "application/xml",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "multipart/form-data",
        "application/json; charset=utf-16",
        "application/json; charset=nonsense",
        "nonsense",
        ";;;",
        "\xff",
    ],
)
@pytest.mark.parametrize("path", ["/api/events", "/api/auth/token"])
def test_another_content_type_is_no_error_of_ours(
    server: Server, client: httpx.Client, kind: str, path: str
) -> None:
    """A client that forgot the header learns so, or is understood."""
    body = event(nonsense=1)
    request = head(client, f"Content-Length: {len(body)}", path=path, kind=kind)
    answer = exchange(server, request, body)
    assert 400 <= answer.status < 500, answer.body
    judge(answer)


# --- Paths, queries, headers ----------------------------------------------------------------------


def cursor(*key: str) -> str:
    """Return a cursor as the server would write it."""
    return base64.urlsafe_b64encode(json.dumps(key).encode()).decode().rstrip("=")


AN_ID: Final = "01936b0e-7c00-7a4e-9d3c-0f6a2b1c4d5e"
HOSTILE_IDS: Final = ("x", "1", "%00", "%FF", "%ED%A0%80", "..%2f..%2fetc", "x" * 5000, "{id}", "'")
WINDOW: Final = "start=2027-01-01&end=2027-02-01"
EXTREME_CURSORS: Final = [
    f"GET /api/events?cursor={cursor('0001-01-01T00:00:00+14:00', AN_ID)}",
    f"GET /api/events?cursor={cursor('9999-12-31T23:59:59-14:00', AN_ID)}",
    f"GET /api/occurrences?{WINDOW}&cursor="
    + cursor("2027-01-01T00:00:00+00:00", AN_ID, "0001-01-01T00:00:00+14:00"),
]
TARGETS: Final = [
    *EXTREME_CURSORS,
    *(f"{method} /api/events/{bad}" for method in ("GET", "PUT", "DELETE") for bad in HOSTILE_IDS),
    *(f"DELETE /api/auth/sessions/{bad}" for bad in HOSTILE_IDS),
    *(f"PATCH /api/admin/users/{bad}" for bad in HOSTILE_IDS),
    f"GET /api/events/{AN_ID}",
    f"DELETE /api/events/{AN_ID}",
    "GET /api/events?limit=0",
    "GET /api/events?limit=99999999999999999999999999",
    "GET /api/events?limit=1e3",
    "GET /api/events?skip=-1",
    "GET /api/events?skip=9223372036854775808",
    "GET /api/events?q=%00",
    "GET /api/events?q=",
    "GET /api/events?role=Admin",
    "GET /api/events?role=%00",
    "GET /api/events?cursor=x",
    "GET /api/events?cursor=%FF",
    f"GET /api/events?cursor={cursor('2027-01-01T00:00:00+00:00', '0')}",
    f"GET /api/occurrences?{WINDOW}&cursor={cursor('0001-01-01T00:00:00+14:00', AN_ID, AN_ID)}",
    "GET /api/occurrences",
    "GET /api/occurrences?start=2027-01-01",
    "GET /api/occurrences?start=0001-01-01T00:00:00%2B14:00&end=2027-01-01",
    "GET /api/occurrences?start=2027-01-01&end=9999-12-31T23:59:59-14:00",
    "GET /api/occurrences?start=2027-01-01&end=2200-12-31",
    "GET /api/occurrences?start=2027-02-01&end=2027-01-01",
    "GET /api/occurrences?start=%00&end=%FF",
    f"GET /api/occurrences?{WINDOW}&limit=1001",
    "GET /api/auth/sessions?cursor=x",
    "GET /api/nothing",
    "GET /../../etc/passwd",
    "GET /%2e%2e/%2e%2e/etc/passwd",
    "GET /docs/../../../etc/passwd",
    "GET /" + "x" * 30_000,
    "BREW /api/events",
    "DELETE /api/events",
    "TRACE /api/events",
]


@pytest.mark.parametrize(
    "target",
    list(TARGETS),
    ids=lambda target: target[:60],
)
def test_a_path_or_query_that_makes_no_sense_is_told_so(
    server: Server, client: httpx.Client, target: str
) -> None:
    """Ids that are none, numbers that overflow, cursors that were made up, places outside."""
    method, _, path = target.partition(" ")
    body = b"{}" if method in ("PUT", "PATCH") else b""
    answer = exchange(
        server, head(client, f"Content-Length: {len(body)}", method=method, path=path), body
    )
    assert 400 <= answer.status < 500, answer.body
    if method != "BREW":
        judge(answer)


@pytest.mark.parametrize(
    ("header", "statuses"),
    [
        ("Authorization: Bearer \xff\xfe", {401}),
        ("Authorization: Bearer " + "x" * 20_000, {401}),
        ("Authorization: Bearer a.b.c", {401}),
        ("Authorization: Bearer eyJhbGciOiJub25lIn0.e30.", {401}),
        ("Authorization: Basic Og==", {401}),
        ("Authorization:", {401}),
        ("Cookie: refresh_token=\xff", {401}),
        ("Cookie: " + ";" * 20_000, {401}),
        ("X-Request-ID: \xff\r\nAuthorization: x", {401}),
    ],
)
def test_a_hostile_header_is_refused(server: Server, header: str, statuses: set[int]) -> None:
    """Headers come from anybody, before anybody is known."""
    request = f"GET /api/me HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{header}\r\n\r\n"
    answer = exchange(server, request.encode("latin-1"))
    assert answer.status in statuses, answer.body
    judge(answer)


@pytest.mark.parametrize(
    ("tags", "status"),
    [('"99999999999999999999"', 412), ("\xff", 412), (",,,", 412), ('"' * 5_000, 412)],
)
def test_a_hostile_etag_matches_nothing(
    server: Server, client: httpx.Client, tags: str, status: int
) -> None:
    """A tag that we never gave is stale, not an error."""
    made = client.post("/api/events", json=EVENT).json()
    body = b'{"title": "changed"}'
    request = head(
        client,
        f"Content-Length: {len(body)}\r\nIf-Match: {tags}",
        method="PUT",
        path=f"/api/events/{made['id']}",
    )
    answer = exchange(server, request, body)
    assert answer.status == status, answer.body
    judge(answer)


def test_what_is_no_http_gets_an_answer_too(server: Server) -> None:
    """A TLS client on the plain port, or a port scanner, is told and let go."""
    for noise in (b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"\r\n" * 9):
        answer = exchange(server, noise + b"x\r\n\r\n")
        assert answer.status == 400


@timed
def test_others_are_answered_fast_meanwhile(server: Server, client: httpx.Client) -> None:
    """All of it at once, from many connections, does not make one user's neighbour wait."""

    def hurt(body: bytes) -> int:
        return exchange(server, head(client, f"Content-Length: {len(body)}"), body).status

    patterns = [event(recurrence_pattern=pattern) for pattern in REFUSED.values()]
    bodies = [*(MALFORMED[name] for name in MALFORMED if name != "NUL in a time"), *patterns] * 3
    with felt_by_another(server) as seconds, ThreadPoolExecutor(16) as pool:
        assert {status // 100 for status in pool.map(hurt, bodies)} == {4}
    assert len(seconds) > 10
    assert max(seconds) < 1


def test_nothing_of_it_was_unexpected(server: Server) -> None:
    """After all of it the log knows of no error of ours; this test runs last."""
    assert not re.findall(r'.*"status":5.*', server.logs)[:3]


# --- A client that reads what it is told ----------------------------------------------------------


@dataclass(frozen=True)
class Answer:
    """What came back on a connection until it was closed."""

    status: int
    headers: str
    body: bytes

    @property
    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)


def head(
    client: httpx.Client,
    more: str,
    *,
    method: str = "POST",
    path: str = "/api/events",
    kind: str = "application/json",
) -> bytes:
    """Return the head of a request, signed in as the client."""
    lines = [
        f"{method} {path} HTTP/1.1",
        "Host: localhost",
        "Connection: close",
        f"Authorization: {client.headers['Authorization']}",
        f"Content-Type: {kind}",
        more,
    ]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


def exchange(server: Server, *parts: bytes) -> Answer:
    """Send the parts and read the answer; fail when the connection ends without one."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=15) as connection:
        # A server that answers before it has read everything then resets the connection; what it
        # said until then can still be read.
        received = b""
        with suppress(ConnectionResetError, BrokenPipeError):
            for part in parts:
                connection.sendall(part)
        with suppress(ConnectionResetError):
            while more := connection.recv(65536):
                received += more
    assert received, "the connection was closed without an answer"
    headers, _, body = received.partition(b"\r\n\r\n")
    lines = headers.decode("latin-1")
    return Answer(int(lines.split(" ", 2)[1]), lines.lower(), body)


def judge(answer: Answer) -> None:
    """Fail unless it is a problem, a validation error, or OAuth's kind of both."""
    told = answer.json
    assert told["status"] == answer.status
    assert told["code"]
    assert told["request_id"]
    if answer.status == 422:
        assert "content-type: application/json" in answer.headers
        assert all({"loc", "msg", "type"} <= item.keys() for item in told["detail"])
        assert all("input" not in item for item in told["detail"])
    else:
        assert "content-type: application/problem+json" in answer.headers
        assert told["detail"]
    assert len(answer.body) < 300_000
