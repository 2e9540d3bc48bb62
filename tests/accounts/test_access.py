"""Access tokens: only ours, only whole, only now, and only for a session that lives."""

import asyncio
import base64
import json
from datetime import timedelta
from typing import Any

import httpx
import jwt
import pytest
from fastapi import FastAPI

from eventmanager.core.config import Settings
from tests.accounts.conftest import Tokens, me, sign_in_to
from tests.conftest import MovableClock, User, client_of

CLAIMS = ("sub", "sid", "role", "iat", "exp", "iss", "aud", "jti")


def part(value: Any) -> str:
    """Return a part of a JWT."""
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


def taken_apart(token: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the header and the claims of a token, believing it."""
    claims: dict[str, Any] = jwt.decode(token, options={"verify_signature": False})
    return dict(jwt.get_unverified_header(token)), claims


async def test_a_token_says_what_clients_read(tokens: Tokens, alice: User) -> None:
    """The header and claims are the contract with other services that verify it (RFC 9068)."""
    header, claims = taken_apart(tokens.access)
    assert header == {"alg": "HS256", "typ": "at+jwt"}
    assert claims["sub"] == str(alice.id)
    assert claims["role"] == "User"
    assert claims["exp"] - claims["iat"] == 15 * 60
    assert (claims["iss"], claims["aud"]) == ("eventmanager", "eventmanager")
    assert set(claims) == set(CLAIMS)


@pytest.mark.parametrize(
    ("headers", "changed"),
    [
        ({"typ": "JWT"}, {}),
        ({}, {"aud": "another"}),
        ({}, {"aud": ["another"]}),
        ({}, {"iss": "another"}),
        ({}, {"exp": 1}),
        ({}, {"exp": "soon"}),
        ({}, {"exp": 1e400}),
        ({}, {"sub": "alice"}),
        ({}, {"sid": "x"}),
        ({}, {"sid": 7}),
        ({}, {"sub": "8ad79b2e-3814-4826-8391-962ef4f39ffa"}),
        *(({}, {claim: None}) for claim in CLAIMS if claim != "role"),
    ],
    ids=str,
)
async def test_a_signed_token_that_is_not_right_is_refused(
    app: FastAPI,
    settings: Settings,
    tokens: Tokens,
    headers: dict[str, Any],
    changed: dict[str, Any],
) -> None:
    """Even with the right key: another type, audience, issuer, user, or a claim missing."""
    header, claims = taken_apart(tokens.access)
    claims = {k: v for k, v in (claims | changed).items() if v is not None}
    secret = settings.access_token_secret.get_secret_value().encode()
    head, body = part(header | headers), part(claims)
    signature = jwt.get_algorithm_by_name("HS256").sign(f"{head}.{body}".encode(), secret)
    forged = f"{head}.{body}.{base64.urlsafe_b64encode(signature).rstrip(b'=').decode()}"
    answer = await me(app, forged)
    assert (answer.status_code, answer.json()["code"]) == (401, "invalid_token")
    assert 'error="invalid_token"' in answer.headers["www-authenticate"]


async def test_a_tampered_or_unsigned_token_is_refused(
    app: FastAPI, settings: Settings, tokens: Tokens
) -> None:
    """No signature, another algorithm, another key, other claims, or no token at all."""
    header, claims = taken_apart(tokens.access)
    head, body, signature = tokens.access.split(".")
    unsigned = part(header | {"alg": "none"})
    access_secret = settings.access_token_secret.get_secret_value()
    refresh_secret = settings.refresh_token_secret.get_secret_value()
    typ = {"typ": "at+jwt"}
    forged = [
        f"{unsigned}.{body}.",
        f"{unsigned}.{body}.{signature}",
        f"{head}.{part(claims | {'role': 'Admin'})}.{signature}",
        f"{head}.{body}.{signature[:-4]}AAAA",
        jwt.encode(claims, refresh_secret, algorithm="HS256", headers=typ),
        jwt.encode(claims, access_secret * 2, algorithm="HS512", headers=typ),
        "x",
        "..",
        part([[[]]]) * 3,
    ]
    for token in forged:
        assert (await me(app, token)).status_code == 401, token
    assert (await me(app, tokens.access)).status_code == 200


async def test_a_token_dies_on_time(clocked: FastAPI, clock: MovableClock, alice: User) -> None:
    """After its fifteen minutes it is refused, though this process has verified it before."""
    access = (await sign_in_to(clocked, alice.username)).access
    assert (await me(clocked, access)).status_code == 200
    clock.offset += timedelta(minutes=15, seconds=3)
    answer = await me(clocked, access)
    assert (answer.status_code, answer.json()["code"]) == (401, "invalid_token")


@pytest.mark.parametrize("header", [None, "", "Bearer", "Bearer ", "Basic YTpi", "Token x"])
async def test_without_a_bearer_token_nobody_is_known(
    anonymous: httpx.AsyncClient, header: str | None
) -> None:
    """401 that names the scheme (RFC 6750, 3), on every protected route."""
    for path in ("/me", "/api/me", "/admin-area", "/api/admin/users", "/api/auth/sessions"):
        headers = {} if header is None else {"Authorization": header}
        answer = await anonymous.get(path, headers=headers)
        assert (answer.status_code, answer.json()["code"]) == (401, "unauthenticated")
        assert answer.headers["www-authenticate"] == 'Bearer realm="eventmanager"'


async def test_the_scheme_is_read_in_any_letter_case(app: FastAPI, tokens: Tokens) -> None:
    """RFC 9110, 11.1."""
    async with client_of(app, headers={"Authorization": f"bearer {tokens.access}"}) as client:
        assert (await client.get("/me")).status_code == 200


async def test_an_ended_session_is_refused_by_every_worker_within_a_second(
    app: FastAPI, another_worker: FastAPI, alice: User, tokens: Tokens
) -> None:
    """At once where it was ended, and soon where the session was just seen alive."""
    assert (await me(another_worker, tokens.access)).status_code == 200
    assert (await me(app, tokens.access)).status_code == 200
    sessions = (await alice.client.get("/api/auth/sessions")).json()
    (other,) = [session["id"] for session in sessions if not session["current"]]
    ended = await alice.client.delete(f"/api/auth/sessions/{other}")
    assert ended.status_code == 204
    assert (await me(app, tokens.access)).status_code == 401
    await asyncio.sleep(0.6)
    assert (await me(another_worker, tokens.access)).status_code == 401


async def test_the_document_lets_readers_authorize(app: FastAPI) -> None:
    """Authorize offers a password form and a field for a token, on every protected route."""
    document = app.openapi()
    schemes = document["components"]["securitySchemes"]
    flow = schemes["Password"]["flows"]["password"]
    assert flow["tokenUrl"] == "api/auth/token"
    assert schemes["AccessToken"]["type"] == "http"
    assert schemes["AccessToken"]["scheme"] == "bearer"
    security = document["paths"]["/api/me"]["get"]["security"]
    assert security == [{"Password": []}, {"AccessToken": []}]
    assert document["paths"]["/api/auth/login"]["post"]["security"] == []
