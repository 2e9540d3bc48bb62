"""The audit log as Admins see it, and what they do themselves in it."""

import asyncio
import contextvars
from typing import Any
from uuid import uuid4

from fastapi import FastAPI

from eventmanager.accounts import service
from eventmanager.core.config import Settings
from eventmanager.core.database import Database
from tests.accounts.conftest import Tokens, entered, written
from tests.conftest import PASSWORD, User


async def change(admin: User, user_id: Any, **body: Any) -> tuple[int, str]:
    """Change a user; return the status and the request's id."""
    request_id = f"act-{uuid4()}"
    answer = await admin.client.patch(
        f"/api/admin/users/{user_id}", json=body, headers={"X-Request-ID": request_id}
    )
    return answer.status_code, request_id


async def test_only_admins_see_everybodys_audit(
    anonymous: Any, admin: User, alice: User, bob: User
) -> None:
    """A User is refused, also for what they did themselves."""
    assert (await anonymous.get("/api/admin/audit")).status_code == 401
    for path in ("/api/admin/audit", f"/api/admin/audit?user_id={alice.id}"):
        refused = await alice.client.get(path)
        assert (refused.status_code, refused.json()["code"]) == (403, "admin_only")
    shown = (await admin.client.get("/api/admin/audit")).json()
    assert {str(alice.id), str(bob.id), str(admin.id)} <= {entry["user_id"] for entry in shown}
    assert set(shown[0]) == {
        "id", "at", "act", "user_id", "event_id", "subject_id",
        "address", "user_agent", "request_id", "details",
    }  # fmt: skip


async def test_a_change_of_a_user_is_entered_with_who_made_it(
    database: Database, settings: Settings, admin: User, alice: User, tokens: Tokens
) -> None:
    """Once, with what was before; Alice sees who did it to her, and the file says the same."""
    assert tokens.access
    status, request_id = await change(admin, alice.id, role="Admin")
    assert status == 200
    [entry] = await entered(database, request_id)
    assert (entry["act"], entry["user_id"]) == ("user_changed", admin.id)
    assert entry["subject_id"] == alice.id
    assert entry["details"] == {
        "is_active": True,
        "role": "Admin",
        "before": {"is_active": True, "role": "User"},
        "sessions_ended": 0,
    }
    [line] = [line for line in written(settings, "audit") if line.get("request_id") == request_id]
    assert (line["event"], line["user_id"]) == ("user_changed", str(admin.id))
    assert line["subject_id"] == str(alice.id)
    assert line.items() >= entry["details"].items()
    [mine] = (await alice.client.get("/api/me/audit?act=user_changed")).json()
    assert (mine["id"], mine["user_id"]) == (str(entry["id"]), str(admin.id))
    [theirs] = (await admin.client.get("/api/me/audit?act=user_changed")).json()
    # The user is not told from where an Admin works.
    assert mine == theirs | dict.fromkeys(("address", "user_agent", "request_id"))
    _, request_id = await change(admin, alice.id, is_active=False)
    [entry] = await entered(database, request_id)
    assert entry["details"]["sessions_ended"] == 2


async def test_what_is_refused_or_changes_nothing_leaves_none(
    no_admins: None, database: Database, admin: User, alice: User
) -> None:
    """Neither for who may not, nor for a user who is not there, nor for the last Admin."""
    assert no_admins is None
    asked = [
        (403, await change(alice, alice.id, role="Admin")),
        (409, await change(admin, admin.id, role="User")),
        (404, await change(admin, uuid4(), role="Admin")),
        (422, await change(admin, alice.id, role="Owner")),
        (200, await change(admin, alice.id, role="User")),
        (200, await change(admin, alice.id)),
    ]
    for expected, (status, request_id) in asked:
        assert status == expected
        assert await entered(database, request_id) == []


async def test_what_an_admin_does_to_themselves_is_listed_once(admin: User, alice: User) -> None:
    """Both who did it and whom it was done to."""
    await change(admin, alice.id, role="Admin")
    assert (await change(admin, admin.id, role="User"))[0] == 200
    mine = (await admin.client.get("/api/me/audit?act=user_changed")).json()
    assert [entry["subject_id"] for entry in mine] == [str(admin.id), str(alice.id)]


async def test_an_admin_may_ask_for_one_user(admin: User, alice: User, bob: User) -> None:
    """What Alice did and what was done to her: just what she sees herself."""
    await change(admin, alice.id, role="Admin")
    await change(admin, bob.id, role="Admin")
    await alice.client.patch("/api/me", json={"free_busy": "shared"})
    hers = (await alice.client.get("/api/me/audit")).json()
    assert [entry["act"] for entry in hers] == [
        "settings_changed",
        "user_changed",
        "user_registered",
    ]
    shown = await admin.client.get("/api/admin/audit", params={"user_id": str(alice.id)})
    assert shown.json() == hers
    query = {"user_id": str(alice.id), "act": "user_changed"}
    assert (await admin.client.get("/api/admin/audit", params=query)).json() == [hers[1]]


async def test_a_user_who_is_created_at_the_command_line_comes_from_nowhere(
    app: FastAPI, admin: User
) -> None:
    """It was no request: no address, no agent, no id, and nobody who is known."""
    name = f"x{uuid4().hex}"
    creating = service.create_user(
        app.state.database,
        username=name,
        email=f"{name}@example.com",
        password=PASSWORD,
        passwords=app.state.passwords,
        now=app.state.clock.now(),
    )
    # A test that has asked for something over HTTP has an origin; the command line has none.
    user_id = await asyncio.create_task(creating, context=contextvars.Context())
    query = {"user_id": str(user_id)}
    [entry] = (await admin.client.get("/api/admin/audit", params=query)).json()
    assert (entry["act"], entry["subject_id"]) == ("user_created", str(user_id))
    assert entry["details"] == {"role": "User"}
    assert [entry[name] for name in ("user_id", "address", "user_agent", "request_id")] == [
        None
    ] * 4
