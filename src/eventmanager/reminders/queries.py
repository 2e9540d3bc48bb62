"""The statements on reminders, and the SQL by which features above show and copy them."""

from typing import Final

from eventmanager.core.database import query
from eventmanager.messages.queries import told
from eventmanager.scheduling.queries import own

BATCH: Final = 500
"""How many reminders one transaction takes of those that are due, and of those that are stale."""

# The caller's own reminders of the event `e`, as clients see them: a JSON array.
REMINDERS_OF_E: Final = """(
    SELECT CAST('[' || coalesce(string_agg(
        '{"minutes_before":' || r.minutes_before || ',"channel":"' || r.channel || '"}', ','
        ORDER BY r.minutes_before, r.channel), '') || ']' AS json)
    FROM reminders r WHERE r.event_id = e.id AND r.user_id = :caller_id
)"""

# The reminders of the events `e` that are created from `proposed`: their owners' own, and in a
# second half of a series those that the readers of the first have.
REMINDED: Final = """
    INSERT INTO reminders
        (event_id, user_id, minutes_before, channel, owner_id, fired_until, next_at)
    SELECT e.id, e.owner_id, r.minutes_before, r.channel, e.owner_id, e.created_at, e.created_at
    FROM e JOIN proposed ON proposed.id = e.id
    CROSS JOIN jsonb_to_recordset(proposed.reminders) AS r (minutes_before integer, channel text)
    UNION ALL
    SELECT e.id, r.user_id, r.minutes_before, r.channel, e.owner_id, r.fired_until, e.created_at
    FROM e
    CROSS JOIN LATERAL (SELECT * FROM reminders WHERE event_id = e.split_from OFFSET 0) r"""

# Makes the caller's reminders of an event what is wanted. Those that stay know what they gave.
SET: Final = query("""
    WITH wanted AS (
        SELECT * FROM unnest(CAST(:minutes_before AS integer[]), CAST(:channels AS text[]))
            AS w (minutes_before, channel)
    ), unwanted AS (
        DELETE FROM reminders
        WHERE event_id = :event_id AND user_id = :caller_id
          AND (minutes_before, channel) NOT IN (SELECT minutes_before, channel FROM wanted)
    )
    INSERT INTO reminders
        (event_id, user_id, minutes_before, channel, owner_id, fired_until, next_at)
    SELECT g.event_id, g.user_id, w.minutes_before, w.channel, g.owner_id, :now, :now
    FROM wanted w JOIN grants g ON g.event_id = :event_id AND g.user_id = :caller_id
    ON CONFLICT DO NOTHING
""")

_KEY: Final = "event_id, user_id, minutes_before, channel"

# Locks reminders that are due, and others that have to be looked at, which nobody else has locked.
# What there is to be told of them is for a statement of its own to find: this one would not see
# what was committed since it began. The limits are literals, since for a parameter PostgreSQL
# would rather read the whole table.
TAKE: Final = query(f"""
    WITH due AS MATERIALIZED (
        SELECT {_KEY} FROM reminders WHERE next_at <= :now
        ORDER BY next_at LIMIT {BATCH} FOR UPDATE SKIP LOCKED
    ), stale AS MATERIALIZED (
        SELECT {_KEY} FROM reminders WHERE stale_since IS NOT NULL AND next_at > :now
        ORDER BY event_id LIMIT {BATCH} FOR UPDATE SKIP LOCKED
    )
    SELECT * FROM due UNION ALL SELECT * FROM stale
""")

# Occurrences of the reminder `r` that start in a stretch of time: nearly all of them where their
# names say, found by the primary key, and the few that differ from their series.
_AS_NAMED: Final = """
    SELECT * FROM occurrences
    WHERE event_id = r.event_id AND override IS NULL
      AND recurrence_id > {after} {until}
    ORDER BY recurrence_id {order}"""
_DIFFERENT: Final = """
    SELECT * FROM occurrences
    WHERE event_id = r.event_id AND override IS NOT NULL
      AND start_time > {after} {until}
    ORDER BY start_time {order}"""
_NEXT: Final = " UNION ALL ".join(
    f"({part.format(after='r.until', until='', order='LIMIT 1')})"
    for part in (_AS_NAMED, _DIFFERENT)
)
_DUE: Final = " UNION ALL ".join(
    f"({part.format(after='r.since', until=f'AND {start} <= r.until', order='DESC LIMIT 100')})"
    for part, start in ((_AS_NAMED, "recurrence_id"), (_DIFFERENT, "start_time"))
)

