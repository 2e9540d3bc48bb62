"""The statements on events. Access is a predicate in each of them.

A write is one statement that changes the event and appends its version and its messages; what it
answers is the version's own `data`.
"""

from itertools import product
from typing import Final

from eventmanager.core.database import Query, query
from eventmanager.core.sql import instant
from eventmanager.scheduling.queries import is_taken, touching
from eventmanager.sharing.queries import MAY_EDIT, PERMISSIONS_OF_E

# The event `e` as clients see it, without its permissions. Every version's `data` is made here.
_DATA: Final = f"""(SELECT row_to_json(d) FROM (SELECT
    e.id, e.owner_id, e.title, e.description, e.location,
    CASE WHEN e.all_day THEN e.start_date::text ELSE {instant("e.start_time")} END AS start_time,
    CASE WHEN e.all_day THEN e.end_date::text ELSE {instant("e.end_time")} END AS end_time,
    e.time_zone, e.all_day, e.recurrence_pattern IS NOT NULL AS is_recurring, e.recurrence_pattern,
    e.status, e.transparency, e.version,
    {instant("e.created_at")} AS created_at, {instant("e.updated_at")} AS updated_at
) d)"""

# The second half of every change of an existing event, which the CTE `e` has made: its version, and
# a message to each other reader.
_RECORDED: Final = f"""
    written AS (
        INSERT INTO versions
            (event_id, version, id, owner_id, operation, data, timestamp, changed_by)
        SELECT e.id, e.version, :version_id, e.owner_id, :operation, {_DATA}, :now, :caller_id
        FROM e
        RETURNING data
    ), told AS (
        INSERT INTO messages
            (id, recipient_id, owner_id, event_id, initiator_id, type, data, occurred_at)
        SELECT CAST(:message_id AS uuid), g.user_id, e.owner_id, e.id, :caller_id, :message_type,
               jsonb_build_object('version', e.version, 'title', e.title), :now
        FROM e JOIN grants g ON g.event_id = e.id
        WHERE g.user_id <> :caller_id
    )
    SELECT written.data, e.version, {PERMISSIONS_OF_E} AS permissions FROM written, e
"""  # built from constants, as all SQL of this module

_PROPOSED_TIMES: Final = """
    unnest(
        CAST(:event_ids AS uuid[]), CAST(:starts AS timestamptz[]), CAST(:ends AS timestamptz[])
    ) AS wanted (event_id, start_time, end_time)
    JOIN proposed ON proposed.id = wanted.event_id AND proposed.busy"""

# Creates the proposed events, with their Owner's grant, occurrences, series and first version, and
# answers their data; or nothing, and creates nothing, if one of them would overlap busy time.
# Who does not hold the owner's lock says how many bookings the timeline had (`seen`): if others
# have booked since, nothing is created either, whenever they commit: an update looks again.
CREATE: Final = query(f"""
    WITH proposed AS (
        SELECT * FROM json_to_recordset(CAST(:events AS json)) AS g (
            id uuid, title text, description text, location text,
            start_time timestamptz, end_time timestamptz, time_zone text, all_day boolean,
            start_date date, end_date date, recurrence_pattern text, status text, transparency text,
            busy boolean, continues boolean, version_id uuid)
    ), counted AS (
        UPDATE timelines SET bookings = bookings + 1
        WHERE owner_id = :owner_id
          AND (CAST(:seen AS bigint) IS NULL OR bookings = CAST(:seen AS bigint))
        RETURNING owner_id
    ), given AS (
        SELECT proposed.* FROM proposed, counted
        WHERE NOT {is_taken(owner=":owner_id", wanted=_PROPOSED_TIMES)}
    ), e AS (
        INSERT INTO events
            (id, owner_id, title, description, location, start_time, end_time, time_zone, all_day,
             start_date, end_date, recurrence_pattern, status, transparency, version, created_at,
             updated_at)
        SELECT id, :owner_id, title, description, location, start_time, end_time, time_zone,
               all_day, start_date, end_date, recurrence_pattern, status, transparency, 1,
               :now, :now
        FROM given
        RETURNING *
    ), granted AS (
        INSERT INTO grants
            (event_id, user_id, owner_id, role, start_time, granted_by, created_at)
        SELECT id, owner_id, owner_id, 'Owner', start_time, owner_id, created_at FROM e
    ), stored AS (
        INSERT INTO occurrences (event_id, recurrence_id, owner_id, start_time, end_time, busy)
        SELECT o.event_id, o.start_time, :owner_id, o.start_time, o.end_time, given.busy
        FROM unnest(
            CAST(:event_ids AS uuid[]), CAST(:starts AS timestamptz[]), CAST(:ends AS timestamptz[])
        ) AS o (event_id, start_time, end_time)
        JOIN given ON given.id = o.event_id
    ), continued AS (
        INSERT INTO series
            (event_id, owner_id, start_time, end_time, time_zone, all_day, recurrence_pattern, busy)
        SELECT id, :owner_id, start_time, end_time, time_zone, all_day, recurrence_pattern, busy
        FROM given WHERE continues
    )
    INSERT INTO versions (event_id, version, id, owner_id, operation, data, timestamp, changed_by)
    SELECT e.id, 1, given.version_id, e.owner_id, 'create', {_DATA}, e.created_at, e.owner_id
    FROM e JOIN given ON given.id = e.id
    RETURNING event_id, data
""")

