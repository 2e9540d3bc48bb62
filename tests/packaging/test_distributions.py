"""What `pip install` gives: the whole program, and nothing besides."""

import asyncio
import subprocess
import tarfile
import zipfile
from pathlib import Path

import pytest

from eventmanager import migrations
from tests.e2e import conftest as e2e
from tests.packaging.conftest import ROOT

PACKAGE = ROOT / "src" / "eventmanager"


def files_of(directory: Path) -> set[str]:
    """Return the files below a directory, relative to its parent, without compiled ones."""
    return {
        path.relative_to(directory.parent).as_posix()
        for path in directory.rglob("*")
        if path.is_file() and path.suffix != ".pyc"
    }


def output(directory: Path, *command: str | Path) -> str:
    """Return what a command prints that is run in a directory, and succeeds."""
    return subprocess.check_output(command, cwd=directory, text=True, timeout=30)


def test_the_wheel_holds_the_whole_program(wheel: Path) -> None:
    """Migrations, the pages' scripts and the marker for type checkers are not Python modules."""
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert names == files_of(PACKAGE)
    assert {
        "eventmanager/py.typed",
        "eventmanager/core/static/docs.js",
        "eventmanager/migrations/env.py",
        "eventmanager/migrations/script.py.mako",
        "eventmanager/migrations/versions/0001_the_first_schema.py",
    } <= names


def test_the_wheel_carries_the_licence(wheel: Path) -> None:
    """MIT asks for it in every copy."""
    with zipfile.ZipFile(wheel) as archive:
        assert any(name.endswith(".dist-info/licenses/LICENSE") for name in archive.namelist())


def test_the_sdist_is_enough_to_develop_and_holds_no_secret(sdist: Path) -> None:
    """Code, tests, locks and recipes; no settings, data, logs or installed packages."""
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {
        "Makefile",
        "LICENSE",
        "compose.yaml",
        ".env.example",
        "deploy/Dockerfile",
        "requirements/main.lock",
        "requirements/dev.lock",
        "tests/conftest.py",
        "postman/eventmanager.postman_collection.json",
    } <= names
    assert ".env" not in names
    foreign = {"node_modules", "data", "logs", ".venv", ".git", "__pycache__"}
    assert not [name for name in names if foreign & set(Path(name).parts)]


def test_the_installed_program_says_what_it_can(installed: Path, tmp_path: Path) -> None:
    """From any directory, and from the wheel alone."""
    shown = output(tmp_path, installed / "bin" / "eventmanager", "--help")
    for command in ("serve", "migrate", "user"):
        assert command in shown
    where = "import eventmanager; print(eventmanager.__file__)"
    found = output(tmp_path, installed / "bin" / "python", "-c", where)
    assert Path(found.strip()).is_relative_to(installed)


def test_the_installed_program_migrates_and_serves(
    installed: Path, database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An empty database is all that it needs."""
    monkeypatch.setattr(e2e, "PROGRAM", installed / "bin" / "eventmanager")
    url = asyncio.run(e2e.make_database(database_url))
    with e2e.serving(tmp_path, DATABASE_URL=url) as server, server.client() as client:
        assert client.get("/health").json()["db"] == "ok"
        assert client.get("/docs").status_code == 200
        e2e.sign_up(client)
        assert client.get("/api/events").json() == []
    assert Path(migrations.__file__).is_relative_to(PACKAGE), "the suite itself uses the sources"
