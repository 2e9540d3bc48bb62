"""`POST /api/auth/token`: the OAuth 2 way in, for the Authorize button and programs."""

import time

import httpx
import pytest
from fastapi import FastAPI
from pwdlib.hashers.argon2 import Argon2Hasher

from eventmanager.accounts import signing_in
from eventmanager.accounts.schemas import TokenRequest
from eventmanager.core.database import Database, Query
from eventmanager.core.errors import InvalidGrant
from tests.accounts.conftest import Tokens, me
from tests.conftest import PASSWORD, User, timed

TOKEN = "/api/auth/token"


@pytest.mark.parametrize("by", ["username", "email"])
async def test_the_password_grant_gives_both_tokens(
    app: FastAPI, anonymous: httpx.AsyncClient, alice: User, by: str
) -> None:
    """In the body and with no cookie; fields of other clients are ignored (RFC 6749, 3.2)."""
    form = {
        "grant_type": "password",
        "username": getattr(alice, by),
        "password": PASSWORD,
        "scope": "",
        "client_id": "swagger",
    }
    answer = await anonymous.post(TOKEN, data=form)
    assert answer.status_code == 200
    assert answer.headers["cache-control"] == "no-store"
    assert "set-cookie" not in answer.headers
    given = answer.json()
    assert set(given) == {"access_token", "refresh_token", "token_type", "expires_in"}
    assert (given["token_type"], given["expires_in"]) == ("bearer", 900)
    assert (await me(app, given["access_token"])).json()["username"] == alice.username


async def test_the_refresh_grant_rotates(
    app: FastAPI, anonymous: httpx.AsyncClient, tokens: Tokens
) -> None:
    """The same tokens as the cookie's, under the same rules."""
    form = {"grant_type": "refresh_token", "refresh_token": tokens.refresh}
    given = (await anonymous.post(TOKEN, data=form)).json()
    assert given["refresh_token"] != tokens.refresh
    replay = (await anonymous.post(TOKEN, data=form)).json()
    assert replay["refresh_token"] == given["refresh_token"]
    assert (await me(app, given["access_token"])).status_code == 200


@pytest.mark.parametrize(
    ("form", "error"),
    [
        ({"username": "nobody", "password": "wrong password"}, "invalid_grant"),
        ({"username": "nul\0", "password": "nul\0"}, "invalid_grant"),
        ({"grant_type": "refresh_token", "refresh_token": "x"}, "invalid_grant"),
        ({"grant_type": "client_credentials"}, "unsupported_grant_type"),
        ({"grant_type": "password", "username": "nobody"}, "invalid_request"),
        ({"grant_type": "refresh_token"}, "invalid_request"),
        ({}, "invalid_request"),
    ],
    ids=str,
)
async def test_refusals_speak_oauth(
    anonymous: httpx.AsyncClient, form: dict[str, str], error: str
) -> None:
    """400 with `error` and `error_description` (RFC 6749, 5.2), in a problem like all others."""
    answer = await anonymous.post(TOKEN, data=form)
    assert answer.status_code == 400
    problem = answer.json()
    assert (problem["error"], problem["code"]) == (error, error)
    assert problem["error_description"] == problem["detail"]
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["cache-control"] == "no-store"


@timed
@pytest.mark.parametrize("name", ["a{}", "a{}@example.com"])
async def test_a_name_of_any_length_is_refused_at_once(
    anonymous: httpx.AsyncClient, name: str
) -> None:
    """These accents take seconds to put in order, and all other requests would wait as long."""
    form = {"username": name.format("\u0300\u0316" * 30_000), "password": PASSWORD}
    started = time.perf_counter()
    answer = await anonymous.post(TOKEN, data=form)
    assert time.perf_counter() - started < 1
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_grant")


async def test_a_password_longer_than_any_may_be_is_wrong(
    anonymous: httpx.AsyncClient, database: Database, alice: User
) -> None:
    """Even if it is the one, as on `/login`: nobody has megabytes hashed here."""
    endless = "x" * 129
    hasher = Argon2Hasher(time_cost=1, memory_cost=64, parallelism=1)
    write = Query("UPDATE users SET password_hash = $1 WHERE id = $2", ("hash", "id"))
    await database.transaction(lambda tx: tx.all(write, hash=hasher.hash(endless), id=alice.id))
    answer = await anonymous.post(TOKEN, data={"username": alice.username, "password": endless})
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_grant")


MULTIPART = b"".join(
    b'--x\r\nContent-Disposition: form-data; name="%s"\r\n\r\n%s\r\n' % (name, value)
    for name, value in {
        b"grant_type": b"password",
        b"username": rb"+2AA-\ud800",
        b"password": rb"+2AA-\ud800",
    }.items()
)


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("multipart/form-data; boundary=x", MULTIPART + b"--x--"),
        ("multipart/form-data; boundary=x; charset=utf-7", MULTIPART + b"--x--"),
        ("Multipart/Form-Data; boundary=x; charset=unicode_escape", MULTIPART + b"--x--"),
        ("application/json", b'{"username": "nobody", "password": "wrong password"}'),
        ("", b"username=nobody&password=wrong"),
    ],
)
async def test_only_a_form_asks_for_tokens(
    anonymous: httpx.AsyncClient, kind: str, body: bytes
) -> None:
    """RFC 6749, 4.3.2; in multipart a client chooses the charset, and a name may be no text."""
    answer = await anonymous.post(TOKEN, content=body, headers={"Content-Type": kind})
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_request")
    assert "application/x-www-form-urlencoded" in answer.json()["error_description"]
    assert answer.headers["cache-control"] == "no-store"


@pytest.mark.parametrize(
    "form",
    [
        TokenRequest(username="\ud800", password=PASSWORD),
        TokenRequest(username="\ud800@example.com", password=PASSWORD),
        TokenRequest(username="nobody", password="\ud800"),
        TokenRequest(grant_type="refresh_token", refresh_token="\ud800"),
    ],
    ids=repr,
)
async def test_what_is_no_text_is_nobodys(app: FastAPI, form: TokenRequest) -> None:
    """However it gets in: a name, a password or a token with half a character in it is wrong."""
    state = app.state
    with pytest.raises(InvalidGrant):
        await signing_in.grant(
            state.database,
            form=form,
            passwords=state.passwords,
            sessions=state.sessions,
            settings=state.settings,
            now=state.clock.now(),
        )
