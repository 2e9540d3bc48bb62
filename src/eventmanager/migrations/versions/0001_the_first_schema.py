"""the first schema.

Revision: 0001
Revises: nothing
Created: 2026-11-22
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from eventmanager.core.models import TransactionId

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "users",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("username", sa.Text(), nullable=False),
        sa.Column("email", sa.Text(), nullable=False),
        sa.Column("password_hash", sa.Text(), nullable=False),
        sa.Column("role", sa.Text(), server_default="User", nullable=False),
        sa.Column("is_active", sa.Boolean(), server_default=sa.text("true"), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("role IN ('User', 'Admin')", name=op.f("ck_users_role")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_users")),
    )
    op.create_index("uq_users_email", "users", [sa.literal_column("lower(email)")], unique=True)
    op.create_index(
        "uq_users_username", "users", [sa.literal_column("lower(username)")], unique=True
    )
    op.create_table(
        "events",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("owner_id", sa.Uuid(), nullable=False),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("description", sa.Text(), nullable=True),
        sa.Column("location", sa.Text(), nullable=True),
        sa.Column("start_time", sa.DateTime(timezone=True), nullable=False),
        sa.Column("end_time", sa.DateTime(timezone=True), nullable=False),
        sa.Column("time_zone", sa.Text(), nullable=False),
        sa.Column("all_day", sa.Boolean(), nullable=False),
        sa.Column("start_date", sa.Date(), nullable=True),
        sa.Column("end_date", sa.Date(), nullable=True),
        sa.Column("recurrence_pattern", sa.Text(), nullable=True),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("transparency", sa.Text(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("deleted_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column(
            "search",
            postgresql.TSVECTOR(),
            sa.Computed(
                "to_tsvector('simple'::regconfig, title || ' ' || coalesce(description, '') || ' ' || coalesce(location, ''))",
                persisted=True,
            ),
            nullable=False,
        ),
        sa.CheckConstraint(
            "status IN ('confirmed', 'tentative', 'cancelled')", name=op.f("ck_events_status")
        ),
        sa.CheckConstraint(
            "transparency IN ('opaque', 'transparent')", name=op.f("ck_events_transparency")
        ),
        sa.CheckConstraint(
            "all_day = (start_date IS NOT NULL) AND all_day = (end_date IS NOT NULL)",
            name=op.f("ck_events_all_day_dates"),
        ),
        sa.CheckConstraint("start_time < end_time", name=op.f("ck_events_time_order")),
        sa.ForeignKeyConstraint(
            ["owner_id"], ["users.id"], name=op.f("fk_events_owner_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_events")),
        sa.UniqueConstraint("id", "start_time", name="uq_events_id_start_time"),
    )
    op.create_index(op.f("ix_events_owner_id"), "events", ["owner_id"], unique=False)
    op.create_index("ix_events_search", "events", ["search"], unique=False, postgresql_using="gin")
    op.create_table(
        "messages",
        sa.Column(
            "transaction_id",
            TransactionId(),
            server_default=sa.text("pg_current_xact_id()"),
            nullable=False,
        ),
        sa.Column("position", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("recipient_id", sa.Uuid(), nullable=False),
        sa.Column("owner_id", sa.Uuid(), nullable=False),
        sa.Column("event_id", sa.Uuid(), nullable=False),
        sa.Column("initiator_id", sa.Uuid(), nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("data", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("occurred_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["recipient_id"],
            ["users.id"],
            name=op.f("fk_messages_recipient_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("transaction_id", "position", name=op.f("pk_messages")),
    )
    op.create_index(
        "ix_messages_recipient",
        "messages",
        ["recipient_id", "transaction_id", "position"],
        unique=False,
    )
    op.create_table(
        "sessions",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("last_used_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("address", sa.Text(), nullable=False),
        sa.Column("user_agent", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["user_id"], ["users.id"], name=op.f("fk_sessions_user_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_sessions")),
    )
    op.create_index(op.f("ix_sessions_user_id"), "sessions", ["user_id"], unique=False)
    op.create_table(
        "timelines",
        sa.Column("owner_id", sa.Uuid(), nullable=False),
        sa.Column("stored_until", sa.DateTime(timezone=True), nullable=False),
        sa.Column("bookings", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.ForeignKeyConstraint(
            ["owner_id"], ["users.id"], name=op.f("fk_timelines_owner_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("owner_id", name=op.f("pk_timelines")),
    )
    op.create_table(
        "grants",
        sa.Column("event_id", sa.Uuid(), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("owner_id", sa.Uuid(), nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("start_time", sa.DateTime(timezone=True), nullable=False),
        sa.Column("granted_by", sa.Uuid(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("role IN ('Owner', 'Editor', 'Viewer')", name=op.f("ck_grants_role")),
        sa.ForeignKeyConstraint(
            ["event_id", "start_time"],
            ["events.id", "events.start_time"],
            name="fk_grants_event",
            onupdate="CASCADE",
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["user_id"], ["users.id"], name=op.f("fk_grants_user_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("event_id", "user_id", name=op.f("pk_grants")),
    )
    op.create_index(
        "ix_grants_reader", "grants", ["user_id", "start_time", "event_id"], unique=False
    )
    op.create_index(
        "ix_grants_shared",
        "grants",
        ["user_id", "owner_id"],
        unique=False,
        postgresql_where=sa.text("owner_id <> user_id"),
    )
    op.create_table(
        "occurrences",
        sa.Column("event_id", sa.Uuid(), nullable=False),
        sa.Column("recurrence_id", sa.DateTime(timezone=True), nullable=False),
        sa.Column("owner_id", sa.Uuid(), nullable=False),
        sa.Column("start_time", sa.DateTime(timezone=True), nullable=False),
        sa.Column("end_time", sa.DateTime(timezone=True), nullable=False),
        sa.Column(
            "reach",
            sa.SmallInteger(),
            sa.Computed(
                "CASE WHEN end_time - start_time <= '1 day'::interval THEN 0 WHEN end_time - start_time <= '32 days'::interval THEN 1 WHEN end_time - start_time <= '1024 days'::interval THEN 2 ELSE 3 END",
                persisted=True,
            ),
            nullable=False,
        ),
        sa.Column("busy", sa.Boolean(), nullable=False),
        sa.CheckConstraint("start_time < end_time", name=op.f("ck_occurrences_time_order")),
        sa.ForeignKeyConstraint(
            ["event_id"], ["events.id"], name=op.f("fk_occurrences_event_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("event_id", "recurrence_id", name=op.f("pk_occurrences")),
    )
    op.create_index(
        "ix_occurrences_timeline",
        "occurrences",
        ["owner_id", "reach", "start_time"],
        unique=False,
        postgresql_include=["end_time", "busy", "event_id", "recurrence_id"],
    )
    op.create_table(
        "refresh_tokens",
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("session_id", sa.Uuid(), nullable=False),
        sa.Column("issued_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("used_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["session_id"],
            ["sessions.id"],
            name=op.f("fk_refresh_tokens_session_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("digest", name=op.f("pk_refresh_tokens")),
    )
    op.create_index(
        op.f("ix_refresh_tokens_session_id"), "refresh_tokens", ["session_id"], unique=False
    )
    op.create_table(
        "series",
        sa.Column("event_id", sa.Uuid(), nullable=False),
        sa.Column("owner_id", sa.Uuid(), nullable=False),
        sa.Column("start_time", sa.DateTime(timezone=True), nullable=False),
        sa.Column("end_time", sa.DateTime(timezone=True), nullable=False),
        sa.Column("time_zone", sa.Text(), nullable=False),
        sa.Column("all_day", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("recurrence_pattern", sa.Text(), nullable=False),
        sa.Column("busy", sa.Boolean(), nullable=False),
        sa.ForeignKeyConstraint(
            ["event_id"], ["events.id"], name=op.f("fk_series_event_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("event_id", name=op.f("pk_series")),
    )
    op.create_index(op.f("ix_series_owner_id"), "series", ["owner_id"], unique=False)
    op.create_table(
        "versions",
        sa.Column("event_id", sa.Uuid(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("owner_id", sa.Uuid(), nullable=False),
        sa.Column("operation", sa.Text(), nullable=False),
        sa.Column("data", sa.JSON(), nullable=False),
        sa.Column("timestamp", sa.DateTime(timezone=True), nullable=False),
        sa.Column("changed_by", sa.Uuid(), nullable=False),
        sa.CheckConstraint(
            "operation IN ('create', 'update', 'rollback', 'delete')",
            name=op.f("ck_versions_operation"),
        ),
        sa.ForeignKeyConstraint(
            ["event_id"], ["events.id"], name=op.f("fk_versions_event_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("event_id", "version", name=op.f("pk_versions")),
        sa.UniqueConstraint("event_id", "id", name=op.f("uq_versions_event_id_id")),
    )


def downgrade() -> None:
    op.drop_table("versions")
    op.drop_index(op.f("ix_series_owner_id"), table_name="series")
    op.drop_table("series")
    op.drop_index(op.f("ix_refresh_tokens_session_id"), table_name="refresh_tokens")
    op.drop_table("refresh_tokens")
    op.drop_index(
        "ix_occurrences_timeline",
        table_name="occurrences",
        postgresql_include=["end_time", "busy", "event_id", "recurrence_id"],
    )
    op.drop_table("occurrences")
    op.drop_index(
        "ix_grants_shared", table_name="grants", postgresql_where=sa.text("owner_id <> user_id")
    )
    op.drop_index("ix_grants_reader", table_name="grants")
    op.drop_table("grants")
    op.drop_table("timelines")
    op.drop_index(op.f("ix_sessions_user_id"), table_name="sessions")
    op.drop_table("sessions")
    op.drop_index("ix_messages_recipient", table_name="messages")
    op.drop_table("messages")
    op.drop_index("ix_events_search", table_name="events", postgresql_using="gin")
    op.drop_index(op.f("ix_events_owner_id"), table_name="events")
    op.drop_table("events")
    op.drop_index("uq_users_username", table_name="users")
    op.drop_index("uq_users_email", table_name="users")
    op.drop_table("users")
