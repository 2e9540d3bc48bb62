"""What accounts enter into the audit log: each act once, with whoever did it, or none of it."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
from fastapi import FastAPI

from eventmanager.core.config import Settings
from eventmanager.core.database import Database, Query
from tests.accounts.conftest import entered, renew, sign_in_to, written
from tests.conftest import PASSWORD, MovableClock, User, client_of

AGENT = "claims/1.0"
FORBID = Query(
    "ALTER TABLE audit_log ADD CONSTRAINT doomed CHECK (request_id NOT LIKE 'doomed%') NOT VALID",
    (),
)
ALLOW = Query("ALTER TABLE audit_log DROP CONSTRAINT doomed", ())


@dataclass
class Scene:
    """A user, and whatever else the act at hand needs to take place."""

    app: FastAPI
    clock: MovableClock
    user: User
    request_id: str = field(default_factory=lambda: f"act-{uuid4()}")
    path: str = ""

    @asynccontextmanager
    async def client(self, **headers: str) -> AsyncIterator[httpx.AsyncClient]:
        """Lend a client whose requests have the scene's id."""
        told = {"X-Request-ID": self.request_id, "User-Agent": AGENT} | headers
        async with client_of(self.app, headers=told) as client:
            yield client

    async def as_user(self, method: str, path: str, **kwargs: Any) -> httpx.Response:
        """Ask as the user, from a session of its own that was begun without the scene's id."""
        tokens = await sign_in_to(self.app, self.user.username)
        async with self.client(Authorization=f"Bearer {tokens.access}") as client:
            return await client.request(method, path, **kwargs)

    async def sign_in(self, password: str = PASSWORD) -> httpx.Response:
        """Sign in as the user."""
        body = {"username": self.user.username, "password": password}
        async with self.client() as client:
            return await client.post("/api/auth/login", json=body)


@pytest.fixture
def scene(clocked: FastAPI, clock: MovableClock, alice: User) -> Scene:
    """Alice, on an application whose clock can be moved."""
    return Scene(clocked, clock, alice)


async def sign_in(scene: Scene) -> httpx.Response:
    """Sign in."""
    return await scene.sign_in()


async def sign_in_by_oauth(scene: Scene) -> httpx.Response:
    """Sign in as an OAuth client."""
    body = {"username": scene.user.username, "password": PASSWORD}
    async with scene.client() as client:
        return await client.post("/api/auth/token", data=body)


async def sign_out(scene: Scene) -> httpx.Response:
    """Sign out with an access token."""
    return await scene.as_user("POST", "/api/auth/logout")


async def end_another_session(scene: Scene) -> httpx.Response:
    """End the session that Alice registered with."""
    [session] = (await scene.user.client.get("/api/auth/sessions")).json()
    return await scene.as_user("DELETE", f"/api/auth/sessions/{session['id']}")


async def change_password(scene: Scene) -> httpx.Response:
    """Replace the password."""
    body = {"current_password": PASSWORD, "new_password": "another horse, another battery"}
    return await scene.as_user("POST", "/api/auth/password", json=body)


async def change_settings(scene: Scene) -> httpx.Response:
    """Let nobody ask when Alice is busy."""
    return await scene.as_user("PATCH", "/api/me", json={"free_busy": "nobody"})


Act = Callable[[Scene], Awaitable[httpx.Response]]


def name_of(part: object) -> str | None:
    """Return the name of an act that is done, for the name of its test."""
    return getattr(part, "__name__", None)


BY_THE_USER: list[tuple[str, Act, dict[str, Any]]] = [
    ("signed_in", sign_in, {}),
    ("signed_in", sign_in_by_oauth, {}),
    ("signed_out", sign_out, {}),
    ("session_ended", end_another_session, {}),
    ("password_changed", change_password, {"sessions_ended": 1}),
    (
        "settings_changed",
        change_settings,
        {"free_busy": "nobody", "before": {"free_busy": "everyone"}},
    ),
]


