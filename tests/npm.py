"""What the tests need of the npm registry: installed on first use, from a lock beside its user."""

import fcntl
import shutil
import subprocess
from pathlib import Path

INSTALL_SECONDS = 240


def node() -> str | None:
    """Return the program `node`, or None where Node.js (node and npm) is not installed."""
    return shutil.which("node") if shutil.which("npm") else None


def install(folder: Path) -> None:
    """Install what `package-lock.json` of `folder` names, unless it is there; one at a time."""
    lock = folder / "package-lock.json"
    installed = folder / "node_modules" / ".package-lock.json"
    with lock.open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        if installed.exists() and installed.stat().st_mtime >= lock.stat().st_mtime:
            return
        done = subprocess.run(
            ["npm", "ci", "--omit=dev", "--no-audit", "--no-fund"],
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=INSTALL_SECONDS,
            check=False,
        )
        assert done.returncode == 0, f"npm could not install {folder.name}:\n{done.stderr}"
