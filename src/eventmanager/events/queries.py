"""The statements on events. Access is a predicate in each of them.

A write is one statement that changes the event and appends its version and its messages; what it
answers is the version's own `data`.
"""

from typing import Final

from eventmanager.core.audit.queries import audited
from eventmanager.core.database import query
from eventmanager.core.sql import instant
from eventmanager.messages.queries import told
from eventmanager.reminders.queries import REMINDED, REMINDERS_OF_E
from eventmanager.scheduling.queries import ROWS, STORE_ROWS, is_taken
from eventmanager.sharing.queries import CHANGED_NOW, MAY_EDIT, PERMISSIONS_OF_E

# What a reader is answered of the event `e` beside its data, which is the same for all.
BESIDE: Final = f"{PERMISSIONS_OF_E} AS permissions, {REMINDERS_OF_E} AS reminders"

# The event `e` as clients see it, without what is beside it. Every version's `data` is made here.
_DATA: Final = f"""(SELECT row_to_json(d) FROM (SELECT
    e.id, e.owner_id, e.title, e.description, e.location,
    CASE WHEN e.all_day THEN e.start_date::text ELSE {instant("e.start_time")} END AS start_time,
    CASE WHEN e.all_day THEN e.end_date::text ELSE {instant("e.end_time")} END AS end_time,
    e.time_zone, e.all_day, e.recurrence_pattern IS NOT NULL AS is_recurring, e.recurrence_pattern,
    e.recurrence_text, e.overrides, e.split_from, e.status, e.transparency, e.version,
    {instant("e.created_at")} AS created_at, {instant("e.updated_at")} AS updated_at
) d)"""

_AUDITED: Final = audited(
    "e",
    id=":version_id",
    act=":message_type",
    event="e.id",
    details="jsonb_build_object('version', e.version) || CAST(CAST(:facts AS text) AS jsonb)",
)

_TOLD: Final = told(
    "e, written",
    id=":message_id",
    recipients="ARRAY(SELECT user_id FROM grants WHERE event_id = e.id)",
    owner="e.owner_id",
    event="e.id",
    type=":message_type",
    data="""jsonb_build_object(
        'version', e.version, 'title', e.title,
        'changes', changed_fields(
            (SELECT CAST(data AS jsonb) FROM versions
             WHERE event_id = e.id AND version = e.version - 1),
            CAST(written.data AS jsonb)))
        || CAST(CAST(:facts AS text) AS jsonb)""",
    transaction="e.last_transaction_id",
)

# When an event was changed. Whoever had to wait began before the one who was waited for, and comes
# after: the times of versions have the versions' order.
_UPDATED_NOW: Final = (
    "updated_at = greatest(CAST(:now AS timestamptz), e.updated_at + interval '1 microsecond')"
)

# The second half of every change of an existing event, which the CTE `e` has made: its version, a
# message to its readers, and an entry in the audit log that has the version's id.
_RECORDED: Final = f"""
    written AS (
        INSERT INTO versions
            (event_id, version, id, owner_id, operation, data, timestamp, changed_by)
        SELECT e.id, e.version, :version_id, e.owner_id, :operation, {_DATA}, e.updated_at,
               :caller_id
        FROM e
        RETURNING data
    ), told AS ({_TOLD}), audited AS ({_AUDITED})
    SELECT written.data, e.version, {BESIDE} FROM written, e
"""  # built from constants, as all SQL of this module

# Events as they are to be: their columns, whether they take up time, and whether their series go on
# after what is stored.
_PROPOSED: Final = """proposed AS (
        SELECT * FROM json_to_recordset(CAST(:events AS json)) AS g (
            id uuid, title text, description text, location text,
            start_time timestamptz, end_time timestamptz, time_zone text, all_day boolean,
            start_date date, end_date date, recurrence_pattern text, recurrence_text text,
            overrides jsonb, split_from uuid, status text, transparency text,
            busy boolean, continues boolean, version_id uuid, reminders jsonb)
    )"""

# True unless a row that is new to its owner's time would overlap busy time, or that is allowed.
_MAY_BE_BOOKED: Final = f"""(
    CAST(:allow AS boolean) OR NOT {is_taken(owner=":owner_id")})"""

# The rules of those events whose series go on, so that more of their occurrences can be stored.
_CONTINUED: Final = """
    INSERT INTO series
        (event_id, owner_id, start_time, end_time, time_zone, all_day, recurrence_pattern, busy)
    SELECT e.id, e.owner_id, e.start_time, e.end_time, e.time_zone, e.all_day,
           e.recurrence_pattern, proposed.busy
    FROM e JOIN proposed ON proposed.id = e.id WHERE proposed.continues"""

