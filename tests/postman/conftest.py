"""newman, installed on first use from the lock beside the collection."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

POSTMAN = Path(__file__).parents[2] / "postman"
LOCK = POSTMAN / "package-lock.json"
INSTALLED = POSTMAN / "node_modules" / ".package-lock.json"
INSTALL_SECONDS = 240


@pytest.fixture(scope="session")
def newman() -> Path:
    """The program `newman`; skips where there is no Node to run it."""
    npm = shutil.which("npm")
    if npm is None or shutil.which("node") is None:
        pytest.skip("Node.js (node and npm) is not installed: the Postman collection was not run")
    if not INSTALLED.exists() or INSTALLED.stat().st_mtime < LOCK.stat().st_mtime:
        done = subprocess.run(
            [npm, "ci", "--omit=dev", "--no-audit", "--no-fund"],
            cwd=POSTMAN,
            capture_output=True,
            text=True,
            timeout=INSTALL_SECONDS,
            check=False,
        )
        assert done.returncode == 0, f"npm could not install newman:\n{done.stderr}"
    return POSTMAN / "node_modules" / ".bin" / "newman"


def without_proxies() -> dict[str, str]:
    """Return the environment of a program that is to talk to this machine only."""
    return {name: v for name, v in os.environ.items() if not name.lower().endswith("_proxy")}
