"""The product as its users run it: real processes, real signals, real sockets on loopback.

Every wait is bounded, and only processes that were started here are ever ended.
"""

import itertools
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import httpx
import pytest

from tests.conftest import PASSWORD

PROGRAM = Path(sys.executable).with_name("eventmanager")
ACCESS_SECRET = "an-access-secret-of-the-e2e-tests-only"
REFRESH_SECRET = "a-refresh-secret-of-the-e2e-tests-only"
EVERY_WAY = bool(os.environ.get("E2E_EVERY_WAY"))
"""Whether servers are tried with one worker and with three too, and chaos without Redis too."""
SEVERAL = 3 if EVERY_WAY else 2
"""How many worker processes are many: each takes two seconds of CPU to start."""
START_SECONDS = 45.0
STOP_SECONDS = 30.0

REFUSAL_SECONDS = 10.0

needs_proc = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc")
_numbers = itertools.count(1)
_API = re.compile(r"^API\s+(http://\S+)", re.MULTILINE)


@dataclass(frozen=True)
class Pid:
    """A process, told apart from a later one that was given the same number."""

    number: int
    born: str

    def kill(self) -> None:
        """End it at once, if it is still the same process."""
        if self in processes():
            with suppress(ProcessLookupError):
                os.kill(self.number, signal.SIGKILL)

    def cpu_s(self) -> float:
        """Return the CPU seconds that all its threads have used."""
        fields = _stat(self.number)
        assert fields is not None
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@dataclass
class Server:
    """A running `eventmanager serve`, its directory and what it has printed."""

    process: "subprocess.Popen[bytes]"
    directory: Path
    base_url: str = ""
    started_s: float = 0.0
    family: set[Pid] = field(default_factory=set)

    @property
    def stdout(self) -> str:
        """What it has printed so far."""
        return (self.directory / "stdout").read_text()

    @property
    def stderr(self) -> str:
        """What it has complained about so far."""
        return (self.directory / "stderr").read_text()

    @property
    def logs(self) -> str:
        """All that is in its log directory."""
        paths = sorted((self.directory / "logs").glob("*.log*"))
        return "".join(path.read_text(errors="replace") for path in paths)

    @property
    def port(self) -> int:
        """Where it listens."""
        port = urlsplit(self.base_url).port
        assert port
        return port

    def client(self, token: str | None = None) -> httpx.Client:
        """Return a client that asks no proxy, signed in with `token`."""
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        # To load the certificate authorities takes 40 ms of CPU, and nothing here is TLS.
        return httpx.Client(
            base_url=self.base_url, headers=headers, timeout=20, trust_env=False, verify=False
        )

    def workers(self) -> set[Pid]:
        """Return the processes that answer requests when there are several."""
        return {pid for pid in descendants(self.process.pid) if b"spawn_main" in _command(pid)}

    def send(self, number: signal.Signals) -> None:
        """Signal the main process alone, after noting all that it has started."""
        self.family |= descendants(self.process.pid)
        self.process.send_signal(number)

    def ended(self, seconds: float = STOP_SECONDS) -> int:
        """Wait for the end of the main process and return its exit status."""
        return self.process.wait(seconds)

    def left_over(self) -> set[Pid]:
        """Return the processes of this server that still run."""
        alive = processes()
        of_the_data = {
            pid for pid in alive if os.fsencode(self.directory / "data") in _command(pid)
        }
        return (self.family & alive) | of_the_data


def _stat(number: int) -> list[str] | None:
    """Return the fields of /proc/<pid>/stat from the state on; None when it is gone."""
    try:
        text = Path(f"/proc/{number}/stat").read_text()
    except OSError:
        return None
    return text.rpartition(")")[2].split()


def _command(pid: Pid) -> bytes:
    try:
        return Path(f"/proc/{pid.number}/cmdline").read_bytes()
    except OSError:
        return b""


def pid_of(number: int) -> Pid:
    """Return the process that has this number now."""
    fields = _stat(number)
    assert fields is not None, f"process {number} is gone"
    return Pid(number, fields[19])


def _table() -> dict[Pid, int]:
    """Return every live process with its parent's number; zombies do not count."""
    if not Path("/proc/self/stat").exists():
        return {}
    rows = ((int(p.name), _stat(int(p.name))) for p in Path("/proc").glob("[0-9]*"))
    return {Pid(n, f[19]): int(f[1]) for n, f in rows if f is not None and f[0] not in "ZX"}


def processes() -> set[Pid]:
    """Return every live process; none where there is no /proc."""
    return set(_table())


def descendants(number: int) -> set[Pid]:
    """Return the live processes that `number` started, and those that they started."""
    table = _table()
    found: set[Pid] = set()
    parents = {number}
    while parents:
        children = {pid for pid, parent in table.items() if parent in parents} - found
        found |= children
        parents = {pid.number for pid in children}
    return found


