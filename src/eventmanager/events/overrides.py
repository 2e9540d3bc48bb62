"""PURE: what single occurrences of a series have of their own (RFC 5545, 3.8.4.4).

An event holds them as one object, `{recurrence_id: {field: value}}`, written as clients read them.
Only what differs from the series is in it; `{"excluded": true}` is an occurrence that was deleted.
"""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Final

from eventmanager.core.errors import Invalid
from eventmanager.core.time import read_moment, shown
from eventmanager.events.models import Status, Transparency
from eventmanager.events.schemas import EventCreate
from eventmanager.events.timing import Timing, instant_named, read_timing
from eventmanager.recurrence import Occurrence
from eventmanager.scheduling.plan import Override
from eventmanager.scheduling.plan import Overrides as PlannedOverrides

OVERRIDES_MAX: Final = 1_000
EXCLUDED: Final[Mapping[str, Any]] = {"excluded": True}
TIMES: Final = ("start_time", "end_time")
FIELDS: Final = ("title", "description", "location", *TIMES, "status", "transparency")

Overrides = Mapping[str, Mapping[str, Any]]


def planned(overrides: Overrides, draft: EventCreate, *, time_zone: str) -> PlannedOverrides:
    """Return the overrides of an event as its plan needs them."""

    def instant(fields: Mapping[str, Any], name: str) -> datetime | None:
        if name not in fields:
            return None
        return instant_named(read_moment(fields[name]), time_zone=time_zone)

    return {
        named(key, time_zone=time_zone): Override(
            start=instant(fields, "start_time"),
            end=instant(fields, "end_time"),
            excluded=fields == EXCLUDED,
            busy=takes_time(
                fields.get("status", draft.status), fields.get("transparency", draft.transparency)
            ),
            fields=fields,
        )
        for key, fields in overrides.items()
    }


def takes_time(status: str, transparency: str) -> bool:
    """Tell whether an event or occurrence takes up its owner's time."""
    return status != Status.CANCELLED and transparency == Transparency.OPAQUE


def named(recurrence_id: str, *, time_zone: str) -> datetime:
    """Return the instant that names an occurrence."""
    return instant_named(read_moment(recurrence_id), time_zone=time_zone)


def revised(
    own: Mapping[str, Any],
    changes: Mapping[str, Any],
    *,
    occurrence: Occurrence,
    draft: EventCreate,
    timing: Timing,
) -> dict[str, Any]:
    """Return what an occurrence has of its own after a change of some of its fields.

    `own` is what it has so far, `occurrence` where its series puts it. Raises `Invalid`.
    """
    series = of_series(occurrence, draft=draft, timing=timing)
    given = series | dict(own) | dict(changes)
    times = read_timing(
        start=read_moment(given["start_time"]),
        end=read_moment(given["end_time"]),
        time_zone=timing.time_zone,
        all_day=timing.all_day,
        recurrence_pattern=None,
    )
    zone_and_kind: dict[str, Any] = {"time_zone": timing.time_zone, "all_day": timing.all_day}
    given["start_time"] = shown(times.start_time, **zone_and_kind)
    given["end_time"] = shown(times.end_time, **zone_and_kind)
    differing = {name for name in FIELDS if given[name] != series[name]}
    if differing.intersection(TIMES):
        differing.update(TIMES)
    return {name: given[name] for name in FIELDS if name in differing}


def of_series(occurrence: Occurrence, *, draft: EventCreate, timing: Timing) -> dict[str, Any]:
    """Return the fields of an occurrence as its series has them."""
    fields = {name: getattr(draft, name) for name in FIELDS}
    zone_and_kind: dict[str, Any] = {"time_zone": timing.time_zone, "all_day": timing.all_day}
    fields["start_time"] = shown(occurrence.start, **zone_and_kind)
    fields["end_time"] = shown(occurrence.end, **zone_and_kind)
    return fields


def with_own(overrides: Overrides, key: str, own: Mapping[str, Any]) -> Overrides:
    """Return the overrides with those of one occurrence replaced; raises `Invalid` for too many."""
    others = {name: fields for name, fields in overrides.items() if name != key}
    if own and len(others) >= OVERRIDES_MAX:
        raise Invalid(
            f"A series may have at most {OVERRIDES_MAX:,} occurrences that differ from it: change"
            " the series itself, with scope=following or scope=all",
            loc=("path", "recurrence_id"),
            type="too_many_overrides",
        )
    return others | {key: own} if own else others


def carried(
    overrides: Overrides, slot: Callable[[datetime], datetime], *, old: Timing, new: Timing
) -> tuple[Overrides, dict[str, str], list[str]]:
    """Return the overrides by their new names, their old names by the new, and those that are lost.

    Where whole days become times of day, or the other way round, an occurrence loses times of its
    own, and with them its override if that has nothing else. Where several slots become one, as the
    hours of a day do, the first one's override is kept.
    """
    kept: dict[str, Mapping[str, Any]] = {}
    old_names: dict[str, str] = {}
    lost: list[str] = []
    for key, fields in overrides.items():
        own = fields
        if old.all_day != new.all_day:
            own = {name: value for name, value in fields.items() if name not in TIMES}
        moved = slot(named(key, time_zone=old.time_zone))
        name = shown(moved, time_zone=new.time_zone, all_day=new.all_day)
        if not own or name in kept:
            lost.append(key)
            continue
        kept[name], old_names[name] = own, key
    return kept, old_names, lost
