"""The statements on webhooks and deliveries."""

from typing import Final

from eventmanager.core.database import query
from eventmanager.messages.queries import told

_WEBHOOK: Final = """
    id, url, description, types, is_active, failing_since, disabled_at, created_at, updated_at"""

# Held so that no two requests of one user each add the last webhook that the user may have.
HELD_USER: Final = query("""
    SELECT (SELECT count(*) FROM webhooks WHERE user_id = :caller_id) AS webhooks
    FROM users WHERE id = :caller_id FOR NO KEY UPDATE
""")

CREATE: Final = query(f"""
    INSERT INTO webhooks
        (id, user_id, url, description, types, secret, is_active, created_at, updated_at)
    VALUES (:id, :caller_id, :url, :description, CAST(:types AS text[]), :secret, :is_active,
            :now, :now)
    RETURNING {_WEBHOOK}
""")

# The caller's webhooks, or the one of them that is asked for.
WEBHOOKS: Final = query(f"""
    SELECT {_WEBHOOK} FROM webhooks
    WHERE user_id = :caller_id
      AND (CAST(:webhook_id AS uuid) IS NULL OR id = CAST(:webhook_id AS uuid))
    ORDER BY id
""")

HELD: Final = query(f"""
    SELECT {_WEBHOOK} FROM webhooks
    WHERE user_id = :caller_id AND id = :webhook_id FOR NO KEY UPDATE
""")

# What came while it was not active is not delivered later.
CHANGE: Final = query(f"""
    UPDATE webhooks
    SET url = :url, description = :description, types = CAST(:types AS text[]),
        is_active = :is_active, failing_since = :failing_since, disabled_at = :disabled_at,
        active_since = CASE WHEN :is_active AND NOT is_active
                       THEN pg_current_xact_id() ELSE active_since END,
        updated_at = :now
    WHERE id = :webhook_id
    RETURNING {_WEBHOOK}
""")

DELETE: Final = query("""
    DELETE FROM webhooks WHERE user_id = :caller_id AND id = :webhook_id RETURNING url
""")

# The secret so far stays good for a while, so that its owner can change it on the other side.
ROTATE: Final = query(f"""
    UPDATE webhooks
    SET old_secret = secret, old_secret_until = :old_until, secret = :secret, updated_at = :now
    WHERE user_id = :caller_id AND id = :webhook_id
    RETURNING {_WEBHOOK}
""")

# Where the looking goes on: the mark, held, if there are settled messages after it.
HELD_MARK: Final = query("""
    SELECT CAST(d.transaction_id AS text) AS transaction_id, d.position
    FROM dispatch_mark d
    WHERE (
        SELECT true FROM messages m
        WHERE (m.transaction_id, m.position) > (d.transaction_id, d.position)
          AND m.transaction_id < pg_snapshot_xmin(pg_current_snapshot())
        ORDER BY m.transaction_id, m.position LIMIT 1)
    FOR UPDATE OF d SKIP LOCKED
""")

# Passes over all settled messages while nobody has an active webhook. One that is being created
# can't miss any of them: its transaction runs, so it is younger than they are.
PASS_OVER: Final = query("""
    UPDATE dispatch_mark SET transaction_id = last.transaction_id, position = last.position
    FROM (SELECT transaction_id, position FROM messages
          WHERE transaction_id < pg_snapshot_xmin(pg_current_snapshot())
          ORDER BY transaction_id DESC, position DESC LIMIT 1) last
    WHERE NOT EXISTS (SELECT FROM webhooks WHERE is_active)
    RETURNING true AS passed
""")

