"""What is known of the work beside the requests; the queue's own tables are PgQueuer's."""

from datetime import datetime

from sqlalchemy.orm import Mapped, mapped_column

from eventmanager.core.models import Base


class TaskRun(Base):
    """The last run of a task, or the last look of a watch, by whichever process.

    `failed_at` and `error` are there from a failure until it has been done well. All instants are
    the database's, since the processes' clocks may differ.
    """

    __tablename__ = "task_runs"

    name: Mapped[str] = mapped_column(primary_key=True)
    process: Mapped[str]
    started_at: Mapped[datetime]
    finished_at: Mapped[datetime | None]
    failed_at: Mapped[datetime | None]
    error: Mapped[str | None]
