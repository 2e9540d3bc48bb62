"""Alembic's entry point: runs the revisions on an asyncpg connection."""

import asyncio
from functools import partial
from typing import Any

import asyncpg
from alembic import context
from sqlalchemy import Connection
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from eventmanager.migrations.schema import METADATA


def _is_ours(name: str | None, kind: str, _: Any) -> bool:
    """Leave out the tables of the queue: they are its library's, and no models of ours."""
    return kind != "table" or name is None or not name.startswith("pgqueuer")


def _run(connection: Connection) -> None:
    context.configure(
        connection=connection,
        target_metadata=METADATA,
        include_name=_is_ours,
        compare_server_default=True,
        transaction_per_migration=True,
    )
    with context.begin_transaction():
        context.run_migrations()


async def _main() -> None:
    url: str = context.config.attributes["url"]
    engine = create_async_engine(
        "postgresql+asyncpg://", async_creator=partial(asyncpg.connect, url), poolclass=NullPool
    )
    async with engine.connect() as connection:
        await connection.run_sync(_run)
    await engine.dispose()


asyncio.run(_main())
