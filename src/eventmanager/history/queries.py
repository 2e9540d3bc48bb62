"""The statements on versions. A version is only ever looked up together with its event."""

from typing import Final

from eventmanager.core.database import query
from eventmanager.core.sql import instant

# The version `v` as clients see it, if the caller may read its event.
_SHOWN: Final = f"""
    SELECT row_to_json(shown) AS json FROM (
        SELECT v.id, v.event_id, v.version, v.operation, v.data,
               {instant("v.timestamp")} AS timestamp, v.changed_by
    ) shown
"""
_READABLE: Final = """
    FROM versions v
    JOIN events e ON e.id = v.event_id AND e.deleted_at IS NULL
    JOIN grants g ON g.event_id = v.event_id AND g.user_id = :caller_id
    WHERE v.event_id = :event_id
"""

LIST: Final = query(f"""
    SELECT ({_SHOWN}) AS json {_READABLE}
    ORDER BY v.version LIMIT :limit OFFSET :skip
""")

# One version, by its id or its number.
ONE: Final = query(f"""
    SELECT ({_SHOWN}) AS json, v.version, v.data {_READABLE}
      AND (v.id = CAST(:version_id AS uuid) OR v.version = CAST(:number AS integer))
""")
