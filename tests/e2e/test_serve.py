"""`eventmanager serve`: it starts, stops, refuses, survives and recovers as an operator expects."""

import asyncio
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, suppress
from pathlib import Path
from uuid import uuid4

import asyncpg
import httpx
import pytest

from eventmanager.core.embedded import embedded_postgres
from tests.conftest import PASSWORD, timed
from tests.e2e.conftest import (
    EVERY_WAY,
    PROGRAM,
    SEVERAL,
    START_SECONDS,
    Pid,
    Server,
    assert_nothing_left,
    descendants,
    environment,
    launched,
    make_database,
    needs_proc,
    pid_of,
    processes,
    refusal,
    run,
    serving,
    sign_up,
    wait_for,
    wait_until_ready,
)

WORKERS = [1, 2] if EVERY_WAY else [2]
MEETING = {
    "title": "Kept",
    "start_time": "2027-03-01T09:00:00Z",
    "end_time": "2027-03-01T10:00:00Z",
}


def say(capsys: pytest.CaptureFixture[str], line: str) -> None:
    """Print a measurement where whoever runs the tests sees it."""
    with capsys.disabled():
        sys.stdout.write(f"\n  [{line}]")
        sys.stdout.flush()


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of a server that has run and is stopped, to be copied."""
    directory = tmp_path_factory.mktemp("made")
    subprocess.run(
        [PROGRAM, "migrate"],
        stdout=subprocess.DEVNULL,
        env=environment(directory, {}),
        cwd=directory / "cwd",
        timeout=START_SECONDS,
        check=True,
    )
    return directory


@pytest.fixture
def directory(made: Path, tmp_path: Path) -> Iterator[Path]:
    """A stopped server's directory of the test's own: a start on it makes no new cluster."""
    subprocess.run(["cp", "-a", made / "data", tmp_path / "data"], check=True)
    yield tmp_path
    shutil.rmtree(tmp_path / "data")


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory, fresh_database: str) -> Iterator[Server]:
    """A server with several workers, on the database that others of this module use too."""
    directory = tmp_path_factory.mktemp("shared")
    with serving(directory, workers=SEVERAL, DATABASE_URL=fresh_database) as server:
        yield server


@pytest.fixture(scope="module")
def restarted(made: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server on a database of its own that was there before."""
    directory = tmp_path_factory.mktemp("restarted")
    subprocess.run(["cp", "-a", made / "data", directory / "data"], check=True)
    with serving(directory) as server:
        yield server
    shutil.rmtree(directory / "data")


# --- Start and stop -------------------------------------------------------------------------------


@needs_proc
def test_the_banner_tells_the_truth_and_ctrl_c_stops_all_of_it(tmp_path: Path) -> None:
    """A first start needs nothing but a directory, and leaves nothing anywhere else."""
    with serving(tmp_path, stop=signal.SIGINT) as server:
        banner = dict(re.findall(r"^(\w+) {2,}(\S+)", server.stdout, re.MULTILINE))
        assert banner["Data"] == str(tmp_path / "data" / "postgres")
        assert banner["Logs"] == str(tmp_path / "logs")
        with server.client() as client:
            assert client.get(banner["API"] + "/health").json()["db"] == "ok"
            assert "<html" in client.get(banner["Docs"]).text
        assert any(pid for pid in server.left_over()), "the database runs while it serves"
    assert not any((tmp_path / "home").iterdir())
    assert not any((tmp_path / "cwd").iterdir())
    assert not (tmp_path / "data" / "postgres" / "socket").exists()


def test_a_later_start_is_quick(restarted: Server, capsys: pytest.CaptureFixture[str]) -> None:
    """Restarts are part of every upgrade, so nobody may have to wait for them."""
    say(capsys, f"a later start until /health/ready: {restarted.started_s:.2f} s (aim: 4)")
    assert restarted.started_s < 10


@needs_proc
@pytest.mark.parametrize(
    ("workers", "number"),
    [*((n, signal.SIGINT) for n in WORKERS), (2, signal.SIGTERM)],
)
def test_a_signal_to_all_its_processes_stops_it_cleanly(
    directory: Path, workers: int, number: signal.Signals
) -> None:
    """Terminals signal the whole group, and supervisors too: it is the same as to the parent."""
    with serving(directory, workers=workers) as server:
        server.send(number)
        os.killpg(server.process.pid, number)
        assert server.ended() == 0, server.stderr
        assert server.stdout.rstrip().endswith("Stopped.")
        assert "Traceback" not in server.stderr
        assert_nothing_left(server)


