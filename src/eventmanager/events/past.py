"""Events and occurrences as they were: who may read an event now sees what it was then.

An event was what its last version until then says; where that deleted it, it was not there. No
occurrence of then is stored, so they are worked out from the versions.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from heapq import nsmallest
from itertools import chain
from typing import Any, Final, NamedTuple
from uuid import UUID

import asyncpg
import orjson

from eventmanager.core.database import Database
from eventmanager.core.errors import Invalid, NotFound, WindowTooLong
from eventmanager.core.ids import EventId, UserId
from eventmanager.core.paging import write_cursor
from eventmanager.core.time import Window, rfc3339
from eventmanager.events import drafts, list_queries, queries
from eventmanager.events.drafts import Revision
from eventmanager.events.lists import Page
from eventmanager.events.overrides import named, planned
from eventmanager.events.writing import Event, whole
from eventmanager.recurrence import Occurrence
from eventmanager.scheduling import service as scheduling
from eventmanager.scheduling.plan import Overrides, between
from eventmanager.sharing.access import READERS, refusal
from eventmanager.sharing.models import Role

MAX_WINDOW: Final = timedelta(days=366)
_STARTS_AT_ONCE: Final = 1_000
_STATES_AT_ONCE: Final = 100
_FIRST_ID: Final = UUID(int=0)
# An all-day occurrence of n days lasts n times 24 hours, but for what the clocks are moved by.
_SLACK: Final = timedelta(days=1)
# What versions lack that were written before events had it.
_LACKING: Final[Mapping[str, Any]] = {"recurrence_text": None, "overrides": {}, "split_from": None}

_SHOWN: Final = (
    "all_day",
    "title",
    "description",
    "location",
    "time_zone",
    "status",
    "transparency",
    "is_recurring",
)


class _Key(NamedTuple):
    """What occurrences are ordered by."""

    start: datetime
    event_id: UUID
    recurrence_id: datetime


@dataclass(frozen=True, slots=True)
class _State:
    """An event as it was; `overrides` by the instants that name their occurrences."""

    data: Mapping[str, Any]
    revision: Revision
    overrides: Overrides


class _Found(NamedTuple):
    key: _Key
    end: datetime
    event: _State


async def get(
    db: Database, *, caller_id: UserId, event_id: EventId, as_of: datetime, now: datetime
) -> Event:
    """Return an event that the caller may read now as it was, with its permissions of now.

    Raises `NotFound`, also if it was not there then, `RoleTooLow` and `Invalid`.
    """
    _refuse_future(as_of, now=now)
    given: dict[str, Any] = {"caller_id": caller_id, "event_id": event_id}
    async with db.reading() as read:
        row = await read.first(list_queries.PAST_ONE, as_of=as_of, **given)
        if row is None:
            if await read.first(queries.GET, **given) is None:
                raise await refusal(read, roles=READERS, **given)
            raise NotFound(f"This event was not there at {rfc3339(as_of)}")
    return Event(row["version"], _shown_event(row))


async def list_events(
    db: Database,
    *,
    caller_id: UserId,
    as_of: datetime,
    skip: int,
    limit: int,
    after: Sequence[Any] | None,
    role: Role | None,
    now: datetime,
) -> Page:
    """Return the events that the caller may read now as they were, by their start then and id.

    `role` keeps those on which the caller has just this role now. `after` is the key of a cursor.
    Raises `Invalid`.
    """
    _refuse_future(as_of, now=now)
    found: list[tuple[datetime, UUID, int]] = []
    async for rows in _starts(db, caller_id=caller_id, as_of=as_of, role=role):
        starts = (
            (named(row["start_time"], time_zone=row["time_zone"]), row["event_id"], row["version"])
            for row in rows
        )
        later = (start for start in starts if after is None or start[:2] > tuple(after))
        found = nsmallest(skip + limit + 1, chain(found, later))
    page = found[skip : skip + limit]
    async with db.reading() as read:
        rows = await read.all(
            list_queries.PAST_PAGE,
            caller_id=caller_id,
            event_ids=[event_id for _, event_id, _ in page],
            versions=[version for _, _, version in page],
        )
    body = b"[" + b",".join(map(_shown_event, rows)) + b"]"
    more = len(found) > skip + limit
    return Page(body, write_cursor(*page[-1][:2]) if more else None)


async def _starts(
    db: Database, *, caller_id: UserId, as_of: datetime, role: Role | None
) -> AsyncIterator[list[asyncpg.Record]]:
    """Yield when all events that the caller may read began then, some at a time."""
    after_event: UUID | None = _FIRST_ID
    while after_event is not None:
        async with db.reading() as read:
            rows = await read.all(
                list_queries.PAST_STARTS,
                caller_id=caller_id,
                as_of=as_of,
                role=role,
                after_event=after_event,
                limit=_STARTS_AT_ONCE,
            )
        yield rows
        after_event = rows[-1]["event_id"] if len(rows) == _STARTS_AT_ONCE else None


async def agenda(
    db: Database,
    *,
    caller_id: UserId,
    as_of: datetime,
    window: Window,
    limit: int,
    after: Sequence[Any] | None,
    now: datetime,
) -> Page:
    """Return the occurrences in the window that events, which the caller may read now, had then.

    They are ordered by start. `after` is the key of a cursor. Raises `Invalid`, `WindowTooLong` and
    `WindowTooFar`.
    """
    _refuse_future(as_of, now=now)
    if window.end - window.start > MAX_WINDOW:
        raise WindowTooLong(
            f"With as_of the window may be {MAX_WINDOW.days} days long at most",
            loc=("query", "end"),
            type=WindowTooLong.code,
            limit_days=MAX_WINDOW.days,
        )
    scheduling.refuse_beyond_cap(window.end, loc=["query", "end"], now=now)
    key = None if after is None else _Key(*after)
    found: list[_Found] = []
    after_event: UUID | None = _FIRST_ID
    while after_event is not None:
        async with db.reading() as read:
            rows = await read.all(
                list_queries.PAST_STATES,
                caller_id=caller_id,
                as_of=as_of,
                start=window.start,
                end=window.end,
                since=key.start if key else None,
                after_event=after_event,
                limit=_STATES_AT_ONCE,
            )
        for row in rows:
            found += _occurrences(orjson.loads(row["data"]), window=window, after=key)
            if len(found) > 2 * limit:
                found, window = _first(limit + 1, found, window=window)
            # A reader may have thousands of series; others are served in between.
            await asyncio.sleep(0)
        after_event = rows[-1]["event_id"] if len(rows) == _STATES_AT_ONCE else None
    found, _ = _first(limit + 1, found, window=window)
    body = orjson.dumps([_shown_occurrence(item) for item in found[:limit]])
    return Page(body, write_cursor(*found[limit - 1].key) if len(found) > limit else None)


def _first(number: int, found: list[_Found], *, window: Window) -> tuple[list[_Found], Window]:
    """Return the first of what was found, and the part of the window that may hold earlier ones."""
    first = nsmallest(number, found, key=_key_of)
    if len(first) < number:
        return first, window
    return first, Window(window.start, first[-1].key.start + datetime.resolution)


def _key_of(found: _Found) -> _Key:
    return found.key


def _occurrences(
    data: Mapping[str, Any], *, window: Window, after: _Key | None
) -> Iterator[_Found]:
    """Yield the occurrences of a version of an event that touch a window, after a key."""
    revision = drafts.past(data)
    own = planned(revision.overrides, revision.draft, time_zone=revision.timing.time_zone)
    event, event_id = _State(data, revision, own), UUID(data["id"])
    for item in _placed(event, window=window, since=after.start if after else None):
        key = _Key(item.start, event_id, item.recurrence_id)
        if _touches(item.start, item.end, window) and (after is None or key > after):
            yield _Found(key, item.end, event)


def _placed(event: _State, *, window: Window, since: datetime | None) -> Iterator[Occurrence]:
    """Yield where overrides put those occurrences that may touch a window and start `since`."""
    timing, overrides = event.revision.timing, event.overrides
    if timing.series is None:
        yield Occurrence(timing.start_time, timing.start_time, timing.end_time)
        return
    start = window.start - (timing.end_time - timing.start_time) - _SLACK
    if since is not None:
        start = max(start, since)
    slots = between(timing.series, start=start, end=window.end)
    for name, own in overrides.items():
        if start <= name < window.end or own.start is None or own.end is None:
            continue
        if _touches(own.start, own.end, window):
            slots += between(timing.series, start=name, end=name + datetime.resolution)
    for slot in slots:
        moved = overrides.get(slot.recurrence_id)
        if moved is None:
            yield slot
        elif not moved.excluded:
            yield Occurrence(slot.recurrence_id, moved.start or slot.start, moved.end or slot.end)


def _touches(start: datetime, end: datetime, window: Window) -> bool:
    return start < window.end and end > window.start


def _shown_event(row: asyncpg.Record) -> bytes:
    """Return an event as clients read it, whenever its version was written."""
    data: bytes = row["data"]
    read = orjson.loads(data)
    if not read.keys() >= _LACKING.keys():
        data = orjson.dumps({**_LACKING, **read})
    return whole(data, row)


def _shown_occurrence(found: _Found) -> dict[str, Any]:
    """Return an occurrence as clients read it: its own fields over those of its event."""
    key, event = found.key, found.event
    override = event.overrides.get(key.recurrence_id)
    effective = {**event.data, **(override.fields if override else {})}
    return {
        "event_id": event.data["id"],
        "recurrence_id": event.revision.name(key.recurrence_id),
        "start_time": event.revision.name(key.start),
        "end_time": event.revision.name(found.end),
        **{name: effective[name] for name in _SHOWN},
        "is_override": override is not None,
    }


def _refuse_future(as_of: datetime, *, now: datetime) -> None:
    if as_of > now:
        raise Invalid(
            "as_of must not be in the future", loc=("query", "as_of"), type="as_of_in_the_future"
        )