# The next settled messages, each with every webhook that it is for and that has no delivery of it
# yet, or once with none. So many rows, and one more where that is not all; `fits` says of which the
# bodies are small enough together, and of the first anyway. The data come once for each message.
# Reminders go to webhooks by their own channel.
NEXT: Final = query("""
    WITH next AS MATERIALIZED (
        SELECT *, octet_length(CAST(data AS text)) AS bytes FROM messages
        WHERE (transaction_id, position)
              > (CAST(CAST(:after_transaction AS text) AS xid8), CAST(:after_position AS bigint))
          AND transaction_id < pg_snapshot_xmin(pg_current_snapshot())
        ORDER BY transaction_id, position
        LIMIT :messages
    ), wanted AS MATERIALIZED (
        SELECT m.transaction_id, m.position, m.bytes, w.id AS webhook_id, w.user_id
        FROM next m
        LEFT JOIN LATERAL (
            SELECT w.id, w.user_id FROM webhooks w JOIN users u ON u.id = w.user_id AND u.is_active
            WHERE w.user_id = ANY(m.recipients) AND w.is_active
              AND m.transaction_id > w.active_since
              AND m.type <> 'reminder' AND (w.types IS NULL OR m.type = ANY(w.types))
              AND NOT EXISTS (
                  SELECT FROM deliveries d WHERE d.webhook_id = w.id AND d.message_id = m.id)
            ORDER BY w.id LIMIT :deliveries + 1
        ) w ON true
        ORDER BY m.transaction_id, m.position, w.id
        LIMIT :deliveries + 1
    ), counted AS (
        SELECT *, row_number() OVER of_all = 1 OR (
                   row_number() OVER of_all <= :deliveries
                   AND sum(CASE WHEN webhook_id IS NOT NULL THEN bytes ELSE 0 END) OVER of_all
                       <= :bytes) AS fits,
               row_number() OVER of_message = 1 AS is_first
        FROM wanted
        WINDOW of_all AS (ORDER BY transaction_id, position, webhook_id),
               of_message AS (PARTITION BY transaction_id, position ORDER BY webhook_id)
    )
    SELECT CAST(CAST(transaction_id AS text) AS bigint) AS transaction_id, position,
           m.id, m.event_id, m.initiator_id, m.type, m.occurred_at, c.webhook_id, c.user_id, c.fits,
           CASE WHEN c.is_first AND c.fits AND c.webhook_id IS NOT NULL THEN m.data END AS data
    FROM counted c JOIN next m USING (transaction_id, position)
    ORDER BY transaction_id, position, c.webhook_id
""")

MOVE_MARK: Final = query("""
    UPDATE dispatch_mark
    SET transaction_id = CAST(CAST(:transaction_id AS text) AS xid8), position = :position
""")

# The active webhooks of some users that want a type.
WANTED_BY: Final = query("""
    SELECT w.user_id, w.id FROM webhooks w JOIN users u ON u.id = w.user_id AND u.is_active
    WHERE w.user_id = ANY(CAST(:user_ids AS uuid[])) AND w.is_active
      AND (w.types IS NULL OR :type = ANY(w.types))
    ORDER BY w.id
""")

# One delivery a webhook and message, to webhooks that are there.
DELIVERIES: Final = query("""
    INSERT INTO deliveries
        (id, webhook_id, message_id, type, body, next_attempt_at, queued_at, created_at)
    SELECT made.id, w.id, made.message_id, made.type, made.body, :now, :now, :now
    FROM unnest(CAST(:ids AS uuid[]), CAST(:webhook_ids AS uuid[]), CAST(:message_ids AS uuid[]),
                CAST(:types AS text[]), CAST(:bodies AS bytea[]))
         AS made (id, webhook_id, message_id, type, body)
    JOIN webhooks w ON w.id = made.webhook_id
    FOR KEY SHARE OF w
    ON CONFLICT (webhook_id, message_id) DO NOTHING
    RETURNING id
""")

# A delivery that is to be attempted now; a secret that was changed signs, too, until its time.
DUE: Final = query("""
    SELECT d.webhook_id, w.user_id, d.message_id, d.body, d.queued_at,
           CAST(d.attempts AS json) AS attempts,
           w.url, w.secret, w.failing_since IS NOT NULL AS is_failing, u.is_active,
           CASE WHEN w.old_secret_until > :now THEN w.old_secret END AS old_secret
    FROM deliveries d JOIN webhooks w ON w.id = d.webhook_id JOIN users u ON u.id = w.user_id
    WHERE d.id = :delivery_id AND d.turn = :turn AND d.state = 'pending'
""")

# Held before its deliveries, always in this order.
HELD_WEBHOOK: Final = query("""
    SELECT failing_since FROM webhooks WHERE id = :webhook_id FOR NO KEY UPDATE
""")

