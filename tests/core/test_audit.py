"""The audit log: from where an act came, what rolls back with it, and how it is read."""

from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
from fastapi import FastAPI

from eventmanager.core.audit.entries import enter
from eventmanager.core.config import Settings
from eventmanager.core.database import Database, Query, Transaction
from eventmanager.core.proxies import parse_proxies
from tests.conftest import PASSWORD, User, started
from tests.core.test_limits import client_at

OF_USER = Query("SELECT act FROM audit_log WHERE user_id = $1 ORDER BY id", ("user_id",))
EVENT = {
    "title": "Audited",
    "start_time": "2031-01-01T10:00:00Z",
    "end_time": "2031-01-01T11:00:00Z",
}


async def registered(client: httpx.AsyncClient, **kwargs: Any) -> httpx.Response:
    """Register somebody and return their audit."""
    name = f"x{uuid4().hex}"
    body = {"username": name, "email": f"{name}@example.com", "password": PASSWORD}
    answer = await client.post("/api/auth/register", json=body, **kwargs)
    assert answer.status_code == 201, answer.text
    token = {"Authorization": f"Bearer {answer.json()['access_token']}"}
    return await client.get("/api/me/audit", headers=token)


async def toggle(user: User, number: int) -> None:
    """Do something that leaves an entry."""
    setting = ("nobody", "shared")[number % 2]
    answer = await user.client.patch("/api/me", json={"free_busy": setting})
    assert answer.status_code == 200


async def acts_of(database: Database, user: User) -> list[str]:
    """Return the acts of a user as they are stored, the oldest first."""
    async with database.reading() as read:
        return [row["act"] for row in await read.all(OF_USER, user_id=user.id)]


@pytest.mark.parametrize(
    ("forwarded", "address"),
    [
        ("198.51.100.77", "198.51.100.77"),
        ("203.0.113.5, 198.51.100.77", "198.51.100.77"),
        ("198.51.100.77, 10.2.3.4", "198.51.100.77"),
        ("2001:db8::7", "2001:db8::7"),
        ("nonsense", "10.0.0.1"),
        ("fe80::1%\x00zone", "fe80::1%zone"),
        ("fe80::1%" + "x" * 500, "fe80::1%" + "x" * 92),
    ],
)
async def test_behind_trusted_proxies_the_address_is_the_clients(
    settings: Settings, forwarded: str, address: str
) -> None:
    """Neither the proxy's nor one that the client made up."""
    trusting = settings.model_copy(update={"trusted_proxies": parse_proxies("10.0.0.0/8")})
    async with started(trusting) as app, client_at(app, "10.0.0.1") as client:
        [entry] = (await registered(client, headers={"X-Forwarded-For": forwarded})).json()
    assert entry["address"] == address


async def test_nobody_else_may_say_where_a_request_comes_from(app: FastAPI) -> None:
    """Without trusted proxies the header is a header like any other."""
    async with client_at(app, "203.0.113.9") as client:
        [entry] = (await registered(client, headers={"X-Forwarded-For": "198.51.100.1"})).json()
    assert entry["address"] == "203.0.113.9"


@pytest.mark.parametrize(
    ("agent", "kept"),
    [
        (b"x" * 1000, "x" * 400),
        (b"a\x00b", "ab"),
        (b"\x00", None),
        (b"", None),
        (b"\xff\xfe \x80", "\u00ff\u00fe \u0080"),
        (b'"\\\t<script>', '"\\\t<script>'),
    ],
    ids=repr,
)
async def test_whatever_an_agent_calls_itself_can_be_kept(
    app: FastAPI, agent: bytes, kept: str | None
) -> None:
    """Headers are bytes of any kind: long ones are cut, and none is an error of the server."""
    async with client_at(app, "203.0.113.9") as client:
        del client.headers["User-Agent"]
        [entry] = (await registered(client, headers=[(b"User-Agent", agent)])).json()
    assert entry["user_agent"] == kept


async def test_the_request_is_named_as_its_answer_names_it(app: FastAPI) -> None:
    """Also where the client chose no name, or one that is not fit to be kept."""
    async with client_at(app, "203.0.113.9") as client:
        for given, kept in ((b"my-id.1", "my-id.1"), (b"a\x00b", None), (b"\xff", None)):
            name = f"x{uuid4().hex}"
            body = {"username": name, "email": f"{name}@example.com", "password": PASSWORD}
            headers = [(b"X-Request-ID", given)]
            answer = await client.post("/api/auth/register", json=body, headers=headers)
            token = {"Authorization": f"Bearer {answer.json()['access_token']}"}
            [entry] = (await client.get("/api/me/audit", headers=token)).json()
            assert entry["request_id"] == answer.headers["X-Request-ID"]
            assert kept is None or entry["request_id"] == kept


