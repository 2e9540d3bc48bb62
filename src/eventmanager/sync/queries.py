"""The statements of a sync.

What has changed since a snapshot are the rows whose transaction it did not see the end of, however
late they were committed (`messages.queries` reads its messages by the same numbers). That is true
on the primary alone: a snapshot of a replica does not name the running transactions.
"""

from typing import Final

from eventmanager.core.database import query
from eventmanager.events.queries import BESIDE

# The database's present, and the history that it belongs to: another cluster, another database in
# it, and a timeline that was branched off by recovery or failover number transactions anew.
PRESENT: Final = query("""
    SELECT CAST(pg_current_snapshot() AS text) AS snapshot,
           concat_ws('/', (SELECT system_identifier FROM pg_control_system()),
                     left(pg_walfile_name(pg_current_wal_lsn()), 8),
                     (SELECT oid FROM pg_database WHERE datname = current_database())) AS history
""")

# True of a row `it` that was committed after the snapshot `sync.since`, by a transaction that began
# before `sync.until`: so the pages come to an end among busy writers.
_BETWEEN: Final = """
    it.transaction_id >= pg_snapshot_xmin(sync.since)
    AND it.transaction_id < pg_snapshot_xmax(sync.until)
    AND NOT pg_visible_in_snapshot(it.transaction_id, sync.since)"""

_NEWEST: Final = "SELECT * FROM versions WHERE event_id = e.id AND version = e.version OFFSET 0"

# All that the caller may read, after a key; an event that was created since `until` is for the next
# sync, for the same reason. OFFSET 0 keeps the joins in this order.
EVERYTHING: Final = query(f"""
    SELECT g.event_id, g.start_time, v.data, {BESIDE}
    FROM (SELECT CAST(CAST(:until AS text) AS pg_snapshot) AS until OFFSET 0) sync
    CROSS JOIN grants g
    CROSS JOIN LATERAL (
        SELECT * FROM events WHERE id = g.event_id AND deleted_at IS NULL OFFSET 0) e
    CROSS JOIN LATERAL ({_NEWEST}) v
    WHERE g.user_id = :caller_id
      AND (g.start_time, g.event_id) > (
          coalesce(CAST(:after_time AS timestamptz), '-infinity'),
          coalesce(CAST(:after_id AS uuid), CAST('00000000-0000-0000-0000-000000000000' AS uuid)))
      AND (v.version > 1 OR pg_visible_in_snapshot(v.transaction_id, sync.until))
    ORDER BY g.start_time, g.event_id
    LIMIT :limit
""")

# The events that were changed, or whose grants were, between two snapshots, after a key: as they
# are now, or without data where the caller can't read them any more. An event that the caller could
# not read before either is not named: neither a grant nor a change of the caller's own is there.
#
# `owner` are those whose calendars the caller reads something of; each is found by one look into
# the index of shared grants, past all others of the owner before.
CHANGES: Final = query(f"""
    WITH RECURSIVE shared (id) AS (
        (SELECT owner_id FROM grants
         WHERE user_id = :caller_id AND owner_id <> user_id ORDER BY owner_id LIMIT 1)
        UNION ALL
        SELECT (SELECT owner_id FROM grants
                WHERE user_id = :caller_id AND owner_id <> user_id AND owner_id > shared.id
                ORDER BY owner_id LIMIT 1)
        FROM shared WHERE shared.id IS NOT NULL
    ), owner AS (
        SELECT CAST(:caller_id AS uuid) AS id UNION ALL SELECT id FROM shared WHERE id IS NOT NULL
    ), sync AS MATERIALIZED (
        SELECT CAST(CAST(:since AS text) AS pg_snapshot) AS since,
               CAST(CAST(:until AS text) AS pg_snapshot) AS until
    ), touched AS (
        SELECT it.event_id, false AS own FROM sync CROSS JOIN owner CROSS JOIN LATERAL (
            SELECT event_id FROM versions it WHERE it.owner_id = owner.id AND {_BETWEEN} OFFSET 0
        ) it
        UNION ALL
        SELECT it.event_id, false FROM sync CROSS JOIN owner CROSS JOIN LATERAL (
            SELECT event_id FROM grant_changes it
            WHERE it.owner_id = owner.id AND {_BETWEEN} OFFSET 0
        ) it
        UNION ALL
        SELECT it.event_id, true FROM sync CROSS JOIN LATERAL (
            SELECT event_id FROM grant_changes it
            WHERE it.user_id = :caller_id AND {_BETWEEN} OFFSET 0
        ) it
    )
    SELECT c.event_id, v.data, {BESIDE}
    FROM (
        SELECT event_id, bool_or(own) AS own FROM touched
        WHERE CAST(:after_id AS uuid) IS NULL OR event_id > CAST(:after_id AS uuid)
        GROUP BY event_id ORDER BY event_id OFFSET 0
    ) c
    LEFT JOIN LATERAL (
        SELECT * FROM grants WHERE event_id = c.event_id AND user_id = :caller_id OFFSET 0
    ) g ON true
    LEFT JOIN LATERAL (
        SELECT * FROM events WHERE id = g.event_id AND deleted_at IS NULL OFFSET 0) e ON true
    LEFT JOIN LATERAL ({_NEWEST}) v ON true
    WHERE c.own OR g.event_id IS NOT NULL
    ORDER BY c.event_id
    LIMIT :limit
""")
