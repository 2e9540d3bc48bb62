"""Who is at an event, where there is no Redis to hold it."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import CheckConstraint, Index
from sqlalchemy.orm import Mapped, mapped_column

from eventmanager.core.models import Base


class Presence(Base):
    """That somebody looks at or edits an event on one socket; held here where there is no Redis.

    It counts until `expires_at`, which the socket's process moves on. Not logged: after a crash
    everybody connects again and says so again.
    """

    __tablename__ = "presence"

    event_id: Mapped[UUID] = mapped_column(primary_key=True)
    socket_id: Mapped[UUID] = mapped_column(primary_key=True)
    user_id: Mapped[UUID]
    state: Mapped[str]
    since: Mapped[datetime]
    expires_at: Mapped[datetime]

    __table_args__ = (
        CheckConstraint("state IN ('viewing', 'editing')", name="state"),
        Index("ix_presence_expires", "expires_at"),
        {"prefixes": ["UNLOGGED"]},
    )
