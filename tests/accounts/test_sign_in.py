"""Signing in and out: by which names, what strangers learn, and when it is over."""

import asyncio
import time

import httpx
import pytest
from fastapi import FastAPI

from eventmanager.accounts import signing_in
from eventmanager.accounts.passwords import Passwords
from eventmanager.core.config import Settings
from eventmanager.core.errors import InvalidCredentials
from tests.accounts.conftest import Tokens, me, renew, sign_in_to
from tests.conftest import PASSWORD, User, client_of, timed


@pytest.mark.parametrize("by", ["username", "email", "both", "email as username"])
async def test_a_user_signs_in_by_username_or_email(
    anonymous: httpx.AsyncClient, alice: User, by: str
) -> None:
    """In any letter case, and with both names as the original clients send them."""
    names = {
        "username": {"username": alice.username.upper()},
        "email": {"email": alice.email.upper()},
        "both": {"username": alice.username, "email": alice.email},
        "email as username": {"username": alice.email},
    }[by]
    answer = await anonymous.post("/api/auth/login", json=names | {"password": PASSWORD})
    assert answer.status_code == 200
    assert answer.json()["refresh_token"] == "stored in httpOnly cookie"
    assert answer.headers["cache-control"] == "no-store"


async def test_two_names_of_two_users_sign_nobody_in(
    anonymous: httpx.AsyncClient, alice: User, bob: User
) -> None:
    """Alice's username with Bob's email is neither of them."""
    for username in (alice.username, alice.email):
        names = {"username": username, "email": bob.email}
        answer = await anonymous.post("/api/auth/login", json=names | {"password": PASSWORD})
        assert answer.status_code == 401


async def test_a_name_is_needed(anonymous: httpx.AsyncClient) -> None:
    """A password alone is 422, not a search through all users."""
    answer = await anonymous.post("/api/auth/login", json={"password": PASSWORD})
    assert answer.status_code == 422


@timed
async def test_an_unknown_user_and_a_wrong_password_look_the_same(
    anonymous: httpx.AsyncClient, alice: User
) -> None:
    """Nobody may learn from the answer, or from its time, which names exist."""
    seconds: dict[str, list[float]] = {"nobody-at-all": [], alice.username: []}
    answers: dict[str, httpx.Response] = {}
    for _ in range(9):
        for name, taken in seconds.items():
            started = time.perf_counter()
            answers[name] = await anonymous.post(
                "/api/auth/login", json={"username": name, "password": "wrong password"}
            )
            taken.append(time.perf_counter() - started)
    unknown, known = (answers[name] for name in seconds)
    assert unknown.status_code == known.status_code == 401
    differing = {"request_id"}
    assert {k: v for k, v in unknown.json().items() if k not in differing} == {
        k: v for k, v in known.json().items() if k not in differing
    }
    # The fastest of each is what it costs; the others waited for the machine.
    fastest = [min(taken) for taken in seconds.values()]
    assert max(fastest) < 2 * min(fastest)


async def test_signing_out_ends_the_session_at_once(app: FastAPI, tokens: Tokens) -> None:
    """Both tokens die, not only the cookie of this browser, though it was just seen alive."""
    assert (await me(app, tokens.access)).status_code == 200
    async with client_of(app, headers={"Cookie": f"refresh_token={tokens.refresh}"}) as browser:
        answer = await browser.post("/api/auth/logout")
    assert answer.status_code == 204
    cleared = answer.headers["set-cookie"].lower()
    assert "max-age=0" in cleared
    assert "path=/api/auth" in cleared
    after = await me(app, tokens.access)
    assert (after.status_code, after.json()["code"]) == (401, "session_ended")
    assert (await renew(app, tokens.refresh)).status_code == 401


async def test_signing_out_twice_or_without_a_cookie_is_well(
    app: FastAPI, anonymous: httpx.AsyncClient
) -> None:
    """204 whatever the cookie holds: being signed out is what was asked for."""
    assert (await anonymous.post("/api/auth/logout")).status_code == 204
    for headers in ({"Cookie": "refresh_token=x"}, {"Authorization": "Bearer x"}):
        async with client_of(app, headers=headers) as client:
            assert (await client.post("/api/auth/logout")).status_code == 204


async def test_a_client_without_cookies_signs_out_by_its_access_token(
    app: FastAPI, tokens: Tokens
) -> None:
    """What `/token` gave can be ended by who holds it."""
    headers = {"Authorization": f"Bearer {tokens.access}"}
    async with client_of(app, headers=headers) as client:
        assert (await client.post("/api/auth/logout")).status_code == 204
    assert (await me(app, tokens.access)).status_code == 401


async def test_a_changed_password_ends_the_other_sessions(
    app: FastAPI, alice: User, tokens: Tokens
) -> None:
    """Who changes it after a theft must be sure that the thief is out and they are not."""
    new = "another staple, a better horse"
    assert (await me(app, tokens.access)).status_code == 200
    answer = await alice.client.post(
        "/api/auth/password", json={"current_password": PASSWORD, "new_password": new}
    )
    assert answer.status_code == 204
    assert (await alice.client.get("/api/me")).status_code == 200
    assert (await me(app, tokens.access)).status_code == 401
    assert (await renew(app, tokens.refresh)).status_code == 401
    async with client_of(app) as client:
        old = {"username": alice.username, "password": PASSWORD}
        assert (await client.post("/api/auth/login", json=old)).status_code == 401
    await sign_in_to(app, alice.username, new)


async def test_a_password_is_changed_only_by_who_knows_it(
    app: FastAPI, alice: User, tokens: Tokens
) -> None:
    """A stolen access token is not enough to take the account over."""
    answer = await alice.client.post(
        "/api/auth/password",
        json={"current_password": "wrong password", "new_password": "x" * 20},
    )
    assert answer.status_code == 422
    assert answer.json()["detail"][0]["loc"] == ["body", "current_password"]
    assert (await me(app, tokens.access)).status_code == 200


class Paused(Passwords):
    """Verifies, and says so only when the test lets it: a sign-in caught half-way."""

    def __init__(self) -> None:
        super().__init__()
        self.verified, self.go_on = asyncio.Event(), asyncio.Event()

    async def verify(self, password: str, known: str | None) -> bool:
        """Verify, then wait."""
        matches = await super().verify(password, known)
        self.verified.set()
        await self.go_on.wait()
        return matches


@pytest.mark.parametrize("overtaken_by", ["a password change", "an Admin's disabling"])
async def test_a_sign_in_that_is_overtaken_begins_no_session(
    app: FastAPI, settings: Settings, alice: User, admin: User, overtaken_by: str
) -> None:
    """The old password was right when it was verified, and is no longer when the session begins."""
    with Paused() as paused:
        sign_in = asyncio.create_task(
            signing_in.sign_in(
                app.state.database,
                username=alice.username,
                email=None,
                password=PASSWORD,
                passwords=paused,
                settings=settings,
                now=app.state.clock.now(),
            )
        )
        await paused.verified.wait()
        if overtaken_by == "a password change":
            body = {"current_password": PASSWORD, "new_password": "x" * 20}
            answer = await alice.client.post("/api/auth/password", json=body)
            assert answer.status_code == 204
        else:
            url = f"/api/admin/users/{alice.id}"
            answer = await admin.client.patch(url, json={"is_active": False})
            assert answer.status_code == 200
        paused.go_on.set()
        with pytest.raises(InvalidCredentials):
            await sign_in
