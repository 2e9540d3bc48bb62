"""Registration: who may become a user, under which name, and what the first answer holds."""

import asyncio
import itertools
import os
from typing import Any
from uuid import uuid4

import httpx
import pytest
from fastapi import FastAPI

from eventmanager.accounts import service
from eventmanager.core.errors import DuplicateUser, Invalid
from eventmanager.core.ids import UserId
from tests.conftest import PASSWORD, User, client_of

_numbers = itertools.count(1)


def newcomer(**changed: Any) -> dict[str, Any]:
    """Return a registration under a name of its own."""
    name = f"New.{next(_numbers)}.{os.getpid()}"
    return {"username": name, "email": f"{name}@example.com", "password": PASSWORD} | changed


async def test_a_newcomer_is_signed_in_at_once(anonymous: httpx.AsyncClient) -> None:
    """The answer keeps the original wire format, and its token works on the next request."""
    body = newcomer()
    answer = await anonymous.post("/api/auth/register", json=body)
    assert answer.status_code == 201
    given = answer.json()
    assert (
        given.items()
        >= {
            "refresh_token": "stored in httpOnly cookie",
            "token_type": "bearer",
            "expires_in": 15 * 60,
        }.items()
    )
    assert answer.headers["cache-control"] == "no-store"
    me = await anonymous.get("/me", headers={"Authorization": f"Bearer {given['access_token']}"})
    assert me.status_code == 200
    assert me.json().items() >= {"username": body["username"], "role": "User"}.items()
    assert me.json()["is_active"] is True
    fields = {"id", "username", "email", "is_active", "role", "created_at", "free_busy"}
    assert set(me.json()) == fields


async def test_the_refresh_token_is_out_of_reach_of_scripts_and_other_sites(
    anonymous: httpx.AsyncClient,
) -> None:
    """Neither scripts, plain HTTP, other sites nor other routes ever get the cookie."""
    answer = await anonymous.post("/api/auth/register", json=newcomer())
    name, *attributes = [part.strip() for part in answer.headers["set-cookie"].split(";")]
    assert name.startswith("refresh_token=")
    assert {attribute.lower() for attribute in attributes} == {
        "httponly",
        "secure",
        "samesite=strict",
        "path=/api/auth",
        f"max-age={7 * 24 * 60 * 60}",
    }


@pytest.mark.parametrize("field", ["username", "email"])
async def test_a_name_is_taken_in_any_letter_case(
    anonymous: httpx.AsyncClient, alice: User, field: str
) -> None:
    """`Alice` must not be able to pass for `alice`."""
    taken = str(getattr(alice, field)).upper()
    answer = await anonymous.post("/api/auth/register", json=newcomer(**{field: taken}))
    assert answer.status_code == 409
    assert answer.json()["code"] == "duplicate_user"
    assert answer.json()["field"] == field
    assert "set-cookie" not in answer.headers


async def test_names_that_differ_only_in_unicode_form_are_one(
    anonymous: httpx.AsyncClient,
) -> None:
    """A full-width or ligature spelling is the same name, at registration and at sign-in."""
    name = f"\N{LATIN SMALL LIGATURE FI}nn{os.getpid()}\u00c4"
    plain = f"finn{os.getpid()}\u00e4"
    first = await anonymous.post("/api/auth/register", json=newcomer(username=name))
    second = await anonymous.post("/api/auth/register", json=newcomer(username=plain))
    assert (first.status_code, second.status_code) == (201, 409)
    answer = await anonymous.post("/api/auth/login", json={"username": name, "password": PASSWORD})
    assert answer.status_code == 200


async def test_of_thirty_at_once_exactly_one_gets_the_name(app: FastAPI) -> None:
    """The index decides, not a look before the insert: a race has one winner and no 500."""
    body = newcomer()

    async def attempt(number: int) -> int:
        async with client_of(app) as client:
            mine = body | {"email": f"{number}.{body['email']}"}
            return (await client.post("/api/auth/register", json=mine)).status_code

    statuses = await asyncio.gather(*(attempt(number) for number in range(30)))
    assert sorted(statuses) == [201] + [409] * 29


@pytest.mark.parametrize(
    "wrong",
    [
        {"password": "seven77"},
        {"password": "x" * 129},
        {"password": "nul\0nul\0nul"},
        {"username": ""},
        {"username": "x" * 51},
        {"username": "a b"},
        {"username": "a@b"},
        {"username": "a\u200bb"},
        {"username": "a\0b"},
        {"username": "\ufdfa" * 20},
        {"email": "no address"},
        {"email": f"{'x' * 250}@example.com"},
        {"email": "nul\0@example.com"},
        {"role": "Admin"},
        {"is_active": True},
        {"username": 7},
    ],
    ids=str,
)
async def test_what_cannot_be_a_user_is_refused(
    anonymous: httpx.AsyncClient, wrong: dict[str, Any]
) -> None:
    """Each of these is 422 and says where; above all nobody gives themselves a role."""
    answer = await anonymous.post("/api/auth/register", json=newcomer(**wrong))
    assert answer.status_code == 422, answer.text
    (field,) = wrong
    assert answer.json()["detail"][0]["loc"] == ["body", field]
    assert "nul\\u0000" not in answer.text


@pytest.mark.parametrize("length", [8, 128])
async def test_passwords_of_the_shortest_and_longest_length_work(
    anonymous: httpx.AsyncClient, length: int
) -> None:
    """The limits themselves are allowed, and count characters, not bytes."""
    body = newcomer(password="\N{KEY}" * length)
    assert (await anonymous.post("/api/auth/register", json=body)).status_code == 201
    del body["email"]
    assert (await anonymous.post("/api/auth/login", json=body)).status_code == 200


async def test_the_command_line_keeps_the_same_rules(app: FastAPI, alice: User) -> None:
    """`user create` refuses what registration refuses, and never repeats the password."""

    async def create(*, username: str = "cli", password: str = PASSWORD) -> UserId:
        return await service.create_user(
            app.state.database,
            username=username,
            email=f"{uuid4().hex}@example.com",
            password=password,
            passwords=app.state.passwords,
            now=app.state.clock.now(),
        )

    with pytest.raises(DuplicateUser):
        await create(username=alice.username.title())
    with pytest.raises(Invalid) as refused:
        await create(password="short77")
    assert "short77" not in str(refused.value)
