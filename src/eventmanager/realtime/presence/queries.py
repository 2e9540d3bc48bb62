"""The statements on presence: who may see it, and the table that holds it without Redis.

What expires does so by the database's clock, since those of the processes differ.
"""

from eventmanager.core.database import query

# Those of the asked pairs of a user and an event where the user may read the event.
READABLE = query("""
    SELECT asked.user_id, asked.event_id, u.username
    FROM unnest(CAST(:user_ids AS uuid[]), CAST(:event_ids AS uuid[])) AS asked (user_id, event_id)
    JOIN grants g ON g.event_id = asked.event_id AND g.user_id = asked.user_id
    JOIN events e ON e.id = g.event_id AND e.deleted_at IS NULL
    JOIN users u ON u.id = g.user_id
""")

# Stores what sockets say, deletes what others no longer say, and tells every process of it.
PUT = query("""
    WITH said AS (
        INSERT INTO presence (event_id, socket_id, user_id, state, since, expires_at)
        SELECT event_id, socket_id, user_id, state, since, now() + make_interval(secs => :seconds)
        FROM unnest(
            CAST(:event_ids AS uuid[]), CAST(:socket_ids AS uuid[]), CAST(:user_ids AS uuid[]),
            CAST(:states AS text[]), CAST(:sinces AS timestamptz[])
        ) AS s (event_id, socket_id, user_id, state, since)
        ON CONFLICT (event_id, socket_id) DO UPDATE
        SET state = excluded.state, since = excluded.since, expires_at = excluded.expires_at
    ), gone AS (
        DELETE FROM presence p
        USING unnest(CAST(:gone_events AS uuid[]), CAST(:gone_sockets AS uuid[]))
              AS g (event_id, socket_id)
        WHERE p.event_id = g.event_id AND p.socket_id = g.socket_id
    )
    SELECT pg_notify(:channel, word) FROM unnest(CAST(:words AS text[])) AS word
""")

# What sockets say of the events now.
PRESENT = query("""
    SELECT p.event_id, p.socket_id, p.user_id, u.username, p.state, p.since
    FROM presence p JOIN users u ON u.id = p.user_id
    WHERE p.event_id = ANY(CAST(:event_ids AS uuid[])) AND p.expires_at > now()
""")

# Several processes may do this at once: what one of them deletes the others pass over.
PURGE = query("""
    DELETE FROM presence WHERE (event_id, socket_id) IN (
        SELECT event_id, socket_id FROM presence WHERE expires_at <= now()
        LIMIT 1000 FOR UPDATE SKIP LOCKED)
""")
