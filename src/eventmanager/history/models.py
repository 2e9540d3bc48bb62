"""Versions: the state of an event after each of its changes."""

from datetime import datetime
from enum import StrEnum
from uuid import UUID

from sqlalchemy import JSON, CheckConstraint, ForeignKey, Index, text
from sqlalchemy.orm import Mapped, mapped_column

from eventmanager.core.models import Base, TransactionId


class Operation(StrEnum):
    """What made a version."""

    CREATE = "create"
    UPDATE = "update"
    ROLLBACK = "rollback"
    UNDO = "undo"
    SPLIT = "split"
    DELETE = "delete"
    RESTORE = "restore"


class Version(Base):
    """The event as it stood after change number `version`; numbers run 1..n without a gap.

    `data` is the event's JSON as clients see it, without its permissions. Reads of the current
    event answer these very bytes, so an answer and its version can never differ. Without
    `changed_by` it is the server that changed it. A version is found by its `id` among those of its
    event, without an index: one would be a tenth of what a version costs.
    """

    __tablename__ = "versions"

    event_id: Mapped[UUID] = mapped_column(
        ForeignKey("events.id", ondelete="CASCADE"), primary_key=True
    )
    version: Mapped[int] = mapped_column(primary_key=True)
    id: Mapped[UUID]
    owner_id: Mapped[UUID]
    operation: Mapped[str]
    data: Mapped[dict[str, object]] = mapped_column(JSON)
    timestamp: Mapped[datetime]
    changed_by: Mapped[UUID | None]
    transaction_id: Mapped[int] = mapped_column(
        TransactionId(), server_default=text("pg_current_xact_id()")
    )

    __table_args__ = (
        # What has changed since a snapshot of the database, on some owners' calendars.
        Index("ix_versions_changes", "owner_id", "transaction_id"),
        CheckConstraint(
            "operation IN ('create', 'update', 'rollback', 'undo', 'split', 'delete', 'restore')",
            name="operation",
        ),
    )
