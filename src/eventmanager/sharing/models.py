"""Grants: which user has which role on which event."""

from datetime import datetime
from enum import StrEnum
from uuid import UUID

from sqlalchemy import CheckConstraint, ForeignKey, ForeignKeyConstraint, Index, text
from sqlalchemy.orm import Mapped, mapped_column

from eventmanager.core.models import Base, TransactionId


class Role(StrEnum):
    """What a user may do with one event: all, change it, or read it."""

    OWNER = "Owner"
    EDITOR = "Editor"
    VIEWER = "Viewer"


class Grant(Base):
    """A user's role on an event.

    `start_time` is the event's own, kept equal by the foreign key's ON UPDATE CASCADE, so that a
    reader's events are listed in time order from one index, however many there are.
    """

    __tablename__ = "grants"

    event_id: Mapped[UUID] = mapped_column(primary_key=True)
    user_id: Mapped[UUID] = mapped_column(
        ForeignKey("users.id", ondelete="CASCADE"), primary_key=True
    )
    owner_id: Mapped[UUID]
    role: Mapped[str]
    start_time: Mapped[datetime]
    granted_by: Mapped[UUID]
    created_at: Mapped[datetime]

    __table_args__ = (
        CheckConstraint("role IN ('Owner', 'Editor', 'Viewer')", name="role"),
        ForeignKeyConstraint(
            ["event_id", "start_time"],
            ["events.id", "events.start_time"],
            name="fk_grants_event",
            onupdate="CASCADE",
            ondelete="CASCADE",
        ),
        Index("ix_grants_reader", "user_id", "start_time", "event_id"),
        # Whose events somebody else shares with a reader, without passing the reader's own.
        Index(
            "ix_grants_shared",
            "user_id",
            "owner_id",
            postgresql_where=text("owner_id <> user_id"),
        ),
    )


class GrantOperation(StrEnum):
    """What happened to a grant."""

    GRANT = "grant"
    UPDATE = "update"
    REVOKE = "revoke"


class GrantChange(Base):
    """One change of one user's role on an event; it outlives the event.

    `role` is the role after the change; of a revocation, the one that was taken away. The first
    Owner's grant, which comes with the event, is not here.
    """

    __tablename__ = "grant_changes"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    event_id: Mapped[UUID]
    owner_id: Mapped[UUID]
    user_id: Mapped[UUID]
    operation: Mapped[str]
    role: Mapped[str]
    changed_by: Mapped[UUID | None]
    changed_at: Mapped[datetime]
    transaction_id: Mapped[int] = mapped_column(
        TransactionId(), server_default=text("pg_current_xact_id()")
    )

    __table_args__ = (
        CheckConstraint("operation IN ('grant', 'update', 'revoke')", name="operation"),
        Index("ix_grant_changes_event", "event_id", "id"),
        # What has changed since a snapshot of the database, for one user or on one's calendar.
        Index("ix_grant_changes_user", "user_id", "transaction_id"),
        Index("ix_grant_changes_owner", "owner_id", "transaction_id"),
    )
