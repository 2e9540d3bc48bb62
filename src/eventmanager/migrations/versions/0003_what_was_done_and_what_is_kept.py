"""what was done and what is kept.

Revision: 0003
Revises: 0002
Created: 2026-11-23
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from eventmanager.core.models import TransactionId

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


_OPERATIONS = "operation IN ('create', 'update', 'rollback', 'undo', 'split', 'delete', 'restore')"


def upgrade() -> None:
    op.create_table(
        "audit_log",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("act", sa.Text(), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=True),
        sa.Column("event_id", sa.Uuid(), nullable=True),
        sa.Column("subject_id", sa.Uuid(), nullable=True),
        sa.Column("address", sa.Text(), nullable=True),
        sa.Column("user_agent", sa.Text(), nullable=True),
        sa.Column("request_id", sa.Text(), nullable=True),
        sa.Column("details", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_audit_log")),
    )
    op.create_index("ix_audit_log_event", "audit_log", ["event_id", "id"], unique=False)
    op.create_index(
        "ix_audit_log_subject",
        "audit_log",
        ["subject_id", "id"],
        unique=False,
        postgresql_where=sa.text("subject_id IS NOT NULL"),
    )
    op.create_index("ix_audit_log_user", "audit_log", ["user_id", "id"], unique=False)
    op.create_table(
        "grant_changes",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("event_id", sa.Uuid(), nullable=False),
        sa.Column("owner_id", sa.Uuid(), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("operation", sa.Text(), nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("changed_by", sa.Uuid(), nullable=True),
        sa.Column("changed_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column(
            "transaction_id",
            TransactionId(),
            server_default=sa.text("pg_current_xact_id()"),
            nullable=False,
        ),
        sa.CheckConstraint(
            "operation IN ('grant', 'update', 'revoke')", name=op.f("ck_grant_changes_operation")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_grant_changes")),
    )
    op.create_index("ix_grant_changes_event", "grant_changes", ["event_id", "id"], unique=False)
    op.create_index(
        "ix_grant_changes_owner", "grant_changes", ["owner_id", "transaction_id"], unique=False
    )
    op.create_index(
        "ix_grant_changes_user", "grant_changes", ["user_id", "transaction_id"], unique=False
    )
    op.create_table(
        "idempotency_keys",
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("route", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("fingerprint", sa.LargeBinary(), nullable=False),
        sa.Column("status", sa.SmallInteger(), nullable=True),
        sa.Column("headers", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("body", sa.LargeBinary(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("user_id", "route", "key", name=op.f("pk_idempotency_keys")),
    )
    op.create_index(
        "ix_idempotency_keys_created_at", "idempotency_keys", ["created_at"], unique=False
    )
    op.create_index(
        "ix_events_deleted",
        "events",
        ["deleted_at"],
        unique=False,
        postgresql_where=sa.text("deleted_at IS NOT NULL"),
    )
    op.add_column(
        "versions",
        sa.Column(
            "transaction_id",
            TransactionId(),
            server_default=sa.text("pg_current_xact_id()"),
            nullable=False,
        ),
    )
    op.drop_constraint(op.f("uq_versions_event_id_id"), "versions")
    op.create_index("ix_versions_changes", "versions", ["owner_id", "transaction_id"], unique=False)
    op.drop_constraint(op.f("ck_versions_operation"), "versions")
    op.create_check_constraint(op.f("ck_versions_operation"), "versions", _OPERATIONS)
