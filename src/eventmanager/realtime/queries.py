"""The statements of the sockets: whose sessions are over, and waking other processes."""

from typing import Final

from eventmanager.core.database import query

# Those of the given sessions that no longer live: few, however many are asked about.
OVER: Final = query("""
    SELECT asked.id FROM unnest(CAST(:session_ids AS uuid[])) AS asked (id)
    WHERE NOT EXISTS (
        SELECT FROM sessions s JOIN users u ON u.id = s.user_id AND u.is_active
        WHERE s.id = asked.id AND s.ended_at IS NULL AND s.expires_at > :now)
""")

NOTIFY: Final = query("SELECT pg_notify(:channel, :sender)")
ALIVE: Final = query("SELECT true")
