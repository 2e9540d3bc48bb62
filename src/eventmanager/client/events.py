"""PURE. What can be done with events: the event itself, its history, and who shares it."""

from collections.abc import Sequence
from typing import Literal, TypeAlias, TypedDict, Unpack

from eventmanager.client.calls import Call, Id, When, get, many, named, nothing, one, part, write
from eventmanager.client.models import (
    Blame,
    BulkResult,
    Difference,
    Event,
    Permission,
    PermissionChange,
    Permissions,
    Role,
    Version,
)
from eventmanager.client.surface import Act, Listing, Resource, Sender_co

PATH = "/api/events"

OnConflict: TypeAlias = Literal["refuse", "allow"]
Resolve: TypeAlias = Literal["mine", "theirs"]
VersionKey: TypeAlias = int | Id
"""The number of a version, or its id."""


class ReminderFields(TypedDict):
    """When and how the caller is to be reminded."""

    minutes_before: int
    channel: Literal["notification", "webhook", "email"]


class EventFields(TypedDict, total=False):
    """What an event may have; a time without an offset is wall clock in `time_zone`."""

    description: str | None
    location: str | None
    time_zone: str
    all_day: bool
    recurrence_pattern: str | None
    status: Literal["confirmed", "tentative", "cancelled"]
    transparency: Literal["opaque", "transparent"]
    reminders: Sequence[ReminderFields]


class NewEvent(EventFields):
    """What an event is made of."""

    title: str
    start_time: When
    end_time: When


class EventChanges(EventFields, total=False):
    """What of an event is to change; the rest stays, and None clears what may be empty."""

    title: str
    start_time: When
    end_time: When


class EventFilter(TypedDict, total=False):
    """Which events; with several conditions, those that meet all."""

    q: str
    role: Role
    start: When
    end: When


class ShareWith(TypedDict, total=False):
    """A user, by exactly one of id, username and email, and the role they are to have."""

    user_id: Id
    username: str
    email: str
    role: Role


def of_event(event_id: Id) -> str:
    """Return the path of an event."""
    return f"{PATH}/{part(event_id)}"


def _create(
    *,
    on_conflict: OnConflict | None = None,
    dry_run: bool = False,
    idempotency_key: str | None = None,
    **fields: Unpack[NewEvent],
) -> Call[Event]:
    """Create an event, or a series with `recurrence_pattern`.

    Raises `Conflict` (`time_conflict`) where it would overlap busy time of the caller's, unless
    `on_conflict="allow"`; with `dry_run` nothing is changed.
    """
    return write(
        "POST",
        PATH,
        one(Event),
        body=fields,
        key=idempotency_key,
        on_conflict=on_conflict,
        dry_run=dry_run or None,
    )


def _create_many(
    events: Sequence[NewEvent],
    *,
    on_conflict: OnConflict | None = None,
    dry_run: bool = False,
    idempotency_key: str | None = None,
) -> Call[list[Event]]:
    """Create up to 1,000 events, all or none; raises `Conflict`."""
    return write(
        "POST",
        f"{PATH}/batch",
        many(Event),
        body={"events": list(events)},
        key=idempotency_key,
        on_conflict=on_conflict,
        dry_run=dry_run or None,
    )


def _get(event_id: Id, *, as_of: When | None = None) -> Call[Event]:
    """Return an event, with `as_of` as it was then; raises `NotFound`, `Forbidden`."""
    return get(of_event(event_id), one(Event), as_of=as_of)


def _list(
    *,
    q: str | None = None,
    start: When | None = None,
    end: When | None = None,
    role: Role | None = None,
    deleted: bool = False,
    as_of: When | None = None,
    page_size: int = 100,
) -> Call[list[Event]]:
    """Go through the events the caller may read, by `start_time`; with `deleted` through the bin.

    `q` are words in title, description or location; `start` and `end` go together.
    """
    return get(
        PATH,
        many(Event),
        q=q,
        start=start,
        end=end,
        role=role,
        deleted=deleted or None,
        as_of=as_of,
        limit=page_size,
    )


