"""PURE. What a reminder says to people."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from eventmanager.core.time import rfc3339, shown, zone

_UNITS: Final = (("day", 24 * 60), ("hour", 60), ("minute", 1))


def facts(row: Mapping[str, Any], *, now: datetime) -> dict[str, Any]:
    """Return what there is to say of an occurrence, as seen from `now`."""
    zoned = {"time_zone": row["time_zone"], "all_day": row["all_day"]}
    return {
        "title": row["title"],
        "recurrence_id": shown(row["recurrence_id"], **zoned),
        "start_time": shown(row["start_time"], **zoned),
        "end_time": shown(row["end_time"], **zoned),
        "time_zone": row["time_zone"],
        "all_day": row["all_day"],
        "location": row["location"],
        "minutes_before": row["minutes_before"],
        "due_at": rfc3339(row["due_at"]),
        "when": when(row["start_time"], now=now, **zoned),
    }


def when(start: datetime, *, now: datetime, time_zone: str, all_day: bool) -> str:
    """Say when something starts as seen from `now`, such as "starts in 10 minutes (...)"."""
    minutes = round((start - now).total_seconds() / 60)
    clock = at(start, time_zone=time_zone, all_day=all_day)
    if minutes > 0:
        return f"starts in {duration(minutes)} ({clock})"
    if minutes == 0:
        return f"starts now ({clock})"
    return f"started {duration(-minutes)} ago ({clock})"


def at(instant: datetime, *, time_zone: str, all_day: bool) -> str:
    """Say when something is on the wall clock of its event, or on which day."""
    local = instant.astimezone(zone(time_zone))
    if all_day:
        return local.date().isoformat()
    return f"{local:%Y-%m-%d %H:%M} {time_zone}"


def duration(minutes: int) -> str:
    """Say how long some minutes are: in days, hours and minutes, without those that are none."""
    parts = []
    for unit, size in _UNITS:
        count, minutes = divmod(minutes, size)
        if count:
            parts.append(f"{count} {unit}" + ("s" if count > 1 else ""))
    return " ".join(parts) or "0 minutes"
