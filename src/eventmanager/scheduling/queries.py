"""The statements on timelines, stored occurrences and series."""

from typing import Final

from eventmanager.core.database import query

# A timeline's row is its lock: whoever writes an owner's time holds it until the commit.
LOCK_TIMELINE: Final = query("""
    SELECT stored_until FROM timelines WHERE owner_id = :owner_id FOR NO KEY UPDATE
""")

# How an owner's timeline stands, without waiting for who is writing it.
TIMELINE: Final = query("""
    SELECT stored_until, bookings FROM timelines WHERE owner_id = :owner_id
""")

CREATE_TIMELINE: Final = query("""
    INSERT INTO timelines (owner_id, stored_until) VALUES (:owner_id, :stored_until)
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

CLEAR: Final = query("""
    WITH gone AS (DELETE FROM series WHERE event_id = :event_id)
    DELETE FROM occurrences WHERE event_id = :event_id
""")


def touching(*, owner: str, start: str, end: str) -> str:
    """Return SQL for the stored occurrences of `owner` that intersect the window [start, end).

    An occurrence of at most n days that touches the window began less than n days before it, so
    each duration class is one short range of the index. The arguments are SQL expressions.
    """
    began_after = ("- interval '1 day'", "- interval '32 days'", "- interval '1024 days'")
    ranges = [
        f"o.reach = {n} AND o.start_time > {start} {ago}" for n, ago in enumerate(began_after)
    ]
    ranges.append(f"o.reach = {len(began_after)}")
    return " UNION ALL ".join(
        f"SELECT o.* FROM occurrences o WHERE o.owner_id = {owner} AND {lower}"
        f" AND o.start_time < {end} AND o.end_time > {start}"
        for lower in ranges
    )


def is_taken(*, owner: str, wanted: str) -> str:
    """Return SQL that is true when busy time of `owner` intersects one of the `wanted` intervals.

    `wanted` is a FROM item of that name, with the columns start_time and end_time. The answer holds
    until the commit for who holds the owner's lock since an earlier statement.
    """
    stored = touching(owner=owner, start="wanted.start_time", end="wanted.end_time")
    return f"EXISTS (SELECT FROM {wanted} CROSS JOIN LATERAL ({stored}) o WHERE o.busy)"


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

# Timelines that must be stored further before a window of the reader's ending at :until is whole.
BEHIND: Final = query("""
    SELECT t.owner_id FROM timelines t
    WHERE t.stored_until < :until
      AND (t.owner_id = :reader_id OR t.owner_id IN (
          SELECT owner_id FROM grants WHERE user_id = :reader_id AND owner_id <> user_id))
      AND EXISTS (SELECT FROM series s WHERE s.owner_id = t.owner_id)
    ORDER BY t.owner_id
""")