@needs_proc
@pytest.mark.parametrize("seconds", [0, 0.15, 0.4])
def test_ctrl_c_during_the_start_leaves_nothing_behind(directory: Path, seconds: float) -> None:
    """Whoever mistyped the port stops it at once, at any point of the start."""
    with launched(directory) as server:
        wait_for((directory / "data" / "postgres" / "socket").exists)
        time.sleep(seconds)
        server.send(signal.SIGINT)
        server.ended(10)
        assert "Traceback" not in server.stderr
        assert_nothing_left(server)


@needs_proc
def test_an_impatient_second_ctrl_c_stops_the_database_too(directory: Path) -> None:
    """Forcing the API out while a client holds a request open must not orphan PostgreSQL."""
    with serving(directory) as server, closing(half_sent(server)):
        server.send(signal.SIGINT)
        time.sleep(0.5)
        assert server.process.poll() is None
        server.process.send_signal(signal.SIGINT)
        server.ended()
        assert "Traceback" not in server.stderr
        assert_nothing_left(server)


def half_sent(server: Server) -> socket.socket:
    """Return a connection whose registration has arrived but for its last byte."""
    body = json.dumps(registration("half")).encode()
    connection = socket.create_connection(("127.0.0.1", server.port), timeout=20)
    connection.sendall(
        b"POST /api/auth/register HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
        b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body)
    )
    connection.sendall(body[:-1])
    time.sleep(0.3)
    return connection


def registration(name: str, password: str = PASSWORD) -> dict[str, str]:
    """Return the body of a registration."""
    return {"username": name, "email": f"{name}@example.com", "password": password}


# --- Killed ---------------------------------------------------------------------------------------


@needs_proc
def test_what_was_acknowledged_survives_kill_9_of_everything(directory: Path) -> None:
    """A 201 is a promise, whatever happens in the next millisecond."""
    with serving(directory) as server, server.client() as client:
        token = sign_up(client)
        created = [client.post("/api/events", json=shifted(hours)) for hours in range(20)]
        server.family |= server.left_over()
        for pid in server.family:
            pid.kill()
        os.killpg(server.process.pid, signal.SIGKILL)
        server.ended()
        assert {answer.status_code for answer in created} == {201}
    with serving(directory) as server, server.client(token) as client:
        found = client.get("/api/events", params={"limit": 200}).json()
        assert found == [answer.json() for answer in created]
        assert client.post("/api/events", json=shifted(0)).status_code == 409


def shifted(hours: int) -> dict[str, str]:
    """Return an hour's meeting some hours later."""
    day, hour = divmod(hours, 24)
    start = f"2027-03-{day + 1:02}T{hour:02}"
    return MEETING | {"start_time": f"{start}:00:00Z", "end_time": f"{start}:59:59Z"}


@needs_proc
@pytest.mark.parametrize("workers", WORKERS)
def test_kill_9_of_the_main_process_takes_the_rest_down(directory: Path, workers: int) -> None:
    """What the out-of-memory killer leaves must not hold the port or the data."""
    with serving(directory, workers=workers) as server:
        port = server.port
        server.send(signal.SIGKILL)
        server.ended()
        assert_nothing_left(server)
    with serving(directory, port=port):
        pass


@needs_proc
@pytest.mark.parametrize("workers", [1, 2])
def test_it_ends_with_its_postgres_and_says_so(directory: Path, workers: int) -> None:
    """A server without its database would answer 503 for ever; one that ends is started again."""
    with serving(directory, workers=workers) as server, server.client() as client:
        token = sign_up(client)
        server.family |= descendants(server.process.pid)
        postmaster_of(directory).kill()
        assert server.ended(15) == 1
        complaint, *log = server.stderr.splitlines()
        assert complaint.startswith("The embedded PostgreSQL has ended by itself (killed by SIGKIL")
        assert complaint.endswith(f"the end of {directory}/data/postgres/postgres.log is:")
        assert log
        assert "Stopped." not in server.stdout
        assert_nothing_left(server)
    with serving(directory) as server, server.client(token) as client:
        assert client.get("/api/me").status_code == 200


def postmaster_of(directory: Path) -> Pid:
    """Return the main process of a server's embedded PostgreSQL."""
    noted = directory / "data" / "postgres" / "cluster" / "postmaster.pid"
    return pid_of(int(noted.read_text().splitlines()[0]))


