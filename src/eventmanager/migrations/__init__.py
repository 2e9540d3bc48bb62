"""Brings a database to the schema of this release, once, under a lock.

After a change of the models, a new revision is written by Alembic's comparison with a migrated
database at `url`:

    from alembic import command
    from eventmanager.migrations import configuration
    config = configuration(url, "src/eventmanager/migrations")
    command.revision(config, message="what changes", autogenerate=True, rev_id="0002")
"""

import asyncio
from importlib.resources import as_file, files
from typing import Final

import asyncpg
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory

# An arbitrary number that only this program uses: two starts at once migrate one after the other.
ADVISORY_LOCK: Final = 7_305_809_155


async def migrate(url: str) -> None:
    """Upgrade the database at `url` to the newest revision.

    Raises `asyncpg` and operating system errors when the database cannot be reached.
    """
    lock = await asyncpg.connect(url, timeout=10)
    try:
        await lock.execute("SELECT pg_advisory_lock($1)", ADVISORY_LOCK)
        await asyncio.to_thread(upgrade, url)
    finally:
        await lock.close()


def upgrade(url: str, revision: str = "head") -> None:
    """Run the Alembic upgrade itself; the caller holds the lock."""
    with as_file(files(__package__)) as directory:
        command.upgrade(configuration(url, str(directory)), revision)


def newest_revision() -> str:
    """Return the revision of this release."""
    with as_file(files(__package__)) as directory:
        scripts = ScriptDirectory.from_config(configuration("", str(directory)))
    newest = scripts.get_current_head()
    assert newest is not None
    return newest


def configuration(url: str, directory: str) -> Config:
    """Return an Alembic configuration for the database at `url`."""
    config = Config()
    config.set_main_option("script_location", directory.replace("%", "%%"))
    config.attributes["url"] = url
    return config
