"""The program: `eventmanager serve`, `worker`, `migrate`, `doctor`, `user create`."""

import asyncio
import os
import re
import signal
import socket
import sys
from collections.abc import Coroutine, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Annotated, Any, Final, NoReturn, TypeVar

import asyncpg
import typer
import uvicorn
from pydantic import SecretStr, ValidationError
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from uvicorn.supervisors import Multiprocess

from eventmanager.core import logging
from eventmanager.core.config import Settings
from eventmanager.core.embedded import EmbeddedUnavailable, embedded_postgres, running_postgres
from eventmanager.core.errors import EventManagerError
from eventmanager.core.secrets import SecretsUnusable, kept_secrets, make_secrets
from eventmanager.migrations import migrate as migrate_database

GRACE_SECONDS: Final = 20
SOCKET_MESSAGE_BYTES: Final = 64 * 1024
PONG_SECONDS: Final = 5
T = TypeVar("T")

app = typer.Typer(
    help="A self-hosted event backend: never double-booked, every change versioned.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
user = typer.Typer(help="Manage users from the command line.", no_args_is_help=True)
app.add_typer(user, name="user")
_interrupted: list[bool] = []
_out = Console()
_err = Console(stderr=True)


@app.command()
def serve(
    host: Annotated[str, typer.Option(help="The address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 picks a free one.")] = 8000,
    workers: Annotated[int, typer.Option(min=1, max=64, help="How many processes serve.")] = 1,
) -> None:
    """Serve the API; with no DATABASE_URL, on an embedded PostgreSQL kept in DATA_DIR."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interrupt)
    with _database(_settings(), lasting=True) as settings, _listening(host, port) as listening:
        _open_logs(settings)
        _migrate(settings)
        _hand_down(settings)
        _banner(settings, listening, workers=workers)
        config = uvicorn.Config(
            "eventmanager.app:from_environment",
            factory=True,
            workers=workers,
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_graceful_shutdown=GRACE_SECONDS,
            # A machine that is short of CPU must not have its workers taken for dead.
            timeout_worker_healthcheck=15,
            http="eventmanager.realtime.protocol:HttpProtocol",
            ws="eventmanager.realtime.protocol:Protocol",
            ws_max_size=SOCKET_MESSAGE_BYTES,
            ws_per_message_deflate=False,
            ws_ping_interval=20,
            ws_ping_timeout=PONG_SECONDS,
        )
        with suppress(KeyboardInterrupt):
            if _interrupted:
                raise KeyboardInterrupt
            if workers == 1:
                uvicorn.Server(config).run(sockets=[listening])
            else:
                _Workers(config, sockets=[listening]).run()
    _out.print("Stopped.")


class _Workers(Multiprocess):
    """The worker processes, and the socket that they share."""

    def terminate_all(self) -> None:
        """Stop listening here too, or new connections would be taken and never answered."""
        for listening in self.sockets:
            listening.close()
        super().terminate_all()


@app.command()
def worker() -> None:
    """Do the work beside the requests alone, next to servers with BACKGROUND_TASKS=false."""
    from eventmanager.worker import work  # noqa: PLC0415  # only here is all of it needed

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interrupt)
    with _database(_settings(), share=True, lasting=True) as settings:
        _open_logs(settings)
        _migrate(settings)
        _out.print("[bold green]Event Manager[/] is working; Ctrl-C stops it.")
        with suppress(KeyboardInterrupt):
            if _interrupted:
                raise KeyboardInterrupt
            _run(work(settings), database_url=settings.database_url)
    _out.print("Stopped.")


@app.command()
def doctor() -> None:
    """Check all that the service needs, and say what to do about what is wrong."""
    from eventmanager.doctor import Finding, examine  # noqa: PLC0415  # only here is it needed

    try:
        settings = Settings()
    except ValidationError as error:
        findings: Sequence[Finding] = [
            Finding("Settings", complaint, "Set it right in the environment or in .env.")
            for complaint in _complaints(error)
        ]
    else:
        findings = asyncio.run(examine(settings))
    table = Table("Check", "", "Found", "What to do", box=None, header_style="bold")
    for finding in findings:
        state = "[green]ok[/]" if finding.is_well else "[red]problem[/]"
        table.add_row(finding.what, state, escape(finding.found), escape(finding.advice))
    _out.print(table)
    if not all(finding.is_well for finding in findings):
        raise typer.Exit(1)


@app.command()
def migrate() -> None:
    """Bring the database to the schema of this release."""
    with _database(_settings()) as settings:
        _migrate(settings)
    _out.print("The database is up to date.")


@user.command("create")
def user_create(
    username: str,
    email: str,
    admin: Annotated[bool, typer.Option("--admin", help="Give the global role Admin.")] = False,
    password_stdin: Annotated[
        bool, typer.Option("--password-stdin", help="Read the password from standard input.")
    ] = False,
) -> None:
    """Create a user; the password is asked for."""
    # Only here are they needed.
    from eventmanager.accounts import service as accounts  # noqa: PLC0415
    from eventmanager.accounts.passwords import Passwords  # noqa: PLC0415
    from eventmanager.core.clock import SystemClock  # noqa: PLC0415
    from eventmanager.core.database import Database  # noqa: PLC0415

    if password_stdin:
        password = sys.stdin.readline().rstrip("\n")
    else:
        password = typer.prompt("Password", hide_input=True, confirmation_prompt=True)
    with _database(_settings(), share=True) as settings:
        _open_logs(settings)
        _migrate(settings)
        url = settings.database_url

        async def create() -> None:
            async with Database.connect(url, pool_size=1) as database:
                with Passwords() as passwords:
                    await accounts.create_user(
                        database,
                        passwords=passwords,
                        username=username,
                        email=email,
                        password=password,
                        admin=admin,
                        now=SystemClock().now(),
                    )

        _run(create(), database_url=url)
    _out.print(f"Created {'Admin' if admin else 'user'} {username}.")


def _settings() -> Settings:
    """Read the settings; a wrong one ends the program with a line that says which and why."""
    try:
        return Settings()
    except ValidationError as error:
        for complaint in _complaints(error):
            _err.print(f"[red]Setting:[/] {escape(complaint)}", soft_wrap=True, highlight=False)
        raise typer.Exit(2) from None


def _complaints(error: ValidationError) -> Iterator[str]:
    for item in error.errors(include_url=False, include_input=False):
        name = "_".join(str(part) for part in item["loc"]).upper()
        message = item["msg"].removeprefix("Value error, ")
        yield f"{name}: {message}" if name else message


@contextmanager
def _database(
    settings: Settings, *, share: bool = False, lasting: bool = False
) -> Iterator[Settings]:
    """Start the embedded PostgreSQL unless DATABASE_URL is set; yield settings that name it.

    With `share`, one that a server is running already is used as it is. With `lasting`, what would
    go on until it is stopped is stopped by the end of PostgreSQL: whoever supervises it can then
    start both again. What ends soon anyway fails by itself.
    """
    if settings.database_url:
        yield settings
        return
    directory = settings.data_dir / "postgres"
    try:
        running = running_postgres(directory) if share else None
        if running:
            yield settings.model_copy(update={"database_url": running})
            return
        with embedded_postgres(directory, at_its_end=_stop if lasting else None) as url:
            yield settings.model_copy(update={"database_url": url} | _secrets(settings))
    except (EmbeddedUnavailable, SecretsUnusable) as error:
        _fail(str(error))


def _secrets(settings: Settings) -> dict[str, SecretStr]:
    """Return the token secrets that are not set, made at random once and kept in DATA_DIR."""
    missing = {
        name
        for name in ("access_token_secret", "refresh_token_secret")
        if not getattr(settings, name).get_secret_value()
    }
    if not missing:
        return {}
    kept = kept_secrets(settings.data_dir) or make_secrets(settings.data_dir)
    return {name: SecretStr(kept[name]) for name in missing}


def _hand_down(settings: Settings) -> None:
    """Let the worker processes, which read the environment, find what was made up here."""
    os.environ["DATABASE_URL"] = settings.database_url
    os.environ["ACCESS_TOKEN_SECRET"] = settings.access_token_secret.get_secret_value()
    os.environ["REFRESH_TOKEN_SECRET"] = settings.refresh_token_secret.get_secret_value()


@contextmanager
def _listening(host: str, port: int) -> Iterator[socket.socket]:
    """Bind the address; one that is taken or not ours ends the program with a line."""
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listening = socket.create_server((host, port), family=family, backlog=2048)
    except OSError as error:
        _fail(f"Cannot listen on {host}:{port}: {error.strerror}. Choose another --port or --host.")
    listening.set_inheritable(True)
    with listening:
        yield listening


def _banner(settings: Settings, listening: socket.socket, *, workers: int) -> None:
    host, port = listening.getsockname()[:2]
    base = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
    rows = {
        "API": base,
        "Docs": f"{base}/docs",
        "Data": str((settings.data_dir / "postgres").resolve())
        if _is_embedded(settings.database_url)
        else "the database of DATABASE_URL",
        "Logs": "standard output" if settings.log_stdout else str(settings.log_dir.resolve()),
    }
    if workers > 1:
        rows["Workers"] = str(workers)
    width = max(map(len, rows))
    _out.print("[bold green]Event Manager[/] is serving; Ctrl-C stops it.")
    for name, value in rows.items():
        # No table: it would cut a path that is wider than the terminal.
        _out.print(f"[bold]{name:<{width}}[/]  {escape(value)}", soft_wrap=True, highlight=False)


def _is_embedded(database_url: str) -> bool:
    return database_url.startswith("postgresql://postgres@/eventmanager?host=")


def _migrate(settings: Settings) -> None:
    """Bring the database to the schema of this release."""
    _run(migrate_database(settings.database_url), database_url=settings.database_url)


def _run(work: Coroutine[Any, Any, T], *, database_url: str) -> T:
    """Run work on the database; what goes wrong ends the program with one line."""
    try:
        if _interrupted:
            work.close()
            raise KeyboardInterrupt
        return asyncio.run(work)
    except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError, ValueError) as e:
        place = re.sub(r"(?<=password=)[^&]*", "...", database_url.rpartition("@")[2])
        reason = str(e).splitlines()[0] if str(e) else type(e).__name__
        advice = (
            "See postgres/postgres.log in DATA_DIR"
            if _is_embedded(database_url)
            else "Check DATABASE_URL"
        )
        _fail(f"The database at {place} cannot be used: {reason}. {advice}.")
    except EventManagerError as error:
        _fail(error.detail)


def _fail(message: str) -> NoReturn:
    _err.print(message, style="red", markup=False, soft_wrap=True, highlight=False)
    raise typer.Exit(1)


def _open_logs(settings: Settings) -> None:
    try:
        logging.configure(settings.log_dir, level=settings.log_level, stdout=settings.log_stdout)
    except OSError as error:
        _fail(f"Cannot write logs to {settings.log_dir}: {error.strerror}. Set LOG_DIR to another.")


def _stop() -> None:
    """End the program from any thread as whoever supervises it would: in order."""
    os.kill(os.getpid(), signal.SIGTERM)


def _interrupt(*_: object) -> None:
    """Let SIGTERM end the program as Ctrl-C does, so that everything is stopped in order.

    Where Python can't pass the exception on, such as in a destructor, it is at least remembered.
    """
    _interrupted.append(True)
    raise KeyboardInterrupt
