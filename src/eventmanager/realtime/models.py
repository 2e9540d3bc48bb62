"""Messages: rows written with a change, one for each user who is to hear of it.

And how far each user has read them, and up to where they are no longer kept.
"""

from datetime import datetime
from uuid import UUID

from sqlalchemy import BigInteger, CheckConstraint, ForeignKey, Identity, Index, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from eventmanager.core.models import Base, TransactionId


class Message(Base):
    """One thing one recipient is told.

    Recipients are fixed when the row is written; without an initiator it is the server that tells.
    `(transaction_id, position)` orders messages so that a reader who takes only rows of
    transactions older than every running one (`pg_snapshot_xmin`) never skips a row that commits
    late. It is the primary key, so that what is new for all recipients together is one range of one
    index.
    """

    __tablename__ = "messages"

    transaction_id: Mapped[int] = mapped_column(
        TransactionId(), primary_key=True, server_default=text("pg_current_xact_id()")
    )
    position: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    id: Mapped[UUID]
    recipient_id: Mapped[UUID] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"))
    owner_id: Mapped[UUID]
    event_id: Mapped[UUID]
    initiator_id: Mapped[UUID | None]
    type: Mapped[str]
    data: Mapped[dict[str, object]] = mapped_column(JSONB)
    occurred_at: Mapped[datetime]

    __table_args__ = (Index("ix_messages_recipient", "recipient_id", "transaction_id", "position"),)


class ReadMark(Base):
    """Up to where a user has read; it only moves on."""

    __tablename__ = "read_marks"

    user_id: Mapped[UUID] = mapped_column(
        ForeignKey("users.id", ondelete="CASCADE"), primary_key=True
    )
    transaction_id: Mapped[int] = mapped_column(TransactionId())
    position: Mapped[int] = mapped_column(BigInteger)


class PurgeMark(Base):
    """The last message in the order of all that was purged: one row, and none before the first.

    Whoever goes on from before it may have missed something.
    """

    __tablename__ = "purge_mark"

    is_only: Mapped[bool] = mapped_column(primary_key=True, server_default=text("true"))
    transaction_id: Mapped[int] = mapped_column(TransactionId())
    position: Mapped[int] = mapped_column(BigInteger)

    __table_args__ = (CheckConstraint("is_only", name="is_only"),)
