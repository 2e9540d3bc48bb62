"""Messages for many, reminders, webhooks, presence, and what users want to be told.

Revision: 0005
Revises: 0004
Created: 2026-11-23
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from eventmanager.core.models import TransactionId

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

# In what an event differs after a change, as the differences of versions are written elsewhere.
_CHANGED_FIELDS = """
    CREATE FUNCTION changed_fields(before jsonb, after jsonb) RETURNS jsonb
    LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
        SELECT coalesce(jsonb_agg(jsonb_build_object(
            'field', field, 'before', old, 'after', new) ORDER BY field COLLATE "C"), '[]')
        FROM (
            SELECT key AS field, o.value AS old, n.value AS new
            FROM jsonb_each(before) o FULL JOIN jsonb_each(after) n USING (key)
            WHERE key NOT IN ('version', 'updated_at', 'overrides')
            UNION ALL
            SELECT 'overrides/' || key, o.value, n.value
            FROM jsonb_each(coalesce(before -> 'overrides', '{}')) o
            FULL JOIN jsonb_each(coalesce(after -> 'overrides', '{}')) n USING (key)
        ) fields
        WHERE old IS DISTINCT FROM new
    $$
"""
_TRIGGERS = (
    # Who of the recipients does not want to be told is fixed with the message, as they are.
    """
    CREATE FUNCTION messages_are_muted() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        NEW.muted := ARRAY(
            SELECT user_id FROM notification_settings
            WHERE user_id = ANY(NEW.recipients) AND NEW.type <> ALL(types));
        RETURN NEW;
    END $$
""",
    """
    CREATE TRIGGER mute BEFORE INSERT ON messages FOR EACH ROW
        EXECUTE FUNCTION messages_are_muted()
""",
    # What each user reads follows from the messages, with one statement for however many.
    """
    CREATE FUNCTION messages_have_receipts() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        INSERT INTO receipts (recipient_id, transaction_id, position)
        SELECT recipient_id, transaction_id, position
        FROM added, unnest(recipients) AS recipient_id
        WHERE recipient_id <> ALL(muted);
        RETURN NULL;
    END $$
""",
    """
    CREATE TRIGGER give_receipts AFTER INSERT ON messages
        REFERENCING NEW TABLE AS added FOR EACH STATEMENT
        EXECUTE FUNCTION messages_have_receipts()
""",
    """
    CREATE FUNCTION receipts_go_with_messages() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        DELETE FROM receipts r
        USING (SELECT unnest(recipients) AS recipient_id, transaction_id, position FROM gone) m
        WHERE r.recipient_id = m.recipient_id
          AND r.transaction_id = m.transaction_id AND r.position = m.position;
        RETURN NULL;
    END $$
""",
    """
    CREATE TRIGGER take_receipts AFTER DELETE ON messages
        REFERENCING OLD TABLE AS gone FOR EACH STATEMENT
        EXECUTE FUNCTION receipts_go_with_messages()
""",
    # Whatever changes when an event takes place, its reminders have to be looked at again. Stale
    # ones are marked too: that waits for whoever is just looking at them and does not see this.
    """
    CREATE FUNCTION reminders_are_stale() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        UPDATE reminders SET is_stale = true
        WHERE event_id = ANY(ARRAY(SELECT DISTINCT event_id FROM changed));
        RETURN NULL;
    END $$
""",
    """
    CREATE TRIGGER remind_of_added AFTER INSERT ON occurrences
        REFERENCING NEW TABLE AS changed FOR EACH STATEMENT
        EXECUTE FUNCTION reminders_are_stale()
""",
    """
    CREATE TRIGGER remind_of_changed AFTER UPDATE ON occurrences
        REFERENCING NEW TABLE AS changed FOR EACH STATEMENT
        EXECUTE FUNCTION reminders_are_stale()
""",
    """
    CREATE TRIGGER remind_of_gone AFTER DELETE ON occurrences
        REFERENCING OLD TABLE AS changed FOR EACH STATEMENT
        EXECUTE FUNCTION reminders_are_stale()
