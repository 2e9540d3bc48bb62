"""The statements that read many events, occurrences and the past. Access is a predicate in each."""

from itertools import product
from typing import Final

from eventmanager.core.database import Query, query
from eventmanager.events.queries import BESIDE, ITS_VERSION
from eventmanager.scheduling.queries import own, touching

# The event of a grant `g`. Again each join is to be one look into an index for each row of what
# stands before it.
_ITS_EVENT: Final = """
    CROSS JOIN LATERAL (
        SELECT * FROM events WHERE id = g.event_id AND deleted_at IS NULL OFFSET 0) e"""

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
    source = f"grants g {_ITS_EVENT} {ITS_VERSION}"
    if window:
        source = f"""(
            SELECT DISTINCT o.event_id FROM {_TOUCHING}
        ) o {_ITS_GRANT} {_ITS_EVENT} {ITS_VERSION}"""
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
        SELECT v.data, {BESIDE}, g.start_time, g.event_id
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


# The occurrence `o` of the event `e` with its effective fields.
_OCCURRENCE: Final = f"""
    o.event_id, o.recurrence_id, o.start_time, o.end_time, e.all_day, {own("title")} AS title,
    {own("description")} AS description, {own("location")} AS location, e.time_zone,
    {own("status")} AS status, {own("transparency")} AS transparency,
    e.recurrence_pattern IS NOT NULL AS is_recurring, o.override IS NOT NULL AS is_override"""

_AFTER_KEY: Final = """(
    CAST(:after_time AS timestamptz) IS NULL
    OR (o.start_time, o.event_id, o.recurrence_id) >
       (CAST(:after_time AS timestamptz), CAST(:after_id AS uuid),
        CAST(:after_recurrence AS timestamptz)))
    ORDER BY o.start_time, o.event_id, o.recurrence_id
    LIMIT :limit"""

# The occurrences in a window that the caller may read, after a key.
AGENDA: Final = query(f"""
    SELECT {_OCCURRENCE} FROM {_TOUCHING} {_ITS_GRANT} {_ITS_EVENT} WHERE {_AFTER_KEY}
""")

# Those of one event, in a window or all that are stored.
OCCURRENCES_OF: Final = query(f"""
    SELECT {_OCCURRENCE} FROM occurrences o {_ITS_GRANT} {_ITS_EVENT}
    WHERE o.event_id = :event_id
      AND (CAST(:start AS timestamptz) IS NULL OR o.end_time > CAST(:start AS timestamptz))
      AND (CAST(:end AS timestamptz) IS NULL OR o.start_time < CAST(:end AS timestamptz))
      AND {_AFTER_KEY}
""")

# One occurrence, by its name, and the version of its event.
OCCURRENCE: Final = query(f"""
    SELECT {_OCCURRENCE}, e.version FROM occurrences o {_ITS_GRANT} {_ITS_EVENT}
    WHERE o.event_id = :event_id AND o.recurrence_id = :recurrence_id
""")

# How an event that the caller may read names its occurrences, and how far they are stored.
NAMING: Final = query("""
    SELECT e.owner_id, e.all_day, e.time_zone, t.stored_until
    FROM events e
    JOIN grants g ON g.event_id = e.id AND g.user_id = :caller_id
    JOIN timelines t ON t.owner_id = e.owner_id
    WHERE e.id = :event_id AND e.deleted_at IS NULL
""")

# The event `e` as it was: its last version `v` until then, which must not have deleted it.
_ITS_PAST: Final = """
    CROSS JOIN LATERAL (
        SELECT * FROM versions WHERE event_id = e.id AND timestamp <= CAST(:as_of AS timestamptz)
        ORDER BY version DESC LIMIT 1) v"""
_WAS_THERE: Final = "e.created_at <= CAST(:as_of AS timestamptz) AND v.operation <> 'delete'"

# An event that the caller may read now, as it was.
PAST_ONE: Final = query(f"""
    SELECT v.data, v.version, {BESIDE} FROM grants g
    {_ITS_EVENT} {_ITS_PAST}
    WHERE g.event_id = :event_id AND g.user_id = :caller_id AND {_WAS_THERE}
""")

# When the events began then that the caller may read now, by their ids, which stay as they are
# while one page is read after another.
PAST_STARTS: Final = query(f"""
    SELECT g.event_id, v.version, d.start_time, d.time_zone
    FROM (
        SELECT event_id FROM grants
        WHERE user_id = :caller_id AND event_id > :after_event
          AND (CAST(:role AS text) IS NULL OR role = CAST(:role AS text))
        ORDER BY event_id
    ) g {_ITS_EVENT} {_ITS_PAST}
    CROSS JOIN LATERAL json_to_record(v.data) AS d (start_time text, time_zone text)
    WHERE {_WAS_THERE}
    ORDER BY g.event_id LIMIT :limit
""")

