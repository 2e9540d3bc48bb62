"""PURE. What can be done with occurrences: what takes place when, single times of a series."""

from typing import Literal, TypeAlias, Unpack

from eventmanager.client.calls import Call, Id, When, get, many, nothing, one, part, write
from eventmanager.client.events import EventChanges, OnConflict, Resolve, of_event
from eventmanager.client.models import Event, Occurrence
from eventmanager.client.surface import Act, Listing, Resource, Sender_co

Scope: TypeAlias = Literal["following", "all"]


def _list(
    start: When, end: When, *, as_of: When | None = None, page_size: int = 200
) -> Call[list[Occurrence]]:
    """Go through what takes place in a window, by `start_time`, of all the caller may read."""
    return get(
        "/api/occurrences",
        many(Occurrence),
        start=start,
        end=end,
        as_of=as_of,
        limit=page_size,
    )


def _of(
    event_id: Id, *, start: When | None = None, end: When | None = None, page_size: int = 200
) -> Call[list[Occurrence]]:
    """Go through the times that one event takes place."""
    path = f"{of_event(event_id)}/occurrences"
    return get(path, many(Occurrence), start=start, end=end, limit=page_size)


def _get(event_id: Id, recurrence_id: When) -> Call[Occurrence]:
    """Return one occurrence; `recurrence_id`, its original start, names it."""
    return get(_path(event_id, recurrence_id), one(Occurrence))


def _update(
    event_id: Id,
    recurrence_id: When,
    *,
    if_version: int | None = None,
    base_version: int | None = None,
    resolve: Resolve | None = None,
    on_conflict: OnConflict | None = None,
    dry_run: bool = False,
    idempotency_key: str | None = None,
    **changes: Unpack[EventChanges],
) -> Call[Occurrence]:
    """Change this occurrence only: move it, rename it, cancel it."""
    return write(
        "PATCH",
        _path(event_id, recurrence_id),
        one(Occurrence),
        body=changes,
        key=idempotency_key,
        if_match=if_version,
        base_version=base_version,
        resolve=resolve,
        on_conflict=on_conflict,
        dry_run=dry_run or None,
    )


def _update_series(
    event_id: Id,
    recurrence_id: When,
    scope: Scope,
    *,
    if_version: int | None = None,
    base_version: int | None = None,
    resolve: Resolve | None = None,
    on_conflict: OnConflict | None = None,
    dry_run: bool = False,
    idempotency_key: str | None = None,
    **changes: Unpack[EventChanges],
) -> Call[Event]:
    """Change the series from this occurrence on, which splits it, or all of it.

    The fields are those of the occurrence; the rule moves along. Returns the event that then has
    the occurrence: for `following` a new one, whose `split_from` names the old.
    """
    return write(
        "PATCH",
        _path(event_id, recurrence_id),
        one(Event),
        body=changes,
        key=idempotency_key,
        if_match=if_version,
        scope=scope,
        base_version=base_version,
        resolve=resolve,
        on_conflict=on_conflict,
        dry_run=dry_run or None,
    )


def _delete(
    event_id: Id,
    recurrence_id: When,
    *,
    scope: Literal["this", "following", "all"] = "this",
    if_version: int | None = None,
    dry_run: bool = False,
    idempotency_key: str | None = None,
) -> Call[None]:
    """Take an occurrence out of its series, or end the series before it, or delete all of it."""
    return write(
        "DELETE",
        _path(event_id, recurrence_id),
        nothing,
        key=idempotency_key,
        if_match=if_version,
        scope=scope,
        dry_run=dry_run or None,
    )


def _reset(
    event_id: Id,
    recurrence_id: When,
    *,
    if_version: int | None = None,
    on_conflict: OnConflict | None = None,
    dry_run: bool = False,
    idempotency_key: str | None = None,
) -> Call[Occurrence]:
    """Make an occurrence what its series says again, even if it was deleted."""
    return write(
        "POST",
        f"{_path(event_id, recurrence_id)}/reset",
        one(Occurrence),
        key=idempotency_key,
        if_match=if_version,
        on_conflict=on_conflict,
        dry_run=dry_run or None,
    )


def _path(event_id: Id, recurrence_id: When) -> str:
    return f"{of_event(event_id)}/occurrences/{part(recurrence_id)}"


class Occurrences(Resource[Sender_co]):
    """When events take place."""

    list = Listing(_list)
    of = Listing(_of)
    get = Act(_get)
    update = Act(_update)
    update_series = Act(_update_series)
    delete = Act(_delete)
    reset = Act(_reset)
