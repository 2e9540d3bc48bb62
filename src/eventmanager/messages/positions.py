"""PURE. Where messages stand in the order of all, and the cursors by which clients name it."""

import base64
from typing import Final, NamedTuple

from eventmanager.core.errors import InvalidCursor

_LARGEST: Final = 2**63 - 1


class Position(NamedTuple):
    """The place of a message: its transaction's number, and its own; the later one is greater."""

    transaction_id: int
    number: int


START: Final = Position(0, 0)
FIRST: Final = Position(1, 1)
"""The least that a cursor can name; no message stands there."""
END: Final = Position(_LARGEST, _LARGEST)


def write_position(transaction_id: int, position: int) -> str:
    """Return a message's place in the order of all, opaque to clients."""
    raw = transaction_id.to_bytes(8, "big") + position.to_bytes(8, "big")
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def read_position(cursor: str, *, loc: tuple[str, str] = ("query", "after")) -> Position:
    """Return the place that a cursor names; raises `InvalidCursor` for what was never one.

    `loc` says where in the request the cursor was.
    """
    try:
        raw = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))
    except ValueError:
        raw = b""
    place = Position(int.from_bytes(raw[:8], "big"), int.from_bytes(raw[8:], "big"))
    if len(raw) != 16 or not all(0 < part <= _LARGEST for part in place):
        raise InvalidCursor(loc=loc, type="invalid_cursor")
    if write_position(*place) != cursor:
        raise InvalidCursor(loc=loc, type="invalid_cursor")
    return place
