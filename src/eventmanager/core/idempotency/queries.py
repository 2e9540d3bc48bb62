"""The statements on kept answers."""

from typing import Final

from eventmanager.core.database import query

# True for the one request of this key that is being answered now; the lock goes with the commit.
TAKE_TURN: Final = query("""
    SELECT pg_try_advisory_xact_lock(hashtextextended(CAST(:name AS text), 0)) AS taken
""")

KEPT: Final = query("""
    SELECT fingerprint, status, CAST(headers AS json) AS headers, body FROM idempotency_keys
    WHERE user_id = :user_id AND route = :route AND key = :key AND created_at > :after
""")

# Keeps an answer, in the place of one that is too old to be given again.
KEEP: Final = query("""
    INSERT INTO idempotency_keys
        (user_id, route, key, fingerprint, status, headers, body, created_at)
    VALUES (:user_id, :route, :key, :fingerprint, :status, CAST(CAST(:headers AS text) AS jsonb),
            :body, :created_at)
    ON CONFLICT (user_id, route, key) DO UPDATE SET
        fingerprint = excluded.fingerprint, status = excluded.status, headers = excluded.headers,
        body = excluded.body, created_at = excluded.created_at
""")

FORGET: Final = query("DELETE FROM idempotency_keys WHERE created_at <= :before")
