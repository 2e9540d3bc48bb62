"""The schema that migrations make is the one that the models declare."""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.resources import files
from urllib.parse import urlsplit, urlunsplit

import asyncpg
from alembic import command
from alembic.script import ScriptDirectory

from eventmanager.migrations import migrate, newest_revision
from eventmanager.migrations.upgrading import configuration, upgrade


@asynccontextmanager
async def database_beside(database_url: str, name: str) -> AsyncIterator[str]:
    """Make an empty database beside the suite's own, for as long as the block runs."""
    admin = await asyncpg.connect(database_url)
    await admin.execute(f"CREATE DATABASE {name}")
    try:
        yield urlunsplit(urlsplit(database_url)._replace(path=f"/{name}"))
    finally:
        await admin.execute(f"DROP DATABASE {name} WITH (FORCE)")
        await admin.close()


def _check(url: str) -> None:
    directory = str(files("eventmanager.migrations"))
    command.check(configuration(url, directory))


async def test_models_and_migrations_agree(database_url: str) -> None:
    """A model changed without a migration fails here (Alembic would generate one)."""
    await asyncio.to_thread(_check, database_url)


def test_the_newest_revision_is_alembics() -> None:
    """It is read from the names of the files, and must lead where Alembic would go."""
    directory = str(files("eventmanager.migrations"))
    head = ScriptDirectory.from_config(configuration("", directory)).get_current_head()
    assert newest_revision() == head


async def test_a_start_on_a_migrated_database_does_not_wait_for_alembic(database_url: str) -> None:
    """Every start but the first: it takes most of a second to import, and has nothing to do."""
    program = (
        "import asyncio, sys; from eventmanager.migrations import migrate;"
        "asyncio.run(migrate(sys.argv[1])); sys.exit('alembic' in sys.modules)"
    )
    started = await asyncio.create_subprocess_exec(sys.executable, "-c", program, database_url)
    assert await started.wait() == 0


async def test_what_was_purged_before_may_have_been_anybodys(database_url: str) -> None:
    """Who was there when one mark was kept for all stays safe by it; later ones need none."""
    async with database_beside(database_url, "marked") as url:
        await asyncio.to_thread(upgrade, url, "0006")
        connection = await asyncpg.connect(url)
        make = """
            INSERT INTO users (id, username, email, password_hash, created_at)
            VALUES (gen_random_uuid(), $1::text, $1::text, '', now())"""
        for name in ("ada", "grace"):
            await connection.execute(make, name)
        await connection.execute(
            "INSERT INTO purge_mark (transaction_id, position) VALUES ('700', 42)"
        )
        await asyncio.to_thread(upgrade, url)
        await connection.execute(make, "later")
        marks = await connection.fetch(
            "SELECT username, transaction_id::text, position"
            " FROM purge_marks JOIN users ON users.id = user_id ORDER BY username"
        )
        assert [tuple(mark) for mark in marks] == [("ada", "700", 42), ("grace", "700", 42)]
        await connection.close()


async def test_a_dump_from_before_numbers_had_an_origin_is_brought_in_line_too(
    database_url: str,
) -> None:
    """What it has counted is ahead of the server that it was restored on."""
    async with database_beside(database_url, "ahead") as url:
        await asyncio.to_thread(upgrade, url, "0009")
        connection = await asyncpg.connect(url)
        await connection.execute("""
            INSERT INTO messages
                (transaction_id, id, recipients, owner_id, type, data, occurred_at)
            VALUES ('9000000000', gen_random_uuid(), '{}', gen_random_uuid(), 'x', '{}', now())
        """)
        await migrate(url)
        assert await connection.fetchval("""
            SELECT transaction_id < pg_snapshot_xmax(pg_current_snapshot()) FROM messages
        """)
        await connection.close()


async def test_two_starts_at_once_migrate_one_after_the_other(database_url: str) -> None:
    """Workers and replicas may all be started together on an empty database."""
    async with database_beside(database_url, "twice") as fresh:
        await asyncio.gather(*(migrate(fresh) for _ in range(4)))
        connection = await asyncpg.connect(fresh)
        assert await connection.fetchval("SELECT count(*) FROM alembic_version") == 1
        assert await connection.fetchval("SELECT count(*) FROM events") == 0
        await connection.close()
