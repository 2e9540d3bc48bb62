"""The statements on timelines, stored occurrences and series."""

from collections.abc import Sequence
from typing import Final

from eventmanager.core.database import query
from eventmanager.messages.queries import told

# A timeline's row is its lock: whoever writes an owner's time holds it until the commit.
LOCK_TIMELINE: Final = query("""
    SELECT stored_until FROM timelines WHERE owner_id = :owner_id FOR NO KEY UPDATE
""")

# How an owner's timeline stands, without waiting for who is writing it.
TIMELINE: Final = query("""
    SELECT stored_until, bookings FROM timelines WHERE owner_id = :owner_id
""")

CREATE_TIMELINE: Final = query("""
    INSERT INTO timelines (owner_id, stored_until, zone_data)
    VALUES (:owner_id, :stored_until, :zone_data)
    ON CONFLICT DO NOTHING
""")

MOVE_TIMELINE: Final = query("""
    UPDATE timelines SET stored_until = :stored_until, bookings = bookings + 1
    WHERE owner_id = :owner_id
""")

SERIES_OF: Final = query("""
    SELECT event_id, start_time, end_time, time_zone, all_day, recurrence_pattern, busy
    FROM series WHERE owner_id = :owner_id ORDER BY event_id
""")

DROP_FINISHED: Final = query("""
    DELETE FROM series WHERE event_id = ANY(CAST(:event_ids AS uuid[]))
""")

# More occurrences of an owner's series.
STORE: Final = query("""
    INSERT INTO occurrences (event_id, recurrence_id, owner_id, start_time, end_time, busy)
    SELECT o.event_id, o.start_time, s.owner_id, o.start_time, o.end_time, s.busy
    FROM unnest(
        CAST(:event_ids AS uuid[]), CAST(:starts AS timestamptz[]), CAST(:ends AS timestamptz[])
    ) AS o (event_id, start_time, end_time)
    JOIN series s ON s.event_id = o.event_id
    ON CONFLICT DO NOTHING
""")

# What is stored of an event, and whether its series is known to go on.
STORED: Final = query("""
    SELECT recurrence_id, start_time, end_time, busy, CAST(override AS json) AS override
    FROM occurrences WHERE event_id = :event_id
""")

# Forgets some of the time that an event takes, and its rule.
FREE: Final = query("""
    WITH gone AS (DELETE FROM series WHERE event_id = :event_id)
    DELETE FROM occurrences
    WHERE event_id = :event_id AND recurrence_id = ANY(CAST(:gone AS timestamptz[]))
""")

CLEAR: Final = query("""
    WITH gone AS (DELETE FROM series WHERE event_id = :event_id)
    DELETE FROM occurrences WHERE event_id = :event_id
""")

# The CTE `rows`: what is to be stored for the events of the CTE `proposed`. Occurrences that are as
# their series says come by their times alone, those with an override with all they have of their
# own. The `fresh` ones take time that their event did not take before. The many come as literals of
# arrays, which cost a fifth of arrays that the driver encodes value by value.
ROWS: Final = """rows AS MATERIALIZED (
        SELECT o.event_id, o.start_time AS recurrence_id, o.start_time, o.end_time, p.busy, o.fresh,
               CAST(NULL AS jsonb) AS override
        FROM unnest(
            CAST(CAST(:event_ids AS text) AS uuid[]), CAST(CAST(:starts AS text) AS timestamptz[]),
            CAST(CAST(:ends AS text) AS timestamptz[]), CAST(CAST(:fresh AS text) AS boolean[])
        ) AS o (event_id, start_time, end_time, fresh)
        JOIN proposed p ON p.id = o.event_id
        UNION ALL
        SELECT o.event_id, o.recurrence_id, o.start_time, o.end_time, o.busy, o.fresh,
               CAST(o.override AS jsonb)
        FROM unnest(
            CAST(:own_event_ids AS uuid[]), CAST(:own_recurrence_ids AS timestamptz[]),
            CAST(:own_starts AS timestamptz[]), CAST(:own_ends AS timestamptz[]),
            CAST(:own_busy AS boolean[]), CAST(:own_fresh AS boolean[]),
            CAST(:own_overrides AS text[])
        ) AS o (event_id, recurrence_id, start_time, end_time, busy, fresh, override)
    )"""

