"""PURE: what lies between two states of an event."""

from collections.abc import Mapping
from typing import Any


def changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return `{field, before, after}` for each field that differs; null where there is none."""
    fields = [*before, *(field for field in after if field not in before)]
    return [
        {"field": field, "before": before.get(field), "after": after.get(field)}
        for field in fields
        if (field in before) != (field in after) or before.get(field) != after.get(field)
    ]


def patch(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the JSON Patch (RFC 6902) that makes `after` out of `before`."""
    operations: list[dict[str, Any]] = []
    for change in changes(before, after):
        field = change["field"]
        path = "/" + field.replace("~", "~0").replace("/", "~1")
        if field not in after:
            operations.append({"op": "remove", "path": path})
        else:
            op = "replace" if field in before else "add"
            operations.append({"op": op, "path": path, "value": change["after"]})
    return operations