_AUDITED_CREATION: Final = audited(
    "e JOIN proposed ON proposed.id = e.id",
    id="proposed.version_id",
    act="'event_created'",
    event="e.id",
    details="jsonb_build_object('version', 1)",
)

# A second half of a series is told of with its first.
_TOLD_OF_CREATION: Final = told(
    "e JOIN proposed ON proposed.id = e.id WHERE e.split_from IS NULL",
    id="proposed.version_id",
    recipients="ARRAY[e.owner_id]",
    owner="e.owner_id",
    event="e.id",
    type="'event_created'",
    data="jsonb_build_object('version', 1, 'title', e.title)",
)

# The grants that a second half has from the first are grants of that moment, from whom it was that
# split the series; its owner's is told by its first version. The log is in the order of its ids:
# these are the version's id with 1, 2, 3 and so on added to it.
_LOGGED: Final = """
    INSERT INTO grant_changes
        (id, event_id, owner_id, user_id, operation, role, changed_by, changed_at)
    SELECT CAST(left(version_id, 24) || lpad(to_hex(
               CAST(CAST('x' || right(version_id, 12) AS bit(48)) AS bigint) + number), 12, '0')
               AS uuid),
           event_id, owner_id, user_id, 'grant', role, CAST(:caller_id AS uuid), :now
    FROM (SELECT g.*, CAST(p.version_id AS text) AS version_id,
                 row_number() OVER (PARTITION BY p.id ORDER BY g.created_at, g.user_id) AS number
          FROM granted g JOIN proposed p ON p.id = g.event_id
          WHERE g.user_id <> g.owner_id) taken_over"""

# Creates the proposed events, with their grants, reminders, occurrences, series and first version,
# and answers their data; or nothing, and creates nothing, if one of them would overlap busy time. A
# second half of a series has the grants and reminders of the first.
# Who does not hold the owner's lock says how many bookings the timeline had (`seen`): if others
# have booked since, nothing is created either, whenever they commit: an update looks again.
CREATE: Final = query(f"""
    WITH {_PROPOSED}, {ROWS}, counted AS (
        UPDATE timelines SET bookings = bookings + 1
        WHERE owner_id = :owner_id
          AND (CAST(:seen AS bigint) IS NULL OR bookings = CAST(:seen AS bigint))
        RETURNING owner_id
    ), e AS (
        INSERT INTO events
            (id, owner_id, title, description, location, start_time, end_time, time_zone, all_day,
             start_date, end_date, recurrence_pattern, recurrence_text, overrides, split_from,
             status, transparency, version, created_at, updated_at)
        SELECT id, :owner_id, title, description, location, start_time, end_time, time_zone,
               all_day, start_date, end_date, recurrence_pattern, recurrence_text, overrides,
               split_from, status, transparency, 1, :now, :now
        FROM proposed, counted WHERE {_MAY_BE_BOOKED}
        RETURNING *
    ), granted AS (
        INSERT INTO grants
            (event_id, user_id, owner_id, role, start_time, granted_by, created_at)
        SELECT id, owner_id, owner_id, 'Owner', start_time, owner_id, created_at
        FROM e WHERE split_from IS NULL
        UNION ALL
        SELECT e.id, g.user_id, e.owner_id, g.role, e.start_time, g.granted_by, g.created_at
        FROM e JOIN grants g ON g.event_id = e.split_from
        RETURNING *
    ), logged AS ({_LOGGED}),
    reminded AS ({REMINDED}), stored AS ({STORE_ROWS}), continued AS ({_CONTINUED}),
    told AS ({_TOLD_OF_CREATION}), audited AS ({_AUDITED_CREATION})
    INSERT INTO versions (event_id, version, id, owner_id, operation, data, timestamp, changed_by)
    SELECT e.id, 1, proposed.version_id, e.owner_id, 'create', {_DATA}, e.created_at, :caller_id
    FROM e JOIN proposed ON proposed.id = e.id
    RETURNING event_id, data
""")

# The newest version of the event `e`. OFFSET 0 keeps PostgreSQL from joining in another order: it
# would read all versions of an event and throw away all but one.
ITS_VERSION: Final = """
    CROSS JOIN LATERAL (
        SELECT data FROM versions WHERE event_id = e.id AND version = e.version OFFSET 0) v"""