async def guess(scene: Scene) -> httpx.Response:
    """Sign in with a wrong password."""
    return await scene.sign_in("a wrong password")


async def guess_by_oauth(scene: Scene) -> httpx.Response:
    """Guess as an OAuth client."""
    body = {"username": scene.user.email, "password": "a wrong password"}
    async with scene.client() as client:
        return await client.post("/api/auth/token", data=body)


async def replay(scene: Scene) -> httpx.Response:
    """Use a refresh token that was used half a minute ago."""
    token = (await sign_in_to(scene.app, scene.user.username)).refresh
    assert (await renew(scene.app, token)).status_code == 200
    scene.clock.offset += timedelta(seconds=30)
    async with scene.client(Cookie=f"refresh_token={token}") as client:
        return await client.post("/api/auth/refresh")


BY_WHOMEVER: list[tuple[str, Act]] = [
    ("sign_in_failed", guess),
    ("sign_in_failed", guess_by_oauth),
    ("refresh_replayed", replay),
]


def lines_of(settings: Settings, request_id: str) -> list[dict[str, Any]]:
    """Return what a request wrote into `audit.log`."""
    return [line for line in written(settings, "audit") if line.get("request_id") == request_id]


@pytest.mark.parametrize(("act", "do", "details"), BY_THE_USER, ids=name_of)
async def test_each_act_leaves_one_entry_and_one_line(
    database: Database, settings: Settings, scene: Scene, act: str, do: Act, details: dict[str, Any]
) -> None:
    """Who, from where and which request; in the table and in the file."""
    answer = await do(scene)
    assert answer.is_success, answer.text
    [entry] = await entered(database, answer.headers["X-Request-ID"])
    assert (entry["act"], entry["user_id"]) == (act, scene.user.id)
    assert (entry["subject_id"], entry["event_id"]) == (None, None)
    assert (entry["address"], entry["user_agent"]) == ("127.0.0.1", AGENT)
    assert entry["details"].items() >= details.items()
    [line] = lines_of(settings, scene.request_id)
    assert (line["event"], line["user_id"]) == (act, str(scene.user.id))
    assert (line["address"], line["user_agent"]) == ("127.0.0.1", AGENT)
    assert line.items() >= entry["details"].items()


async def test_a_registration_leaves_one_entry(
    database: Database, settings: Settings, scene: Scene
) -> None:
    """The first act of a user; the session that comes with it is in its details."""
    name = f"x{uuid4().hex}"
    body = {"username": name, "email": f"{name}@example.com", "password": PASSWORD}
    async with scene.client() as client:
        answer = await client.post("/api/auth/register", json=body)
        client.headers["Authorization"] = f"Bearer {answer.json()['access_token']}"
        user_id = (await client.get("/api/me")).json()["id"]
        [session] = (await client.get("/api/auth/sessions")).json()
        [mine] = (await client.get("/api/me/audit")).json()
    [entry] = await entered(database, scene.request_id)
    assert (entry["act"], str(entry["user_id"])) == ("user_registered", user_id)
    assert entry["details"] == {"session_id": session["id"]}
    assert (mine["id"], mine["details"]) == (str(entry["id"]), entry["details"])
    [line] = lines_of(settings, scene.request_id)
    assert (line["event"], line["user_id"]) == ("user_registered", user_id)


@pytest.mark.parametrize(("act", "do"), BY_WHOMEVER, ids=name_of)
async def test_who_failed_to_be_a_user_is_in_that_users_audit(
    database: Database, settings: Settings, scene: Scene, act: str, do: Act
) -> None:
    """It was done to them, from where they can see; by whom, nobody knows."""
    answer = await do(scene)
    assert answer.status_code in {400, 401}
    [entry] = await entered(database, scene.request_id)
    assert (entry["act"], entry["user_id"], entry["subject_id"]) == (act, None, scene.user.id)
    assert (entry["address"], entry["user_agent"]) == ("127.0.0.1", AGENT)
    [line] = lines_of(settings, scene.request_id)
    assert (line["event"], line["user_id"]) == (act, None)
    assert line["subject_id"] == str(scene.user.id)
    seen = (await scene.user.client.get(f"/api/me/audit?act={act}")).json()
    assert [one["request_id"] for one in seen] == [scene.request_id]


