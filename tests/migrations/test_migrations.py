"""The schema that migrations make is the one that the models declare."""

import asyncio
from importlib.resources import files
from urllib.parse import urlsplit, urlunsplit

import asyncpg
from alembic import command

from eventmanager.migrations import configuration, migrate


def _check(url: str) -> None:
    directory = str(files("eventmanager.migrations"))
    command.check(configuration(url, directory))


async def test_models_and_migrations_agree(database_url: str) -> None:
    """A model changed without a migration fails here (Alembic would generate one)."""
    await asyncio.to_thread(_check, database_url)


async def test_two_starts_at_once_migrate_one_after_the_other(database_url: str) -> None:
    """Workers and replicas may all be started together on an empty database."""
    admin = await asyncpg.connect(database_url)
    await admin.execute("CREATE DATABASE twice")
    try:
        fresh = urlunsplit(urlsplit(database_url)._replace(path="/twice"))
        await asyncio.gather(*(migrate(fresh) for _ in range(4)))
        connection = await asyncpg.connect(fresh)
        assert await connection.fetchval("SELECT count(*) FROM alembic_version") == 1
        assert await connection.fetchval("SELECT count(*) FROM events") == 0
        await connection.close()
    finally:
        await admin.execute("DROP DATABASE twice WITH (FORCE)")
        await admin.close()
