"""Single occurrences that differ, series in two halves, and who may ask for free/busy.

Revision: 0002
Revises: 0001
Created: 2026-11-22
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

# The foreign key of occurrences was checked row by row, which was half of what it costs to store a
# series of many. These triggers look once a statement, with the same effect.
_TRIGGERS = (
    """
    CREATE FUNCTION occurrences_need_events() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        IF EXISTS (
            SELECT FROM (SELECT DISTINCT event_id FROM added) a
            WHERE NOT EXISTS (SELECT FROM events e WHERE e.id = a.event_id)
        ) THEN
            RAISE foreign_key_violation USING MESSAGE = 'an occurrence needs an event';
        END IF;
        RETURN NULL;
    END $$
""",
    """
    CREATE TRIGGER need_events AFTER INSERT ON occurrences
        REFERENCING NEW TABLE AS added FOR EACH STATEMENT
        EXECUTE FUNCTION occurrences_need_events()
""",
    """
    CREATE FUNCTION occurrences_go_with_events() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        DELETE FROM occurrences o USING gone WHERE o.event_id = gone.id;
        RETURN NULL;
    END $$
""",
    """
    CREATE TRIGGER take_occurrences AFTER DELETE ON events
        REFERENCING OLD TABLE AS gone FOR EACH STATEMENT
        EXECUTE FUNCTION occurrences_go_with_events()
""",
)
# Most events last an hour or less, so what touches one of them is best looked for among those.
_REACH = (
    "CASE WHEN end_time - start_time <= '01:00:00'::interval THEN 0"
    " WHEN end_time - start_time <= '1 day'::interval THEN 1"
    " WHEN end_time - start_time <= '32 days'::interval THEN 2"
    " WHEN end_time - start_time <= '1024 days'::interval THEN 3"
    " ELSE 4 END"
)
_OPERATIONS = "operation IN ('create', 'update', 'rollback', 'split', 'delete', 'restore')"


def upgrade() -> None:
    op.add_column(
        "users", sa.Column("free_busy", sa.Text(), server_default="everyone", nullable=False)
    )
    op.create_check_constraint(
        op.f("ck_users_free_busy"), "users", "free_busy IN ('everyone', 'shared', 'nobody')"
    )
    op.add_column("events", sa.Column("recurrence_text", sa.Text(), nullable=True))
    op.add_column(
        "events",
        sa.Column(
            "overrides",
            postgresql.JSONB(astext_type=sa.Text()),
            server_default=sa.text("'{}'"),
            nullable=False,
        ),
    )
    op.add_column("events", sa.Column("split_from", sa.Uuid(), nullable=True))
    op.add_column(
        "timelines", sa.Column("zone_data", sa.Text(), server_default=sa.text("''"), nullable=False)
    )
    op.add_column(
        "occurrences",
        sa.Column("override", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
    )
    op.drop_constraint(op.f("fk_occurrences_event_id"), "occurrences")
    for statement in _TRIGGERS:
        op.execute(statement)
    # With the column goes its index.
    op.drop_column("occurrences", "reach")
    op.add_column(
        "occurrences",
        sa.Column("reach", sa.SmallInteger(), sa.Computed(_REACH, persisted=True), nullable=False),
    )
    op.create_index(
        "ix_occurrences_timeline",
        "occurrences",
        ["owner_id", "reach", "start_time"],
        unique=False,
        postgresql_include=["end_time", "busy", "event_id", "recurrence_id"],
    )
    op.alter_column("messages", "initiator_id", nullable=True)
    op.alter_column("versions", "changed_by", nullable=True)
    op.create_index(
        "ix_events_bin",
        "events",
        ["owner_id", "start_time", "id"],
        postgresql_where=sa.text("deleted_at IS NOT NULL"),
    )
    op.drop_constraint(op.f("ck_versions_operation"), "versions")
    op.create_check_constraint(op.f("ck_versions_operation"), "versions", _OPERATIONS)
    # What is read as the current event is its newest version, so that has to have every field.
    op.execute("""
        UPDATE versions v
        SET data = (CAST(v.data AS jsonb)
                    || '{"recurrence_text": null, "overrides": {}, "split_from": null}')::json
        FROM events e WHERE e.id = v.event_id AND e.version = v.version
    """)
