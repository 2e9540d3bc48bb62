"""What work beside the requests there is: tasks, watches and jobs, gathered as one `Background`."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from eventmanager.core.database import Database


@dataclass(frozen=True, slots=True)
class Task:
    """Something to be done now and then, by one process at a time, and soon after a start.

    `run` finds out itself whether there is anything to do, and may be ended at any time and begun
    again.
    """

    name: str
    every: timedelta
    run: Callable[[Database, datetime], Awaitable[object]]


@dataclass(frozen=True, slots=True)
class Watch:
    """Something that every process looks at, about every `every` and soon after there are news.

    `run` locks what it takes with SKIP LOCKED, and returns True when there is more to be done.
    """

    name: str
    every: timedelta
    run: Callable[[Database, datetime], Awaitable[bool]]


@dataclass(frozen=True, slots=True)
class Job:
    """A kind of job in the queue; `run` is given the payload, which is JSON.

    A job is run at least once: again after `Postponed`, after an error a few times, and when the
    process that was at it has died.
    """

    name: str
    run: Callable[[Database, datetime, dict[str, Any]], Awaitable[None]]


class Postponed(Exception):  # a wish, and no error
    """The job is to be run again, `after` from now."""

    def __init__(self, after: timedelta) -> None:
        self.after = after


@dataclass(frozen=True, slots=True)
class Background:
    """All the work beside the requests; each name is there once."""

    tasks: Sequence[Task] = ()
    watches: Sequence[Watch] = ()
    jobs: Sequence[Job] = ()
    _news: dict[str, asyncio.Event] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        names = [kind.name for kind in self.regular] + [job.name for job in self.jobs]
        assert len(set(names)) == len(names), f"a name is given twice: {names}"
        for watch in self.watches:
            self._news[watch.name] = asyncio.Event()

    @property
    def regular(self) -> Sequence[Task | Watch]:
        """What has to be done all the time, so that it can be late."""
        return [*self.tasks, *self.watches]

    def wake(self) -> None:
        """Have the watches of this process look soon, since messages were committed somewhere."""
        for news in self._news.values():
            news.set()

    def news(self, watch: Watch) -> asyncio.Event:
        """Return what is set when `watch` is to look."""
        return self._news[watch.name]