GET: Final = query(f"""
    SELECT v.data, e.version, {BESIDE}
    FROM events e
    JOIN grants g ON g.event_id = e.id AND g.user_id = :caller_id {ITS_VERSION}
    WHERE e.id = :event_id AND e.deleted_at IS NULL
""")

# The event `e` is of one of the versions that If-Match admits; null admits all.
_EXPECTED: Final = """(
    CAST(:versions AS integer[]) IS NULL OR e.version = ANY(CAST(:versions AS integer[])))"""

# The event as it was when the statement began: whoever changes it leaves another `xmin`, whoever
# only locks it does not. OFFSET 0 keeps PostgreSQL from taking it for the event itself, which it
# looks at again once it has waited for it.
_SEEN: Final = """(
    SELECT xmin FROM events WHERE id = :event_id OFFSET 0) seen"""

# Changes what does not concern the time, in one statement; nothing if it had to wait for somebody
# who has changed the event or its grants: what it would join to the event is from before.
EDIT: Final = query(f"""
    WITH e AS (
        UPDATE events AS e SET
            title = CASE WHEN CAST(:set_title AS boolean) THEN :title ELSE e.title END,
            description = CASE WHEN CAST(:set_description AS boolean)
                          THEN :description ELSE e.description END,
            location = CASE WHEN CAST(:set_location AS boolean) THEN :location ELSE e.location END,
            version = e.version + 1,
            {_UPDATED_NOW},
            {CHANGED_NOW}
        FROM grants g, {_SEEN}
        WHERE e.id = :event_id AND e.deleted_at IS NULL
          AND e.xmin = seen.xmin
          AND g.event_id = e.id AND g.user_id = :caller_id AND g.role IN {MAY_EDIT}
          AND {_EXPECTED}
        RETURNING e.*
    ), {_RECORDED}
""")

# What locks the event `e` reads these columns, and is asked again if the row is stale; see `EDIT`.
_LOCKED: Final = "e.*, e.xmin <> seen.xmin AS is_stale"

# Locks an event on which the caller has one of the roles.
LOCK: Final = query(f"""
    SELECT {_LOCKED}
    FROM {_SEEN}, events e JOIN grants g ON g.event_id = e.id AND g.user_id = :caller_id
    WHERE e.id = :event_id AND e.deleted_at IS NULL
      AND g.role = ANY(CAST(:roles AS text[]))
      AND {_EXPECTED}
    FOR NO KEY UPDATE OF e
""")

# Makes an event that is locked what is proposed, once what it no longer takes of its owner's time
# has been freed; nothing if something new of it is taken.
RESCHEDULE: Final = query(f"""
    WITH {_PROPOSED}, {ROWS}, e AS (
        UPDATE events AS e SET
            title = p.title, description = p.description, location = p.location,
            start_time = p.start_time, end_time = p.end_time, time_zone = p.time_zone,
            all_day = p.all_day, start_date = p.start_date, end_date = p.end_date,
            recurrence_pattern = p.recurrence_pattern, recurrence_text = p.recurrence_text,
            overrides = p.overrides, status = p.status, transparency = p.transparency,
            version = e.version + 1, {_UPDATED_NOW}, deleted_at = NULL,
            {CHANGED_NOW}
        FROM proposed p
        WHERE e.id = :event_id AND {_MAY_BE_BOOKED}
        RETURNING e.*
    ), counted AS (
        UPDATE timelines t SET bookings = t.bookings + 1 FROM e WHERE t.owner_id = e.owner_id
    ), stored AS ({STORE_ROWS}), continued AS ({_CONTINUED}), {_RECORDED}
""")

# Moves a locked event to the bin.
DELETE: Final = query(f"""
    WITH e AS (
        UPDATE events AS e SET
            deleted_at = :now, {_UPDATED_NOW}, version = e.version + 1, {CHANGED_NOW}
        WHERE e.id = :event_id
        RETURNING e.*
    ), {_RECORDED}
""")

# Locks an event in the bin of which the caller is Owner.
LOCK_DELETED: Final = query(f"""
    SELECT {_LOCKED}
    FROM {_SEEN}, events e JOIN grants g ON g.event_id = e.id AND g.user_id = :caller_id
    WHERE e.id = :event_id AND e.deleted_at IS NOT NULL AND g.role = 'Owner'
    FOR NO KEY UPDATE OF e
""")

# Locks an event for the server itself.
LOCK_ALONE: Final = query("""
    SELECT e.* FROM events e WHERE e.id = :event_id AND e.deleted_at IS NULL FOR NO KEY UPDATE
""")