# What came of an attempt, unless the delivery has moved on meanwhile.
ATTEMPTED: Final = query("""
    UPDATE deliveries
    SET attempts = CAST(CAST(:attempts AS text) AS jsonb), state = :state,
        next_attempt_at = CAST(:next_attempt_at AS timestamptz), turn = turn + 1
    WHERE id = :delivery_id AND turn = :turn AND state = 'pending'
    RETURNING turn
""")

FAILING_SINCE: Final = query("""
    UPDATE webhooks SET failing_since = CAST(:failing_since AS timestamptz) WHERE id = :webhook_id
""")

# Those of some webhooks for which more deliveries wait than may, held in the order of all.
OVERFULL: Final = query("""
    SELECT w.id FROM webhooks w
    WHERE w.id = ANY(CAST(:webhook_ids AS uuid[])) AND CAST(:most AS bigint) < (
        SELECT count(*) FROM (
            SELECT FROM deliveries WHERE webhook_id = w.id AND state = 'pending'
            LIMIT CAST(:most AS bigint) + 1
        ) pending)
    ORDER BY w.id FOR NO KEY UPDATE OF w
""")

# Deliveries that were to be over long ago, but for those that somebody is just writing to.
EXPIRE: Final = query("""
    WITH expired AS (
        UPDATE deliveries SET state = 'failed', next_attempt_at = NULL, turn = turn + 1
        WHERE id IN (
            SELECT id FROM deliveries WHERE state = 'pending' AND queued_at < :before
            LIMIT :limit FOR UPDATE SKIP LOCKED)
        RETURNING 1
    )
    SELECT count(*) AS expired FROM expired
""")

DISABLE: Final = query("""
    UPDATE webhooks SET is_active = false, disabled_at = :now
    WHERE id = :webhook_id AND is_active
    RETURNING true AS disabled
""")

GIVE_UP: Final = query("""
    UPDATE deliveries SET state = 'failed', next_attempt_at = NULL, turn = turn + 1
    WHERE webhook_id = :webhook_id AND state = 'pending'
""")

TELL_DISABLED: Final = query(
    told(
        "webhooks w WHERE w.id = :webhook_id",
        id="CAST(:message_id AS uuid)",
        recipients="ARRAY[w.user_id]",
        owner="w.user_id",
        event="CAST(NULL AS uuid)",
        type="'webhook_disabled'",
        data="""jsonb_build_object(
            'webhook_id', w.id, 'url', w.url, 'reason', CAST(:reason AS text))""",
        initiator="CAST(NULL AS uuid)",
        session="CAST(NULL AS uuid)",
    )
)

_DELIVERY: Final = """
    d.id, d.message_id, d.type, d.state, jsonb_array_length(d.attempts) AS attempt_count,
    CAST(d.attempts -> -1 AS json) AS last_attempt, d.next_attempt_at, d.queued_at, d.created_at"""

# Deliveries to one of the caller's webhooks, the latest first.
LOG: Final = query(f"""
    SELECT {_DELIVERY} FROM deliveries d JOIN webhooks w ON w.id = d.webhook_id
    WHERE w.user_id = :caller_id AND w.id = :webhook_id AND d.id < :before
      AND (CAST(:state AS text) IS NULL OR d.state = CAST(:state AS text))
    ORDER BY d.id DESC LIMIT :limit
""")

DELIVERY: Final = query(f"""
    SELECT {_DELIVERY}, CAST(d.attempts AS json) AS attempts, d.body
    FROM deliveries d JOIN webhooks w ON w.id = d.webhook_id
    WHERE w.user_id = :caller_id AND w.id = :webhook_id AND d.id = :delivery_id
""")

# The same delivery again, from now on and for another day.
REPLAY: Final = query("""
    UPDATE deliveries d
    SET state = 'pending', turn = turn + 1, next_attempt_at = :now, queued_at = :now
    FROM webhooks w
    WHERE w.id = d.webhook_id AND w.user_id = :caller_id AND w.id = :webhook_id
      AND d.id = :delivery_id
    RETURNING d.turn
""")

# The oldest deliveries that nothing is to become of any more. Their ids tell the time.
PURGE: Final = query("""
    WITH purged AS (
        DELETE FROM deliveries WHERE id IN (
            SELECT id FROM deliveries
            WHERE id < :before_id AND queued_at < :before AND state <> 'pending'
            ORDER BY id LIMIT :limit)
        RETURNING 1
    )
    SELECT count(*) AS purged FROM purged
""")
