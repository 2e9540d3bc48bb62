"""Admins: what only they may do, and that the server is never left without one."""

import asyncio
from typing import Any
from uuid import uuid4

import httpx
import pytest
from fastapi import FastAPI

from eventmanager.accounts import service as accounts
from eventmanager.accounts.access import Caller
from eventmanager.accounts.models import GlobalRole
from eventmanager.admin import service
from eventmanager.core.database import Database, Query
from eventmanager.core.errors import Conflict
from eventmanager.core.ids import SessionId, UserId
from tests.accounts.conftest import Tokens, me, renew, sign_in_to
from tests.conftest import PASSWORD, User

ADMINS = Query("SELECT id FROM users WHERE role = 'Admin' AND is_active", ())


async def test_the_admin_area_greets_admins_only(admin: User, alice: User) -> None:
    """The original route, with its words."""
    answer = await admin.client.get("/admin-area")
    assert (answer.status_code, answer.json()) == (200, {"msg": f"Hello, admin {admin.username}!"})
    refused = await alice.client.get("/admin-area")
    assert (refused.status_code, refused.json()["code"]) == (403, "admin_only")


async def test_only_admins_see_and_change_users(alice: User, bob: User) -> None:
    """A User is refused, also on themselves, and nothing changes."""
    assert (await alice.client.get("/api/admin/users")).status_code == 403
    for user in (alice, bob):
        answer = await alice.client.patch(f"/api/admin/users/{user.id}", json={"role": "Admin"})
        assert answer.status_code == 403
    assert (await alice.client.get("/api/me")).json()["role"] == "User"


async def test_admins_page_through_all_users(admin: User, alice: User, bob: User) -> None:
    """Each user once, in the order they came, without their password."""
    seen: list[dict[str, Any]] = []
    url: str | None = "/api/admin/users?limit=7"
    while url is not None:
        answer = await admin.client.get(url)
        seen += answer.json()
        url = answer.links.get("next", {}).get("url")
    ids = [user["id"] for user in seen]
    assert ids == sorted(set(ids))
    assert {str(alice.id), str(bob.id), str(admin.id)} <= set(ids)
    assert set(seen[0]) == {"id", "username", "email", "is_active", "role", "created_at"}


async def test_a_disabled_user_is_out_on_every_worker_within_a_second(
    app: FastAPI, another_worker: FastAPI, admin: User, alice: User, tokens: Tokens
) -> None:
    """At once on this worker, soon on the other, whatever tokens they hold."""
    assert (await me(another_worker, tokens.access)).status_code == 200
    answer = await admin.client.patch(f"/api/admin/users/{alice.id}", json={"is_active": False})
    assert (answer.status_code, answer.json()["is_active"]) == (200, False)
    refused = await me(app, tokens.access)
    assert (refused.status_code, refused.json()["code"]) == (401, "session_ended")
    await asyncio.sleep(0.6)
    assert (await me(another_worker, tokens.access)).status_code == 401
    assert (await renew(app, tokens.refresh)).status_code == 401


async def test_a_disabled_user_cannot_sign_in(
    anonymous: httpx.AsyncClient, admin: User, alice: User
) -> None:
    """They are told why, but only who knows the password is."""
    await admin.client.patch(f"/api/admin/users/{alice.id}", json={"is_active": False})
    names = {"username": alice.username}
    right = await anonymous.post("/api/auth/login", json=names | {"password": PASSWORD})
    wrong = await anonymous.post("/api/auth/login", json=names | {"password": "wrong password"})
    assert (right.status_code, right.json()["code"]) == (403, "account_disabled")
    assert (wrong.status_code, wrong.json()["code"]) == (401, "invalid_credentials")
    grant = await anonymous.post("/api/auth/token", data=names | {"password": PASSWORD})
    assert (grant.status_code, grant.json()["error"]) == (400, "invalid_grant")


async def test_an_enabled_user_must_sign_in_anew(
    app: FastAPI, admin: User, alice: User, tokens: Tokens
) -> None:
    """Old sessions stay over: they were ended, not suspended."""
    for is_active in (False, True):
        await admin.client.patch(f"/api/admin/users/{alice.id}", json={"is_active": is_active})
    assert (await me(app, tokens.access)).status_code == 401
    await sign_in_to(app, alice.username)


async def test_a_new_admin_is_one_at_once(admin: User, alice: User) -> None:
    """The role of the token they hold is not what counts; lowered, they are refused again."""
    await admin.client.patch(f"/api/admin/users/{alice.id}", json={"role": "Admin"})
    assert (await alice.client.get("/admin-area")).status_code == 200
    await admin.client.patch(f"/api/admin/users/{alice.id}", json={"role": "User"})
    assert (await alice.client.get("/admin-area")).status_code == 403


@pytest.mark.parametrize(
    "change",
    [{"role": "Owner"}, {"username": "x"}, {"is_active": "perhaps"}, []],
    ids=str,
)
async def test_a_change_that_makes_no_sense_is_refused(
    admin: User, alice: User, change: Any
) -> None:
    """422, and an unknown user is 404."""
    answer = await admin.client.patch(f"/api/admin/users/{alice.id}", json=change)
    assert answer.status_code == 422
    unknown = await admin.client.patch(f"/api/admin/users/{uuid4()}", json={})
    assert unknown.status_code == 404


@pytest.mark.parametrize("change", [{"is_active": False}, {"role": "User"}], ids=str)
async def test_the_last_admin_stays(
    no_admins: None, admin: User, alice: User, change: dict[str, Any]
) -> None:
    """A server without an Admin could not be repaired over HTTP."""
    assert no_admins is None
    answer = await admin.client.patch(f"/api/admin/users/{admin.id}", json=change)
    assert answer.status_code == 409
    assert "last active Admin" in answer.json()["detail"]
    assert (await admin.client.get("/admin-area")).status_code == 200
    await admin.client.patch(f"/api/admin/users/{alice.id}", json={"role": "Admin"})
    answer = await admin.client.patch(f"/api/admin/users/{admin.id}", json=change)
    assert answer.status_code == 200


async def test_of_admins_who_lower_each_other_at_once_one_stays(
    no_admins: None, app: FastAPI, database: Database
) -> None:
    """Ten lowered in the same moment, each while nine others stand: exactly one is refused."""
    assert no_admins is None
    made = [
        await accounts.create_user(
            database,
            username=f"x{uuid4().hex}",
            email=f"{uuid4().hex}@example.com",
            password=PASSWORD,
            admin=True,
            passwords=app.state.passwords,
            now=app.state.clock.now(),
        )
        for _ in range(10)
    ]
    by = Caller(made[0], SessionId(uuid4()), GlobalRole.ADMIN, "x")

    async def lower(user_id: UserId) -> Any:
        return await service.change_user(
            database,
            by=by,
            user_id=user_id,
            is_active=None,
            role=GlobalRole.USER,
            sessions=app.state.sessions,
            now=app.state.clock.now(),
        )

    outcomes = await asyncio.gather(*(lower(user_id) for user_id in made), return_exceptions=True)
    refused = [outcome for outcome in outcomes if isinstance(outcome, BaseException)]
    assert [type(outcome) for outcome in refused] == [Conflict]
    async with database.reading() as connection:
        assert len(await connection.all(ADMINS)) == 1
