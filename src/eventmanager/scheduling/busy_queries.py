"""The statements on when people are busy; who may ask is a predicate in each of them."""

from typing import Final

from eventmanager.core.database import query
from eventmanager.core.sql import instant
from eventmanager.scheduling.queries import touching


def _readable(event: str, *, user: str) -> str:
    """Return SQL that is true when the event is not deleted and `user` has a role on it.

    Subqueries that yield a value are looked up row by row, whatever the planner takes for likely.
    """
    return f"""(
        SELECT true FROM grants g WHERE g.event_id = {event} AND g.user_id = {user}
    ) AND (
        SELECT e.deleted_at IS NULL FROM events e WHERE e.id = {event}
    )"""


# Whether the caller and the user `u` have an event in common: one of the caller's, one of u's, or
# one that somebody else shares with both. What they share with nobody is not gone through.
_SHARES_WITH_U: Final = f"""(
    EXISTS (
        SELECT FROM grants theirs
        WHERE theirs.user_id = u.id AND theirs.owner_id = :caller_id
          AND theirs.owner_id <> theirs.user_id
          AND {_readable("theirs.event_id", user=":caller_id")}
    ) OR EXISTS (
        SELECT FROM grants mine
        WHERE mine.user_id = :caller_id AND mine.owner_id = u.id
          AND mine.owner_id <> mine.user_id
          AND {_readable("mine.event_id", user="u.id")}
    ) OR EXISTS (
        SELECT FROM grants theirs
        WHERE theirs.user_id = u.id AND theirs.owner_id <> theirs.user_id
          AND (theirs.event_id IN (
              SELECT mine.event_id FROM grants mine
              WHERE mine.user_id = :caller_id AND mine.owner_id <> mine.user_id)) IS TRUE
          AND {_readable("theirs.event_id", user=":caller_id")}
    )
)"""

# The users asked for, by id, username or email, and whether the caller may know when they are busy.
_ASKED: Final = f"""
    WITH named AS (
        SELECT n.number, coalesce(
            (SELECT u.id FROM users u WHERE u.id = n.id),
            (SELECT u.id FROM users u WHERE lower(u.username) = lower(n.username)),
            (SELECT u.id FROM users u WHERE lower(u.email) = lower(n.email))
        ) AS user_id
        FROM unnest(CAST(:ids AS uuid[]), CAST(:usernames AS text[]), CAST(:emails AS text[]))
             WITH ORDINALITY AS n (id, username, email, number)
    ), asked AS (
        SELECT named.number, u.id AS user_id,
               u.id = :caller_id OR u.free_busy = 'everyone'
               OR u.free_busy = 'shared' AND {_SHARES_WITH_U} AS allowed
        FROM named LEFT JOIN users u ON u.id = named.user_id
    )
"""

# PostgreSQL would take what an interval is subtracted from for one, too.
_START: Final = "CAST(:start AS timestamptz)"
_END: Final = "CAST(:end AS timestamptz)"

_BUSY: Final = f"""
    SELECT o.start_time, o.end_time
    FROM ({touching(owner="asked.user_id", start=_START, end=_END)}) o
    WHERE o.busy AND asked.allowed
"""

# Of the users whom the caller may ask about, those whose time must be stored further ahead.
BEHIND: Final = query(f"""
    {_ASKED}
    SELECT DISTINCT t.owner_id
    FROM asked JOIN timelines t ON t.owner_id = asked.user_id
    WHERE CASE WHEN t.stored_until < :until THEN asked.allowed ELSE false END
      AND EXISTS (SELECT FROM series s WHERE s.owner_id = t.owner_id)
    ORDER BY t.owner_id
""")

# When each of them is busy in the window, as the JSON array that clients get: what overlaps or
# touches is one interval.
FREE_BUSY: Final = query(f"""
    {_ASKED}
    SELECT asked.number, asked.user_id, asked.allowed, (
        SELECT CAST('[' || coalesce(string_agg(
            '{{"start_time":"' || {instant("lower(r)")} || '","end_time":"' || {instant("upper(r)")}
            || '"}}', ',' ORDER BY r), '') || ']' AS json)
        FROM unnest((
            SELECT range_agg(tstzrange(greatest(o.start_time, {_START}), least(o.end_time, {_END})))
            FROM ({_BUSY}) o
        )) r
    ) AS busy
    FROM asked ORDER BY asked.number
""")

# The same as numbers to reckon with: whole seconds since the epoch, rounded outwards, by the start.
BUSY_SECONDS: Final = query(f"""
    {_ASKED}
    SELECT asked.number, asked.user_id, asked.allowed, taken.starts, taken.ends
    FROM asked LEFT JOIN LATERAL (
        SELECT array_agg(CAST(floor(extract(epoch FROM o.start_time)) AS bigint)
                         ORDER BY o.start_time) AS starts,
               array_agg(CAST(ceil(extract(epoch FROM o.end_time)) AS bigint)
                         ORDER BY o.start_time) AS ends
        FROM ({_BUSY}) o
    ) taken ON true
    ORDER BY asked.number
""")