def _update(
    event_id: Id,
    *,
    if_version: int | None = None,
    base_version: int | None = None,
    resolve: Resolve | None = None,
    on_conflict: OnConflict | None = None,
    dry_run: bool = False,
    idempotency_key: str | None = None,
    **changes: Unpack[EventChanges],
) -> Call[Event]:
    """Change the fields that are given; of a series, all of it.

    With `if_version` only that version is changed, or `PreconditionFailed` raised; with
    `base_version` what others have changed since is merged, or `Conflict` (`merge_conflict`)
    raised unless `resolve` says whose change wins. Without either, the last one wins.
    """
    return write(
        "PATCH",
        of_event(event_id),
        one(Event),
        body=changes,
        key=idempotency_key,
        if_match=if_version,
        base_version=base_version,
        resolve=resolve,
        on_conflict=on_conflict,
        dry_run=dry_run or None,
    )


def _update_many(
    changes: EventChanges,
    *,
    ids: Sequence[Id] | None = None,
    where: EventFilter | None = None,
    atomic: bool = True,
    on_conflict: OnConflict | None = None,
    dry_run: bool = False,
    idempotency_key: str | None = None,
) -> Call[list[BulkResult]]:
    """Make the same change to up to 1,000 events: all or none, or with `atomic=False` each.

    What is done to each by itself takes no `idempotency_key`.
    """
    return write(
        "PATCH",
        f"{PATH}/batch",
        many(BulkResult),
        body=_selected(ids, where) | {"changes": changes},
        key=idempotency_key,
        once=atomic,
        atomic=atomic,
        on_conflict=on_conflict,
        dry_run=dry_run or None,
    )


def _delete(
    event_id: Id,
    *,
    permanent: bool = False,
    if_version: int | None = None,
    dry_run: bool = False,
    idempotency_key: str | None = None,
) -> Call[None]:
    """Move an event to the bin, from which it can be restored; or remove it for good."""
    return write(
        "DELETE",
        of_event(event_id),
        nothing,
        key=idempotency_key,
        if_match=if_version,
        permanent=permanent or None,
        dry_run=dry_run or None,
    )


def _delete_many(
    *,
    ids: Sequence[Id] | None = None,
    where: EventFilter | None = None,
    atomic: bool = True,
    dry_run: bool = False,
    idempotency_key: str | None = None,
) -> Call[list[BulkResult]]:
    """Move up to 1,000 events to the bin: all or none, or with `atomic=False` each.

    What is done to each by itself takes no `idempotency_key`.
    """
    return write(
        "DELETE",
        f"{PATH}/batch",
        many(BulkResult),
        body=_selected(ids, where),
        key=idempotency_key,
        once=atomic,
        atomic=atomic,
        dry_run=dry_run or None,
    )


def _restore(
    event_id: Id, *, on_conflict: OnConflict | None = None, idempotency_key: str | None = None
) -> Call[Event]:
    """Bring an event back from the bin; raises `Conflict` if its time has been taken since."""
    return write(
        "POST",
        f"{of_event(event_id)}/restore",
        one(Event),
        key=idempotency_key,
        on_conflict=on_conflict,
    )


def _history(
    event_id: Id,
    *,
    changed_by: Id | None = None,
    start: When | None = None,
    end: When | None = None,
    page_size: int = 100,
) -> Call[list[Version]]:
    """Go through the versions of an event, oldest first."""
    return get(
        f"{of_event(event_id)}/history",
        many(Version),
        changed_by=changed_by,
        start=start,
        end=end,
        limit=page_size,
    )


def _version(event_id: Id, version: VersionKey) -> Call[Version]:
    """Return one version of an event."""
    return get(f"{of_event(event_id)}/history/{part(version)}", one(Version))


def _diff(event_id: Id, before: VersionKey, after: VersionKey = "current") -> Call[Difference]:
    """Compare two versions of an event."""
    return get(f"{of_event(event_id)}/diff/{part(before)}/{part(after)}", one(Difference))


