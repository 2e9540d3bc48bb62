"""what is purged of each user.

Revision: 0008
Revises: 0007
Created: 2026-11-28
"""

import sqlalchemy as sa
from alembic import op

from eventmanager.core.models import TransactionId

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "purge_marks",
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("transaction_id", TransactionId(), nullable=False),
        sa.Column("position", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["user_id"], ["users.id"], name=op.f("fk_purge_marks_user_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("user_id", name=op.f("pk_purge_marks")),
    )
    # Nobody knows any more whose the purged ones were: they may have been anybody's.
    op.execute("""
        INSERT INTO purge_marks (user_id, transaction_id, position)
        SELECT u.id, p.transaction_id, p.position FROM users u CROSS JOIN purge_mark p
    """)
    op.drop_table("purge_mark")
