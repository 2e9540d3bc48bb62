"""The statements on messages.

Their order is `(transaction_id, position)`, and only those of transactions older than every
running one are read: an older message can then not appear any more, however late others commit.
"""

from typing import Final

from eventmanager.core.database import query

# The database's present, for one who has nothing to read yet.
PRESENT: Final = query("SELECT CAST(pg_current_snapshot() AS text) AS snapshot")

# The next settled messages after a cursor, to the given recipients or, with null, to everybody. At
# least one row, for the snapshot that was read and whether younger messages wait to be settled.
NEXT: Final = query("""
    SELECT CAST(s.snapshot AS text) AS snapshot,
           EXISTS (SELECT FROM messages
                   WHERE transaction_id >= pg_snapshot_xmin(s.snapshot)) AS unsettled,
           CAST(CAST(m.transaction_id AS text) AS bigint) AS transaction_id, m.position,
           m.id, m.recipient_id, m.event_id, m.initiator_id, m.type, m.data, m.occurred_at
    FROM (SELECT pg_current_snapshot() AS snapshot) s
    LEFT JOIN LATERAL (
        SELECT * FROM messages
        WHERE (transaction_id, position)
              > (CAST(CAST(:after_transaction AS text) AS xid8), CAST(:after_position AS bigint))
          AND transaction_id < pg_snapshot_xmin(s.snapshot)
          AND (CAST(:recipients AS uuid[]) IS NULL
               OR recipient_id = ANY(CAST(:recipients AS uuid[])))
        ORDER BY transaction_id, position
        LIMIT :limit
    ) m ON true
    ORDER BY m.transaction_id, m.position
""")

# Those of the given sessions that live.
STILL_LIVE: Final = query("""
    SELECT s.id FROM sessions s JOIN users u ON u.id = s.user_id AND u.is_active
    WHERE s.id = ANY(CAST(:session_ids AS uuid[]))
      AND s.ended_at IS NULL AND s.expires_at > :now
""")

NOTIFY: Final = query("SELECT pg_notify(:channel, :sender)")
ALIVE: Final = query("SELECT true")
