"""The statements on messages.

Their order is `(transaction_id, position)`, and only those of transactions older than every
running one are read: an older message can then not appear any more, however late others commit.
That also holds where `transaction_id` is that of an earlier change of the same event, since it is
never less than that of the transaction which wrote the message.
"""

from typing import Final

from eventmanager.core.database import query


def told(
    source: str,
    *,
    id: str,  # noqa: A002
    recipients: str,
    owner: str,
    event: str,
    type: str,  # noqa: A002
    data: str,
    initiator: str = "CAST(:caller_id AS uuid)",
    session: str = "CAST(:by_session_id AS uuid)",
    transaction: str = "pg_current_xact_id()",
) -> str:
    """Return SQL that stages a message for each row of `source`, which is what follows FROM.

    The arguments are SQL expressions. The statement's parameters are `now`, and unless the server
    tells by itself `caller_id` and those of `Origin.columns`. What has an order of its own, as the
    changes of an event, gives the greatest `transaction` that changed it.
    """
    return f"""
        INSERT INTO messages
            (transaction_id, id, recipients, owner_id, event_id, initiator_id, session_id, type,
             data, occurred_at)
        SELECT {transaction}, {id}, {recipients}, {owner}, {event}, {initiator}, {session}, {type},
               {data}, :now
        FROM {source}"""


_TRANSACTION: Final = "CAST(CAST(:after_transaction AS text) AS xid8)"
_AFTER: Final = f"({_TRANSACTION}, CAST(:after_position AS bigint))"
# What is handed out is older than every running transaction; a cursor that is not was given out by
# another database. So was one from before this one was restored, though its number may be any.
_FOREIGN: Final = f"""
    ({_TRANSACTION} >= pg_snapshot_xmin(pg_current_snapshot())
     OR EXISTS (SELECT FROM numbering n
                WHERE {_TRANSACTION} < n.transaction_id
                   OR {_TRANSACTION} > n.transaction_id
                      AND CAST(:after_position AS bigint) <= n.position))"""
_EXPIRED: Final = f"""
    (EXISTS (SELECT FROM purge_marks p WHERE p.user_id = CAST(:caller_id AS uuid)
             AND (p.transaction_id, p.position) > {_AFTER})
     OR {_FOREIGN})"""

# The message `m`, but for who is to be told.
_MESSAGE: Final = """
    CAST(CAST(m.transaction_id AS text) AS bigint) AS transaction_id, m.position,
    m.id, m.event_id, m.initiator_id, m.type, m.data, m.occurred_at"""

# The last settled message. What is read goes on from a message, and never from the number of a
# transaction: a crash may give one that committed nothing to another.
_LAST: Final = """
    SELECT CAST(CAST(transaction_id AS text) AS bigint) AS last_transaction_id,
           position AS last_position
    FROM messages WHERE transaction_id < pg_snapshot_xmin(pg_current_snapshot())
    ORDER BY transaction_id DESC, position DESC LIMIT 1"""

LAST: Final = query(_LAST)

# What is committed for some users after a cursor, settled or not.
COMMITTED: Final = query(f"""
    SELECT DISTINCT m.id, CAST(CAST(m.transaction_id AS text) AS bigint) AS transaction_id,
           m.position
    FROM receipts r JOIN messages m USING (transaction_id, position)
    WHERE r.recipient_id = ANY(CAST(:recipients AS uuid[]))
      AND (r.transaction_id, r.position) > {_AFTER}
""")

