"""What is known of each task: written by whoever does it, read by `/health` and the doctor."""

import os
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal

import asyncpg
import structlog

from eventmanager.core.background import queries
from eventmanager.core.background.kinds import Background, Task, Watch
from eventmanager.core.database import Database, Query, Reading
from eventmanager.core.errors import Unavailable

LATE_AFTER_SECONDS: Final = 60.0
"""How long after its time a task must have been done, or be under way."""
ERROR_CHARACTERS: Final = 500

State = Literal["ok", "running", "waiting", "late", "failing"]
_log = structlog.get_logger("app")


@dataclass(frozen=True, slots=True)
class Standing:
    """How it stands with a task or watch; `error` is for the operator and not for the public."""

    name: str
    state: State
    finished_at: datetime | None = None
    process: str | None = None
    error: str | None = None

    @property
    def is_well(self) -> bool:
        """Whether nobody need do anything about it."""
        return self.state not in {"late", "failing"}


async def standings(
    read: Reading, background: Background, *, up_s: float = float("inf")
) -> Sequence[Standing]:
    """Tell how it stands with each task and watch, as a process sees it that is up for `up_s`.

    Nothing is late that this process has not waited for.
    """
    runs = {row["name"]: row for row in await read.all(queries.RUNS)}
    found = []
    for kind in background.regular:
        run = runs.get(kind.name)
        if run is None:
            state: State = "late" if up_s > LATE_AFTER_SECONDS else "waiting"
            found.append(Standing(kind.name, state))
            continue
        state = _state(kind, finished_ago_s=run["finished_ago_s"], held=run["held"], up_s=up_s)
        found.append(
            Standing(
                kind.name,
                "failing" if run["failing"] else state,
                finished_at=run["finished_at"],
                process=run["process"],
                error=run["error"],
            )
        )
    return found


def _state(kind: Task | Watch, *, finished_ago_s: float | None, held: bool, up_s: float) -> State:
    if held:
        return "running"
    overdue_s = up_s
    if finished_ago_s is not None:
        overdue_s = min(up_s, finished_ago_s - kind.every.total_seconds())
    if overdue_s > LATE_AFTER_SECONDS:
        return "late"
    return "waiting" if finished_ago_s is None else "ok"


class Records:
    """Writes down what this process does; that it can't be written stops no work."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._process = f"{socket.gethostname()}:{os.getpid()}"

    async def started(self, name: str) -> None:
        """Note that a task is taken up."""
        await self._write(queries.STARTED, name=name, process=self._process)

    async def finished(self, name: str) -> None:
        """Note that a task is done."""
        await self._write(queries.FINISHED, name=name)

    async def failed(self, name: str, error: Exception) -> None:
        """Note that a task or a look has failed."""
        # PostgreSQL's texts hold no NUL.
        text = f"{type(error).__name__}: {error}".replace("\0", "")[:ERROR_CHARACTERS]
        await self._write(queries.FAILED, name=name, process=self._process, error=text)

    async def looked(self, name: str) -> None:
        """Note that a look went well."""
        await self._write(queries.LOOKED, name=name, process=self._process)

    async def _write(self, statement: Query, **given: str) -> None:
        try:
            async with self._database.reading() as read:
                await read.first(statement, **given)
        except (Unavailable, asyncpg.PostgresError) as error:
            _log.warning("task_not_recorded", task=given["name"], cause=repr(error))
