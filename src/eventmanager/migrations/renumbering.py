"""Brings the numbers of transactions in line after a dump was restored on another server.

Each server counts its transactions itself. Rows that keep a number of the server before would stand
ahead of all that is written here, and not be told, or synchronised, until the count has come there.
"""

from typing import Final

import asyncpg
import structlog

# True, and the row is locked, if rows are numbered by another server's count.
_IS_ELSEWHERE: Final = """
    SELECT true FROM numbering
    WHERE system_identifier <> (SELECT system_identifier FROM pg_control_system())
    FOR UPDATE
"""

# Everything happened before this transaction. Messages keep their order: those of one event have it
# by their positions as well. Cursors from before are known by theirs: no server gives out so many
# messages that it comes to where those of this one begin.
_RENUMBER: Final = """
    LOCK TABLE events, versions, grant_changes, messages, receipts, read_marks, purge_marks,
               webhooks, dispatch_mark IN SHARE ROW EXCLUSIVE MODE;
    UPDATE events SET last_transaction_id = pg_current_xact_id();
    UPDATE versions SET transaction_id = pg_current_xact_id();
    UPDATE grant_changes SET transaction_id = pg_current_xact_id();
    UPDATE messages SET transaction_id = pg_current_xact_id();
    UPDATE receipts SET transaction_id = pg_current_xact_id();
    UPDATE read_marks SET transaction_id = pg_current_xact_id();
    DELETE FROM purge_marks;
    UPDATE webhooks SET active_since = pg_current_xact_id();
    UPDATE dispatch_mark
    SET transaction_id = pg_current_xact_id(), position = 9223372036854775807;
    UPDATE numbering
    SET system_identifier = (SELECT system_identifier FROM pg_control_system()),
        transaction_id = pg_current_xact_id(),
        position = setval(pg_get_serial_sequence('messages', 'position'),
                          nextval(pg_get_serial_sequence('messages', 'position')) + 4294967296);
"""

_log = structlog.get_logger("app")


async def renumber(connection: "asyncpg.Connection[asyncpg.Record]") -> None:
    """Bring everything in line with this server's count, unless it is already."""
    async with connection.transaction():
        if await connection.fetchval(_IS_ELSEWHERE):
            # Every row is written anew, which may take minutes.
            _log.warning("restored_elsewhere")
            await connection.execute(_RENUMBER)