# Some versions of events that the caller may read now, in their order.
PAST_PAGE: Final = query(f"""
    SELECT v.data, {BESIDE}
    FROM unnest(CAST(:event_ids AS uuid[]), CAST(:versions AS integer[]))
        WITH ORDINALITY AS wanted (event_id, version, number)
    JOIN events e ON e.id = wanted.event_id AND e.deleted_at IS NULL
    JOIN grants g ON g.event_id = e.id AND g.user_id = :caller_id
    CROSS JOIN LATERAL (
        SELECT data FROM versions WHERE event_id = e.id AND version = wanted.version OFFSET 0) v
    ORDER BY wanted.number
""")

# The events, as they were, that may have been in a window and began `since`, by their ids. A series
# is one of them in any case. Dates are taken for midnights in UTC, so they are a day off at most.
PAST_STATES: Final = query(f"""
    SELECT g.event_id, v.data
    FROM (
        SELECT event_id FROM grants
        WHERE user_id = :caller_id AND event_id > :after_event ORDER BY event_id
    ) g {_ITS_EVENT} {_ITS_PAST}
    CROSS JOIN LATERAL json_to_record(v.data)
        AS d (start_time timestamptz, end_time timestamptz, recurrence_pattern text)
    WHERE {_WAS_THERE}
      AND (d.recurrence_pattern IS NOT NULL
           OR d.start_time < CAST(:end AS timestamptz) + interval '1 day'
              AND d.end_time > CAST(:start AS timestamptz) - interval '1 day'
              AND (CAST(:since AS timestamptz) IS NULL
                   OR d.start_time >= CAST(:since AS timestamptz) - interval '1 day'))
    ORDER BY g.event_id LIMIT :limit
""")

# The deleted events of which the caller is Owner, after a key.
BIN: Final = query(f"""
    SELECT v.data, {BESIDE}, e.start_time, e.id AS event_id
    FROM (
        SELECT id FROM events WHERE owner_id = :caller_id AND deleted_at IS NOT NULL
        UNION SELECT event_id FROM grants
        WHERE user_id = :caller_id AND owner_id <> user_id AND role = 'Owner'
    ) mine
    JOIN events e ON e.id = mine.id
    JOIN grants g ON g.event_id = e.id AND g.user_id = :caller_id AND g.role = 'Owner'
    {ITS_VERSION}
    WHERE e.deleted_at IS NOT NULL
      AND (CAST(:after_time AS timestamptz) IS NULL
           OR (e.start_time, e.id) > (CAST(:after_time AS timestamptz), CAST(:after_id AS uuid)))
    ORDER BY e.start_time, e.id
    LIMIT :limit OFFSET :skip
""")

_BUSY_IN_WINDOW: Final = touching(
    owner=":caller_id", start="CAST(:start AS timestamptz)", end="CAST(:end AS timestamptz)"
)
_BESIDE: Final = touching(owner=":caller_id", start="b.start_time", end="b.end_time")
_TITLE: Final = """(
    SELECT e.title FROM events e JOIN grants g ON g.event_id = e.id AND g.user_id = :caller_id
    WHERE e.id = {of}.event_id)"""

# Pairs of busy occurrences of the caller's that overlap in a window, after a key. Of those that may
# not be read any more, the title is withheld.
CONFLICTS: Final = query(f"""
    SELECT b.event_id AS later_id, b.recurrence_id AS later_recurrence,
           b.start_time AS later_start, b.end_time AS later_end,
           {_TITLE.format(of="b")} AS later_title,
           a.event_id AS earlier_id, a.recurrence_id AS earlier_recurrence,
           a.start_time AS earlier_start, a.end_time AS earlier_end,
           {_TITLE.format(of="a")} AS earlier_title
    FROM ({_BUSY_IN_WINDOW}) b CROSS JOIN LATERAL ({_BESIDE}) a
    WHERE a.busy AND b.busy
      AND (a.start_time, a.event_id, a.recurrence_id) < (b.start_time, b.event_id, b.recurrence_id)
      AND a.end_time > CAST(:start AS timestamptz)
      AND (CAST(:after_time AS timestamptz) IS NULL
           OR (b.start_time, b.event_id, b.recurrence_id, a.event_id, a.recurrence_id) >
              (CAST(:after_time AS timestamptz), CAST(:after_id AS uuid),
               CAST(:after_recurrence AS timestamptz), CAST(:after_other AS uuid),
               CAST(:after_other_recurrence AS timestamptz)))
    ORDER BY b.start_time, b.event_id, b.recurrence_id, a.event_id, a.recurrence_id
    LIMIT :limit
""")
