"""Messages: rows written with a change, one for each user who is to hear of it.

And how far each user has read them, and up to where they are no longer kept.
"""

from datetime import datetime, time
from uuid import UUID

from sqlalchemy import (
    ARRAY,
    BigInteger,
    CheckConstraint,
    ForeignKey,
    Identity,
    Text,
    Uuid,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from eventmanager.core.models import Base, TransactionId


class Message(Base):
    """One thing that its recipients are told.

    They are fixed when the row is written; without an initiator it is the server that tells, and
    the initiator's own session need not be told. The `muted` ones of them do not want to be told of
    its type; a trigger finds them. `(transaction_id, position)` orders messages so
    that a reader who takes only rows of transactions older than every running one
    (`pg_snapshot_xmin`) never skips a row that commits late. It is the primary key, so that what is
    new for all recipients together is one range of one index.
    """

    __tablename__ = "messages"

    transaction_id: Mapped[int] = mapped_column(
        TransactionId(), primary_key=True, server_default=text("pg_current_xact_id()")
    )
    position: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    id: Mapped[UUID]
    recipients: Mapped[list[UUID]] = mapped_column(ARRAY(Uuid()))
    muted: Mapped[list[UUID]] = mapped_column(ARRAY(Uuid()), server_default=text("'{}'"))
    owner_id: Mapped[UUID]
    event_id: Mapped[UUID | None]
    initiator_id: Mapped[UUID | None]
    session_id: Mapped[UUID | None]
    type: Mapped[str]
    data: Mapped[dict[str, object]] = mapped_column(JSONB)
    occurred_at: Mapped[datetime]


class Receipt(Base):
    """That a message is for a recipient who wants it: what each user reads, in order.

    A trigger writes it.
    """

    __tablename__ = "receipts"

    recipient_id: Mapped[UUID] = mapped_column(
        ForeignKey("users.id", ondelete="CASCADE"), primary_key=True
    )
    transaction_id: Mapped[int] = mapped_column(TransactionId(), primary_key=True)
    position: Mapped[int] = mapped_column(BigInteger, primary_key=True)


class ReadMark(Base):
    """Up to where a user has read; it only moves on."""

    __tablename__ = "read_marks"

    user_id: Mapped[UUID] = mapped_column(
        ForeignKey("users.id", ondelete="CASCADE"), primary_key=True
    )
    transaction_id: Mapped[int] = mapped_column(TransactionId())
    position: Mapped[int] = mapped_column(BigInteger)


class PurgeMark(Base):
    """The last message in the order of all that was purged of a user's; none before the first.

    Who goes on from before it may have missed something.
    """

    __tablename__ = "purge_marks"

    user_id: Mapped[UUID] = mapped_column(
        ForeignKey("users.id", ondelete="CASCADE"), primary_key=True
    )
    transaction_id: Mapped[int] = mapped_column(TransactionId())
    position: Mapped[int] = mapped_column(BigInteger)


class NotificationSettings(Base):
    """What a user wants to be told, and when not to be disturbed; without a row, all and always.

    `types` are those that the user wants, null for all. Quiet hours are two times of day on the
    wall clock of `time_zone`; the end may lie on the next day.
    """

    __tablename__ = "notification_settings"

    user_id: Mapped[UUID] = mapped_column(
        ForeignKey("users.id", ondelete="CASCADE"), primary_key=True
    )
    types: Mapped[list[str] | None] = mapped_column(ARRAY(Text()))
    quiet_from: Mapped[time | None]
    quiet_until: Mapped[time | None]
    time_zone: Mapped[str] = mapped_column(server_default=text("'UTC'"))
    updated_at: Mapped[datetime]

    __table_args__ = (
        CheckConstraint("(quiet_from IS NULL) = (quiet_until IS NULL)", name="quiet_hours"),
    )