@needs_proc
@pytest.mark.parametrize("workers", [1, 2])
def test_a_supervisor_that_stops_every_process_is_no_alarm(directory: Path, workers: int) -> None:
    """As systemd does: PostgreSQL, which has a session of its own, is then told to stop as well."""
    with serving(directory, workers=workers) as server:
        server.family |= descendants(server.process.pid)
        server.send(signal.SIGTERM)
        for pid in server.family:
            with suppress(ProcessLookupError):
                os.kill(pid.number, signal.SIGTERM)
        assert server.ended() == 0, server.stderr
        assert server.stdout.rstrip().endswith("Stopped.")
        assert server.stderr == ""
        assert_nothing_left(server)


# --- Refused --------------------------------------------------------------------------------------


def test_a_second_server_on_the_same_data_is_refused(restarted: Server) -> None:
    """Two owners of one cluster would destroy it."""
    line = refusal(restarted.directory, "--port", "0")
    assert f"Another eventmanager (pid {restarted.process.pid}) is using" in line
    assert "DATA_DIR" in line
    with restarted.client() as client:
        assert client.get("/health").json()["db"] == "ok"


@needs_proc
def test_a_port_that_is_taken_is_named(directory: Path, fresh_database: str) -> None:
    """The most frequent mistake of all gets an answer that can be acted on."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        for settings in ({}, {"DATABASE_URL": fresh_database}):
            line = refusal(directory, "--port", str(port), **settings)
            assert f"Cannot listen on 127.0.0.1:{port}" in line
            assert "in use" in line
    cluster = os.fsencode(directory / "data")
    assert not [pid for pid in processes() if cluster in command(pid)]


def command(pid: Pid) -> bytes:
    """Return the command line of a process, empty when it is gone."""
    try:
        return Path(f"/proc/{pid.number}/cmdline").read_bytes()
    except OSError:
        return b""


# --- Several processes ----------------------------------------------------------------------------


async def test_servers_that_start_at_once_migrate_once(tmp_path: Path, database_url: str) -> None:
    """A deployment of several replicas starts them together on an empty database."""
    url = await make_database(database_url)

    def start_all() -> None:
        with (
            launched(tmp_path / "a", DATABASE_URL=url) as a,
            launched(tmp_path / "b", DATABASE_URL=url) as b,
        ):
            for server in (a, b):
                wait_until_ready(server)
                assert server.stderr == ""

    await asyncio.to_thread(start_all)
    connection = await asyncpg.connect(url, timeout=10)
    try:
        assert await connection.fetchval("SELECT count(*) FROM alembic_version") == 1
    finally:
        await connection.close()


@needs_proc
def test_every_worker_serves(shared: Server) -> None:
    """`--workers 2` is twice the processor time, or it is nothing."""
    workers = shared.workers()
    assert len(workers) == SEVERAL
    idle = {pid: sockets_of(pid) for pid in workers}
    held: list[socket.socket] = []
    try:

        def all_serve() -> bool:
            held.extend(
                socket.create_connection(("127.0.0.1", shared.port), timeout=5) for _ in range(30)
            )
            time.sleep(0.1)
            return all(sockets_of(pid) > idle[pid] for pid in workers)

        wait_for(all_serve)
    finally:
        for connection in held:
            connection.close()


def sockets_of(pid: Pid) -> int:
    """Return how many sockets a process has open."""
    count = 0
    for link in Path(f"/proc/{pid.number}/fd").iterdir():
        # What was closed since they were listed is not open.
        with suppress(FileNotFoundError):
            count += "socket:" in str(link.readlink())
    return count


@timed
@pytest.mark.parametrize("how", ["ended", "disabled"])
def test_who_is_out_is_out_of_every_worker_within_a_second(
    shared: Server, fresh_database: str, capsys: pytest.CaptureFixture[str], how: str
) -> None:
    """A stolen token must not live on in the memory of the other processes."""
    with shared.client() as thief, shared.client() as owner:
        name = f"out{uuid4().hex[:8]}"
        token = sign_up(thief, name)
        credentials = {"username": name, "password": PASSWORD}
        if how == "disabled":
            credentials["username"] = f"admin{uuid4().hex[:8]}"
            admin = [credentials["username"], f"{credentials['username']}@example.com"]
            made = run(
                shared.directory / "cli",
                *("user", "create", *admin, "--admin", "--password-stdin"),
                stdin=PASSWORD + "\n",
                DATABASE_URL=fresh_database,
            )
            assert made.returncode == 0, made.stderr
        signed_in = owner.post("/api/auth/login", json=credentials).json()
        owner.headers["Authorization"] = f"Bearer {signed_in['access_token']}"
        user_id = thief.get("/api/me").json()["id"]
        accepted: list[float] = []
        refused: list[float] = []
        stop = threading.Event()

        def steal() -> None:
            while not stop.is_set():
                began = time.monotonic()
                with shared.client(token) as fresh:
                    status = fresh.get("/api/me").status_code
                (accepted if status == 200 else refused).append(began)

        threads = [threading.Thread(target=steal) for _ in range(3)]
        for thread in threads:
            thread.start()
        time.sleep(0.6)
        if how == "disabled":
            answer = owner.patch(f"/api/admin/users/{user_id}", json={"is_active": False})
            assert answer.status_code == 200, answer.text
        else:
            sessions = owner.get("/api/auth/sessions").json()
            [other] = [session["id"] for session in sessions if not session["current"]]
            assert owner.delete(f"/api/auth/sessions/{other}").status_code == 204
        over = time.monotonic()
        time.sleep(1.6)
        stop.set()
        for thread in threads:
            thread.join()
        late = max(accepted) - over
        say(capsys, f"{how}: last let in {late:+.2f} s after, of {len(accepted) + len(refused)}")
        assert late < 1
        assert [began for began in refused if began > over + 1]
        assert min(refused) > over - 0.5


@needs_proc
def test_a_killed_worker_is_replaced(shared: Server) -> None:
    """One crash costs its own requests and nothing else."""
    before = shared.workers()
    assert len(before) == SEVERAL
    next(iter(before)).kill()
    wait_for(lambda: len(shared.workers()) == SEVERAL and shared.workers() != before)
    wait_until_ready(shared)


# --- The database goes away -----------------------------------------------------------------------


@pytest.mark.parametrize("workers", WORKERS)
def test_it_says_so_while_the_database_is_away_and_recovers(
    tmp_path: Path, workers: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """Load balancers, supervisors and clients each learn what they need, and nobody restarts it."""
    place = Path(tempfile.mkdtemp(prefix="em-", dir="/tmp"))
    if os.geteuid() == 0:
        place.chmod(0o711)
    secret = "a-database-password"
    try:
        with ExitStack() as stack:
            with embedded_postgres(place / "pg", durable=False) as trusting:
                url = trusting.replace("postgres@", f"postgres:{secret}@")
                server = stack.enter_context(
                    serving(tmp_path, workers=workers, DATABASE_URL=url, LOG_LEVEL="DEBUG")
                )
                with server.client() as client:
                    token = sign_up(client, "waiting")
                    assert client.post("/api/events", json=MEETING).status_code == 201
            time.sleep(0.6)
            for _ in range(3 * workers):
                with server.client(token) as client:
                    judge_away(client)
            if workers > 1:
                judge_replacements(server, token)
            with embedded_postgres(place / "pg", durable=False) as again:
                assert again == trusting
                judge_recovery(server, token, capsys)
            assert secret not in server.logs + server.stdout + server.stderr
    finally:
        shutil.rmtree(place)


def judge_away(client: httpx.Client) -> None:
    """Fail unless every answer is the right one for a server without its database."""
    for answer in away(client):
        assert answer.status_code == 503, answer.text
        assert answer.headers["Content-Type"] == "application/problem+json"
        assert int(answer.headers["Retry-After"]) > 0
        assert answer.json()["code"] == "unavailable"
    for path in ("/health", "/health/ready"):
        answer = client.get(path)
        assert (answer.status_code, answer.json()["db"]) == (503, "unavailable")
    assert client.get("/health/live").status_code == 200


def judge_replacements(server: Server, token: str) -> None:
    """Fail unless workers that die meanwhile are replaced, and the new ones say the same."""
    for worker in server.workers():
        worker.kill()

    def answers() -> bool:
        assert server.process.poll() is None, server.logs
        with suppress(httpx.TransportError), server.client() as client:
            return client.get("/health/live").is_success
        return False

    wait_for(answers, seconds=30)
    with server.client(token) as client:
        judge_away(client)


def judge_recovery(server: Server, token: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Fail unless the server finds its database again by itself, with all that was in it."""
    with server.client(token) as client:
        back = time.monotonic()
        wait_for(lambda: client.get("/api/events").status_code == 200, seconds=10)
        say(capsys, f"recovered {time.monotonic() - back:.2f} s after the database")
        assert client.get("/health").json()["db"] == "ok"
        assert [event["title"] for event in client.get("/api/events").json()] == ["Kept"]
    statuses = set()
    for _ in range(20):
        with server.client(token) as fresh:
            statuses.add(fresh.get("/api/events").status_code)
    assert statuses == {200}