# Stores `rows` for those events that the CTE `e` has written.
STORE_ROWS: Final = """
    INSERT INTO occurrences
        (event_id, recurrence_id, owner_id, start_time, end_time, busy, override)
    SELECT rows.event_id, rows.recurrence_id, e.owner_id, rows.start_time, rows.end_time, rows.busy,
           rows.override
    FROM rows JOIN e ON e.id = rows.event_id"""


_CLASSES: Final = (
    "- interval '1 hour'",
    "- interval '1 day'",
    "- interval '32 days'",
    "- interval '1024 days'",
    None,
)


def touching(
    *, owner: str, start: str, end: str, classes: Sequence[int] = range(len(_CLASSES))
) -> str:
    """Return SQL for the stored occurrences of `owner` that intersect the window [start, end).

    An occurrence of at most n days that touches the window began less than n days before it, so
    each duration class is one short range of the index. The arguments are SQL expressions.
    """
    began = [
        f"o.reach = {n}" + (f" AND o.start_time > {start} {ago}" if (ago := _CLASSES[n]) else "")
        for n in classes
    ]
    return " UNION ALL ".join(
        f"SELECT o.* FROM occurrences o WHERE o.owner_id = {owner} AND {lower}"
        f" AND o.start_time < {end} AND o.end_time > {start}"
        for lower in began
    )


def is_taken(*, owner: str) -> str:
    """Return SQL that is true when busy time of `owner` intersects fresh busy time in `rows`.

    The answer holds until the commit for who holds the owner's lock since an earlier statement.
    Most occurrences last a day at most: those are looked for beside each row; the longer ones
    are few, and are looked for once for all rows together. OFFSET 0 keeps the joins in this order.
    """
    beside = touching(owner=owner, start="rows.start_time", end="rows.end_time", classes=[0, 1])
    around = touching(owner=owner, start="span.start_time", end="span.end_time", classes=[2, 3, 4])
    return f"""(
        EXISTS (
            SELECT FROM rows CROSS JOIN LATERAL ({beside}) o
            WHERE rows.busy AND rows.fresh AND o.busy
        ) OR EXISTS (
            SELECT FROM (
                SELECT min(start_time) AS start_time, max(end_time) AS end_time
                FROM rows WHERE busy AND fresh
            ) span CROSS JOIN LATERAL (SELECT * FROM ({around}) every WHERE busy OFFSET 0) o
            JOIN rows ON rows.start_time < o.end_time AND rows.end_time > o.start_time
            WHERE rows.busy AND rows.fresh AND o.busy
        ))"""


def own(field: str) -> str:
    """Return SQL for a text of the occurrence `o`: its own, or that of its event `e`."""
    return f"CASE WHEN o.override ? '{field}' THEN o.override ->> '{field}' ELSE e.{field} END"


# What the wanted intervals (numbered from 1) clash with, and how many pairs there are in all.
CLASHES: Final = query(f"""
    SELECT wanted.number, o.event_id, o.recurrence_id, o.start_time, o.end_time,
           count(*) OVER () AS total
    FROM unnest(CAST(:starts AS timestamptz[]), CAST(:ends AS timestamptz[]))
         WITH ORDINALITY AS wanted (start_time, end_time, number)
    CROSS JOIN LATERAL (
        {touching(owner=":owner_id", start="wanted.start_time", end="wanted.end_time")}
    ) o
    WHERE o.busy
    ORDER BY wanted.number, o.start_time, o.event_id
    LIMIT :limit
""")  # built from constants of this module