GET: Final = query(f"""
    SELECT v.data, e.version, {PERMISSIONS_OF_E} AS permissions
    FROM events e
    JOIN grants g ON g.event_id = e.id AND g.user_id = :caller_id
    JOIN versions v ON v.event_id = e.id AND v.version = e.version
    WHERE e.id = :event_id AND e.deleted_at IS NULL
""")

# The event `e` is of one of the versions that If-Match admits; null admits all.
_EXPECTED: Final = """(
    CAST(:versions AS integer[]) IS NULL OR e.version = ANY(CAST(:versions AS integer[])))"""

# Changes what does not concern the time, in one statement.
EDIT: Final = query(f"""
    WITH e AS (
        UPDATE events AS e SET
            title = CASE WHEN CAST(:set_title AS boolean) THEN :title ELSE e.title END,
            description = CASE WHEN CAST(:set_description AS boolean)
                          THEN :description ELSE e.description END,
            location = CASE WHEN CAST(:set_location AS boolean) THEN :location ELSE e.location END,
            version = e.version + 1,
            updated_at = :now
        FROM grants g
        WHERE e.id = :event_id AND e.deleted_at IS NULL
          AND g.event_id = e.id AND g.user_id = :caller_id AND g.role IN {MAY_EDIT}
          AND {_EXPECTED}
        RETURNING e.*
    ), {_RECORDED}
""")

# Locks an event on which the caller has one of the roles.
LOCK: Final = query(f"""
    SELECT e.* FROM events e JOIN grants g ON g.event_id = e.id AND g.user_id = :caller_id
    WHERE e.id = :event_id AND e.deleted_at IS NULL
      AND g.role = ANY(CAST(:roles AS text[]))
      AND {_EXPECTED}
    FOR NO KEY UPDATE OF e
""")

_WANTED_TIMES: Final = """
    unnest(CAST(:starts AS timestamptz[]), CAST(:ends AS timestamptz[]))
    AS wanted (start_time, end_time)"""

# Changes any field of an event that is locked and whose time has been freed; nothing if its new
# time is taken.
RESCHEDULE: Final = query(f"""
    WITH e AS (
        UPDATE events AS e SET
            title = :title, description = :description, location = :location,
            start_time = :start_time, end_time = :end_time, time_zone = :time_zone,
            all_day = :all_day, start_date = :start_date, end_date = :end_date,
            recurrence_pattern = :recurrence_pattern, status = :status,
            transparency = :transparency, version = e.version + 1, updated_at = :now
        WHERE e.id = :event_id AND NOT (
            CAST(:busy AS boolean) AND {is_taken(owner="e.owner_id", wanted=_WANTED_TIMES)})
        RETURNING e.*
    ), counted AS (
        UPDATE timelines t SET bookings = t.bookings + 1 FROM e WHERE t.owner_id = e.owner_id
    ), stored AS (
        INSERT INTO occurrences (event_id, recurrence_id, owner_id, start_time, end_time, busy)
        SELECT e.id, o.start_time, e.owner_id, o.start_time, o.end_time, CAST(:busy AS boolean)
        FROM e, unnest(CAST(:starts AS timestamptz[]), CAST(:ends AS timestamptz[]))
             AS o (start_time, end_time)
    ), continued AS (
        INSERT INTO series
            (event_id, owner_id, start_time, end_time, time_zone, all_day, recurrence_pattern, busy)
        SELECT e.id, e.owner_id, e.start_time, e.end_time, e.time_zone, e.all_day,
               e.recurrence_pattern, CAST(:busy AS boolean)
        FROM e WHERE CAST(:continues AS boolean)
    ), {_RECORDED}
""")

