"""The statements on grants, and the SQL that says who may see and change what.

Features above put the latter inside their statements.
"""

from typing import Final

from eventmanager.core.database import query

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

# The users that are named by id, username or email; null where there is no such user.
RESOLVE: Final = query("""
    SELECT u.id
    FROM unnest(CAST(:ids AS uuid[]), CAST(:usernames AS text[]), CAST(:emails AS text[]))
         WITH ORDINALITY AS named (id, username, email, number)
    LEFT JOIN users u ON u.id = named.id
        OR lower(u.username) = lower(named.username) OR lower(u.email) = lower(named.email)
    ORDER BY named.number
""")

GRANTS: Final = query("""
    SELECT g.user_id, g.role FROM grants g
    WHERE g.event_id = :event_id AND EXISTS (
        SELECT FROM grants mine JOIN events e ON e.id = mine.event_id AND e.deleted_at IS NULL
        WHERE mine.event_id = :event_id AND mine.user_id = :caller_id)
    ORDER BY g.created_at, g.user_id
""")

GRANT_OF: Final = query("""
    SELECT role, (SELECT count(*) FROM grants
                  WHERE event_id = :event_id AND role = 'Owner') AS owners
    FROM grants WHERE event_id = :event_id AND user_id = :user_id
""")

# Who is told of a change of the grant `changed`: each other reader, and its user in any case.
_TOLD: Final = """
    INSERT INTO messages
        (id, recipient_id, owner_id, event_id, initiator_id, type, data, occurred_at)
    SELECT changed.message_id, reader.user_id, changed.owner_id, changed.event_id, :caller_id,
           :message_type,
           jsonb_build_object('user_id', changed.user_id, 'role', changed.role,
                              'title', (SELECT title FROM events WHERE id = changed.event_id)),
           :now
    FROM changed CROSS JOIN LATERAL (
        SELECT user_id FROM grants WHERE event_id = changed.event_id
        UNION SELECT user_id FROM changed
    ) reader
    WHERE reader.user_id <> :caller_id
"""

SHARE: Final = query(f"""
    WITH given AS (
        SELECT * FROM unnest(
            CAST(:user_ids AS uuid[]), CAST(:roles AS text[]), CAST(:message_ids AS uuid[])
        ) AS g (user_id, role, message_id)
    ), granted AS (
        INSERT INTO grants (event_id, user_id, owner_id, role, start_time, granted_by, created_at)
        SELECT e.id, given.user_id, e.owner_id, given.role, e.start_time, :caller_id, :now
        FROM events e, given WHERE e.id = :event_id
        RETURNING event_id, owner_id, user_id, role
    ), changed AS (
        SELECT granted.*, given.message_id FROM granted JOIN given USING (user_id)
    )
    {_TOLD}
""")

CHANGE_ROLE: Final = query(f"""
    WITH changed AS (
        UPDATE grants SET role = :role WHERE event_id = :event_id AND user_id = :user_id
        RETURNING event_id, owner_id, user_id, role, CAST(:message_id AS uuid) AS message_id
    )
    {_TOLD}
""")

REVOKE: Final = query(f"""
    WITH changed AS (
        DELETE FROM grants WHERE event_id = :event_id AND user_id = :user_id
        RETURNING event_id, owner_id, user_id, role, CAST(:message_id AS uuid) AS message_id
    )
    {_TOLD}
""")