""",
)


def upgrade() -> None:
    op.create_table(
        "dispatch_mark",
        sa.Column("is_only", sa.Boolean(), server_default=sa.text("true"), nullable=False),
        sa.Column("transaction_id", TransactionId(), nullable=False),
        sa.Column("position", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("is_only", name=op.f("ck_dispatch_mark_is_only")),
        sa.PrimaryKeyConstraint("is_only", name=op.f("pk_dispatch_mark")),
    )
    # From here on: there are no webhooks yet. The last place before what is not settled.
    op.execute("""
        INSERT INTO dispatch_mark (transaction_id, position)
        SELECT CAST(CAST(xmin - 1 AS text) AS xid8), 9223372036854775807
        FROM (SELECT CAST(CAST(pg_snapshot_xmin(pg_current_snapshot()) AS text) AS bigint) AS xmin)
            AS present
    """)
    op.create_table(
        "presence",
        sa.Column("event_id", sa.Uuid(), nullable=False),
        sa.Column("socket_id", sa.Uuid(), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("since", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("state IN ('viewing', 'editing')", name=op.f("ck_presence_state")),
        sa.PrimaryKeyConstraint("event_id", "socket_id", name=op.f("pk_presence")),
        prefixes=["UNLOGGED"],
    )
    op.create_index("ix_presence_expires", "presence", ["expires_at"], unique=False)
    op.create_table(
        "notification_settings",
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("types", sa.ARRAY(sa.Text()), nullable=True),
        sa.Column("quiet_from", sa.Time(), nullable=True),
        sa.Column("quiet_until", sa.Time(), nullable=True),
        sa.Column("time_zone", sa.Text(), server_default=sa.text("'UTC'"), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint(
            "(quiet_from IS NULL) = (quiet_until IS NULL)",
            name=op.f("ck_notification_settings_quiet_hours"),
        ),
        sa.ForeignKeyConstraint(
            ["user_id"],
            ["users.id"],
            name=op.f("fk_notification_settings_user_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("user_id", name=op.f("pk_notification_settings")),
    )
    op.create_table(
        "receipts",
        sa.Column("recipient_id", sa.Uuid(), nullable=False),
        sa.Column("transaction_id", TransactionId(), nullable=False),
        sa.Column("position", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["recipient_id"],
            ["users.id"],
            name=op.f("fk_receipts_recipient_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint(
            "recipient_id", "transaction_id", "position", name=op.f("pk_receipts")
        ),
    )
    op.create_table(
        "webhooks",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("url", sa.Text(), nullable=False),
        sa.Column("description", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("types", sa.ARRAY(sa.Text()), nullable=True),
        sa.Column("secret", sa.LargeBinary(), nullable=False),
        sa.Column("old_secret", sa.LargeBinary(), nullable=True),
        sa.Column("old_secret_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("is_active", sa.Boolean(), server_default=sa.text("true"), nullable=False),
        sa.Column("failing_since", sa.DateTime(timezone=True), nullable=True),
        sa.Column("disabled_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column(
            "active_since",
            TransactionId(),
            server_default=sa.text("pg_current_xact_id()"),
            nullable=False,
        ),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["user_id"], ["users.id"], name=op.f("fk_webhooks_user_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_webhooks")),
    )
    op.create_index(op.f("ix_webhooks_user_id"), "webhooks", ["user_id"], unique=False)
    op.create_table(
        "deliveries",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("webhook_id", sa.Uuid(), nullable=False),
        sa.Column("message_id", sa.Uuid(), nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.Column("state", sa.Text(), server_default=sa.text("'pending'"), nullable=False),
        sa.Column(
            "attempts",
            postgresql.JSONB(astext_type=sa.Text()),
            server_default=sa.text("'[]'"),
            nullable=False,
        ),
        sa.Column("turn", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("next_attempt_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("queued_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint(
            "state IN ('pending', 'delivered', 'failed')", name=op.f("ck_deliveries_state")
        ),
        sa.ForeignKeyConstraint(
            ["webhook_id"],
            ["webhooks.id"],
            name=op.f("fk_deliveries_webhook_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_deliveries")),
        sa.UniqueConstraint(
            "webhook_id", "message_id", name=op.f("uq_deliveries_webhook_id_message_id")
        ),
    )
    op.create_index("ix_deliveries_webhook", "deliveries", ["webhook_id", "id"], unique=False)
    op.create_index(
        "ix_deliveries_pending",
        "deliveries",
        ["webhook_id"],
        unique=False,
        postgresql_where=sa.text("state = 'pending'"),
    )
    op.create_table(
        "reminders",
        sa.Column("event_id", sa.Uuid(), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("minutes_before", sa.Integer(), nullable=False),
        sa.Column("channel", sa.Text(), nullable=False),
        sa.Column("owner_id", sa.Uuid(), nullable=False),
        sa.Column("fired_until", sa.DateTime(timezone=True), nullable=False),
        sa.Column("next_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("is_stale", sa.Boolean(), server_default=sa.text("true"), nullable=False),
        sa.CheckConstraint(
            "channel IN ('notification', 'webhook', 'email')", name=op.f("ck_reminders_channel")
        ),
        sa.CheckConstraint(
            "minutes_before BETWEEN 0 AND 40320", name=op.f("ck_reminders_minutes_before")
        ),
        sa.ForeignKeyConstraint(
            ["event_id", "user_id"],
            ["grants.event_id", "grants.user_id"],
            name="fk_reminders_grant",
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint(
            "event_id", "user_id", "minutes_before", "channel", name=op.f("pk_reminders")
        ),
    )
    op.create_index("ix_reminders_next", "reminders", ["next_at"], unique=False)
    op.create_index(
        "ix_reminders_stale",
        "reminders",
        ["event_id"],
        unique=False,
        postgresql_where=sa.text("is_stale"),
    )
    op.create_index(
        "ix_occurrences_overrides",
        "occurrences",
        ["event_id", "start_time"],
        unique=False,
        postgresql_where=sa.text("override IS NOT NULL"),
    )
    # A message was one row for each of its recipients.
    op.add_column("messages", sa.Column("recipients", sa.ARRAY(sa.Uuid()), nullable=True))
    op.execute("UPDATE messages SET recipients = ARRAY[recipient_id]")
    op.alter_column("messages", "recipients", nullable=False)
    op.execute("""
        INSERT INTO receipts (recipient_id, transaction_id, position)
        SELECT recipient_id, transaction_id, position FROM messages
    """)
    op.add_column(
        "messages",
        sa.Column("muted", sa.ARRAY(sa.Uuid()), server_default=sa.text("'{}'"), nullable=False),
    )
    op.add_column("messages", sa.Column("session_id", sa.Uuid(), nullable=True))
    op.alter_column("messages", "event_id", existing_type=sa.UUID(), nullable=True)
    # With the column go its index and its foreign key.
    op.drop_column("messages", "recipient_id")
    for statement in (_CHANGED_FIELDS, *_TRIGGERS):
        op.execute(statement)