# Moves a locked event to the bin.
DELETE: Final = query(f"""
    WITH e AS (
        UPDATE events AS e SET deleted_at = :now, updated_at = :now, version = e.version + 1
        WHERE e.id = :event_id
        RETURNING e.*
    ), {_RECORDED}
""")

# A state that the event had, by the version's id or number.
PAST: Final = query("""
    SELECT data FROM versions
    WHERE event_id = :event_id
      AND (id = CAST(:version_id AS uuid) OR version = CAST(:number AS integer))
""")

# Those of the given events that the caller may read, with their titles.
TITLES: Final = query("""
    SELECT e.id, e.title FROM events e
    JOIN grants g ON g.event_id = e.id AND g.user_id = :caller_id
    WHERE e.id = ANY(CAST(:event_ids AS uuid[]))
""")

# The event of a grant `g`, and its newest version. OFFSET 0 keeps PostgreSQL from reordering the
# joins: each is one look into an index for each row of what stands before it.
_ITS_EVENT: Final = """
    CROSS JOIN LATERAL (
        SELECT * FROM events WHERE id = g.event_id AND deleted_at IS NULL OFFSET 0) e"""
_ITS_VERSION: Final = """
    CROSS JOIN LATERAL (
        SELECT data FROM versions WHERE event_id = e.id AND version = e.version OFFSET 0) v"""

_WINDOW_TOUCHING: Final = touching(
    owner="owner.id", start="CAST(:start AS timestamptz)", end="CAST(:end AS timestamptz)"
)

# The stored occurrences `o`, in a window, on all timelines that can hold what the caller may read.
_TOUCHING: Final = f"""(
    SELECT CAST(:caller_id AS uuid) AS id
    UNION SELECT owner_id FROM grants WHERE user_id = :caller_id AND owner_id <> user_id
) owner CROSS JOIN LATERAL (
    {_WINDOW_TOUCHING}
) o"""

# The caller's grant for an occurrence `o`.
_ITS_GRANT: Final = """
    CROSS JOIN LATERAL (
        SELECT * FROM grants WHERE event_id = o.event_id AND user_id = :caller_id OFFSET 0) g"""


def _listing(*, window: bool, search: bool, role: bool, after: bool) -> Query:
    """Return the list of events with just the filters that are asked for."""
    conditions = ["g.user_id = :caller_id"]
    source = f"grants g {_ITS_EVENT} {_ITS_VERSION}"
    if window:
        source = f"""(
            SELECT DISTINCT o.event_id FROM {_TOUCHING}
        ) o {_ITS_GRANT} {_ITS_EVENT} {_ITS_VERSION}"""
    if search:
        # Whether the words or the caller's grants are the rarer is for PostgreSQL to find out.
        source = source.replace("OFFSET 0", "")
        conditions.append("e.search @@ websearch_to_tsquery('simple', :q)")
    if role:
        conditions.append("g.role = :role")
    if after:
        conditions.append(
            "(g.start_time, g.event_id)"
            " > (CAST(:after_time AS timestamptz), CAST(:after_id AS uuid))"
        )
    return query(f"""
        SELECT v.data, {PERMISSIONS_OF_E} AS permissions, g.start_time, g.event_id
        FROM {source}
        WHERE {" AND ".join(conditions)}
        ORDER BY g.start_time, g.event_id
        LIMIT :limit OFFSET :skip
    """)


# By (window, search, role, after): each combination of filters is a statement of its own.
LIST: Final = {
    flags: _listing(window=flags[0], search=flags[1], role=flags[2], after=flags[3])
    for flags in product((False, True), repeat=4)
}

# The occurrences in a window that the caller may read, after a key.
AGENDA: Final = query(f"""
    SELECT o.event_id, o.recurrence_id, o.start_time, o.end_time, e.all_day, e.title,
           e.description, e.location, e.time_zone, e.status, e.transparency,
           e.recurrence_pattern IS NOT NULL AS is_recurring
    FROM {_TOUCHING} {_ITS_GRANT} {_ITS_EVENT}
    WHERE CAST(:after_time AS timestamptz) IS NULL
       OR (o.start_time, o.event_id, o.recurrence_id) >
          (CAST(:after_time AS timestamptz), CAST(:after_id AS uuid),
           CAST(:after_recurrence AS timestamptz))
    ORDER BY o.start_time, o.event_id, o.recurrence_id
    LIMIT :limit
""")
