"""`eventmanager serve` with what it cannot use: it ends at once, with a line that says why."""

import asyncio
import re
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
import pytest

from eventmanager.migrations import migrate
from tests.e2e.conftest import ACCESS_SECRET, make_database, refusal


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("postgresql://u:hunter2@127.0.0.1:1/db", "127.0.0.1:1/db cannot be used"),
        ("postgresql://u:hun@ter2@127.0.0.1:1/db", "cannot be used"),
        ("postgresql://127.0.0.1:1/db?user=u&password=hunter2", "cannot be used"),
        ("postgresql://u:hunter2@no-such-host.invalid/db", "no-such-host.invalid/db cannot"),
        ("postgresql+asyncpg://u:hunter2@/db?host=/nonexistent", "cannot be used"),
        ("mysql://u:hunter2@127.0.0.1/db", "must start with postgresql://"),
    ],
)
def test_a_database_that_cannot_be_had_is_one_line(tmp_path: Path, url: str, words: str) -> None:
    """The line says which setting to look at, and does not show the password to a screen."""
    line = refusal(tmp_path, DATABASE_URL=url)
    assert words in line
    assert "DATABASE_URL" in line
    assert not re.search("hunter2|ter2", line)


def test_a_database_that_does_not_exist_is_named(tmp_path: Path, database_url: str) -> None:
    """A typing error in the name is told apart from a server that is away."""
    url = urlsplit(database_url)._replace(path="/no_such_database").geturl()
    assert '"no_such_database" does not exist' in refusal(tmp_path, DATABASE_URL=url)


async def test_a_database_of_a_newer_release_is_left_alone(
    tmp_path: Path, database_url: str
) -> None:
    """Who goes back to an older release is told why it does not start."""
    url = await make_database(database_url)
    await migrate(url)
    connection = await asyncpg.connect(url)
    await connection.execute("UPDATE alembic_version SET version_num = '9999'")
    line = await asyncio.to_thread(refusal, tmp_path, DATABASE_URL=url)
    assert "newer release (revision 9999; this one has" in line
    assert await connection.fetchval("SELECT version_num FROM alembic_version") == "9999"
    await connection.close()


async def test_a_wrong_password_is_one_line(tmp_path: Path) -> None:
    """PostgreSQL's own words are enough, and the password is not among them."""
    attempted: list[bytes] = []
    server = await asyncio.start_server(
        lambda r, w: _refuse_password(r, w, attempted), "127.0.0.1", 0
    )
    async with server:
        port = server.sockets[0].getsockname()[1]
        url = f"postgresql://alice:hunter2@127.0.0.1:{port}/db?sslmode=disable"
        line = await asyncio.to_thread(refusal, tmp_path, DATABASE_URL=url)
    assert attempted
    assert 'password authentication failed for user "alice"' in line
    assert "hunter2" not in line


async def _refuse_password(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, attempted: list[bytes]
) -> None:
    """Speak PostgreSQL's protocol just far enough to refuse a clear-text password."""
    size = int.from_bytes(await reader.readexactly(4), "big")
    await reader.readexactly(size - 4)
    writer.write(b"R" + (8).to_bytes(4, "big") + (3).to_bytes(4, "big"))
    attempted.append(await reader.readexactly(5))
    words = 'SFATAL\0VFATAL\0C28P01\0Mpassword authentication failed for user "alice"\0\0'
    writer.write(b"E" + (len(words) + 4).to_bytes(4, "big") + words.encode())
    await writer.drain()
    writer.close()


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("ACCESS_TOKEN_SECRET", "short"),
        ("ACCESS_TOKEN_SECRET", ""),
        ("REFRESH_TOKEN_SECRET", "your_super_secret_key"),
        ("REFRESH_TOKEN_SECRET", ACCESS_SECRET),
        ("DATABASE_POOL_SIZE", "0"),
        pytest.param("LOG_LEVEL", "LOUD"),
    ],
)
def test_a_setting_that_cannot_be_is_named(
    tmp_path: Path, fresh_database: str, setting: str, value: str
) -> None:
    """The line names the setting; a secret that is refused is not repeated."""
    settings = {"DATABASE_URL": fresh_database, setting: value}
    line = refusal(tmp_path, "--port", "0", **settings)
    assert setting in line
    assert "SECRET" not in setting or not value or value not in line


@pytest.mark.parametrize("workers", ["1", "2"])
def test_logs_that_cannot_be_written_are_named(
    tmp_path: Path, fresh_database: str, workers: str
) -> None:
    """Several workers, too, say it once and end, instead of failing again and again."""
    settings = {"DATABASE_URL": fresh_database, "LOG_DIR": "/proc/nowhere"}
    line = refusal(tmp_path, "--port", "0", "--workers", workers, **settings)
    assert "LOG_DIR" in line or "/proc/nowhere" in line
