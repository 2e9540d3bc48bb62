"""Why a request about an event is refused: found out only after a statement had nothing to do."""

from typing import Any, Final

from eventmanager.core.database import Reading
from eventmanager.core.errors import (
    EventManagerError,
    NotFound,
    PreconditionFailed,
    RoleTooLow,
    TimeConflict,
)
from eventmanager.core.ids import EventId, UserId
from eventmanager.core.time import rfc3339
from eventmanager.events import queries
from eventmanager.recurrence import Occurrence
from eventmanager.scheduling.service import Reservation
from eventmanager.sharing.models import Role

READERS: Final = frozenset(Role)
EDITORS: Final = frozenset({Role.OWNER, Role.EDITOR})
OWNERS: Final = frozenset({Role.OWNER})


async def refusal(
    read: Reading, *, caller_id: UserId, event_id: EventId, roles: frozenset[Role]
) -> EventManagerError:
    """Return why a statement that asks for one of `roles` found no event to work on."""
    row = await read.first(queries.STANDING, caller_id=caller_id, event_id=event_id)
    if row is None:
        return NotFound("There is no such event")
    if row["role"] is None:
        return RoleTooLow("This event is not shared with you")
    if row["role"] not in roles:
        return RoleTooLow(f"Your role on this event is {row['role']}, which does not allow this")
    return PreconditionFailed(current_version=row["version"])


async def time_conflict(
    read: Reading, reservation: Reservation, *, caller_id: UserId, batch: bool
) -> TimeConflict:
    """Return the error that names what clashes, without titles that the caller may not read."""
    event_ids = {clash.event_id for clash in reservation.clashes if clash.event_id}
    rows = await read.all(queries.TITLES, caller_id=caller_id, event_ids=list(event_ids))
    titles = {row["id"]: row["title"] for row in rows}
    conflicts = []
    for clash in reservation.clashes:
        requested: dict[str, Any] = {"index": clash.wanted.plan} if batch else {}
        if clash.event_id is None:
            existing: dict[str, Any] = {"index": clash.other_plan} if batch else {}
        else:
            existing = {"event_id": clash.event_id, "title": titles.get(clash.event_id)}
        conflicts.append(
            {
                "requested": requested | _interval(clash.wanted.occurrence),
                "existing": existing | _interval(clash.existing),
            }
        )
    return TimeConflict(conflicts=conflicts, total=reservation.total_clashes)


def _interval(occurrence: Occurrence) -> dict[str, str]:
    return {
        "recurrence_id": rfc3339(occurrence.recurrence_id),
        "start_time": rfc3339(occurrence.start),
        "end_time": rfc3339(occurrence.end),
    }