# The next settled messages after a cursor, to the given recipients or, with null, to everybody. At
# least one row, for how far was looked, if there was anything; whether there is `more` behind it;
# and whether younger messages wait to be settled. However few of them are for the given ones, no
# more than `look` are looked at, so that who has far to go gets there in steps.
NEXT: Final = query(f"""
    SELECT CAST(CAST(reach.transaction_id AS text) AS bigint) AS last_transaction_id,
           reach.position AS last_position, reach.more,
           EXISTS (SELECT FROM messages WHERE transaction_id >= s.xmin) AS unsettled,
           {_MESSAGE}, m.session_id,
           CASE WHEN m.muted = '{{}}' THEN m.recipients
                ELSE ARRAY(SELECT r FROM unnest(m.recipients) r WHERE r <> ALL(m.muted))
                END AS recipients
    FROM (SELECT pg_snapshot_xmin(pg_current_snapshot()) AS xmin) s
    LEFT JOIN LATERAL (
        SELECT coalesce(far.transaction_id, last.transaction_id) AS transaction_id,
               coalesce(far.position, last.position) AS position,
               far.position IS NOT NULL AS more
        FROM (
            SELECT transaction_id, position FROM messages WHERE transaction_id < s.xmin
            ORDER BY transaction_id DESC, position DESC LIMIT 1
        ) last
        LEFT JOIN LATERAL (
            SELECT transaction_id, position FROM messages
            WHERE (transaction_id, position) > {_AFTER} AND transaction_id < s.xmin
            ORDER BY transaction_id, position
            OFFSET CAST(:look AS bigint) - 1 LIMIT 1
        ) far ON true
    ) reach ON true
    LEFT JOIN LATERAL (
        SELECT * FROM messages
        WHERE (transaction_id, position) > {_AFTER}
          AND (transaction_id, position) <= (reach.transaction_id, reach.position)
          AND (CAST(:recipients AS uuid[]) IS NULL
               OR recipients && CAST(:recipients AS uuid[]))
        ORDER BY transaction_id, position
        LIMIT :limit
    ) m ON true
    ORDER BY m.transaction_id, m.position
""")

# If messages have waited for more than so many seconds to be settled: how long, and for whom. That
# is the oldest of all transactions of the server that have a number, in whichever database. Its age
# is null where we may not see it.
HOLD_UP: Final = query("""
    SELECT CAST(waiting.seconds AS float8) AS waiting_s, oldest.pid, oldest.gid,
           CAST(oldest.database AS text) AS database, oldest.application_name,
           CAST(extract(epoch FROM clock_timestamp() - oldest.since) AS float8) AS age_s
    FROM (
        SELECT extract(epoch FROM CAST(:now AS timestamptz) - min(occurred_at)) AS seconds
        FROM messages WHERE transaction_id >= pg_snapshot_xmin(pg_current_snapshot())
    ) waiting
    LEFT JOIN LATERAL (
        SELECT * FROM (
            SELECT backend_xid AS xid, pid, CAST(NULL AS text) AS gid, datname AS database,
                   application_name, xact_start AS since
            FROM pg_stat_activity WHERE backend_xid IS NOT NULL
            UNION ALL
            SELECT transaction, NULL, gid, database, NULL, prepared FROM pg_prepared_xacts
        ) running
        ORDER BY age(xid) DESC LIMIT 1
    ) oldest ON true
    WHERE waiting.seconds > CAST(:seconds AS float8)
""")

# The caller's settled messages between two positions, but for what the caller's session did itself.
# At least one row, for whether what came after the first of them is no longer kept, or it is of no
# message that has been read here.
BETWEEN: Final = query(f"""
    SELECT {_EXPIRED} AS expired,
           {_MESSAGE}, CAST(:caller_id AS uuid) AS recipient_id
    FROM (SELECT pg_snapshot_xmin(pg_current_snapshot()) AS xmin) s
    LEFT JOIN LATERAL (
        SELECT m.* FROM receipts r JOIN messages m USING (transaction_id, position)
        WHERE r.recipient_id = :caller_id
          AND (r.transaction_id, r.position) > {_AFTER}
          AND (r.transaction_id, r.position)
              <= (CAST(CAST(:until_transaction AS text) AS xid8), CAST(:until_position AS bigint))
          AND r.transaction_id < s.xmin
          AND m.session_id IS DISTINCT FROM CAST(:session_id AS uuid)
        ORDER BY r.transaction_id, r.position
        LIMIT :limit
    ) m ON true
    ORDER BY m.transaction_id, m.position
""")

# Whether a cursor is too old for the caller, or of no message that has been read here.
EXPIRED: Final = query(f"SELECT {_EXPIRED} AS expired")

