"""Cursors: the key of the last row of a page, opaque to clients."""

import base64
import binascii
from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

import orjson

from eventmanager.core.errors import InvalidCursor

Key = Sequence[datetime | UUID]


def write_cursor(*key: datetime | UUID) -> str:
    """Return the cursor for a row whose key is `key`."""
    return base64.urlsafe_b64encode(orjson.dumps(key, default=str)).decode().rstrip("=")


def read_cursor(cursor: str, *kinds: type[datetime] | type[UUID]) -> list[datetime | UUID]:
    """Return the key in a cursor, whose parts are of the given kinds; raises `InvalidCursor`."""
    try:
        padded = cursor + "=" * (-len(cursor) % 4)
        parts = orjson.loads(base64.urlsafe_b64decode(padded))
        if not isinstance(parts, list) or len(parts) != len(kinds):
            raise ValueError
        key = [
            UUID(part) if kind is UUID else datetime.fromisoformat(part)
            for kind, part in zip(kinds, parts, strict=True)
        ]
        if any(isinstance(part, datetime) and part.tzinfo is None for part in key):
            raise ValueError
    except (ValueError, TypeError, AttributeError, binascii.Error, OverflowError) as error:
        raise InvalidCursor(loc=["query", "cursor"], type="invalid_cursor") from error
    return key
