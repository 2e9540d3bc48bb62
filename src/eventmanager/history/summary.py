"""PURE: what a version changed, in one line of plain English."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

import orjson

from eventmanager.core.time import read_moment, zone

State = Mapping[str, Any]

_ACTS: Final = {
    "create": "created",
    "rollback": "rolled back",
    "undo": "undone",
    "split": "split",
    "delete": "deleted",
    "restore": "restored",
}
_STATUSES: Final = {
    "confirmed": "confirmed",
    "tentative": "made tentative",
    "cancelled": "cancelled",
}
_TRANSPARENCIES: Final = {"opaque": "made busy", "transparent": "made free"}
# What other fields say too, what never tells anything, and what has words of its own.
_SILENT: Final = frozenset({"version", "updated_at", "is_recurring", "recurrence_text"})
_SPOKEN: Final = frozenset(
    {
        "start_time",
        "end_time",
        "time_zone",
        "all_day",
        "recurrence_pattern",
        "status",
        "transparency",
        "overrides",
    }
)
_EXCLUDED: Final = {"excluded": True}


def summary(operation: str, before: State | None, after: State, *, by_server: bool = False) -> str:
    """Say what made the state `after` of the one before it, which a creation doesn't have."""
    act = _ACTS.get(operation)
    if before is None:
        continues = after.get("split_from") is not None
        return "created, to continue a series" if continues else "created"
    if operation == "delete":
        return "deleted"
    what = ", ".join(_changes(before, after))
    if by_server:
        what = f"time zone data changed: {what}" if what else "time zone data changed"
    if act is None:
        return what or "nothing changed"
    return f"{act}: {what}" if what else act


def _changes(before: State, after: State) -> Iterator[str]:
    """Yield what happened, and last what else is another than it was."""
    yield from _times(before, after)
    yield from _recurrence(before, after)
    for field, words in (("status", _STATUSES), ("transparency", _TRANSPARENCIES)):
        value = after.get(field)
        if value != before.get(field):
            yield words.get(str(value), f"{field} changed")
    occurrences, reset, deleted = _occurrences(before.get("overrides"), after.get("overrides"))
    if deleted:
        yield f"{_counted(deleted)} deleted"
    if reset:
        yield f"{_counted(reset)} reset"
    changed = [*_others(before, after)]
    if occurrences:
        changed.append(_counted(occurrences))
    if changed:
        yield f"{_listed(changed)} changed"


def _times(before: State, after: State) -> Iterator[str]:
    def differs(field: str) -> bool:
        return bool(before.get(field) != after.get(field))

    if differs("all_day"):
        day = _when(after, "start_time")
        yield f"made all-day on {day}" if after["all_day"] else f"moved to {day}"
    elif differs("start_time"):
        yield f"moved to {_when(after, 'start_time')}"
    elif differs("end_time"):
        yield f"end moved to {_when(after, 'end_time')}"
    if differs("time_zone"):
        yield f"time zone changed to {after['time_zone']}"


def _recurrence(before: State, after: State) -> Iterator[str]:
    old, new = before.get("recurrence_pattern"), after.get("recurrence_pattern")
    if old is None and new is not None:
        yield "made recurring"
    elif old is not None and new is None:
        yield "no longer recurring"
    elif old != new:
        yield "recurrence changed"


def _others(before: State, after: State) -> Iterator[str]:
    """Yield the names of all other fields that differ, in the order in which they are shown."""
    for field in {**before, **after}:
        # A field that did not exist when a version was written was empty then.
        differs = (before.get(field) or None) != (after.get(field) or None)
        if differs and field not in _SILENT and field not in _SPOKEN:
            yield field.replace("_", " ")


def _occurrences(before: State | None, after: State | None) -> tuple[int, int, int]:
    """Return how many occurrences were changed, reset and deleted.

    One that merely goes by another name, since its series moved, was none of these.
    """
    old, new = before or {}, after or {}
    gone = Counter(_value(old[name]) for name in old if name not in new)
    changed = deleted = 0
    for name, own in new.items():
        if name in old:
            if own == old[name]:
                continue
        elif gone[value := _value(own)] > 0:
            gone[value] -= 1
            continue
        if own == _EXCLUDED:
            deleted += 1
        else:
            changed += 1
    return changed, gone.total(), deleted


def _value(own: Any) -> bytes:
    return orjson.dumps(own, option=orjson.OPT_SORT_KEYS)


def _when(state: State, field: str) -> str:
    """Write a time as the wall clock of the event says it, or a date."""
    moment = read_moment(state[field])
    if not isinstance(moment, datetime):
        return f"{moment.day} {moment:%B %Y}"
    local = moment.astimezone(zone(state["time_zone"]))
    return f"{local.day} {local:%B %Y %H:%M}"


def _counted(number: int) -> str:
    return f"{number} occurrence{'' if number == 1 else 's'}"


def _listed(names: Sequence[str]) -> str:
    *first, last = names
    return f"{', '.join(first)} and {last}" if first else last
