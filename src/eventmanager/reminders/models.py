"""Reminders: what each reader of an event has asked to be told before its occurrences.

And how many emails that has been lately.
"""

from datetime import datetime
from enum import StrEnum
from uuid import UUID

from sqlalchemy import CheckConstraint, ForeignKey, ForeignKeyConstraint, Index, text
from sqlalchemy.orm import Mapped, mapped_column

from eventmanager.core.models import Base


class Channel(StrEnum):
    """How a reader is reminded."""

    NOTIFICATION = "notification"
    WEBHOOK = "webhook"
    EMAIL = "email"


class MailCount(Base):
    """How many emails were to remind a user in the hour from `since` on; they are limited."""

    __tablename__ = "mail_counts"

    user_id: Mapped[UUID] = mapped_column(
        ForeignKey("users.id", ondelete="CASCADE"), primary_key=True
    )
    since: Mapped[datetime]
    mails: Mapped[int]


class Reminder(Base):
    """One reader's wish; it goes with the reader's grant.

    A reminder is due `minutes_before` each occurrence starts. Those due up to `fired_until` were
    given or are not to be given. The next is due at `next_at`, unless the row is stale: a trigger
    says since when, whenever occurrences of the event are stored or forgotten. Who looks at a
    reminder holds its row's lock, and who changes occurrences takes it too, so that neither misses
    the other.
    """

    __tablename__ = "reminders"

    event_id: Mapped[UUID] = mapped_column(primary_key=True)
    user_id: Mapped[UUID] = mapped_column(primary_key=True)
    minutes_before: Mapped[int] = mapped_column(primary_key=True)
    channel: Mapped[str] = mapped_column(primary_key=True)
    owner_id: Mapped[UUID]
    fired_until: Mapped[datetime]
    next_at: Mapped[datetime]
    stale_since: Mapped[datetime | None] = mapped_column(
        server_default=text("statement_timestamp()")
    )

    __table_args__ = (
        CheckConstraint("channel IN ('notification', 'webhook', 'email')", name="channel"),
        CheckConstraint("minutes_before BETWEEN 0 AND 40320", name="minutes_before"),
        ForeignKeyConstraint(
            ["event_id", "user_id"],
            ["grants.event_id", "grants.user_id"],
            name="fk_reminders_grant",
            ondelete="CASCADE",
        ),
        Index("ix_reminders_next", "next_at"),
        Index("ix_reminders_stale", "event_id", postgresql_where=text("stale_since IS NOT NULL")),
    )