async def test_a_name_that_nobody_has_costs_what_a_users_costs(
    database: Database, scene: Scene
) -> None:
    """It is entered too, of nobody, or the time of the answer would tell who exists; unnamed."""
    name = uuid4().hex
    async with scene.client() as client:
        body = {"username": name, "password": "a wrong password"}
        assert (await client.post("/api/auth/login", json=body)).status_code == 401
    [entry] = await entered(database, scene.request_id)
    assert (entry["act"], entry["user_id"], entry["subject_id"]) == ("sign_in_failed", None, None)
    assert name not in str(entry)


async def test_a_wrong_current_password_is_entered(database: Database, scene: Scene) -> None:
    """Somebody at an unlocked machine tries to make it their own."""
    body = {"current_password": "a wrong password", "new_password": "another horse, a battery"}
    assert (await scene.as_user("POST", "/api/auth/password", json=body)).status_code == 422
    [entry] = await entered(database, scene.request_id)
    assert (entry["act"], entry["user_id"]) == ("password_change_failed", scene.user.id)


async def test_signing_out_of_two_sessions_at_once_is_two_acts(
    database: Database, scene: Scene
) -> None:
    """One of the cookie, another one of the access token: each has an entry."""
    cookie, bearer = [await sign_in_to(scene.app, scene.user.username) for _ in range(2)]
    headers = {"Cookie": f"refresh_token={cookie.refresh}"}
    async with scene.client(Authorization=f"Bearer {bearer.access}", **headers) as client:
        for _ in range(2):
            assert (await client.post("/api/auth/logout")).status_code == 204
    entries = await entered(database, scene.request_id)
    assert [entry["act"] for entry in entries] == ["signed_out", "signed_out"]
    assert len({entry["details"]["session_id"] for entry in entries}) == 2


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("POST", "/api/auth/register", "taken", 409),
        ("POST", "/api/auth/register", {"username": "x"}, 422),
        ("POST", "/api/auth/login", {"password": PASSWORD}, 422),
        ("POST", "/api/auth/refresh", None, 401),
        ("POST", "/api/auth/logout", "not signed in", 204),
        ("POST", "/api/auth/password", {"current_password": PASSWORD, "new_password": "x"}, 422),
        ("DELETE", "/api/auth/sessions/00000000-0000-4000-8000-000000000000", None, 404),
        ("PATCH", "/api/me", {"free_busy": "perhaps"}, 422),
        ("PATCH", "/api/me", {"free_busy": "everyone"}, 200),
        ("PATCH", "/api/me", {}, 200),
        ("PATCH", "/api/me", "not signed in", 401),
        ("GET", "/api/me/audit", None, 200),
    ],
)
async def test_what_is_refused_or_changes_nothing_leaves_none(
    database: Database,
    settings: Settings,
    scene: Scene,
    method: str,
    path: str,
    body: Any,
    status: int,
) -> None:
    """The log says what was done."""
    if body == "taken":
        body = {"username": scene.user.username, "email": "x@example.com", "password": PASSWORD}
    if body == "not signed in":
        async with scene.client() as client:
            answer = await client.request(method, path, json={})
    else:
        answer = await scene.as_user(method, path, json=body)
    assert answer.status_code == status, answer.text
    assert await entered(database, scene.request_id) == []
    assert lines_of(settings, scene.request_id) == []


