"""The statements on the audit log, and the SQL with which others write to it."""

from typing import Final

from eventmanager.core.database import query
from eventmanager.core.sql import instant

_COLUMNS: Final = (
    "id, at, act, user_id, event_id, subject_id, address, user_agent, request_id, details"
)


def audited(source: str, *, id: str, act: str, event: str, details: str) -> str:  # noqa: A002
    """Return SQL that writes an entry for each row of the FROM item `source`.

    The arguments are SQL expressions. The statement's parameters are `caller_id`, `now`, and those
    of `Origin.columns`.
    """
    return f"""
        INSERT INTO audit_log ({_COLUMNS})
        SELECT {id}, :now, {act}, CAST(:caller_id AS uuid), {event}, NULL,
               CAST(:address AS text), CAST(:user_agent AS text), CAST(:request_id AS text),
               {details}
        FROM {source}"""


INSERT: Final = query(f"""
    INSERT INTO audit_log ({_COLUMNS})
    VALUES (:id, :at, :act, :user_id, :event_id, :subject_id, :address, :user_agent, :request_id,
            CAST(CAST(:details AS text) AS jsonb))
""")

# The entry `a` as clients see it.
_SHOWN: Final = f"""a.id, (SELECT row_to_json(shown) FROM (SELECT
    a.id, {instant("a.at")} AS at, a.act, a.user_id, a.event_id, a.subject_id,
    a.address, a.user_agent, a.request_id, a.details) shown) AS json"""

# Of what is done to a user by another one who is known, the user learns not from where.
_OF_ANOTHER: Final = """
    a.id, a.at, a.act, a.user_id, a.event_id, a.subject_id,
    CASE WHEN a.user_id IS NULL THEN a.address END AS address,
    CASE WHEN a.user_id IS NULL THEN a.user_agent END AS user_agent,
    CASE WHEN a.user_id IS NULL THEN a.request_id END AS request_id, a.details"""

# What is asked for of the entry `a`; null is anything. Ids are in the order of time, so a page, and
# with it a stretch of time, is a range of an index.
_ASKED: Final = """a.id >= :since AND a.id < :before
    AND (CAST(:start AS timestamptz) IS NULL OR a.at >= :start)
    AND (CAST(:end AS timestamptz) IS NULL OR a.at < :end)
    AND (CAST(:act AS text) IS NULL OR a.act = :act)
    AND (CAST(:event_id AS uuid) IS NULL OR a.event_id = :event_id)"""

# Everybody's acts, the newest first.
ALL: Final = query(f"""
    SELECT {_SHOWN} FROM audit_log a WHERE {_ASKED} ORDER BY a.id DESC LIMIT :limit
""")

# The acts of a user, and those of others upon them, the newest first.
OF_USER: Final = query(f"""
    SELECT {_SHOWN} FROM (
        (SELECT {_COLUMNS} FROM audit_log a
         WHERE a.user_id = :user_id AND {_ASKED}
         ORDER BY a.id DESC LIMIT :limit)
        UNION ALL
        (SELECT {_OF_ANOTHER} FROM audit_log a
         WHERE a.subject_id = :user_id
           AND a.user_id IS DISTINCT FROM CAST(:user_id AS uuid) AND {_ASKED}
         ORDER BY a.id DESC LIMIT :limit)
    ) a
    ORDER BY a.id DESC LIMIT :limit
""")