def wait_for(condition: Callable[[], bool], *, seconds: float = 15, what: str = "") -> None:
    """Wait until the condition holds, and fail after some seconds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"waited {seconds:.0f} s in vain {what}"
        time.sleep(0.02)


def environment(directory: Path, settings: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of a user who has set nothing but these settings."""
    (directory / "home").mkdir(parents=True, exist_ok=True)
    (directory / "cwd").mkdir(exist_ok=True)
    base = {
        "PATH": os.environ["PATH"],
        "HOME": str(directory / "home"),
        "DATA_DIR": str(directory / "data"),
        "LOG_DIR": str(directory / "logs"),
        "RATE_LIMIT_ENABLED": "false",
    }
    if settings.get("DATABASE_URL"):
        base |= {"ACCESS_TOKEN_SECRET": ACCESS_SECRET, "REFRESH_TOKEN_SECRET": REFRESH_SECRET}
    return {**base, **settings}


def run(
    directory: Path, *arguments: str, stdin: str = "", **settings: str
) -> "subprocess.CompletedProcess[str]":
    """Run the program to its end, which is soon."""
    return subprocess.run(
        [PROGRAM, *arguments],
        input=stdin,
        capture_output=True,
        text=True,
        env=environment(directory, settings),
        cwd=directory / "cwd",
        timeout=REFUSAL_SECONDS,
        start_new_session=True,
        check=False,
    )


def refusal(directory: Path, *arguments: str, **settings: str) -> str:
    """Return the one line with which a start is refused."""
    result = run(directory, "serve", *arguments, **settings)
    assert result.returncode not in (0, -signal.SIGKILL)
    assert result.stdout == ""
    lines = result.stderr.splitlines()
    assert len(lines) == 1, result.stderr
    return lines[0]


@contextmanager
def launched(
    directory: Path, *, port: int = 0, workers: int = 1, **settings: str
) -> Iterator[Server]:
    """Start a server in a process group of its own, wait for nothing, and leave nothing behind."""
    env = environment(directory, settings)
    command = [str(PROGRAM), "serve", "--port", str(port), "--workers", str(workers)]
    with (directory / "stdout").open("wb") as out, (directory / "stderr").open("wb") as err:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
            env=env,
            cwd=directory / "cwd",
            start_new_session=True,
        )
    server = Server(process, directory)
    try:
        yield server
    finally:
        server.family |= descendants(process.pid)
        if process.poll() is None:
            process.kill()
        process.wait(STOP_SECONDS)
        for pid in server.left_over():
            pid.kill()


@contextmanager
def serving(
    directory: Path,
    *,
    port: int = 0,
    workers: int = 1,
    stop: signal.Signals = signal.SIGINT,
    **settings: str,
) -> Iterator[Server]:
    """Serve until the block ends, then stop with a signal: cleanly, and leaving no process.

    A block that ended the server itself must have waited for that.
    """
    began = time.monotonic()
    with launched(directory, port=port, workers=workers, **settings) as server:
        wait_until_ready(server)
        server.started_s = time.monotonic() - began
        yield server
        if server.process.poll() is None:
            server.send(stop)
            assert server.ended() == 0, server.stderr
            assert server.stdout.rstrip().endswith("Stopped."), server.stdout
            assert server.stderr == ""
            assert_nothing_left(server)


def assert_nothing_left(server: Server) -> None:
    """Fail unless all that the server started is gone, or ends with it at once."""
    wait_for(lambda: not server.left_over(), seconds=5, what=f"for the end of {server.family}")


def wait_until_ready(server: Server) -> None:
    """Wait until the banner is there and `GET /health/ready` answers 200."""

    def ready(client: httpx.Client) -> bool:
        assert server.process.poll() is None, f"it ended: {server.stderr}"
        found = _API.search(server.stdout)
        if found is None:
            return False
        server.base_url = found[1]
        try:
            return client.get(f"{found[1]}/health/ready").is_success
        except httpx.TransportError:
            return False

    with httpx.Client(timeout=5, trust_env=False, verify=False) as client:
        wait_for(lambda: ready(client), seconds=START_SECONDS, what=f"for {server.directory}")


Serve = Callable[..., Server]


@pytest.fixture
def serve(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serve]:
    """Starts servers, each in a directory of its own, and stops them after the test."""
    with ExitStack() as stack:

        def start(**kwargs: object) -> Server:
            directory = kwargs.pop("directory", None) or tmp_path_factory.mktemp("e2e")
            return stack.enter_context(serving(directory, **kwargs))  # type: ignore[arg-type]

        yield start


def named(database_url: str, name: str) -> str:
    """Return the URL of another database of the same server."""
    return urlunsplit(urlsplit(database_url)._replace(path=f"/{name}"))


async def make_database(database_url: str) -> str:
    """Make an empty database beside the suite's own and return its URL."""
    name = f"e2e_{os.getpid()}_{next(_numbers)}"
    connection = await asyncpg.connect(database_url, timeout=10)
    try:
        await connection.execute(f"CREATE DATABASE {name}")
    finally:
        await connection.close()
    return named(database_url, name)


@pytest.fixture(scope="module")
async def fresh_database(database_url: str) -> str:
    """An empty database for the tests of one module."""
    return await make_database(database_url)


def sign_up(client: httpx.Client, name: str | None = None) -> str:
    """Register a user, sign the client in as them and return their access token."""
    name = name or f"e2e{next(_numbers)}.{os.getpid()}"
    answer = client.post(
        "/api/auth/register",
        json={"username": name, "email": f"{name}@example.com", "password": PASSWORD},
    )
    assert answer.status_code == 201, answer.text
    token: str = answer.json()["access_token"]
    client.headers["Authorization"] = f"Bearer {token}"
    return token
