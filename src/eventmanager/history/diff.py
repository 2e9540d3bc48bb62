"""PURE: what lies between two states of an event."""

import json
from collections.abc import Iterator, Mapping
from typing import Any, Final

_OVERRIDES: Final = "overrides"
_NOTHING: Final = object()


def changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return `{field, before, after}` for each field that differs; null where there is none.

    Each occurrence that has something of its own is a field: `overrides/<recurrence_id>`.
    """
    return [
        {
            "field": "/".join(path),
            "before": None if old is _NOTHING else old,
            "after": None if new is _NOTHING else new,
        }
        for path, old, new in _differences(before, after)
    ]


def patch(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the JSON Patch (RFC 6902) that makes `after` out of `before`."""
    operations: list[dict[str, Any]] = []
    for path, old, new in _differences(before, after):
        pointer = "".join("/" + part.replace("~", "~0").replace("/", "~1") for part in path)
        if new is _NOTHING:
            operations.append({"op": "remove", "path": pointer})
        else:
            op = "add" if old is _NOTHING else "replace"
            operations.append({"op": op, "path": pointer, "value": new})
    return operations


def _differences(
    before: Mapping[str, Any], after: Mapping[str, Any]
) -> Iterator[tuple[tuple[str, ...], Any, Any]]:
    """Yield where two states differ, and both values there; `_NOTHING` where there is none."""
    for field in [*before, *(field for field in after if field not in before)]:
        old, new = before.get(field, _NOTHING), after.get(field, _NOTHING)
        if _alike(old, new):
            continue
        if field == _OVERRIDES and isinstance(old, Mapping) and isinstance(new, Mapping):
            for path, mine, theirs in _differences(old, new):
                yield (field, *path), mine, theirs
        else:
            yield (field,), old, new


def _alike(old: Any, new: Any) -> bool:
    """Tell whether two values are the same JSON; for Python, true is also 1."""
    if old is _NOTHING or new is _NOTHING or old != new:
        return False
    return json.dumps(old, sort_keys=True) == json.dumps(new, sort_keys=True)
