"""Passwords: slow to guess, and never so many at once that the server stands still."""

import asyncio
import time

import pytest
from fastapi import FastAPI
from pwdlib.hashers.argon2 import Argon2Hasher

from eventmanager.accounts.passwords import Passwords
from eventmanager.core.database import Database, Query
from eventmanager.core.errors import Unavailable
from tests.conftest import PASSWORD, User, timed


async def test_a_hash_is_salted_argon2id() -> None:
    """With OWASP's parameters, and another one each time."""
    with Passwords() as passwords:
        first, second = await passwords.hash(PASSWORD), await passwords.hash(PASSWORD)
        assert first.startswith("$argon2id$v=19$m=19456,t=2,p=1$")
        assert first != second
        assert await passwords.verify(PASSWORD, first)
        assert not await passwords.verify(PASSWORD + " ", first)
        assert not await passwords.verify(PASSWORD, None)


async def test_the_queue_is_bounded() -> None:
    """Beyond it the answer is 503 at once, not a wait that grows; those inside are served."""
    with Passwords(threads=1, waiting=2) as passwords:
        outcomes = await asyncio.gather(
            *(passwords.hash(PASSWORD) for _ in range(10)), return_exceptions=True
        )
        refused = [outcome for outcome in outcomes if isinstance(outcome, Unavailable)]
        assert len(refused) == 7
        assert await passwords.hash(PASSWORD)


@timed
async def test_the_loop_runs_on_while_passwords_are_hashed() -> None:
    """Other requests are not held up: the work is on other threads, outside the GIL."""
    with Passwords(threads=1) as passwords:
        hashing = asyncio.gather(*(passwords.hash(PASSWORD) for _ in range(5)))
        longest, last = 0.0, time.perf_counter()
        while not hashing.done():
            await asyncio.sleep(0.001)
            longest, last = max(longest, time.perf_counter() - last), time.perf_counter()
        await hashing
    assert longest < 0.1


@pytest.mark.parametrize("known", ["", "x", "$argon2id$v=19$m=19456,t=2,p=1$", "$2b$12$abc"])
async def test_a_hash_of_another_kind_matches_nothing(known: str) -> None:
    """A row that something else wrote is a wrong password, not an error."""
    with Passwords() as passwords:
        assert not await passwords.verify(PASSWORD, known)


async def test_an_old_hash_is_renewed_when_its_user_signs_in(
    app: FastAPI, database: Database, alice: User
) -> None:
    """Stronger parameters reach everybody who still comes, without a reset."""
    weak = Argon2Hasher(time_cost=1, memory_cost=1024, parallelism=1).hash(PASSWORD)
    write = Query("UPDATE users SET password_hash = $1 WHERE id = $2", ("hash", "id"))
    read = Query("SELECT password_hash FROM users WHERE id = $1", ("id",))
    await database.transaction(lambda tx: tx.all(write, hash=weak, id=alice.id))
    for _ in range(2):
        answer = await alice.client.post(
            "/api/auth/login", json={"username": alice.username, "password": PASSWORD}
        )
        assert answer.status_code == 200
    async with database.reading() as connection:
        row = await connection.first(read, id=alice.id)
    assert row is not None
    assert row["password_hash"] != weak
    assert not app.state.passwords.outdated(row["password_hash"])
