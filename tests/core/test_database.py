"""The two scopes and the compiled statements."""

import asyncio

import asyncpg
import pytest

import eventmanager.api  # noqa: F401  # imports every feature, so that every statement is known
from eventmanager.core.database import QUERIES, Database, Query, Transaction, query
from eventmanager.core.errors import Unavailable


@pytest.mark.parametrize("statement", QUERIES, ids=lambda q: q.sql.strip()[:60])
async def test_postgresql_accepts_every_statement(database_url: str, statement: Query) -> None:
    """A statement with a wrong name or type fails here, not at the first request that needs it."""
    connection = await asyncpg.connect(database_url)
    try:
        await connection.prepare(statement.sql)
    finally:
        await connection.close()


async def test_literals_of_a_core_statement_are_bound_by_themselves(database: Database) -> None:
    """A caller names only the parameters that are its own to give."""
    from sqlalchemy import Integer, bindparam, literal, select

    statement = query(select((bindparam("given", type_=Integer) + literal(2)).label("sum")))
    QUERIES.remove(statement)
    async with database.reading() as read:
        row = await read.first(statement, given=40)
    assert row is not None
    assert row["sum"] == 42


async def test_a_failed_transaction_leaves_nothing(database: Database) -> None:
    """What a piece of work did before it failed is undone."""
    make = Query("CREATE TABLE left_behind ()", ())
    look = Query("SELECT to_regclass('left_behind')", ())

    async def work(tx: Transaction) -> None:
        await tx.first(make)
        raise ValueError

    with pytest.raises(ValueError, match=r"^$"):
        await database.transaction(work)
    async with database.reading() as read:
        row = await read.first(look)
    assert row is not None
    assert row[0] is None


async def test_a_deadlock_is_retried_as_a_whole(database: Database) -> None:
    """Two transactions that lock in opposite orders both succeed in the end."""
    lock = Query("SELECT pg_advisory_xact_lock($1)", ("key",))
    first_locks = asyncio.Barrier(2)
    attempts = 0

    async def take(first: int, second: int) -> None:
        met = False

        async def work(tx: Transaction) -> None:
            nonlocal attempts, met
            attempts += 1
            await tx.first(lock, key=first)
            if not met:
                met = True
                await first_locks.wait()
            await tx.first(lock, key=second)

        await database.transaction(work)

    await asyncio.gather(take(71, 72), take(72, 71))
    assert attempts == 3


async def test_an_unreachable_server_is_unavailable() -> None:
    """The rest of the program sees one error, whatever the driver and the system call it."""
    with pytest.raises(Unavailable):
        async with Database.connect("postgresql://nobody@127.0.0.1:1/none", pool_size=1):
            pass
