"""The audit log: what was done, kept for ever, after everything that it was done to is gone."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Index, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from eventmanager.core.models import Base


class AuditEntry(Base):
    """One act, never changed. Its id (UUIDv7) orders it in time.

    Without `user_id` nobody did it who is known: the server itself, the command line, or somebody
    who failed to prove that they are the user in `subject_id`.
    """

    __tablename__ = "audit_log"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    at: Mapped[datetime]
    act: Mapped[str]
    user_id: Mapped[UUID | None]
    event_id: Mapped[UUID | None]
    subject_id: Mapped[UUID | None]
    address: Mapped[str | None]
    user_agent: Mapped[str | None]
    request_id: Mapped[str | None]
    details: Mapped[dict[str, Any]] = mapped_column(JSONB)

    __table_args__ = (
        Index("ix_audit_log_user", "user_id", "id"),
        Index("ix_audit_log_event", "event_id", "id"),
        Index(
            "ix_audit_log_subject",
            "subject_id",
            "id",
            postgresql_where=text("subject_id IS NOT NULL"),
        ),
    )