# Timelines with endless series that are stored less far ahead than they should be, by their owner.
FADING: Final = query("""
    SELECT t.owner_id FROM timelines t
    WHERE t.owner_id > :after AND t.stored_until < :until
      AND EXISTS (SELECT FROM series s WHERE s.owner_id = t.owner_id)
    ORDER BY t.owner_id LIMIT :limit
""")

# Timelines that must be stored further before a window of the reader's ending at :until is whole:
# the reader's own, and those of others with a series that the reader may read.
BEHIND: Final = query("""
    SELECT t.owner_id FROM timelines t
    WHERE t.stored_until < :until
      AND (t.owner_id = :reader_id OR t.owner_id IN (
          SELECT owner_id FROM grants WHERE user_id = :reader_id AND owner_id <> user_id))
      AND EXISTS (
          SELECT FROM series s
          WHERE s.owner_id = t.owner_id AND (s.owner_id = :reader_id OR EXISTS (
              SELECT FROM grants g WHERE g.event_id = s.event_id AND g.user_id = :reader_id)))
    ORDER BY t.owner_id
""")

MAX_LATE_CLASHES: Final = 10_000
_ALL_BUSY: Final = touching(
    owner=":owner_id", start="CAST(:start AS timestamptz)", end="CAST(:end AS timestamptz)"
)
_BESIDE: Final = touching(owner=":owner_id", start="a.start_time", end="a.end_time")

# Pairs of events that clash in a stretch of time at the end of what is stored, with how often and
# where first; without those that clash before it too, since their owner knows of them. Who has had
# very many booked at the same time is told of some: dozens of series make millions of pairs.
LATE_CLASHES: Final = query(f"""
    SELECT found.* FROM (
        SELECT event_id, other_id, count(*) AS clashes, min(start_time) AS first
        FROM (
            SELECT a.event_id, b.event_id AS other_id,
                   greatest(a.start_time, b.start_time) AS start_time
            FROM ({_ALL_BUSY}) a CROSS JOIN LATERAL ({_BESIDE}) b
            WHERE a.busy AND b.busy
              AND (a.event_id, a.recurrence_id) < (b.event_id, b.recurrence_id)
              AND greatest(a.start_time, b.start_time) >= CAST(:start AS timestamptz)
            LIMIT {MAX_LATE_CLASHES}
        ) met
        GROUP BY event_id, other_id
    ) found
    WHERE NOT EXISTS (
        SELECT FROM (
            SELECT * FROM occurrences o
            WHERE o.event_id = found.event_id AND o.busy
              AND o.start_time < CAST(:start AS timestamptz)
        ) a CROSS JOIN LATERAL ({_BESIDE}) b
        WHERE b.busy AND b.event_id = found.other_id
          AND (b.event_id, b.recurrence_id) <> (a.event_id, a.recurrence_id)
          AND b.start_time < CAST(:start AS timestamptz))
    ORDER BY first
""")

# Tells an owner of such pairs; a title that the owner may no longer read is withheld.
TELL_CLASHES: Final = query(
    told(
        """unnest(
            CAST(:message_ids AS uuid[]), CAST(:event_ids AS uuid[]), CAST(:other_ids AS uuid[]),
            CAST(:counts AS bigint[]), CAST(:firsts AS text[])
        ) AS pair (message_id, event_id, other_id, clashes, first)
        LEFT JOIN (events e JOIN grants g ON g.event_id = e.id AND g.user_id = :owner_id)
            ON e.id = pair.event_id
        LEFT JOIN (events other JOIN grants og ON og.event_id = other.id AND og.user_id = :owner_id)
            ON other.id = pair.other_id""",
        id="pair.message_id",
        recipients="ARRAY[CAST(:owner_id AS uuid)]",
        owner=":owner_id",
        event="pair.event_id",
        type="'late_clash'",
        data="""jsonb_build_object(
            'title', e.title, 'other_event_id', pair.other_id, 'other_title', other.title,
            'clashes', pair.clashes, 'first', pair.first)""",
        initiator="NULL",
        session="NULL",
    )
)
