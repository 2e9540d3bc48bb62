"""what was read and tickets.

Revision: 0004
Revises: 0003
Created: 2026-11-23
"""

import sqlalchemy as sa
from alembic import op

from eventmanager.core.models import TransactionId

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "purge_mark",
        sa.Column("is_only", sa.Boolean(), server_default=sa.text("true"), nullable=False),
        sa.Column("transaction_id", TransactionId(), nullable=False),
        sa.Column("position", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("is_only", name=op.f("ck_purge_mark_is_only")),
        sa.PrimaryKeyConstraint("is_only", name=op.f("pk_purge_mark")),
    )
    op.create_table(
        "read_marks",
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("transaction_id", TransactionId(), nullable=False),
        sa.Column("position", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["user_id"], ["users.id"], name=op.f("fk_read_marks_user_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("user_id", name=op.f("pk_read_marks")),
    )
    op.create_table(
        "tickets",
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("session_id", sa.Uuid(), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["session_id"], ["sessions.id"], name=op.f("fk_tickets_session_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("digest", name=op.f("pk_tickets")),
    )
    op.create_index(op.f("ix_tickets_session_id"), "tickets", ["session_id"], unique=False)
