"""The cluster on disk: whether it is one of ours, and how it is made, whole or not at all."""

import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Final

from eventmanager.core.embedded import programs
from eventmanager.core.embedded.account import Account, Launcher
from eventmanager.core.embedded.files import tail
from eventmanager.core.embedded.programs import MAJOR_VERSION, EmbeddedUnavailable
from eventmanager.core.embedded.server import stop_leftover
from eventmanager.core.files import sync_directory

DATABASE: Final = "eventmanager"


def refuse_foreign(cluster: Path) -> None:
    """Refuse to touch what is no cluster, or one of another major version."""
    if not cluster.exists() or not any(cluster.iterdir()):
        return
    try:
        version = (cluster / "PG_VERSION").read_text().strip()
    except FileNotFoundError:
        raise EmbeddedUnavailable(
            f"{cluster} is not a PostgreSQL cluster; "
            "move it away, or set DATA_DIR to another directory."
        ) from None
    if version != str(MAJOR_VERSION):
        raise EmbeddedUnavailable(
            f"{cluster} was made by PostgreSQL {version}, and this is {MAJOR_VERSION}: start the "
            "eventmanager that made it and take an export, then set DATA_DIR to a new directory "
            "and import it; or set DATABASE_URL to a server of that version."
        )


def make_cluster(
    cluster: Path, account: Account, launcher: Launcher, log: IO[bytes], *, durable: bool
) -> None:
    """Make the cluster and its database beside ``cluster``, then rename it: all or nothing."""
    for abandoned in cluster.parent.glob("cluster.new-*"):
        # An initdb whose owner was killed a moment ago may have a child that still writes there.
        stop_leftover(abandoned, launcher)
        shutil.rmtree(abandoned, ignore_errors=True)
    new = Path(tempfile.mkdtemp(prefix="cluster.new-", dir=cluster.parent))
    try:
        account.give(new)
        _fill_cluster(new, launcher, log, durable=durable)
        new.rename(cluster)
    except BaseException:
        shutil.rmtree(new, ignore_errors=True)
        raise
    if durable:
        sync_directory(cluster.parent)


def _fill_cluster(new: Path, launcher: Launcher, log: IO[bytes], *, durable: bool) -> None:
    for command, text in _steps(new, durable=durable):
        status, _ = launcher.run(command, text=text, output=log)
        if status != 0:
            raise EmbeddedUnavailable(f"The database could not be made; {tail(log)}")


def _steps(new: Path, *, durable: bool) -> Iterator[tuple[list[str | Path], str]]:
    """Yield the commands that make a cluster in ``new``, each with what it reads on its stdin."""
    initdb: list[str | Path] = [programs.binaries() / "initdb", "-D", new]
    options = ["--username=postgres", "--auth=trust", "--no-instructions", "--no-sync"]
    # PostgreSQL's own C.UTF-8 is the same on every system, whatever locales that has.
    options += ["--encoding=UTF8", "--locale=C"]
    options += ["--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
    yield [*initdb, *options], ""
    single = ["--single", "-F", "-c", "exit_on_error=on"]
    postgres = programs.binaries() / "postgres"
    yield [postgres, *single, "-D", new, "template1"], f"CREATE DATABASE {DATABASE};\n"
    if durable:
        # Nothing was synced while it was being made, so this one time is enough. Linux can sync a
        # file system at a stroke, where a thousand files one by one take seconds on a busy disk.
        method = ["--sync-method=syncfs"] if sys.platform == "linux" else []
        yield [*initdb, "--sync-only", *method], ""