def _blame(event_id: Id) -> Call[dict[str, Blame]]:
    """Return for each field which version made it what it is."""
    return get(f"{of_event(event_id)}/blame", named(Blame))


def _rollback(
    event_id: Id,
    version: VersionKey,
    *,
    if_version: int | None = None,
    on_conflict: OnConflict | None = None,
    dry_run: bool = False,
    idempotency_key: str | None = None,
) -> Call[Event]:
    """Make an event what it was in a version, as a new version."""
    return write(
        "POST",
        f"{of_event(event_id)}/rollback/{part(version)}",
        one(Event),
        key=idempotency_key,
        if_match=if_version,
        on_conflict=on_conflict,
        dry_run=dry_run or None,
    )


def _undo(
    event_id: Id,
    *,
    version: int | None = None,
    resolve: Resolve | None = None,
    if_version: int | None = None,
    on_conflict: OnConflict | None = None,
    dry_run: bool = False,
    idempotency_key: str | None = None,
) -> Call[Event]:
    """Take back what one change did, the last by default; what was changed since then stays."""
    return write(
        "POST",
        f"{of_event(event_id)}/undo",
        one(Event),
        key=idempotency_key,
        if_match=if_version,
        version=version,
        resolve=resolve,
        on_conflict=on_conflict,
        dry_run=dry_run or None,
    )


def _share(
    event_id: Id,
    *shares: ShareWith,
    if_match: str | None = None,
    idempotency_key: str | None = None,
) -> Call[list[Permission]]:
    """Give users a role, all of them or none: `{"username": "grace", "role": "Editor"}`.

    With `if_match`, the `etag` of `permissions`, only if nobody has changed them since, or
    `PreconditionFailed` is raised.
    """
    return write(
        "POST",
        f"{of_event(event_id)}/share",
        many(Permission),
        body=shares,
        key=idempotency_key,
        if_match=if_match,
    )


def _permissions(event_id: Id) -> Call[Permissions]:
    """Return who has which role, and the `etag` that names this list."""
    read = many(Permission)
    return get(
        f"{of_event(event_id)}/permissions",
        lambda answer: Permissions(read(answer), etag=answer.headers["ETag"]),
    )


def _permission_history(event_id: Id, *, page_size: int = 100) -> Call[list[PermissionChange]]:
    """Go through who got and lost which role, oldest first."""
    path = f"{of_event(event_id)}/permissions/history"
    return get(path, many(PermissionChange), limit=page_size)


def _change_role(
    event_id: Id, user_id: Id, role: Role, *, if_match: str | None = None
) -> Call[Permission]:
    """Change a user's role; for `if_match` see `share`."""
    return write(
        "PUT",
        f"{of_event(event_id)}/permissions/{part(user_id)}",
        one(Permission),
        body={"role": role},
        if_match=if_match,
        once=False,
    )


def _revoke(event_id: Id, user_id: Id, *, if_match: str | None = None) -> Call[None]:
    """Take a user's role away, or give up one's own; for `if_match` see `share`."""
    path = f"{of_event(event_id)}/permissions/{part(user_id)}"
    return write("DELETE", path, nothing, if_match=if_match, once=False)


def _selected(ids: Sequence[Id] | None, where: EventFilter | None) -> dict[str, object]:
    return {"filter": where} if ids is None else {"ids": list(ids)}


class Events(Resource[Sender_co]):
    """Events, their history, and who shares them."""

    create = Act(_create)
    create_many = Act(_create_many)
    get = Act(_get)
    list = Listing(_list)
    update = Act(_update)
    update_many = Act(_update_many)
    delete = Act(_delete)
    delete_many = Act(_delete_many)
    restore = Act(_restore)
    history = Listing(_history)
    version = Act(_version)
    diff = Act(_diff)
    blame = Act(_blame)
    rollback = Act(_rollback)
    undo = Act(_undo)
    share = Act(_share)
    permissions = Act(_permissions)
    permission_history = Listing(_permission_history)
    change_role = Act(_change_role)
    revoke = Act(_revoke)
