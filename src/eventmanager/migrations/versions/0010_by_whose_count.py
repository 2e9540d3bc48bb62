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
    op.execute("""
        INSERT INTO numbering (system_identifier)
        SELECT system_identifier FROM pg_control_system()
    """)
