"""The statements on grants, and the SQL that says who may see and change what.

Features above put the latter inside their statements.
"""

from typing import Final

from eventmanager.core.database import query
from eventmanager.messages.queries import told
from eventmanager.sharing.models import GrantOperation

# The grants of the event `e`, as clients see them: a JSON array, the Owner first.
PERMISSIONS_OF_E: Final = """(
    SELECT CAST('[' || string_agg(
        '{"user_id":"' || p.user_id || '","role":"' || p.role || '"}', ','
        ORDER BY p.created_at, p.user_id) || ']' AS json)
    FROM grants p WHERE p.event_id = e.id
)"""

# The roles that may change an event's content, as an SQL list.
MAY_EDIT: Final = "('Owner', 'Editor')"

# The caller's standing on an event, and its version; no row means there is no such event.
STANDING: Final = query("""
    SELECT e.version, g.role
    FROM events e LEFT JOIN grants g ON g.event_id = e.id AND g.user_id = :caller_id
    WHERE e.id = :event_id AND e.deleted_at IS NULL
""")

# An event stays as it is until the commit, so that its grants change one by one. The caller's role
# is read afterwards, by a statement of its own: this one would see what it was before the wait.
LOCK_EVENT: Final = query("""
    SELECT FROM events WHERE id = :event_id AND deleted_at IS NULL FOR NO KEY UPDATE
""")

# That an event, or its grants, are changed by this transaction; see the model.
CHANGED_NOW: Final = "last_transaction_id = greatest(e.last_transaction_id, pg_current_xact_id())"

# The users that are named by id, username or email; null where there is no such user.
RESOLVE: Final = query("""
    SELECT u.id
    FROM unnest(CAST(:ids AS uuid[]), CAST(:usernames AS text[]), CAST(:emails AS text[]))
         WITH ORDINALITY AS named (id, username, email, number)
    LEFT JOIN users u ON u.id = named.id
        OR lower(u.username) = lower(named.username) OR lower(u.email) = lower(named.email)
    ORDER BY named.number
""")

# The caller may read the event.
_READABLE: Final = """EXISTS (
        SELECT FROM grants mine JOIN events e ON e.id = mine.event_id AND e.deleted_at IS NULL
        WHERE mine.event_id = :event_id AND mine.user_id = :caller_id)"""

GRANTS: Final = query(f"""
    SELECT g.user_id, g.role FROM grants g
    WHERE g.event_id = :event_id AND {_READABLE}
    ORDER BY g.created_at, g.user_id
""")

# The changes of an event's grants, after an id. The first Owner's grant comes with the event, so it
# is made of the event's first version.
CHANGES: Final = query(f"""
    SELECT logged.* FROM (
        SELECT v.id, v.event_id, v.owner_id AS user_id, '{GrantOperation.GRANT}' AS operation,
               'Owner' AS role, v.changed_by, v.timestamp AS changed_at
        FROM versions v WHERE v.event_id = :event_id AND v.version = 1
        UNION ALL (
            SELECT c.id, c.event_id, c.user_id, c.operation, c.role, c.changed_by, c.changed_at
            FROM grant_changes c WHERE c.event_id = :event_id AND c.id > :after
            ORDER BY c.id LIMIT :limit)
    ) logged
    WHERE logged.id > :after AND {_READABLE}
    ORDER BY logged.id LIMIT :limit
""")

GRANT_OF: Final = query("""
    SELECT role, (SELECT count(*) FROM grants
                  WHERE event_id = :event_id AND role = 'Owner') AS owners
    FROM grants WHERE event_id = :event_id AND user_id = :user_id
""")

# A change of the grant `changed` is told to all readers, and to its user in any case.
_TOLD: Final = told(
    "changed, e",
    id="changed.message_id",
    recipients="""ARRAY(
        SELECT user_id FROM grants WHERE event_id = e.id UNION SELECT user_id FROM changed)""",
    owner="e.owner_id",
    event="e.id",
    type=":message_type",
    data="""jsonb_build_object(
        'user_id', changed.user_id, 'role', changed.role, 'title', e.title)""",
    transaction="e.last_transaction_id",
)


def _recorded(operation: GrantOperation) -> str:
    """Return the CTEs that write down what was done to each grant in `changed`."""
    return f"""e AS (
        UPDATE events AS e SET {CHANGED_NOW} WHERE e.id = :event_id
        RETURNING id, owner_id, title, last_transaction_id
    ), logged AS (
        INSERT INTO grant_changes
            (id, event_id, owner_id, user_id, operation, role, changed_by, changed_at)
        SELECT change_id, event_id, owner_id, user_id, '{operation}', role, :caller_id, :now
        FROM changed
    )"""


SHARE: Final = query(f"""
    WITH given AS (
        SELECT * FROM unnest(
            CAST(:user_ids AS uuid[]), CAST(:roles AS text[]), CAST(:change_ids AS uuid[]),
            CAST(:message_ids AS uuid[])
        ) AS g (user_id, role, change_id, message_id)
    ), granted AS (
        INSERT INTO grants (event_id, user_id, owner_id, role, start_time, granted_by, created_at)
        SELECT e.id, given.user_id, e.owner_id, given.role, e.start_time, :caller_id, :now
        FROM events e, given WHERE e.id = :event_id
        RETURNING event_id, owner_id, user_id, role
    ), changed AS (
        SELECT granted.*, given.change_id, given.message_id FROM granted JOIN given USING (user_id)
    ), {_recorded(GrantOperation.GRANT)}
    {_TOLD}
""")

# What CHANGE_ROLE and REVOKE answer of the grant that they change.
_CHANGED: Final = """
        RETURNING event_id, owner_id, user_id, role,
                  CAST(:change_id AS uuid) AS change_id, CAST(:message_id AS uuid) AS message_id"""

CHANGE_ROLE: Final = query(f"""
    WITH changed AS (
        UPDATE grants SET role = :role WHERE event_id = :event_id AND user_id = :user_id{_CHANGED}
    ), {_recorded(GrantOperation.UPDATE)}
    {_TOLD}
""")

REVOKE: Final = query(f"""
    WITH changed AS (
        DELETE FROM grants WHERE event_id = :event_id AND user_id = :user_id{_CHANGED}
    ), {_recorded(GrantOperation.REVOKE)}
    {_TOLD}
""")
