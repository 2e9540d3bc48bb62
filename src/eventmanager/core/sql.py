"""Pieces of SQL that several features need."""


def instant(column: str) -> str:
    """Return SQL for a timestamptz as RFC 3339 in UTC with `Z`, whatever the session's zone."""
    return f"(to_json({column} AT TIME ZONE 'UTC') #>> '{{}}') || 'Z'"
