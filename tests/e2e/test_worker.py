"""`eventmanager worker` beside a server, and `eventmanager doctor` on both."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from tests.e2e.conftest import (
    PROGRAM,
    STOP_SECONDS,
    Server,
    descendants,
    environment,
    make_database,
    needs_proc,
    run,
    serving,
    wait_for,
)

# It imports first: the other account may not be able to read the program.
AS_ANOTHER_ACCOUNT = """
import os, sys
from eventmanager import cli, doctor
from eventmanager.accounts import passwords, service

os.setgroups([])
os.setgid(12345)
os.setuid(12345)
cli.app(sys.argv[1:])
"""


@contextmanager
def at_work(directory: Path, **settings: str) -> Iterator["subprocess.Popen[bytes]"]:
    """A worker that has begun, with what it says in `worker.out`; killed if it is still there."""
    with (directory / "worker.out").open("wb") as out:
        process = subprocess.Popen(
            [PROGRAM, "worker"],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            env=environment(directory, settings),
            cwd=directory / "cwd",
            start_new_session=True,
        )
    try:
        wait_for(lambda: "is working" in said(directory), what=said(directory))
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.wait(STOP_SECONDS)


def said(directory: Path) -> str:
    """Return what the worker has printed."""
    return (directory / "worker.out").read_text()


def tasks(server: Server) -> dict[str, Any]:
    """Return how it stands with the tasks, as anybody may see it."""
    with server.client() as client:
        answer = client.get("/health")
        assert answer.status_code == 200
        found: dict[str, Any] = answer.json()["tasks"]
        return found


def states(server: Server) -> set[str]:
    """Return the states that the tasks are in."""
    return {task["state"] for task in tasks(server).values()}


def test_a_worker_does_what_its_server_leaves_to_it(tmp_path: Path) -> None:
    """On the embedded database of a server that runs: no more settings than that server has."""
    with serving(tmp_path, BACKGROUND_TASKS="false") as server:
        time.sleep(0.5)
        assert states(server) == {"waiting"}
        with at_work(tmp_path) as worker:
            wait_for(lambda: states(server) == {"ok"}, what=str(tasks(server)))
            assert all(task["last_finished_at"] for task in tasks(server).values())
            checked = run(tmp_path, "doctor", COLUMNS="200", BACKGROUND_TASKS="false")
            assert checked.returncode == 0, checked.stdout + checked.stderr
            assert "problem" not in checked.stdout
            for what in ("PostgreSQL 18", "revision ", "Task extend_horizons", "0 jobs wait"):
                assert what in checked.stdout
            worker.send_signal(signal.SIGTERM)
            assert worker.wait(5) == 0
        assert said(tmp_path).endswith("is working; Ctrl-C stops it.\nStopped.\n")
        assert server.process.poll() is None
        assert '"level":"error"' not in server.logs
    after = run(tmp_path, "doctor", COLUMNS="200")
    assert after.returncode == 1
    assert "the embedded PostgreSQL does not run" in after.stdout


def test_a_server_works_by_itself(serve: Any, fresh_database: str) -> None:
    """One process is enough; several share the work, and each task is seen as done."""
    server = serve(workers=2, DATABASE_URL=fresh_database)
    wait_for(lambda: states(server) == {"ok"}, what=str(tasks(server)))


def test_a_worker_ends_with_its_own_postgres_and_says_so(tmp_path: Path) -> None:
    """One that nobody serves beside has its own, and would look for it for ever."""
    with at_work(tmp_path) as worker:
        noted = tmp_path / "data" / "postgres" / "cluster" / "postmaster.pid"
        os.kill(int(noted.read_text().splitlines()[0]), signal.SIGKILL)
        assert worker.wait(15) == 1
    assert "\nThe embedded PostgreSQL has ended by itself (killed by SIGKILL)" in said(tmp_path)
    assert "Traceback" not in said(tmp_path)


@needs_proc
def test_the_doctor_sends_who_has_no_database_url_to_the_embedded_log(tmp_path: Path) -> None:
    """To check a setting that is not set would lead nowhere."""
    with serving(tmp_path) as server:
        frozen = descendants(server.process.pid)
        try:
            for pid in frozen:
                os.kill(pid.number, signal.SIGSTOP)
            checked = run(tmp_path, "doctor", COLUMNS="400")
        finally:
            for pid in frozen:
                os.kill(pid.number, signal.SIGCONT)
    [line] = [line for line in checked.stdout.splitlines() if "Database" in line]
    assert "does not answer" in line
    assert f"See {tmp_path}/data/postgres/postgres.log; " in line
    assert "DATABASE_URL" not in line


@pytest.mark.skipif(os.geteuid() != 0, reason="only root changes accounts")
@pytest.mark.parametrize(
    "arguments", [["doctor"], ["user", "create", "ada", "ada@example.com", "--password-stdin"]]
)
def test_another_account_is_told_whose_the_embedded_postgres_is(arguments: list[str]) -> None:
    """Who serves as root and works as themselves is one `sudo` away from what they want."""
    place = Path(tempfile.mkdtemp(prefix="em-", dir="/tmp"))
    place.chmod(0o711)
    try:
        with serving(place, LOG_STDOUT="true"):
            told = subprocess.run(
                [sys.executable, "-c", AS_ANOTHER_ACCOUNT, *arguments],
                input="a password of ada\n",
                capture_output=True,
                text=True,
                env=environment(place, {"COLUMNS": "400", "LOG_STDOUT": "true"}),
                cwd=place / "cwd",
                timeout=STOP_SECONDS,
                check=False,
            )
    finally:
        shutil.rmtree(place)
    assert told.returncode == 1
    assert "Traceback" not in told.stderr
    assert "closed to your account with uid 12345; run this as the account that" in (
        told.stdout if arguments == ["doctor"] else told.stderr
    )


async def test_the_doctor_finds_a_database_that_is_not_migrated_and_leaves_it_so(
    tmp_path: Path, database_url: str
) -> None:
    """It says what to do, and does nothing itself."""
    url = await make_database(database_url)
    checked = run(tmp_path, "doctor", COLUMNS="200", DATABASE_URL=url)
    assert checked.returncode == 1, checked.stderr
    assert "eventmanager migrate" in checked.stdout
    connection = await asyncpg.connect(url)
    try:
        assert (
            await connection.fetchval("SELECT count(*) FROM pg_tables WHERE schemaname='public'")
            == 0
        )
    finally:
        await connection.close()


def test_the_doctor_names_all_that_does_not_answer(tmp_path: Path) -> None:
    """At once and without hanging, also where a port is open and nobody speaks."""
    (tmp_path / "file").touch()
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        checked = run(
            tmp_path,
            "doctor",
            COLUMNS="200",
            DATABASE_URL=f"postgresql://nobody@127.0.0.1:{port}/none",
            REDIS_URL=f"redis://127.0.0.1:{port}",
            SMTP_URL=f"smtp://127.0.0.1:{port}",
            LOG_DIR=str(tmp_path / "file" / "logs"),
        )
    assert checked.returncode == 1, checked.stderr
    problems = [line.split()[0] for line in checked.stdout.splitlines() if "problem" in line]
    assert problems == ["Logs", "Database", "Redis", "Email"]
    wrong = run(tmp_path, "doctor", COLUMNS="200", DATABASE_URL="mysql://nowhere")
    assert wrong.returncode == 1
    assert "DATABASE_URL must start with postgresql://" in wrong.stdout
