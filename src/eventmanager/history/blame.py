"""PURE: which version made each field of an event what it is."""

from collections.abc import Iterable, Mapping
from typing import Any, Final

State = Mapping[str, Any]

# Whatever changes, these do.
_UNTOLD: Final = frozenset({"version", "updated_at"})
_OVERRIDES: Final = "overrides"


def fields(data: State) -> dict[str, Any]:
    """Return the fields of a version's data; each occurrence with something of its own is one.

    Its name is `overrides/<recurrence_id>`, as in a difference.
    """
    plain = {name: value for name, value in data.items() if name not in {*_UNTOLD, _OVERRIDES}}
    own = data.get(_OVERRIDES) or {}
    return plain | {f"{_OVERRIDES}/{name}": value for name, value in own.items()}


def unlike(names: Iterable[str], newest: State, older: State) -> list[str]:
    """Return those of some fields that were not yet in an older state what they are now.

    A field that is empty now, and did not exist when the version was written, was so.
    """
    return [name for name in names if older.get(name) != newest.get(name)]
