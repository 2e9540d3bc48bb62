"""`POST /api/auth/token`: the OAuth 2 way in, for the Authorize button and programs."""

import httpx
import pytest
from fastapi import FastAPI

from tests.accounts.conftest import Tokens, me
from tests.conftest import PASSWORD, User

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