def away(client: httpx.Client) -> Iterator[httpx.Response]:
    """Yield the answers to requests that need the database."""
    window = {"start": "2027-01-01T00:00:00Z", "end": "2028-01-01T00:00:00Z"}
    yield client.get("/api/events")
    yield client.get("/api/occurrences", params=window)
    yield client.post("/api/events", json=MEETING)
    yield client.post("/api/auth/login", json={"username": "waiting", "password": PASSWORD})
    yield client.post("/api/auth/register", json=registration(f"new{uuid4().hex[:8]}"))


@timed
@needs_proc
def test_a_database_that_hangs_does_not_hang_the_health_checks(restarted: Server) -> None:
    """A frozen disk or a paused machine answers nothing, not even a refusal."""
    with restarted.client() as client:
        token = sign_up(client)
        frozen = descendants(restarted.process.pid)
        try:
            for pid in frozen:
                os.kill(pid.number, signal.SIGSTOP)
            began = time.monotonic()
            assert client.get("/health/live").status_code == 200
            assert time.monotonic() - began < 1
            assert client.get("/health/ready").status_code == 503
            assert time.monotonic() - began < 4
        finally:
            for pid in frozen:
                os.kill(pid.number, signal.SIGCONT)
        with restarted.client(token) as again:
            wait_for(lambda: again.get("/api/me").status_code == 200, seconds=10)


