"""The files beside the cluster: the lock of its one owner, the socket's directory, the log."""

import os
import re
import stat
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Final

from eventmanager.core.embedded.account import Account
from eventmanager.core.embedded.programs import EmbeddedUnavailable

if sys.platform != "win32":
    import fcntl

SOCKET: Final = ".s.PGSQL.5432"
# sun_path has 104 bytes on macOS and 108 on Linux, the final zero included.
_SOCKET_PATH_BYTES: Final = 103
# A path that needs no quoting in a URL, in asyncpg's host list and in unix_socket_directories.
_PLAIN_PATH: Final = re.compile(r"[A-Za-z0-9/._-]+")
_LOG_BYTES: Final = 10 * 1024 * 1024


@contextmanager
def sole_owner(directory: Path) -> Iterator[None]:
    """Hold the lock of ``directory``; the kernel lets go of it however this process ends."""
    # Python opens files close-on-exec: PostgreSQL inherits no lock that could outlive us with it.
    with _open_private(directory / "lock", "a+b") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            owner = lock.read().decode().strip() or "unknown"
            raise EmbeddedUnavailable(
                f"Another eventmanager (pid {owner}) is using {directory}; "
                "stop it, or set DATA_DIR to another directory."
            ) from None
        lock.truncate(0)
        lock.write(f"{os.getpid()}\n".encode())
        lock.flush()
        yield


def is_locked(directory: Path) -> bool:
    """Tell whether a live process owns the cluster."""
    with _open_private(directory / "lock", "a+b") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


@contextmanager
def socket_directory(directory: Path, account: Account) -> Iterator[Path]:
    """Make a directory for the socket whose path is short and plain; remove it in the end."""
    place = directory / "socket"
    _remove_socket_directory(place, account)
    path_bytes = len(os.fsencode(place / SOCKET))
    if path_bytes <= _SOCKET_PATH_BYTES and _PLAIN_PATH.fullmatch(str(place)):
        place.mkdir(mode=0o700)
        sockets = place
    else:
        sockets = _short_directory()
        # The link is the record by which a start after a crash finds the directory to remove.
        place.symlink_to(sockets)
    try:
        account.give(sockets)
        yield sockets
    finally:
        _remove_socket_directory(place, account)


def open_log(path: Path) -> IO[bytes]:
    """Open PostgreSQL's log to append to; one that has grown large is put aside first."""
    if path.exists() and path.stat().st_size > _LOG_BYTES:
        path.replace(path.with_name(f"{path.name}.1"))
    # It is not for everybody: PostgreSQL quotes statements, and so data, in its errors.
    return _open_private(path, "ab")


def tail(log: IO[bytes]) -> str:
    """Return the last lines of the log, for an error message."""
    lines = Path(log.name).read_text(errors="replace").splitlines()[-12:]
    return f"the end of {log.name} is:\n" + "\n".join(f"  {line}" for line in lines)


def _short_directory() -> Path:
    for base in (tempfile.gettempdir(), "/tmp"):  # noqa: S108 - mkdtemp makes it private
        if len(os.fsencode(base)) <= _SOCKET_PATH_BYTES - 40 and _PLAIN_PATH.fullmatch(base):
            return Path(tempfile.mkdtemp(prefix="eventmanager-", dir=base))
    raise EmbeddedUnavailable("A Unix socket needs a short path; set TMPDIR to one.")


def _remove_socket_directory(place: Path, account: Account) -> None:
    """Remove what an earlier start left at ``place``, and nothing that could be somebody else's."""
    target = place.readlink() if place.is_symlink() else place
    # A link may be older than the last cleaning of /tmp, and its target by now another's directory.
    with suppress(FileNotFoundError):
        status = target.lstat()
        if stat.S_ISDIR(status.st_mode) and status.st_uid in (account.uid, os.geteuid()):
            for name in (SOCKET, f"{SOCKET}.lock"):
                (target / name).unlink(missing_ok=True)
            with suppress(OSError):
                target.rmdir()
    if place.is_symlink():
        place.unlink()


def _open_private(path: Path, mode: str) -> IO[bytes]:
    def opener(name: str, flags: int) -> int:
        return os.open(name, flags, 0o600)

    return open(path, mode, opener=opener)
