"""Since when reminders have to be looked at again, and how many emails each user has had.

Revision: 0009
Revises: 0008
Created: 2026-11-28
"""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

_STALE_SINCE = """
    CREATE OR REPLACE FUNCTION reminders_are_stale() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        UPDATE reminders SET stale_since = coalesce(stale_since, statement_timestamp())
        WHERE event_id = ANY(ARRAY(SELECT DISTINCT event_id FROM changed));
        RETURN NULL;
    END $$
"""


def upgrade() -> None:
    op.create_table(
        "mail_counts",
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("since", sa.DateTime(timezone=True), nullable=False),
        sa.Column("mails", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(
            ["user_id"], ["users.id"], name=op.f("fk_mail_counts_user_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("user_id", name=op.f("pk_mail_counts")),
    )
    op.add_column("reminders", sa.Column("stale_since", sa.DateTime(timezone=True), nullable=True))
    op.execute("UPDATE reminders SET stale_since = statement_timestamp() WHERE is_stale")
    op.alter_column("reminders", "stale_since", server_default=sa.text("statement_timestamp()"))
    op.execute(_STALE_SINCE)
    op.drop_index("ix_reminders_stale", table_name="reminders")
    op.drop_column("reminders", "is_stale")
    op.create_index(
        "ix_reminders_stale",
        "reminders",
        ["event_id"],
        unique=False,
        postgresql_where=sa.text("stale_since IS NOT NULL"),
    )