# Timelines that were worked out by other time zone data.
OUTDATED_TIMELINES: Final = query("""
    SELECT owner_id, zone_data FROM timelines WHERE zone_data <> :zone_data ORDER BY owner_id
""")

RENEWED: Final = query("""
    UPDATE timelines SET zone_data = :zone_data WHERE owner_id = :owner_id
""")

# The events of an owner that are still to take place at a time that depends on a zone.
ZONED_EVENTS: Final = query("""
    SELECT e.id FROM events e
    WHERE e.owner_id = :owner_id AND e.deleted_at IS NULL AND e.time_zone <> 'UTC'
      AND (e.recurrence_pattern IS NOT NULL OR e.all_day)
      AND EXISTS (
          SELECT FROM occurrences o WHERE o.event_id = e.id AND o.recurrence_id >= :now)
    ORDER BY e.id
""")

# Locks events in one order: those on which the caller has one of the roles.
LOCK_MANY: Final = query("""
    SELECT e.id FROM events e JOIN grants g ON g.event_id = e.id AND g.user_id = :caller_id
    WHERE e.id = ANY(CAST(:event_ids AS uuid[])) AND g.role = ANY(CAST(:roles AS text[]))
    ORDER BY e.id FOR NO KEY UPDATE OF e
""")

# Locks an event, even if it is in the bin, of which the caller is Owner.
LOCK_ANY: Final = query(f"""
    SELECT {_LOCKED}
    FROM {_SEEN}, events e JOIN grants g ON g.event_id = e.id AND g.user_id = :caller_id
    WHERE e.id = :event_id AND g.role = 'Owner' AND {_EXPECTED}
    FOR NO KEY UPDATE OF e
""")

# Events that have been in the bin for long enough.
OVERDUE: Final = query("""
    SELECT id FROM events WHERE deleted_at < :before ORDER BY deleted_at LIMIT :limit
""")

_AUDITED_PURGE: Final = audited(
    "gone JOIN unnest(CAST(:event_ids AS uuid[]), CAST(:audit_ids AS uuid[]))"
    " AS entry (event_id, id) ON entry.event_id = gone.id",
    id="entry.id",
    act="'event_purged'",
    event="gone.id",
    details="'{}'::jsonb",
)

# Removes events that are in the bin, with all that belongs to them. That their readers had access
# stays known, so that those who synchronise hear of it.
PURGE: Final = query(f"""
    WITH gone AS (
        DELETE FROM events
        WHERE id = ANY(CAST(:event_ids AS uuid[])) AND deleted_at IS NOT NULL
        RETURNING id, owner_id
    ), revoked AS (
        INSERT INTO grant_changes
            (id, event_id, owner_id, user_id, operation, role, changed_by, changed_at)
        SELECT gen_random_uuid(), g.event_id, g.owner_id, g.user_id, 'revoke', g.role,
               CAST(:caller_id AS uuid), :now
        FROM gone JOIN grants g ON g.event_id = gone.id
    ), audited AS ({_AUDITED_PURGE})
    SELECT id FROM gone
""")

# A state that the event had, by the version's id or number.
PAST: Final = query("""
    SELECT version, operation, data FROM versions
    WHERE event_id = :event_id
      AND version = CASE WHEN CAST(:version_id AS uuid) IS NULL THEN CAST(:number AS integer)
          ELSE (SELECT version FROM versions
                WHERE event_id = :event_id AND id = CAST(:version_id AS uuid)) END
""")

# The events that still stand of those that an event was split into after a version, and of those
# that these were split into in turn. A half is created at the very moment of the version that ends
# the first; it is found among its owner's events, which are indexed.
SECOND_HALVES: Final = query("""
    WITH RECURSIVE halves AS (
        SELECT e.id, e.owner_id, e.deleted_at
        FROM versions v JOIN events e
          ON e.owner_id = v.owner_id AND e.split_from = v.event_id AND e.created_at = v.timestamp
        WHERE v.event_id = :event_id AND v.version > :version AND v.operation = 'split'
        UNION ALL
        SELECT e.id, e.owner_id, e.deleted_at
        FROM halves JOIN events e ON e.owner_id = halves.owner_id AND e.split_from = halves.id
    )
    SELECT id FROM halves WHERE deleted_at IS NULL ORDER BY id
""")

# Those of the given events that the caller may read, with their titles.
TITLES: Final = query("""
    SELECT e.id, e.title FROM events e
    JOIN grants g ON g.event_id = e.id AND g.user_id = :caller_id
    WHERE e.id = ANY(CAST(:event_ids AS uuid[]))
""")
