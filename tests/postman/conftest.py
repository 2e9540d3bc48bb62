"""newman, installed on first use from the lock beside the collection."""

import os
from pathlib import Path

import pytest

from tests import npm

POSTMAN = Path(__file__).parents[2] / "postman"
LOCK = POSTMAN / "package-lock.json"


@pytest.fixture(scope="session")
def newman() -> Path:
    """The program `newman`; skips where there is no Node to run it."""
    if npm.node() is None:
        pytest.skip("Node.js (node and npm) is not installed: the Postman collection was not run")
    npm.install(POSTMAN)
    return POSTMAN / "node_modules" / ".bin" / "newman"


def without_proxies() -> dict[str, str]:
    """Return the environment of a program that is to talk to this machine only."""
    return {name: v for name, v in os.environ.items() if not name.lower().endswith("_proxy")}
