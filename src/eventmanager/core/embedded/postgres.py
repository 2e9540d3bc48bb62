"""The whole of it: prepare the directory, make the cluster once, serve it while a context lasts."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from eventmanager.core.embedded.account import account_for, find_launcher
from eventmanager.core.embedded.cluster import DATABASE, make_cluster, refuse_foreign
from eventmanager.core.embedded.files import (
    SOCKET,
    is_locked,
    open_log,
    socket_directory,
    sole_owner,
)
from eventmanager.core.embedded.programs import EmbeddedUnavailable
from eventmanager.core.embedded.server import serving, stop_leftover


@contextmanager
def embedded_postgres(
    directory: Path, *, durable: bool = True, at_its_end: Callable[[], None] | None = None
) -> Iterator[str]:
    """Run PostgreSQL on ``directory`` and yield the DATABASE_URL of its database ``eventmanager``.

    The cluster is made on first use. With ``durable=False``, for tests only, PostgreSQL never waits
    for the disk: data survive the death of any process, but not that of the machine.
    Blocks while starting (about a minute at most) and while stopping. Call it from the main thread:
    then PostgreSQL also stops when this process is killed. Raises ``EmbeddedUnavailable``, also in
    the end if PostgreSQL has ended by itself meanwhile. ``at_its_end`` is then called at once, in a
    thread, to end what goes on in the context.
    """
    if sys.platform == "win32":
        raise EmbeddedUnavailable(
            "The embedded database needs Linux or macOS; "
            "on Windows set DATABASE_URL to a PostgreSQL server."
        )
    with ExitStack() as stack:
        try:
            url = _start(stack, directory.resolve(), durable=durable, at_its_end=at_its_end)
        except (OSError, subprocess.SubprocessError) as error:
            raise EmbeddedUnavailable(
                f"The embedded database cannot use {directory} ({error}); "
                "set DATA_DIR to another directory, or DATABASE_URL to a PostgreSQL server."
            ) from error
        yield url


def running_postgres(directory: Path) -> str | None:
    """Return the DATABASE_URL of the cluster that another process runs on ``directory``, if any.

    Raises ``EmbeddedUnavailable`` where another account's cannot be looked at.
    """
    place = directory.resolve() / "socket"
    try:
        sockets = place.readlink() if place.is_symlink() else place
        # Not exists(), which in newer Pythons is False also for what may not be looked at.
        (sockets / SOCKET).stat()
        return _url(sockets) if is_locked(directory) else None
    except (FileNotFoundError, NotADirectoryError):
        return None
    except PermissionError as error:
        raise EmbeddedUnavailable(
            f"{error.filename} is closed to your account with uid {os.geteuid()}; run this as the "
            "account that runs the server, or set DATA_DIR to another directory."
        ) from None


def _start(
    stack: ExitStack, directory: Path, *, durable: bool, at_its_end: Callable[[], None] | None
) -> str:
    # As root the cluster belongs to another account, which must be able to pass through here.
    directory.mkdir(mode=0o711 if os.geteuid() == 0 else 0o700, parents=True, exist_ok=True)
    cluster = directory / "cluster"
    account = account_for(cluster)
    stack.enter_context(sole_owner(directory))
    refuse_foreign(cluster)
    sockets = stack.enter_context(socket_directory(directory, account))
    log = stack.enter_context(open_log(directory / "postgres.log"))
    launcher = find_launcher(account, [directory, sockets])
    stop_leftover(cluster, launcher)
    if not (cluster / "PG_VERSION").exists():
        make_cluster(cluster, account, launcher, log, durable=durable)
    stack.enter_context(
        serving(cluster, sockets, launcher, log, durable=durable, at_its_end=at_its_end)
    )
    return _url(sockets)


def _url(sockets: Path) -> str:
    return f"postgresql://postgres@/{DATABASE}?host={sockets}&port=5432"