# --- Draining -------------------------------------------------------------------------------------


@pytest.mark.parametrize("workers", WORKERS)
def test_sigterm_finishes_the_requests_it_has_and_takes_no_new_ones(
    tmp_path: Path, fresh_database: str, workers: int
) -> None:
    """A deployment must not lose a request that a client has begun to send."""
    with serving(tmp_path, workers=workers, DATABASE_URL=fresh_database) as server:
        with closing(half_sent(server)) as connection:
            server.send(signal.SIGTERM)
            time.sleep(1.2)
            assert server.process.poll() is None
            with (
                pytest.raises(OSError, match="refused"),
                closing(socket.create_connection(("127.0.0.1", server.port), timeout=5)),
            ):
                pass
            connection.sendall(b"}")
            answer = b"".join(iter(lambda: connection.recv(65536), b""))
        assert answer.startswith((b"HTTP/1.1 201", b"HTTP/1.1 409")), answer
        assert server.ended() == 0
        assert_nothing_left(server)
        assert "Traceback" not in server.logs


def test_sigterm_under_load_does_what_it_answers_and_no_more(
    tmp_path: Path, fresh_database: str, shared: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each answer is true afterwards, and what got no answer was not done."""
    answered: list[str] = []
    unanswered: list[str] = []
    with serving(tmp_path, workers=2, DATABASE_URL=fresh_database) as server:
        with server.client() as client:
            token = sign_up(client)
        titles = iter(range(100_000))

        def load() -> None:
            while True:
                title = f"event {next(titles)}"
                body = {**MEETING, "title": title, "transparency": "transparent"}
                with server.client(token) as fresh:
                    try:
                        answer = fresh.post("/api/events", json=body)
                    except httpx.ConnectError:
                        return
                    except httpx.TransportError:
                        unanswered.append(title)
                        return
                    assert answer.status_code == 201, answer.text
                    answered.append(title)

        threads = [threading.Thread(target=load) for _ in range(8)]
        for thread in threads:
            thread.start()
        time.sleep(1)
        server.send(signal.SIGTERM)
        for thread in threads:
            thread.join()
        assert server.ended() == 0
    say(capsys, f"SIGTERM under load: {len(answered)} answered, {len(unanswered)} cut off")
    with shared.client(token) as client:
        kept: set[str] = set()
        page = "/api/events?limit=200"
        while page:
            listed = client.get(page)
            kept |= {event["title"] for event in listed.json()}
            page = listed.links.get("next", {}).get("url", "")
    assert kept == set(answered)


# --- Secrets --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("stdout", "level"), [*([("false", "INFO")] if EVERY_WAY else []), ("true", "DEBUG")]
)
def test_no_secret_is_written_anywhere(directory: Path, stdout: str, level: str) -> None:
    """Logs are shipped, shown and kept: a password or token in them is one given away."""
    secrets: list[str] = []
    with serving(directory, LOG_STDOUT=stdout, LOG_LEVEL=level) as server:
        with server.client() as client:
            use_it_all(client, secrets)
        server.send(signal.SIGINT)
        assert server.ended() == 0
        written = server.logs + server.stdout + server.stderr
        written += (directory / "data" / "postgres" / "postgres.log").read_text()
    kept = json.loads((directory / "data" / "secrets.json").read_text())
    secrets += kept.values()
    assert "/api/auth/login" in written
    assert len(secrets) > 10
    for secret in secrets:
        assert secret not in written


def test_damaged_secrets_are_one_line_and_without_them_sessions_go_on(directory: Path) -> None:
    """What the line says is lost is what is lost: access tokens, and nothing else."""
    kept = directory / "data" / "secrets.json"
    with serving(directory) as server, server.client() as client:
        access = sign_up(client)
        refresh = client.cookies["refresh_token"]
    whole = kept.read_bytes()
    kept.write_bytes(b"")
    line = refusal(directory, "--port", "0")
    assert line.startswith(f"{kept} is damaged; ")
    checked = run(directory, "doctor", COLUMNS="600")
    assert checked.returncode == 1
    assert line in checked.stdout
    kept.unlink()
    with serving(directory) as server, server.client(access) as client:
        assert kept.read_bytes() not in (b"", whole)
        assert client.get("/api/me").status_code == 401
        renewed = client.post("/api/auth/refresh", headers={"Cookie": f"refresh_token={refresh}"})
        assert renewed.status_code == 200
        bearer = {"Authorization": f"Bearer {renewed.json()['access_token']}"}
        assert client.get("/api/me", headers=bearer).status_code == 200


def use_it_all(client: httpx.Client, secrets: list[str]) -> None:
    """Sign up, in and out, well and badly; note every secret that went over the wire."""
    password, other, typed_as_name = (uuid4().hex for _ in range(3))
    secrets += [password, other, typed_as_name]
    client.cookies.jar.clear()
    new = registration("careless", password)

    def note(answer: httpx.Response) -> httpx.Response:
        for header in answer.headers.get_list("set-cookie"):
            value = header.partition("=")[2].partition(";")[0].strip('"')
            secrets.extend([value] if len(value) > 10 else [])
        body = answer.json() if answer.content and answer.status_code < 300 else {}
        secrets.extend(
            body[name]
            for name in ("access_token", "refresh_token")
            if name in body and " " not in body[name]
        )
        return answer

    note(client.post("/api/auth/register", json=new))
    note(client.post("/api/auth/register", json=new))
    client.post("/api/auth/register", json=new | {"email": "nowhere", "role": "Admin"})
    client.post("/api/auth/register", content=json.dumps(new)[:-3])
    client.post("/api/auth/login", json={"username": "careless", "password": other})
    client.post("/api/auth/login", json={"username": typed_as_name, "password": password + "\0"})
    signed_in = note(
        client.post("/api/auth/login", json={"username": "careless", "password": password})
    )
    refresh = secrets[-2]
    cookie = {"Cookie": f"refresh_token={refresh}"}
    renewed = note(client.post("/api/auth/refresh", headers=cookie))
    assert renewed.status_code == 200, renewed.text
    form = {"grant_type": "password", "username": "careless", "password": password}
    granted = note(client.post("/api/auth/token", data=form))
    note(client.post("/api/auth/token", data=form | {"password": other}))
    note(
        client.post(
            "/api/auth/token",
            data={
                "grant_type": "refresh_token",
                "refresh_token": granted.json()["refresh_token"],
            },
        )
    )
    token = signed_in.json()["access_token"]
    client.get("/api/me", params={"access_token": token})
    client.get("/api/me", headers={"Authorization": f"Bearer {token}x"})
    client.get("/api/me", headers={"Authorization": f"Bearer {refresh}"})
    bearer = {"Authorization": f"Bearer {token}", "X-Request-ID": token}
    client.get("/api/me", headers=bearer)
    client.post("/api/events", headers=bearer, json={"title": password, "nonsense": other})
    change = {"current_password": other, "new_password": password}
    client.post("/api/auth/password", headers=bearer, json=change)
    change = {"current_password": password, "new_password": other}
    assert client.post("/api/auth/password", headers=bearer, json=change).status_code == 204
    client.post("/api/auth/logout", headers=bearer | cookie)
    client.post("/api/auth/refresh", headers=cookie)
