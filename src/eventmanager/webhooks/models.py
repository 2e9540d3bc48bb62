"""Webhooks, what is delivered to them, and how far the messages have been looked through for it."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import (
    ARRAY,
    BigInteger,
    CheckConstraint,
    ForeignKey,
    Index,
    LargeBinary,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from eventmanager.core.models import Base, TransactionId


class Webhook(Base):
    """Where one user's messages are sent; those of the given `types`, or all.

    `secret` signs what is sent (Standard Webhooks), and until `old_secret_until` the one before it
    does too. Messages count that were committed after the transaction `active_since`. `is_active`
    is the user's, but the server takes it back, at `disabled_at`, when nothing could be delivered
    for too long. `failing_since` is the first failed attempt since the last that went well.
    """

    __tablename__ = "webhooks"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    user_id: Mapped[UUID] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)
    url: Mapped[str]
    description: Mapped[str] = mapped_column(server_default=text("''"))
    types: Mapped[list[str] | None] = mapped_column(ARRAY(Text()))
    secret: Mapped[bytes] = mapped_column(LargeBinary)
    old_secret: Mapped[bytes | None] = mapped_column(LargeBinary)
    old_secret_until: Mapped[datetime | None]
    is_active: Mapped[bool] = mapped_column(server_default=text("true"))
    failing_since: Mapped[datetime | None]
    disabled_at: Mapped[datetime | None]
    active_since: Mapped[int] = mapped_column(
        TransactionId(), server_default=text("pg_current_xact_id()")
    )
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]


class Delivery(Base):
    """One message on its way to one webhook, and what came of each attempt.

    `body` are the very bytes that are signed and sent, the same in every attempt. `attempts` is a
    list of `{at, status, error, duration_ms, answer}`, the last of them. A job may attempt it if it
    is of this `turn`, which moves on with every attempt and replay: so there is never more than one
    chain of attempts. They go on for a day from `queued_at`, which a replay sets anew.
    """

    __tablename__ = "deliveries"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    webhook_id: Mapped[UUID] = mapped_column(ForeignKey("webhooks.id", ondelete="CASCADE"))
    message_id: Mapped[UUID]
    type: Mapped[str]
    body: Mapped[bytes] = mapped_column(LargeBinary)
    state: Mapped[str] = mapped_column(server_default=text("'pending'"))
    attempts: Mapped[list[object]] = mapped_column(JSONB, server_default=text("'[]'"))
    turn: Mapped[int] = mapped_column(server_default=text("0"))
    next_attempt_at: Mapped[datetime | None]
    queued_at: Mapped[datetime]
    created_at: Mapped[datetime]

    __table_args__ = (
        CheckConstraint("state IN ('pending', 'delivered', 'failed')", name="state"),
        UniqueConstraint("webhook_id", "message_id"),
        Index("ix_deliveries_webhook", "webhook_id", "id"),
        Index("ix_deliveries_pending", "webhook_id", postgresql_where=text("state = 'pending'")),
    )


class DispatchMark(Base):
    """Up to where in the order of all messages deliveries were made of them: one row."""

    __tablename__ = "dispatch_mark"

    is_only: Mapped[bool] = mapped_column(primary_key=True, server_default=text("true"))
    transaction_id: Mapped[int] = mapped_column(TransactionId())
    position: Mapped[int] = mapped_column(BigInteger)

    __table_args__ = (CheckConstraint("is_only", name="is_only"),)
