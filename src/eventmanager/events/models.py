"""Events, as their owners wrote them; when they take place is in `scheduling`."""

from datetime import date, datetime
from enum import StrEnum
from uuid import UUID

from sqlalchemy import CheckConstraint, Computed, ForeignKey, Index, UniqueConstraint, text
from sqlalchemy.dialects.postgresql import JSONB, TSVECTOR
from sqlalchemy.orm import Mapped, mapped_column

from eventmanager.core.models import Base, TransactionId


class Status(StrEnum):
    """Whether the event takes place (RFC 5545, 3.8.1.11)."""

    CONFIRMED = "confirmed"
    TENTATIVE = "tentative"
    CANCELLED = "cancelled"


class Transparency(StrEnum):
    """Whether the event takes up its owner's time (RFC 5545, 3.8.2.7)."""

    OPAQUE = "opaque"
    TRANSPARENT = "transparent"


class Event(Base):
    """An event that takes place once, or a series.

    `start_time` and `end_time` are instants; for an all-day event they are the local midnights of
    `start_date` and of `end_date`, the day after the last. `overrides` says what single occurrences
    have of their own, by `recurrence_id` as clients write it. `split_from` is the series that this
    one continues.

    `last_transaction_id` is the greatest number of all transactions that changed the event or its
    grants. Its messages stand at that number in the order of all, so that those of one event come
    in the order of its changes, whichever transaction began first.
    """

    __tablename__ = "events"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    owner_id: Mapped[UUID] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)
    title: Mapped[str]
    description: Mapped[str | None]
    location: Mapped[str | None]
    start_time: Mapped[datetime]
    end_time: Mapped[datetime]
    time_zone: Mapped[str]
    all_day: Mapped[bool]
    start_date: Mapped[date | None]
    end_date: Mapped[date | None]
    recurrence_pattern: Mapped[str | None]
    recurrence_text: Mapped[str | None]
    overrides: Mapped[dict[str, object]] = mapped_column(JSONB, server_default=text("'{}'"))
    split_from: Mapped[UUID | None]
    status: Mapped[str]
    transparency: Mapped[str]
    version: Mapped[int]
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]
    deleted_at: Mapped[datetime | None]
    last_transaction_id: Mapped[int] = mapped_column(
        TransactionId(), server_default=text("pg_current_xact_id()")
    )
    search: Mapped[str] = mapped_column(
        TSVECTOR,
        Computed(
            "to_tsvector('simple'::regconfig, title || ' ' || coalesce(description, '')"
            " || ' ' || coalesce(location, ''))",
            persisted=True,
        ),
    )

    __table_args__ = (
        # The target of the grants' foreign key that keeps their `start_time` equal to this one.
        UniqueConstraint("id", "start_time", name="uq_events_id_start_time"),
        CheckConstraint("start_time < end_time", name="time_order"),
        CheckConstraint(
            "all_day = (start_date IS NOT NULL) AND all_day = (end_date IS NOT NULL)",
            name="all_day_dates",
        ),
        CheckConstraint("status IN ('confirmed', 'tentative', 'cancelled')", name="status"),
        CheckConstraint("transparency IN ('opaque', 'transparent')", name="transparency"),
        Index(
            "ix_events_bin",
            "owner_id",
            "start_time",
            "id",
            postgresql_where=text("deleted_at IS NOT NULL"),
        ),
        Index("ix_events_deleted", "deleted_at", postgresql_where=text("deleted_at IS NOT NULL")),
        Index("ix_events_search", "search", postgresql_using="gin"),
    )
