"""Brings a database to the schema of this release, once, under a lock, and its numbers in line.

After a change of the models, a new revision is written by Alembic's comparison with a migrated
database at `url`:

    from alembic import command
    from eventmanager.migrations.upgrading import configuration
    config = configuration(url, "src/eventmanager/migrations")
    command.revision(config, message="what changes", autogenerate=True, rev_id="0002")
"""

import asyncio
from importlib.resources import files
from typing import Final

import asyncpg

from eventmanager.core.errors import EventManagerError
from eventmanager.migrations.renumbering import renumber

# An arbitrary number that only this program uses: two starts at once migrate one after the other.
ADVISORY_LOCK: Final = 7_305_809_155


class NewerSchema(EventManagerError):
    """The database was migrated by a newer release."""

    title = "The database's schema is of a newer release"


async def migrate(url: str) -> None:
    """Upgrade the database at `url` to the newest revision; mostly it is there already.

    One that was restored on another server is brought in line; see `renumbering`.

    Raises `NewerSchema`, which changes nothing, and `asyncpg` and operating system errors when the
    database cannot be reached.
    """
    connection = await asyncpg.connect(url, timeout=10)
    try:
        found, known = await revision_of(connection), _revisions()
        if found is not None and found not in known:
            raise NewerSchema(
                f"The database has the schema of a newer release (revision {found}; this one has "
                f"{max(known)}). Run that release, or restore a backup made before it."
            )
        if found != max(known):
            # Alembic and all the models, which take most of a second to import.
            from eventmanager.migrations.upgrading import upgrade  # noqa: PLC0415

            await connection.execute("SELECT pg_advisory_lock($1)", ADVISORY_LOCK)
            await asyncio.to_thread(upgrade, url)
        await renumber(connection)
    finally:
        await connection.close()


async def revision_of(connection: "asyncpg.Connection[asyncpg.Record]") -> str | None:
    """Return the revision that a database has, None before the first."""
    if not await connection.fetchval("SELECT to_regclass('alembic_version') IS NOT NULL"):
        return None
    revision: str | None = await connection.fetchval("SELECT version_num FROM alembic_version")
    return revision


def newest_revision() -> str:
    """Return the revision of this release."""
    return max(_revisions())


def _revisions() -> set[str]:
    """Return all revisions up to this release's: each one's file begins with it."""
    scripts = (path.name for path in files(__package__).joinpath("versions").iterdir())
    return {name.partition("_")[0] for name in scripts if name[0].isdigit()}
