"""SQL that says who may see and change what; features above put it inside their statements."""

from typing import Final

# The grants of the event `e`, as clients see them: a JSON array, the Owner first.
PERMISSIONS_OF_E: Final = """(
    SELECT CAST('[' || string_agg(
        '{"user_id":"' || p.user_id || '","role":"' || p.role || '"}', ','
        ORDER BY p.created_at, p.user_id) || ']' AS json)
    FROM grants p WHERE p.event_id = e.id
)"""

# The roles that may change an event's content, as an SQL list.
MAY_EDIT: Final = "('Owner', 'Editor')"
