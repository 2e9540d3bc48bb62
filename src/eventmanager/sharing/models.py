"""Grants: which user has which role on which event."""

from datetime import datetime
from enum import StrEnum
from uuid import UUID

from sqlalchemy import CheckConstraint, ForeignKey, ForeignKeyConstraint, Index, text
from sqlalchemy.orm import Mapped, mapped_column

from eventmanager.core.models import Base


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
