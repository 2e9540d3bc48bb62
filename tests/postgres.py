"""A PostgreSQL of a test's own, which can be killed and started again."""

import os
import shutil
import signal
import tempfile
from contextlib import ExitStack, suppress
from pathlib import Path

from eventmanager.core.embedded import EmbeddedUnavailable, embedded_postgres


class Postgres:
    """One in a directory of its own, below a short path."""

    def __init__(self) -> None:
        self._directory = Path(tempfile.mkdtemp(prefix="em-postgres-"))
        self._stack = ExitStack()
        self.url = ""

    def start(self) -> None:
        """Start it, which repairs what a kill has left."""
        self.url = self._stack.enter_context(embedded_postgres(self._directory))

    def kill(self) -> None:
        """End its main process as the kernel would when memory is short; the others follow."""
        pid = (self._directory / "cluster" / "postmaster.pid").read_text().split()[0]
        os.kill(int(pid), signal.SIGKILL)
        with suppress(EmbeddedUnavailable):
            self._stack.close()

    def remove(self) -> None:
        """Leave nothing behind."""
        self._stack.close()
        shutil.rmtree(self._directory)