async def test_a_forgiven_replay_is_no_act(database: Database, scene: Scene) -> None:
    """Tabs race: within ten seconds nothing is wrong; and a renewal is none either."""
    token = (await sign_in_to(scene.app, scene.user.username)).refresh
    async with scene.client(Cookie=f"refresh_token={token}") as client:
        for _ in range(2):
            assert (await client.post("/api/auth/refresh")).status_code == 200
    assert await entered(database, scene.request_id) == []


@pytest.fixture
async def doomed(database: Database, scene: Scene) -> AsyncIterator[Scene]:
    """Let the database refuse every entry of the scene's request."""
    scene.request_id = f"doomed-{uuid4()}"
    await database.transaction(lambda tx: tx.first(FORBID))
    yield scene
    await database.transaction(lambda tx: tx.first(ALLOW))


async def state_of(user: User, database: Database) -> tuple[Any, ...]:
    """Return all that acts of a user change."""
    look = Query(
        "SELECT free_busy, password_hash, (SELECT count(*) FROM sessions WHERE user_id = u.id"
        " AND ended_at IS NULL) FROM users u WHERE id = $1",
        ("id",),
    )
    async with database.reading() as read:
        row = await read.first(look, id=user.id)
    assert row is not None
    return tuple(row)


@pytest.mark.parametrize("do", [do for _, do, _ in BY_THE_USER], ids=lambda do: do.__name__)
async def test_what_cannot_be_entered_is_not_done(
    database: Database, settings: Settings, doomed: Scene, do: Act
) -> None:
    """The entry is in the transaction of the act: either both are there, or neither is."""
    sessions_before = 1 if do in {sign_in, sign_in_by_oauth} else 2
    before = await state_of(doomed.user, database)
    assert (await do(doomed)).status_code == 500
    # The session from which the act was tried was begun for it.
    expected = (*before[:2], sessions_before)
    assert await state_of(doomed.user, database) == expected
    assert await entered(database, doomed.request_id) == []
    assert lines_of(settings, doomed.request_id) == []


async def test_who_cannot_be_entered_is_not_registered(database: Database, doomed: Scene) -> None:
    """Nor are the names taken: they can register in the next attempt."""
    name = f"x{uuid4().hex}"
    body = {"username": name, "email": f"{name}@example.com", "password": PASSWORD}
    async with doomed.client() as client:
        assert (await client.post("/api/auth/register", json=body)).status_code == 500
        client.headers["X-Request-ID"] = "another"
        assert (await client.post("/api/auth/register", json=body)).status_code == 201
    assert await entered(database, doomed.request_id) == []


async def test_who_does_something_to_a_user_does_not_tell_them_from_where(
    scene: Scene, bob: User
) -> None:
    """Whoever shares an event with somebody would give away their address."""
    body = {"title": "T", "start_time": "2027-05-03T09:00:00Z", "end_time": "2027-05-03T10:00:00Z"}
    created = await scene.user.client.post("/api/events", json=body)
    share = f"/api/events/{created.json()['id']}/share"
    await scene.user.client.post(share, json=[{"user_id": str(bob.id), "role": "Viewer"}])
    for user, told in ((bob, False), (scene.user, True)):
        audit = await user.client.get("/api/me/audit", params={"act": "permission_granted"})
        [entry] = audit.json()
        assert entry["user_id"] == str(scene.user.id)
        found = [entry[name] is not None for name in ("address", "user_agent", "request_id")]
        assert found == 3 * [told]


async def test_nobody_sees_anothers_audit(scene: Scene, bob: User) -> None:
    """What Alice did is for her alone, whatever Bob asks for."""
    hers = (await scene.user.client.get("/api/me/audit")).json()
    his = (await bob.client.get("/api/me/audit")).json()
    tried = await bob.client.get("/api/me/audit", params={"user_id": str(scene.user.id)})
    assert [entry["act"] for entry in hers] == ["user_registered"]
    assert {UUID(entry["user_id"]) for entry in (*his, *tried.json())} == {bob.id}
    async with scene.client() as client:
        assert (await client.get("/api/me/audit")).status_code == 401
