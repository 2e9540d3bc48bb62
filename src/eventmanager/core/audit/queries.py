"""The statements on the audit log, and the SQL with which others write to it."""

from typing import Final

from eventmanager.core.database import query

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
