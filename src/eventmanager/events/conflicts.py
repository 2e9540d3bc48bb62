"""What a time conflict is made of, for the one who asked."""

from typing import Any

from eventmanager.core.database import Reading
from eventmanager.core.errors import TimeConflict
from eventmanager.core.ids import UserId
from eventmanager.core.time import rfc3339
from eventmanager.events import queries
from eventmanager.recurrence import Occurrence
from eventmanager.scheduling.service import Clash


async def time_conflict(
    read: Reading, clashes: list[Clash], total: int, *, caller_id: UserId, batch: bool
) -> TimeConflict:
    """Return the error that names what clashes, without titles that the caller may not read."""
    event_ids = {clash.event_id for clash in clashes if clash.event_id}
    rows = await read.all(queries.TITLES, caller_id=caller_id, event_ids=list(event_ids))
    titles = {row["id"]: row["title"] for row in rows}
    conflicts = []
    for clash in clashes:
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
    return TimeConflict(conflicts=conflicts, total=total)


def _interval(occurrence: Occurrence) -> dict[str, str]:
    return {
        "recurrence_id": rfc3339(occurrence.recurrence_id),
        "start_time": rfc3339(occurrence.start),
        "end_time": rfc3339(occurrence.end),
    }
