"""The logs, and the audit log in the database: who did what, and never a secret."""

from uuid import uuid4

from fastapi import FastAPI

from eventmanager.core.config import Settings
from eventmanager.core.database import Database, Query
from tests.accounts.conftest import me, renew, sign_in_to, written
from tests.conftest import client_of

AUDIT_LOG = Query("SELECT string_agg(a::text, ' ') AS text FROM audit_log a", ())


async def test_no_secret_is_ever_logged(
    app: FastAPI, database: Database, settings: Settings
) -> None:
    """Not a password, right, wrong, or typed as a name; not a token; not a cookie."""
    name = f"x{uuid4().hex}"
    password, mistyped, new = (uuid4().hex for _ in range(3))
    secrets = [password, mistyped, new]
    async with client_of(app) as client:
        body = {"username": name, "email": f"{name}@example.com", "password": password}
        await client.post("/api/auth/register", json=body)
        await client.post("/api/auth/register", json=body)
        await client.post("/api/auth/register", json=body | {"role": "Admin"})
        await client.post("/api/auth/login", json={"username": name, "password": mistyped})
        await client.post("/api/auth/login", json={"username": mistyped, "password": mistyped})
        await client.post("/api/auth/token", data={"username": name, "password": mistyped})
    tokens = await sign_in_to(app, name, password)
    renewed = await renew(app, tokens.refresh)
    following = renewed.cookies["refresh_token"]
    access = renewed.json()["access_token"]
    await me(app, access + "x")
    await me(app, following)
    async with client_of(app, headers={"Authorization": f"Bearer {access}"}) as client:
        change = {"current_password": mistyped, "new_password": new}
        await client.post("/api/auth/password", json=change)
        await client.post("/api/auth/password", json=change | {"current_password": password})
        await client.post("/api/auth/logout")
    secrets += [tokens.access, tokens.refresh, following, access]
    text = "".join(path.read_text() for path in settings.log_dir.glob("*.log"))
    async with database.reading() as read:
        rows = await read.first(AUDIT_LOG)
    assert text
    assert rows is not None
    assert "password_change_failed" in rows["text"]
    for secret in secrets:
        assert secret not in text
        assert secret not in rows["text"]


async def test_who_did_what_is_in_the_audit_log(app: FastAPI, settings: Settings) -> None:
    """Each act once, with its user and the request it came with."""
    name = f"x{uuid4().hex}"
    password, new = uuid4().hex, uuid4().hex
    async with client_of(app) as client:
        body = {"username": name, "email": f"{name}@example.com", "password": password}
        access = (await client.post("/api/auth/register", json=body)).json()["access_token"]
        client.headers["Authorization"] = f"Bearer {access}"
        user_id = (await client.get("/me")).json()["id"]
        await client.post("/api/auth/login", json={"username": name, "password": password})
        await client.post(
            "/api/auth/password", json={"current_password": password, "new_password": new}
        )
        await client.post("/api/auth/login", json={"username": name, "password": password})
        await client.post("/api/auth/logout", headers={"Cookie": ""})
    mine = [line for line in written(settings, "audit") if line.get("user_id") == user_id]
    assert [line["event"] for line in mine] == [
        "user_registered",
        "signed_in",
        "password_changed",
        "signed_out",
    ]
    assert all(line["request_id"] for line in mine)
    failed = [line for line in written(settings, "security") if line.get("user_id") == user_id]
    assert "sign_in_failed" in {line["event"] for line in failed}
