"""PURE: bringing two changes of one event together, field by field.

An event's states are compared as its versions hold them. The times (start, end, zone, whole days,
rule) are one field, since they mean something only together; each override is a field.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from eventmanager.core.errors import MergeConflict

State = Mapping[str, Any]
Side = Literal["mine", "theirs"]

TIMES: Final = "times"
TIME_FIELDS: Final = ("start_time", "end_time", "time_zone", "all_day", "recurrence_pattern")
_FIELDS: Final = ("title", "description", "location", "status", "transparency")
_OVERRIDE: Final = "overrides/"


@dataclass(frozen=True, slots=True)
class Merge:
    """Which changed fields come from whom; a field that both changed alike is in neither."""

    mine: list[str]
    theirs: list[str]


def merge(base: State, *, mine: State, theirs: State, resolve: Side | None = None) -> Merge:
    """Decide from whom each field comes that `mine` or `theirs` changed since `base`.

    What both changed in two ways is for `resolve` to decide; without it, raises `MergeConflict`.
    """
    before, ours, others = fields_of(base), fields_of(mine), fields_of(theirs)
    found = Merge([], [])
    conflicts: list[dict[str, Any]] = []
    for field in dict.fromkeys((*before, *ours, *others)):
        was, my, their = before.get(field), ours.get(field), others.get(field)
        if my == their:
            continue
        if my == was:
            found.theirs.append(field)
        elif their == was or resolve == "mine":
            found.mine.append(field)
        elif resolve == "theirs":
            found.theirs.append(field)
        else:
            conflicts.append({"field": field, "base": was, "yours": my, "theirs": their})
    if conflicts:
        raise MergeConflict(
            conflicts=conflicts,
            base_version=base.get("version"),
            current_version=theirs.get("version"),
        )
    return found


def fields_of(state: State) -> dict[str, Any]:
    """Return the fields of a state that are merged, each as one value."""
    fields: dict[str, Any] = {name: state[name] for name in _FIELDS}
    fields[TIMES] = {name: state[name] for name in TIME_FIELDS}
    for name, own in state.get("overrides", {}).items():
        fields[_OVERRIDE + name] = own
    return fields


def put_over(state: State, source: State, fields: Iterable[str]) -> dict[str, Any]:
    """Return a state with some of its fields taken from another."""
    result = dict(state)
    overrides = dict(state.get("overrides", {}))
    for field in fields:
        if field == TIMES:
            result |= {name: source[name] for name in TIME_FIELDS}
        elif field.startswith(_OVERRIDE):
            name = field.removeprefix(_OVERRIDE)
            overrides.pop(name, None)
            if name in source.get("overrides", {}):
                overrides[name] = source["overrides"][name]
        else:
            result[field] = source[field]
    return result | {"overrides": overrides}