async def test_what_is_rolled_back_leaves_no_entry(database: Database, alice: User) -> None:
    """Neither an error nor a dry run: the log says what was done."""

    async def work(tx: Transaction) -> None:
        await enter(tx, "imagined", user_id=alice.id, now=datetime.fromisoformat("2030-01-01T00Z"))
        raise ValueError

    with pytest.raises(ValueError, match=r"^$"):
        await database.transaction(work)
    answer = await alice.client.post("/api/events?dry_run=true", json=EVENT)
    assert answer.is_success
    assert await acts_of(database, alice) == ["user_registered"]


async def pages(
    client: httpx.AsyncClient, url: str, *, meanwhile: Callable[[], Awaitable[None]] | None = None
) -> list[dict[str, Any]]:
    """Return all pages of a list as one, doing something else between them."""
    seen: list[dict[str, Any]] = []
    following: str | None = url
    while following is not None:
        answer = await client.get(following)
        assert answer.status_code == 200, answer.text
        seen += answer.json()
        following = answer.links.get("next", {}).get("url")
        if meanwhile is not None:
            await meanwhile()
    return seen


async def test_pages_give_everything_once_while_new_acts_come_in(alice: User, bob: User) -> None:
    """The newest first; what is done meanwhile is on the first page of the next look."""
    for number in range(11):
        await toggle(alice, number)
        await toggle(bob, number)
    stood = (await alice.client.get("/api/me/audit?limit=200")).json()
    assert len(stood) == 12
    number = 11

    async def meanwhile() -> None:
        nonlocal number
        await toggle(alice, number)
        number += 1

    seen = await pages(alice.client, "/api/me/audit?limit=5", meanwhile=meanwhile)
    assert seen == stood
    assert [entry["id"] for entry in seen] == sorted((e["id"] for e in seen), reverse=True)
    exact = await pages(alice.client, "/api/me/audit?limit=15")
    assert len(exact) == 15
    assert exact[3:] == stood


async def test_filters_hold_on_every_page(alice: User) -> None:
    """The link to the next page goes on with what was asked for."""
    for number in range(7):
        await toggle(alice, number)
    event = (await alice.client.post("/api/events", json=EVENT)).json()
    await alice.client.patch(f"/api/events/{event['id']}", json={"title": "New"})
    changed = await pages(alice.client, "/api/me/audit?limit=3&act=settings_changed")
    assert [entry["act"] for entry in changed] == ["settings_changed"] * 7
    of_event = await pages(alice.client, f"/api/me/audit?limit=1&event_id={event['id']}")
    assert [entry["act"] for entry in of_event] == ["event_updated", "event_created"]
    assert {entry["event_id"] for entry in of_event} == {event["id"]}
    assert await pages(alice.client, "/api/me/audit?act=unheard_of") == []


async def test_a_stretch_of_time_is_half_open_and_exact(alice: User) -> None:
    """From `start` on, up to but without `end`, to the microsecond of `at`."""
    for number in range(4):
        await toggle(alice, number)
    stood = (await alice.client.get("/api/me/audit")).json()
    last, first = stood[1]["at"], stood[3]["at"]

    async def asked(**query: str) -> Any:
        return (await alice.client.get("/api/me/audit", params=query)).json()

    assert await asked(start=first) == stood[:4]
    assert await asked(end=first) == stood[4:]
    assert await asked(start=first, end=last) == stood[2:4]
    assert await asked(end="1969-01-01") == []
    assert await asked(start="2199-01-01") == []
    assert await asked(start="1900-01-01", end="2200-01-01") == stood


@pytest.mark.parametrize(
    "query",
    [
        {"limit": "0"},
        {"limit": "201"},
        {"act": ""},
        {"act": "Signed in"},
        {"act": "a\x00"},
        {"act": "x" * 65},
        {"event_id": "x"},
        {"start": "yesterday"},
        {"start": "2030-01-02", "end": "2030-01-01"},
        {"start": "2030-01-02", "end": "2030-01-02"},
        {"cursor": "x"},
        {"cursor": "WzFd"},
        {"cursor": "x" * 201},
    ],
    ids=str,
)
async def test_what_makes_no_sense_is_refused(alice: User, query: dict[str, str]) -> None:
    """422 for each of the parameters, at which it says so."""
    answer = await alice.client.get("/api/me/audit", params=query)
    assert answer.status_code == 422
    assert answer.json()["detail"][0]["loc"] in [["query", name] for name in query]


async def test_an_entry_survives_all_that_it_is_about(
    database: Database, alice: User, bob: User
) -> None:
    """The log is kept for ever: neither an event nor a user that is gone takes it along."""
    event = (await alice.client.post("/api/events", json=EVENT)).json()
    await alice.client.delete(f"/api/events/{event['id']}")
    forget_event = Query("DELETE FROM events WHERE id = $1", ("id",))
    forget_user = Query("DELETE FROM users WHERE id = $1", ("id",))
    await database.transaction(lambda tx: tx.first(forget_event, id=UUID(event["id"])))
    await database.transaction(lambda tx: tx.first(forget_user, id=bob.id))
    assert await acts_of(database, alice) == ["user_registered", "event_created", "event_deleted"]
    assert await acts_of(database, bob) == ["user_registered"]