# Moves on how far the caller has read, unless the cursor is of no message that has been read here.
READ: Final = query(f"""
    WITH known AS (
        SELECT NOT {_FOREIGN} AS is_ours
    ), moved AS (
        INSERT INTO read_marks (user_id, transaction_id, position)
        SELECT CAST(:caller_id AS uuid), {_TRANSACTION}, CAST(:after_position AS bigint)
        FROM known WHERE is_ours
        ON CONFLICT (user_id) DO UPDATE
        SET transaction_id = excluded.transaction_id, position = excluded.position
        WHERE (read_marks.transaction_id, read_marks.position)
              < (excluded.transaction_id, excluded.position)
    )
    SELECT is_ours FROM known
""")

# How many settled messages of what others did the caller has not read, up to a limit; and the last
# settled message of all, or the last that was purged of the caller's, or before this database was
# restored, if there was any.
UNREAD: Final = query(f"""
    SELECT last.*, unread.unread FROM (
      SELECT count(*) AS unread FROM (
        SELECT FROM receipts r JOIN messages m USING (transaction_id, position)
        WHERE r.recipient_id = :caller_id
          AND m.initiator_id IS DISTINCT FROM CAST(:caller_id AS uuid)
          AND (r.transaction_id, r.position) > (
              coalesce((SELECT transaction_id FROM read_marks WHERE user_id = :caller_id),
                       CAST('0' AS xid8)),
              coalesce((SELECT position FROM read_marks WHERE user_id = :caller_id), 0))
          AND r.transaction_id < pg_snapshot_xmin(pg_current_snapshot())
        LIMIT :limit
      ) found
    ) unread
    LEFT JOIN (
        SELECT * FROM (
            ({_LAST})
            UNION ALL
            SELECT CAST(CAST(transaction_id AS text) AS bigint), position
            FROM purge_marks WHERE user_id = :caller_id
            UNION ALL
            SELECT CAST(CAST(transaction_id AS text) AS bigint), position
            FROM numbering WHERE position > 0
        ) either
        ORDER BY last_transaction_id DESC, last_position DESC LIMIT 1
    ) last ON true
""")

# Deletes those of the oldest messages that are old enough, and remembers the last one of each user.
PURGE: Final = query("""
    WITH oldest AS MATERIALIZED (
        SELECT transaction_id, position, occurred_at FROM messages
        WHERE transaction_id < pg_snapshot_xmin(pg_current_snapshot())
        ORDER BY transaction_id, position
        LIMIT :limit
    ), purged AS (
        DELETE FROM messages m USING oldest
        WHERE m.transaction_id = oldest.transaction_id AND m.position = oldest.position
          AND oldest.occurred_at < :before
        RETURNING m.transaction_id, m.position, m.recipients, m.muted
    ), remembered AS (
        INSERT INTO purge_marks (user_id, transaction_id, position)
        SELECT DISTINCT ON (u.id) u.id, transaction_id, position
        FROM purged JOIN LATERAL unnest(recipients) r (id) ON r.id <> ALL(muted)
        JOIN users u ON u.id = r.id
        ORDER BY u.id, transaction_id DESC, position DESC
        ON CONFLICT (user_id) DO UPDATE
        SET transaction_id = excluded.transaction_id, position = excluded.position
        WHERE (purge_marks.transaction_id, purge_marks.position)
              < (excluded.transaction_id, excluded.position)
    )
    SELECT count(*) AS purged FROM purged
""")

WISHES: Final = query("""
    SELECT types, quiet_from, quiet_until, time_zone FROM notification_settings
    WHERE user_id = :user_id
""")

WISH: Final = query("""
    INSERT INTO notification_settings
        (user_id, types, quiet_from, quiet_until, time_zone, updated_at)
    VALUES (:user_id, CAST(:types AS text[]), CAST(:quiet_from AS time),
            CAST(:quiet_until AS time), :time_zone, :now)
    ON CONFLICT (user_id) DO UPDATE
    SET types = excluded.types, quiet_from = excluded.quiet_from,
        quiet_until = excluded.quiet_until, time_zone = excluded.time_zone,
        updated_at = excluded.updated_at
""")

# Those of the given users who have quiet hours.
QUIET: Final = query("""
    SELECT user_id, quiet_from, quiet_until, time_zone FROM notification_settings
    WHERE user_id = ANY(CAST(:user_ids AS uuid[])) AND quiet_from IS NOT NULL
""")
