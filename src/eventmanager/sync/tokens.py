"""PURE. Sync tokens and the cursors of a sync: opaque, and good for one reader of one database.

Both are base64url of the name and number of their form, a seal, and a JSON list. The seal digests
that list and the realm, which names the reader and the history of the database. What has the
name but is of another form, or not sealed so, is expired: the client begins again.
"""

import base64
import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from uuid import UUID

import orjson

from eventmanager.core.errors import InvalidCursor, SyncTokenExpired

TOKEN_LIFE: Final = timedelta(days=30)
CURSOR_LIFE: Final = timedelta(days=1)
RESTART: Final = "/api/sync"
MAX_LENGTH: Final = 6_000
_NAME: Final = b"sync"
_FORM: Final = _NAME + b"1"
_SEAL_BYTES: Final = 12


@dataclass(frozen=True, slots=True)
class Mark:
    """A moment in the database's life: PostgreSQL's snapshot as text, and when it was taken."""

    snapshot: str
    at: datetime

    @property
    def xmax(self) -> int:
        """The first transaction that had not begun."""
        return int(self.snapshot.split(":")[1])


@dataclass(frozen=True, slots=True)
class Place:
    """How far a client has come in a sync.

    The sync leads from the snapshot `since`, or with None from nothing, up to `until`. `after_id`
    is the last event of the page before, if there is one; in a sync from nothing, which goes by
    time, it began at `after_time`.
    """

    since: str | None
    until: Mark
    after_id: UUID | None = None
    after_time: datetime | None = None


def write_token(mark: Mark, *, realm: str) -> str:
    """Return the sync token of a client whose copy goes up to a mark."""
    return _sealed([int(mark.at.timestamp()), _packed(mark.snapshot)], realm=realm)


def read_token(token: str, *, realm: str, now: datetime) -> Mark:
    """Return up to where the client's copy goes; raises `InvalidCursor`, `SyncTokenExpired`."""
    at, snapshot = _unsealed(token, parts=2, realm=realm, name="sync_token")
    return _living(Mark(_unpacked(snapshot), _instant(at)), life=TOKEN_LIFE, now=now)


def write_cursor(place: Place, *, realm: str) -> str:
    """Return the cursor of the page that goes on from a place."""
    parts = [
        int(place.until.at.timestamp()),
        _packed(place.until.snapshot),
        place.since and _packed(place.since),
        str(place.after_id),
        place.after_time,
    ]
    return _sealed(parts, realm=realm)


def read_cursor(cursor: str, *, realm: str, now: datetime) -> Place:
    """Return the place to go on from; raises `InvalidCursor`, `SyncTokenExpired`."""
    at, until, since, after_id, after_time = _unsealed(cursor, parts=5, realm=realm, name="cursor")
    return Place(
        since=since and _unpacked(since),
        until=_living(Mark(_unpacked(until), _instant(at)), life=CURSOR_LIFE, now=now),
        after_id=UUID(after_id),
        after_time=after_time and datetime.fromisoformat(after_time),
    )


def _living(mark: Mark, *, life: timedelta, now: datetime) -> Mark:
    if now - mark.at > life:
        raise SyncTokenExpired(restart=RESTART)
    return mark


def _sealed(parts: list[Any], *, realm: str) -> str:
    said = orjson.dumps(parts)
    return base64.urlsafe_b64encode(_FORM + _seal(said, realm=realm) + said).decode().rstrip("=")


def _unsealed(text: str, *, parts: int, realm: str, name: str) -> list[Any]:
    try:
        raw = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except ValueError:
        raw = b""
    if not raw.startswith(_NAME):
        raise InvalidCursor(
            f"The {name} is not one this endpoint gave out",
            loc=["query", name],
            type=f"invalid_{name}",
        )
    head = len(_FORM) + _SEAL_BYTES
    said = raw[head:]
    if raw[:head] != _FORM + _seal(said, realm=realm):
        raise SyncTokenExpired(restart=RESTART)
    read: list[Any] = orjson.loads(said)
    if len(read) != parts:
        raise SyncTokenExpired(restart=RESTART)
    return read


def _seal(said: bytes, *, realm: str) -> bytes:
    return hashlib.blake2b(realm.encode() + said, digest_size=_SEAL_BYTES).digest()


def _packed(snapshot: str) -> list[int]:
    """Return `xmin:xmax:running,running` as xmin, and each number's distance from it.

    There may be hundreds of running transactions, with numbers of ten digits.
    """
    xmin, xmax, running = snapshot.split(":")
    numbers = [int(xmax), *map(int, filter(None, running.split(",")))]
    return [int(xmin), *(number - int(xmin) for number in numbers)]


def _unpacked(packed: list[int]) -> str:
    xmin, *distances = packed
    xmax, *running = (str(xmin + distance) for distance in distances)
    return f"{xmin}:{xmax}:{','.join(running)}"


def _instant(seconds: int) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
