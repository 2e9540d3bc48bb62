"""By which server's count of transactions rows are numbered.

Revision: 0010
Revises: 0009
Created: 2026-11-30
"""

import sqlalchemy as sa
from alembic import op

from eventmanager.core.models import TransactionId

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "numbering",
        sa.Column("is_only", sa.Boolean(), server_default=sa.text("true"), nullable=False),
        sa.Column("system_identifier", sa.BigInteger(), nullable=False),
        sa.Column("transaction_id", TransactionId(), server_default=sa.text("'0'"), nullable=False),
        sa.Column("position", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.CheckConstraint("is_only", name=op.f("ck_numbering_is_only")),
        sa.PrimaryKeyConstraint("is_only", name=op.f("pk_numbering")),
    )
    # What is ahead of this server's count is another's; 0 is none, so that it is brought in line.
    op.execute("""
        INSERT INTO numbering (system_identifier)
        SELECT CASE WHEN EXISTS (SELECT FROM messages m WHERE m.transaction_id >= s.xmax)
                      OR EXISTS (SELECT FROM versions v WHERE v.transaction_id >= s.xmax)
               THEN 0 ELSE system_identifier END
        FROM pg_control_system(), (SELECT pg_snapshot_xmax(pg_current_snapshot()) AS xmax) s
    """)
