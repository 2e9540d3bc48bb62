"""The statements on versions. A version is only ever looked up together with its event.

OFFSET 0 keeps PostgreSQL from joining in another order: access is looked up once, and of the
versions, of which an event may have many thousands, only those that are asked for.
"""

from typing import Final

from eventmanager.core.database import query
from eventmanager.core.sql import instant

_TIMESTAMP: Final = f"{instant('v.timestamp')} AS timestamp"

# The version `v` as clients see it, but for its summary.
_SHOWN: Final = f"""(
    SELECT row_to_json(shown) FROM (
        SELECT v.id, v.event_id, v.version, v.operation, v.data, {_TIMESTAMP}, v.changed_by
    ) shown
) AS json, v.version, v.id, v.operation, v.changed_by, {_TIMESTAMP}, v.data"""

# The state before the version `v`.
_BEFORE: Final = """(
    SELECT data FROM versions WHERE event_id = v.event_id AND version = v.version - 1)"""

# The event, if the caller may read it.
_READABLE: Final = """(
    SELECT e.id, e.version FROM events e
    JOIN grants g ON g.event_id = e.id AND g.user_id = :caller_id
    WHERE e.id = :event_id AND e.deleted_at IS NULL OFFSET 0
) e"""

# Each version with the state before it, unless that is the row above.
LIST: Final = query(f"""
    SELECT {_SHOWN}, v.is_next, CASE WHEN NOT v.is_next THEN {_BEFORE} END AS before
    FROM (
        SELECT page.*, page.version - 1 = lag(page.version, 1, 0) OVER (ORDER BY page.version)
               AS is_next
        FROM {_READABLE} CROSS JOIN LATERAL (
            SELECT * FROM versions
            WHERE event_id = e.id AND version BETWEEN :first AND :last
              AND (CAST(:changed_by AS uuid) IS NULL OR changed_by = CAST(:changed_by AS uuid))
              AND (CAST(:start AS timestamptz) IS NULL OR timestamp >= CAST(:start AS timestamptz))
              AND (CAST(:end AS timestamptz) IS NULL OR timestamp < CAST(:end AS timestamptz))
            ORDER BY version LIMIT :limit OFFSET :skip
        ) page
    ) v
    ORDER BY v.version
""")

# One version, by its id or its number, or the current one; and the state before it.
ONE: Final = query(f"""
    SELECT {_SHOWN}, {_BEFORE} AS before
    FROM {_READABLE} CROSS JOIN LATERAL (
        SELECT * FROM versions
        WHERE event_id = e.id AND version = CASE WHEN CAST(:version_id AS uuid) IS NULL
            THEN COALESCE(CAST(:number AS integer), e.version)
            ELSE (SELECT version FROM versions
                  WHERE event_id = :event_id AND id = CAST(:version_id AS uuid)) END
        OFFSET 0
    ) v
""")

# The versions from one number to another, newest first.
BETWEEN: Final = query(f"""
    SELECT v.version, v.id, v.changed_by, {_TIMESTAMP}, v.data
    FROM {_READABLE} CROSS JOIN LATERAL (
        SELECT * FROM versions WHERE event_id = e.id AND version BETWEEN :first AND :last OFFSET 0
    ) v
    ORDER BY v.version DESC
""")
