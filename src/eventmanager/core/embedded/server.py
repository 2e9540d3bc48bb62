"""The server process: started, awaited, stopped, and found again after its owner was killed."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Final

from eventmanager.core.embedded import programs
from eventmanager.core.embedded.account import Launcher
from eventmanager.core.embedded.files import tail
from eventmanager.core.embedded.programs import EmbeddedUnavailable

_POLL_SECONDS: Final = 0.02
_READY_SECONDS: Final = 60.0
_WATCH_SECONDS: Final = 0.2
_PATIENCE_SECONDS: Final = 5.0
if sys.platform != "win32":
    # Fast shutdown (clients are cut, everything is written), immediate shutdown, and force; each
    # with the seconds it is given.
    _SHUTDOWN: Final = ((signal.SIGINT, 20.0), (signal.SIGQUIT, 5.0), (signal.SIGKILL, 5.0))

_SETTINGS: Final = {
    "listen_addresses": "",
    "port": "5432",
    "unix_socket_permissions": "0700",
    "max_connections": "200",
    "shared_buffers": "128MB",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "jit": "off",
}
_FORGETFUL: Final = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}


@contextmanager
def serving(
    cluster: Path,
    sockets: Path,
    launcher: Launcher,
    log: IO[bytes],
    *,
    durable: bool,
    at_its_end: Callable[[], None] | None,
) -> Iterator[None]:
    """Run the server until the context ends; it accepts connections when this yields.

    One that ends before that is reported in the end (``EmbeddedUnavailable``), and by calling
    ``at_its_end`` at once, in a thread.
    """
    settings = _SETTINGS | {"unix_socket_directories": str(sockets)}
    if not durable:
        settings |= _FORGETFUL
    options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
    process = launcher.popen(
        [programs.binaries() / "postgres", "-D", cluster, *options],
        stdin=subprocess.DEVNULL,
        output=log,
    )
    unasked = threading.Event()
    try:
        _wait_until_ready(cluster, process, log)
        with _watching(process, unasked, at_its_end):
            yield
    finally:
        _stop(process)
        if unasked.is_set():
            # It takes the place of what came of it, such as the signal that ended us.
            raise EmbeddedUnavailable(
                f"The embedded PostgreSQL has ended by itself ({_how(process)}), and this program "
                f"with it; start it again, what was committed is kept; {tail(log)}"
            )


def stop_leftover(cluster: Path, launcher: Launcher) -> None:
    """Stop the server that an owner killed without warning may have left behind."""
    postmaster = _postmaster_pid(cluster)
    for number, seconds in _SHUTDOWN:
        alive = processes_of(cluster, launcher)
        if not alive:
            break
        # Only the postmaster takes the gentle signals for a shutdown. Its children end with it, but
        # one deep in a query lingers, and PostgreSQL would refuse to start beside it.
        for pid in alive if number == signal.SIGKILL else alive & {postmaster}:
            with suppress(ProcessLookupError):
                os.kill(pid, number)
        _wait_until_gone(cluster, launcher, seconds if postmaster in alive else 0.5)
    if postmaster and _is_taken(postmaster) and not processes_of(cluster, launcher):
        # The pid is a zombie's, or another program's by now. PostgreSQL would take either for a
        # living server.
        (cluster / "postmaster.pid").unlink(missing_ok=True)


# PostgreSQL works in its data directory, and so do its children, which outlive it.
_FIND: Final = (
    'exec 2>/dev/null; for p in /proc/[0-9]*; do [ "$p/cwd" -ef "$1" ] && read -r name <"$p/comm" '
    '&& case $name in postgres*) echo "${p#/proc/}";; esac; done'
)


def processes_of(cluster: Path, launcher: Launcher) -> set[int]:
    """Return the pids of this cluster's PostgreSQL: on Linux all, elsewhere the postmaster's."""
    if Path("/proc/self/cwd").exists():
        # Where another account's process works is hidden even from the root of a container, so the
        # account is asked as well.
        command: list[str | Path] = ["/bin/sh", "-c", _FIND, "sh", cluster]
        views = {Launcher(), launcher}
        answers = [view.run(command, output=subprocess.PIPE)[1] for view in views]
        return {int(pid) for answer in answers for pid in answer.split()}
    postmaster = _postmaster_pid(cluster)
    if postmaster is None:
        return set()
    show = ["/bin/ps", "-ww", "-o", "command=", "-p", str(postmaster)]
    _, command_line = Launcher().run(show, output=subprocess.PIPE)
    return {postmaster} if os.fsencode(f"/postgres -D {cluster} ") in command_line else set()


def _wait_until_ready(cluster: Path, process: subprocess.Popen[bytes], log: IO[bytes]) -> None:
    deadline = time.monotonic() + _READY_SECONDS
    while not _is_ready(cluster, process.pid):
        if process.poll() is not None:
            raise EmbeddedUnavailable(f"PostgreSQL did not start; {tail(log)}")
        if time.monotonic() > deadline:
            raise EmbeddedUnavailable(
                f"PostgreSQL was not ready after {_READY_SECONDS:.0f} seconds; {tail(log)}"
            )
        time.sleep(_POLL_SECONDS)


def _is_ready(cluster: Path, pid: int) -> bool:
    """Say whether the server of that pid accepts connections, as ``pg_ctl --wait`` finds out."""
    match _postmaster_file(cluster):
        # The pid, data directory, start time, port, socket, address, shared memory, status.
        case [owner, _, _, _, _, _, _, status]:
            return owner.strip() == str(pid) and status.strip() == "ready"
    return False


def _postmaster_file(cluster: Path) -> list[str]:
    """Return the lines of ``postmaster.pid``, where a server keeps its pid and its status."""
    try:
        return (cluster / "postmaster.pid").read_text().splitlines()
    except FileNotFoundError:
        return []


def _postmaster_pid(cluster: Path) -> int | None:
    first_line = "".join(_postmaster_file(cluster)[:1]).strip()
    return int(first_line) if first_line.isdecimal() else None


@contextmanager
def _watching(
    process: subprocess.Popen[bytes],
    unasked: threading.Event,
    at_its_end: Callable[[], None] | None,
) -> Iterator[None]:
    """Set ``unasked`` and call ``at_its_end`` if the server ends while the context lasts."""
    over = threading.Event()

    def watch() -> None:
        # It asks now and then instead of waiting, so that it is over before anybody signals the
        # server: one who still waited could free the pid for another program just then.
        while process.poll() is None:
            if over.wait(_WATCH_SECONDS):
                return
        # It was shut down in order. Who stops every process of a service, as systemd does, has
        # stopped us as well, and we have requests to finish first.
        if process.returncode == 0 and over.wait(_PATIENCE_SECONDS):
            return
        unasked.set()
        if at_its_end:
            at_its_end()

    watcher = threading.Thread(target=watch, name="embedded-postgres", daemon=True)
    watcher.start()
    try:
        yield
    finally:
        over.set()
        watcher.join()
        if process.poll():
            unasked.set()


def _how(process: subprocess.Popen[bytes]) -> str:
    if process.returncode < 0:
        return f"killed by {signal.Signals(-process.returncode).name}"
    return f"with status {process.returncode}"


def _stop(process: subprocess.Popen[bytes]) -> None:
    for number, seconds in _SHUTDOWN:
        process.send_signal(number)
        with suppress(subprocess.TimeoutExpired):
            process.wait(seconds)
            return


def _wait_until_gone(cluster: Path, launcher: Launcher, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while processes_of(cluster, launcher) and time.monotonic() < deadline:
        time.sleep(_POLL_SECONDS)


def _is_taken(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
