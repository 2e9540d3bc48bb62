"""Work beside the requests, on a queue in PostgreSQL.

A process that works (`eventmanager serve`, unless BACKGROUND_TASKS is false, and `eventmanager
worker`) takes its turn at all of it:

- a `Task` is done now and then, by one process at a time;
- a `Watch` is looked at by every process, and shares the work out by row locks;
- a `Job` is put into the queue by a transaction, with `enqueue`, and exists if that commits.
"""

from eventmanager.core.background.kinds import Background, Job, Postponed, Task, Watch
from eventmanager.core.background.process import working
from eventmanager.core.background.queue import enqueue

__all__ = ["Background", "Job", "Postponed", "Task", "Watch", "enqueue", "working"]
