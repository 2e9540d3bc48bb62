"""The distributions, built once without a network, and installed into an environment of their own.

The environment borrows the suite's dependencies, and nothing else of its own environment.
"""

import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
UV = Path(sys.executable).with_name("uv")


def uv(*arguments: str | Path) -> None:
    """Run uv, which must succeed without a network."""
    done = subprocess.run(
        [UV, *arguments, "--offline"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="session")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the sdist and the wheel that was built from the sdist."""
    directory = tmp_path_factory.mktemp("dist")
    uv("build", "--no-build-isolation", "--python", sys.executable, "--out-dir", directory)
    return directory


@pytest.fixture(scope="session")
def wheel(dist: Path) -> Path:
    """The wheel."""
    [path] = dist.glob("*.whl")
    return path


@pytest.fixture(scope="session")
def sdist(dist: Path) -> Path:
    """The source distribution."""
    [path] = dist.glob("*.tar.gz")
    return path


@pytest.fixture(scope="session")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fresh virtual environment with the wheel in it."""
    venv = tmp_path_factory.mktemp("fresh") / "venv"
    uv("venv", "--no-project", "--python", sys.executable, venv)
    [packages] = venv.glob("lib/python3*/site-packages")
    # A path in a .pth file is searched for packages, but the .pth files in it are not read: the
    # suite's own, editable installation stays out of sight.
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    uv("pip", "install", "--no-deps", "--python", venv, wheel)
    return venv
