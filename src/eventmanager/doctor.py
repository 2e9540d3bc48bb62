"""What is wrong, and what to do about it: checks that look, take seconds, and change nothing."""

import asyncio
import os
import platform
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Final

import aiosmtplib
import asyncpg
from redis.asyncio import Redis
from redis.exceptions import RedisError

from eventmanager.core.background import queries
from eventmanager.core.background.records import standings
from eventmanager.core.config import Settings
from eventmanager.core.database import Reading
from eventmanager.core.embedded import EmbeddedUnavailable, running_postgres
from eventmanager.core.secrets import SecretsUnusable, kept_secrets
from eventmanager.migrations import newest_revision, revision_of
from eventmanager.realtime.settling import hold_up
from eventmanager.worker import background

PATIENCE_SECONDS: Final = 3.0
POSTGRES_OLDEST: Final = 15
CLOCKS_APART_SECONDS: Final = 2.0
WAITING_SECONDS: Final = 300.0
_AWAY: Final = (
    OSError,
    TimeoutError,
    ValueError,
    RedisError,
    aiosmtplib.SMTPException,
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
)


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check has found; `advice` says what to do about a problem, and is empty without."""

    what: str
    found: str
    advice: str = ""

    @property
    def is_well(self) -> bool:
        """Whether nothing need be done."""
        return not self.advice


async def examine(settings: Settings) -> Sequence[Finding]:
    """Check all that the program needs."""
    found = await asyncio.gather(
        _database(settings),
        _guarded("Redis", _redis, settings, advice="Check REDIS_URL, or unset it."),
        _guarded("Email", _smtp, settings, advice="Check SMTP_URL, or unset it."),
    )
    return [
        Finding("Python", f"{platform.python_version()}, Event Manager {version('eventmanager')}"),
        Finding("Settings", "valid"),
        *_secrets(settings),
        _logs(settings),
        *found[0],
        found[1],
        found[2],
    ]


async def _guarded(
    what: str,
    check: Callable[[Settings], Awaitable[str]],
    settings: Settings,
    *,
    advice: str,
) -> Finding:
    """Run a check that says what it has found, or fails in a way that says why."""
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            return Finding(what, await check(settings))
    except _AWAY as error:
        return Finding(what, _reason(error), advice)


def _reason(error: Exception) -> str:
    if isinstance(error, TimeoutError | aiosmtplib.SMTPTimeoutError):
        return "does not answer"
    return str(error).splitlines()[0] if str(error) else type(error).__name__


def _secrets(settings: Settings) -> Sequence[Finding]:
    """Look at the secrets that are kept, where a server with these settings would read them."""
    if settings.access_token_secret.get_secret_value() and (
        settings.refresh_token_secret.get_secret_value()
    ):
        return []
    path = settings.data_dir.resolve() / "secrets.json"
    try:
        kept = kept_secrets(settings.data_dir)
    except SecretsUnusable as error:
        return [Finding("Secrets", f"{path} can't be used", str(error))]
    return [Finding("Secrets", str(path) if kept else "none yet; made at the first start")]


def _logs(settings: Settings) -> Finding:
    if settings.log_stdout:
        return Finding("Logs", "standard output")
    directory = settings.log_dir.resolve()
    place = next(path for path in (directory, *directory.parents) if path.exists())
    files = list(directory.glob("*.log")) if directory.is_dir() else []
    for path in (place, *files):
        if not os.access(path, os.W_OK) or (path == place and not path.is_dir()):
            return Finding("Logs", f"{path} can't be written", "Set LOG_DIR to another directory.")
    return Finding("Logs", str(directory))


async def _redis(settings: Settings) -> str:
    if not settings.redis_url:
        return "off; PostgreSQL wakes the servers"
    async with Redis.from_url(
        settings.redis_url,
        socket_connect_timeout=PATIENCE_SECONDS,
        socket_timeout=PATIENCE_SECONDS,
    ) as redis:
        await redis.ping()
    return "answers"


async def _smtp(settings: Settings) -> str:
    """Greet the mail server, over TLS if that is wanted; nobody signs in and nothing is sent."""
    server = settings.smtp
    if server is None:
        return "off"
    async with aiosmtplib.SMTP(
        hostname=server.host,
        port=server.port,
        use_tls=server.use_tls,
        start_tls=server.start_tls,
        timeout=PATIENCE_SECONDS,
    ):
        return f"{server} answers"


async def _database(settings: Settings) -> Sequence[Finding]:
    try:
        url = settings.database_url or running_postgres(settings.data_dir / "postgres")
    except EmbeddedUnavailable as error:
        return [Finding("Database", "the embedded PostgreSQL can't be looked at", str(error))]
    if not url:
        return [
            Finding(
                "Database",
                "the embedded PostgreSQL does not run",
                "Start `eventmanager serve`, or set DATABASE_URL.",
            )
        ]
    found: list[Finding] = []
    try:
        async with asyncio.timeout(2 * PATIENCE_SECONDS), _only_looking(url) as connection:
            found.append(_version(connection))
            found.append(await _clock(connection))
            schema = await _schema(connection)
            found.append(schema)
            if schema.is_well:
                read = Reading(connection)  # type: ignore[arg-type]  # no pool
                found.append(await _news(read))
                found += await _work(read, settings)
    except _AWAY as error:
        found.append(Finding("Database", _reason(error), _advice(settings)))
    return found


def _advice(settings: Settings) -> str:
    """Say what to do about a database that is there, but does not answer as it should."""
    if settings.database_url:
        return "Check DATABASE_URL, and that the server runs and accepts connections."
    log = settings.data_dir.resolve() / "postgres" / "postgres.log"
    return f"See {log}; if that does not help, stop `eventmanager serve` and start it again."


@asynccontextmanager
async def _only_looking(url: str) -> "AsyncIterator[asyncpg.Connection[asyncpg.Record]]":
    """Connect in such a way that nothing can be written, and waits are short."""
    connection = await asyncpg.connect(
        url,
        timeout=PATIENCE_SECONDS,
        command_timeout=PATIENCE_SECONDS,
        server_settings={
            "application_name": "eventmanager doctor",
            "default_transaction_read_only": "on",
        },
    )
    try:
        yield connection
    finally:
        connection.terminate()


def _version(connection: "asyncpg.Connection[asyncpg.Record]") -> Finding:
    server = connection.get_server_version()
    found = f"PostgreSQL {server.major}.{server.minor}"
    if server.major < POSTGRES_OLDEST:
        return Finding("Database", found, f"Upgrade it to {POSTGRES_OLDEST} or newer.")
    return Finding("Database", found)


async def _clock(connection: "asyncpg.Connection[asyncpg.Record]") -> Finding:
    before = datetime.now(UTC)
    theirs: datetime = await connection.fetchval("SELECT clock_timestamp()")
    ours = before + (datetime.now(UTC) - before) / 2
    apart = abs((theirs - ours).total_seconds())
    found = f"{apart:.3f} s from the database's"
    if apart > CLOCKS_APART_SECONDS:
        return Finding("Clock", found, "Synchronise the clocks of both machines (NTP).")
    return Finding("Clock", found)


async def _schema(connection: "asyncpg.Connection[asyncpg.Record]") -> Finding:
    newest = newest_revision()
    found = await revision_of(connection)
    if found == newest:
        return Finding("Schema", f"revision {found}")
    if found is None:
        return Finding("Schema", "none yet", "Run `eventmanager migrate`.")
    return Finding(
        "Schema",
        f"revision {found}; this release has {newest}",
        "Run `eventmanager migrate`; if the database is the newer one, upgrade Event Manager.",
    )


async def _news(read: Reading) -> Finding:
    """Tell whether messages are told, or what transaction they wait for."""
    found = await hold_up(read, now=datetime.now(UTC))
    if found is None:
        return Finding("News", "told")
    waits = f"waits for {found.waiting_s:.0f} s for"
    if found.pid is None and found.gid is None:
        return Finding("News", f"{waits} a transaction that has just ended", "Ask again.")
    age = f"of database {found.database}"
    if found.age_s is not None:
        age += f", open for {found.age_s:.0f} s"
    if found.gid is not None:
        return Finding(
            "News",
            f"{waits} the prepared transaction '{found.gid}' {age}",
            f"End it there: COMMIT PREPARED or ROLLBACK PREPARED '{found.gid}'.",
        )
    return Finding(
        "News",
        f"{waits} a transaction of process {found.pid} ({found.application_name}) {age}",
        f"Have it ended, or end it: SELECT pg_terminate_backend({found.pid}).",
    )


async def _work(read: Reading, settings: Settings) -> Sequence[Finding]:
    """Tell how it stands with the tasks and with the jobs that wait."""
    found = []
    work = background(settings)
    for task in await standings(read, work):
        at = task.finished_at.strftime("%Y-%m-%d %H:%M:%S UTC") if task.finished_at else "never"
        state = f"{task.state}; last done: {at}"
        advice = ""
        if task.state == "failing":
            state = f"{state}; {task.process}: {task.error}"
            advice = f"See app.log of {task.process}; it is tried again."
        elif task.state == "late":
            advice = "Run `eventmanager worker`, or serve with BACKGROUND_TASKS=true."
        found.append(Finding(f"Task {task.name}", state, advice))
    # A kind that is none with these settings, as email without SMTP_URL, waits for nobody here.
    row = await read.first(queries.WAITING, entrypoints=[job.name for job in work.jobs])
    assert row is not None
    waiting = f"{row['jobs']} jobs wait"
    if row["jobs"]:
        waiting += f", the oldest for {row['oldest_s']:.0f} s"
    slow = row["oldest_s"] > WAITING_SECONDS
    found.append(Finding("Queue", waiting, "Run more of `eventmanager worker`." if slow else ""))
    return found
