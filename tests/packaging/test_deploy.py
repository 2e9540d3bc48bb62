"""The settings and recipes for containers agree with the program; no image is built here."""

import re
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from dotenv import dotenv_values

from eventmanager.core.config import Settings
from tests.packaging.conftest import ROOT

# What an .env of the original description holds.
ORIGINAL = {
    "DATABASE_URL",
    "DATABASE_URL_LOCAL",
    "REDIS_URL",
    "ACCESS_TOKEN_SECRET",
    "REFRESH_TOKEN_SECRET",
    "ACCESS_TOKEN_EXPIRE_MINUTES",
    "REFRESH_TOKEN_EXPIRE_DAYS",
    "POSTGRES_USER",
    "POSTGRES_PASSWORD",
    "POSTGRES_DB",
    "PGADMIN_DEFAULT_EMAIL",
    "PGADMIN_DEFAULT_PASSWORD",
}
EXAMPLE = ROOT / ".env.example"
COMPOSE = (ROOT / "compose.yaml").read_text()
INTERPOLATED = set(re.findall(r"\$\{(\w+)", COMPOSE))


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A checkout with no `.env`."""
    (tmp_path / "deploy").mkdir()
    shutil.copy(EXAMPLE, tmp_path)
    shutil.copy(ROOT / "deploy" / "new_env.py", tmp_path / "deploy")
    return tmp_path


def new_env(project: Path) -> "subprocess.CompletedProcess[str]":
    """Run the script that makes `.env`."""
    return subprocess.run(
        [sys.executable, str(project / "deploy" / "new_env.py")],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def test_the_example_has_every_original_setting_and_no_secret() -> None:
    """A secret that is in a repository is none."""
    values = dotenv_values(EXAMPLE)
    assert values.keys() >= ORIGINAL
    for name, value in values.items():
        assert not (name.endswith(("_SECRET", "_PASSWORD")) and value), name


def test_the_example_names_nothing_that_is_not_read() -> None:
    """A setting that does nothing misleads."""
    read = {name.upper() for name in Settings.model_fields} | INTERPOLATED | {"DATABASE_URL_LOCAL"}
    assert dotenv_values(EXAMPLE).keys() - read == set()


def test_compose_hands_on_every_setting() -> None:
    """One that stayed behind in `.env` would do nothing; where the volumes are is fixed."""
    handed = set(re.findall(r"^      (\w+): \$\{\1:", COMPOSE, re.MULTILINE))
    settings = {name.upper() for name in Settings.model_fields}
    assert settings - handed == {"DATA_DIR", "LOG_DIR"}


def test_a_new_env_is_accepted_and_kept_private(project: Path) -> None:
    """One command, and the program starts."""
    assert new_env(project).returncode == 0
    path = project / ".env"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    values = dotenv_values(path)
    secrets = [v for name, v in values.items() if name.endswith(("_SECRET", "_PASSWORD"))]
    assert len(secrets) == 4 == len(set(secrets))
    given = "postgresql+asyncpg://postgres:x@db:5432/eventdb"
    settings = Settings(_env_file=path, database_url=given)
    assert settings.access_token_secret.get_secret_value() == values["ACCESS_TOKEN_SECRET"]


def test_a_new_env_never_replaces_an_old_one(project: Path) -> None:
    """Its secrets may be the only copy."""
    (project / ".env").write_text("POSTGRES_PASSWORD=kept\n")
    done = new_env(project)
    assert done.returncode == 1
    assert "already" in done.stderr
    assert (project / ".env").read_text() == "POSTGRES_PASSWORD=kept\n"


def test_compose_refuses_to_start_without_secrets() -> None:
    """Each is asked for with the command that makes it, and none has a default."""
    for name in ("ACCESS_TOKEN_SECRET", "REFRESH_TOKEN_SECRET", "POSTGRES_PASSWORD"):
        assert f"${{{name}:?is not set, run python3 deploy/new_env.py}}" in COMPOSE
        assert f"${{{name}:-" not in COMPOSE


def test_compose_publishes_on_loopback_and_no_database() -> None:
    """What a firewall does not see must not be open."""
    published = re.findall(r'^ +- "(\S+:\d+)"$', COMPOSE, re.MULTILINE)
    assert [port.rpartition(":")[2] for port in published] == ["8000", "80"]
    assert all("127.0.0.1" in port for port in published)


def test_the_image_copies_only_what_the_builder_is_sent() -> None:
    """`.dockerignore` keeps secrets and data out; it must not keep out what is built."""
    dockerfile = (ROOT / "deploy" / "Dockerfile").read_text()
    copied = {
        source
        for line in re.findall(r"^COPY (?!--from)(.+)$", dockerfile, re.MULTILINE)
        for source in line.split()[:-1]
    }
    ignored = (ROOT / ".dockerignore").read_text().split()
    assert copied == {line[1:] for line in ignored if line.startswith("!")}
    assert all((ROOT / source).exists() for source in copied)
