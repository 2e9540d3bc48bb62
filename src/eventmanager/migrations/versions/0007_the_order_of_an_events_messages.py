"""The order of an event's messages, and whether somebody has changed it or its grants.

Revision: 0007
Revises: 0006
Created: 2026-11-28
"""

import sqlalchemy as sa
from alembic import op

from eventmanager.core.models import TransactionId

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column(
        "events",
        sa.Column(
            "last_transaction_id",
            TransactionId(),
            server_default=sa.text("pg_current_xact_id()"),
            nullable=False,
        ),
    )


def downgrade() -> None:
    op.drop_column("events", "last_transaction_id")