# Answers what is to be told of the reminders that are locked, and remembers that it was.
#
# What came to be due since a reminder was last looked at is told, a day late at most, where nobody
# looked for a while. Where occurrences have changed in between, most of what is in the past now was
# never to come: then that is told which was to be told anyway, from `next_at` on, and what became
# due since the change or while it was being committed, for which it is given a minute.
LOOK: Final = query(f"""
    WITH r AS MATERIALIZED (
        SELECT r.*, r.minutes_before * interval '1 minute' AS ahead,
               greatest(r.fired_until, CAST(:now AS timestamptz))
                   + r.minutes_before * interval '1 minute' AS until,
               greatest(
                   r.fired_until, CAST(:now AS timestamptz) - interval '1 day',
                   CASE WHEN r.stale_since IS NOT NULL THEN least(
                       r.next_at - interval '1 microsecond',
                       r.stale_since - interval '1 minute') END
               ) + r.minutes_before * interval '1 minute' AS since
        FROM unnest(
            CAST(:event_ids AS uuid[]), CAST(:user_ids AS uuid[]),
            CAST(:minutes_before AS integer[]), CAST(:channels AS text[])
        ) AS taken ({_KEY})
        CROSS JOIN LATERAL (
            SELECT * FROM reminders
            WHERE event_id = taken.event_id AND user_id = taken.user_id
              AND minutes_before = taken.minutes_before AND channel = taken.channel OFFSET 0) r
    ), looked AS (
        UPDATE reminders it SET
            fired_until = r.until - r.ahead,
            next_at = coalesce(
                (SELECT min(n.start_time) FROM ({_NEXT}) n) - r.ahead, 'infinity'),
            stale_since = NULL
        FROM r
        WHERE it.event_id = r.event_id AND it.user_id = r.user_id
          AND it.minutes_before = r.minutes_before AND it.channel = r.channel
    )
    SELECT r.event_id, r.user_id, r.owner_id, r.minutes_before, r.channel, u.email,
           o.start_time - r.ahead AS due_at, o.recurrence_id, o.start_time, o.end_time,
           {own("title")} AS title, {own("location")} AS location, e.time_zone, e.all_day
    FROM r
    CROSS JOIN LATERAL ({_DUE}) o
    CROSS JOIN LATERAL (
        SELECT * FROM events WHERE id = r.event_id AND deleted_at IS NULL OFFSET 0) e
    CROSS JOIN LATERAL (SELECT * FROM users WHERE id = r.user_id AND is_active OFFSET 0) u
    WHERE {own("status")} <> 'cancelled'
    ORDER BY due_at, r.event_id, r.minutes_before, r.user_id
""")  # built from constants of this module

# Counts emails that users are to get, and answers how many that makes in the hour, in which each
# one's begins with the first: where two hours meet, up to twice as many may come within minutes. In
# the order of all, since the rows are held until the commit.
COUNT_MAILS: Final = query("""
    INSERT INTO mail_counts AS c (user_id, since, mails)
    SELECT u.id, :now, added.mails
    FROM unnest(CAST(:user_ids AS uuid[]), CAST(:mails AS integer[])) AS added (user_id, mails)
    JOIN users u ON u.id = added.user_id
    ORDER BY u.id FOR KEY SHARE OF u
    ON CONFLICT (user_id) DO UPDATE SET
        since = CASE WHEN c.since > excluded.since - interval '1 hour'
                THEN c.since ELSE excluded.since END,
        mails = CASE WHEN c.since > excluded.since - interval '1 hour'
                THEN c.mails ELSE 0 END + excluded.mails
    RETURNING user_id, mails
""")

# What there is to be said of an occurrence, if it is where it was, is not over, and its reader
# still wants to be reminded of it by email.
#
# Where its series has it no more, a half that was split from it may have it, whose reminders know
# that it was told and don't tell it again. There it is what starts at the same time, since an edit
# that splits may rename it. Halves are found among their owner's events, which are indexed.
STILL_TRUE: Final = query(f"""
    WITH RECURSIVE halves AS (
        SELECT id, owner_id FROM events WHERE id = :event_id
        UNION ALL
        SELECT e.id, e.owner_id
        FROM halves JOIN events e ON e.owner_id = halves.owner_id AND e.split_from = halves.id
        WHERE NOT EXISTS (
            SELECT FROM occurrences
            WHERE event_id = :event_id AND recurrence_id = :recurrence_id)
    )
    SELECT u.username, u.email, r.minutes_before, o.recurrence_id, o.start_time, o.end_time,
           o.start_time - r.minutes_before * interval '1 minute' AS due_at,
           {own("title")} AS title, {own("location")} AS location, e.time_zone, e.all_day
    FROM halves
    JOIN reminders r ON r.event_id = halves.id AND r.user_id = :user_id
        AND r.minutes_before = :minutes_before AND r.channel = 'email'
    JOIN users u ON u.id = r.user_id AND u.is_active
    JOIN events e ON e.id = r.event_id AND e.deleted_at IS NULL
    CROSS JOIN LATERAL (
        SELECT * FROM occurrences
        WHERE event_id = r.event_id AND override IS NULL AND recurrence_id = :start_time
        UNION ALL
        SELECT * FROM occurrences
        WHERE event_id = r.event_id AND override IS NOT NULL AND start_time = :start_time
    ) o
    WHERE (o.recurrence_id = :recurrence_id OR o.event_id <> :event_id)
      AND o.end_time > :now AND {own("status")} <> 'cancelled'
""")

# Tells readers of occurrences; who is told of the same is told by the same message.
TELL: Final = query(
    told(
        """json_to_recordset(CAST(:messages AS json)) AS m (
            id uuid, recipients uuid[], owner_id uuid, event_id uuid, data jsonb)""",
        id="m.id",
        recipients="m.recipients",
        owner="m.owner_id",
        event="m.event_id",
        type="'reminder'",
        data="m.data",
        initiator="NULL",
        session="NULL",
    )
)
