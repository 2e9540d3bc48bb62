"""Pages: the key of a page's last row is a cursor, opaque to clients.

`read_id` and `id_page` are the two ends of a list whose rows are ordered by their id.
"""

import base64
import binascii
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any
from uuid import UUID

import orjson
from fastapi import Query, Request, Response

from eventmanager.core.errors import InvalidCursor
from eventmanager.core.http import next_link

Limit = Annotated[int, Query(ge=1, le=500, description="How many at most.")]
Cursor = Annotated[
    str | None,
    Query(max_length=200, description="Where to go on: from the `Link` of the page before."),
]


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
            UUID(part) if kind is UUID else _instant(part)
            for kind, part in zip(kinds, parts, strict=True)
        ]
    except (ValueError, TypeError, AttributeError, binascii.Error, OverflowError) as error:
        raise InvalidCursor(loc=["query", "cursor"], type="invalid_cursor") from error
    return key


def _instant(text: str) -> datetime:
    """Read an instant; one without an offset, or of no year in UTC, never came from us."""
    read = datetime.fromisoformat(text)
    if read.tzinfo is None:
        raise ValueError
    return read.astimezone(UTC)


def read_id(cursor: str | None, *, start: UUID) -> UUID:
    """Return the id in a cursor, or where the list begins; raises `InvalidCursor`."""
    if cursor is None:
        return start
    (last_id,) = read_cursor(cursor, UUID)
    assert isinstance(last_id, UUID)
    return last_id


def id_page(
    request: Request, response: Response, found: Sequence[Mapping[str, Any]], *, limit: int
) -> Sequence[Mapping[str, Any]]:
    """Return the first `limit` rows; the one more that was asked for says that others follow."""
    page = found[:limit]
    if len(found) > limit:
        response.headers["Link"] = next_link(request, cursor=write_cursor(page[-1]["id"]))
    return page
