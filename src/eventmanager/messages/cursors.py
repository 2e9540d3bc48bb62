"""The cursor that a client goes on from, as a query parameter, and what may become of it."""

from typing import Annotated, Final

from fastapi import Depends, Query

from eventmanager.messages.positions import Position, read_position
from eventmanager.messages.schemas import MAX_CURSOR

EXPIRED: Final = (
    "`cursor_expired`: some of what came after the cursor is no longer kept (`NOTIFICATION_DAYS`),"
    " or the cursor is of another database. Begin again at `restart`"
)


async def _after(
    after: Annotated[
        str | None,
        Query(max_length=MAX_CURSOR, description="The `cursor` of the last one you have."),
    ] = None,
) -> Position | None:
    return read_position(after) if after else None


After = Annotated[Position | None, Depends(_after)]
