"""What the server answers. Members that a newer server adds are kept, and do no harm."""

from collections.abc import Iterable
from datetime import date, datetime
from typing import Annotated, Any, Literal, TypeAlias
from uuid import UUID

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

Role: TypeAlias = Literal["Owner", "Editor", "Viewer"]


def _moment(value: object) -> object:
    """Read what is written as a date as a date: pydantic would make midnight of it."""
    if isinstance(value, str) and len(value) == len("2027-01-01"):
        return date.fromisoformat(value)
    return value


Moment = Annotated[datetime | date, BeforeValidator(_moment)]
"""An instant in UTC; a date if it is of something all-day."""


class Model(BaseModel):
    """Base of all answers; they are values."""

    model_config = ConfigDict(frozen=True, extra="allow")


class Profile(Model):
    """Who the client is signed in as."""

    id: UUID
    username: str
    email: str
    role: str
    is_active: bool
    free_busy: str
    created_at: datetime


class Permission(Model):
    """One user's role on an event."""

    user_id: UUID
    role: Role


class Permissions(list[Permission]):
    """Who has which role on an event; `etag` names this list, for `if_match`."""

    def __init__(self, held: Iterable[Permission], *, etag: str) -> None:
        super().__init__(held)
        self.etag = etag


class PermissionChange(Model):
    """One change of one user's role on an event; `changed_by` null is the server."""

    id: UUID
    event_id: UUID
    user_id: UUID
    operation: str
    role: Role
    changed_by: UUID | None
    changed_at: datetime


class Reminder(Model):
    """What the caller wants to be told before each occurrence, and how."""

    minutes_before: int
    channel: str


class Taken(Model):
    """Fields that a merge has taken from one side."""

    mine: list[str]
    theirs: list[str]


class Event(Model):
    """An event, or a series with `recurrence_pattern`.

    `overrides` is what single occurrences have of their own, by `recurrence_id`; `merged` and
    `taken` come with an answer to `base_version`, `dropped_overrides` with a change of a series.
    """

    id: UUID
    owner_id: UUID
    title: str
    description: str | None
    location: str | None
    start_time: Moment
    end_time: Moment
    time_zone: str
    all_day: bool
    is_recurring: bool
    recurrence_pattern: str | None
    recurrence_text: str | None = None
    overrides: dict[str, dict[str, Any]] = {}
    split_from: UUID | None = None
    status: str
    transparency: str
    version: int
    created_at: datetime
    updated_at: datetime
    permissions: list[Permission] = []
    reminders: list[Reminder] = []
    dropped_overrides: list[str] = []
    merged: bool = False
    taken: Taken | None = None


class Occurrence(Model):
    """One time that an event takes place; `recurrence_id` names it within the event."""

    event_id: UUID
    recurrence_id: Moment
    start_time: Moment
    end_time: Moment
    all_day: bool
    title: str
    description: str | None
    location: str | None
    time_zone: str
    status: str
    transparency: str
    is_recurring: bool
    is_override: bool


class BulkResult(Model):
    """What became of one of many events; `problem` says why it was refused."""

    id: UUID
    status: int
    event: Event | None = None
    problem: dict[str, Any] | None = None


class Occupied(Model):
    """A busy occurrence of the caller's; without a title if they may not read it any more."""

    event_id: UUID
    title: str | None
    recurrence_id: datetime
    start_time: datetime
    end_time: datetime


class Clash(Model):
    """Two busy occurrences that overlap."""

    earlier: Occupied
    later: Occupied


class Version(Model):
    """An event as it stood after one of its changes; `changed_by` null is the server."""

    id: UUID
    event_id: UUID
    version: int
    operation: str
    data: dict[str, Any]
    timestamp: datetime
    changed_by: UUID | None
    summary: str = ""


class Change(Model):
    """A field that differs between two versions."""

    field: str
    before: Any
    after: Any


class Difference(Model):
    """What changed from one version to another; `patch` is a JSON Patch (RFC 6902)."""

    event_id: UUID
    from_version: int
    to_version: int
    changes: list[Change]
    patch: list[dict[str, Any]]


class Blame(Model):
    """The version that made a field what it is."""

    version: int
    version_id: UUID
    changed_by: UUID | None
    timestamp: datetime


class Busy(Model):
    """A stretch of time without a free moment in it."""

    start_time: datetime
    end_time: datetime


class UserFreeBusy(Model):
    """When one user is busy; where `error` says why not, `busy` is null."""

    user: str
    user_id: UUID | None
    busy: list[Busy] | None
    error: str | None


class FreeBusy(Model):
    """When some users are busy in a window."""

    start: datetime
    end: datetime
    users: list[UserFreeBusy]


class Slot(Model):
    """A time to meet, and who is busy then."""

    start_time: datetime
    end_time: datetime
    missing: list[UUID]
    missing_optional: list[UUID]


class Availability(Model):
    """The best times to meet, and whether they suit `all`, some (`partial`) or `none`."""

    found: str
    slots: list[Slot]


class SyncPage(Model):
    """One page of a sync; the last one has the token for the next."""

    changed: list[Event]
    removed: list[UUID]
    sync_token: str | None


class Sync(Model):
    """What has changed since the last sync: events as they are now, and which to drop.

    An id may be in `removed` that the caller never had.
    """

    changed: list[Event]
    removed: list[UUID]
    sync_token: str

    @classmethod
    def of(cls, pages: list[SyncPage]) -> "Sync":
        """Put pages together; what comes later stands."""
        last: dict[UUID, Event | None] = {}
        for page in pages:
            last |= {event.id: event for event in page.changed}
            last |= dict.fromkeys(page.removed)
        token = pages[-1].sync_token
        assert token is not None, "the last page has the token"
        return cls(
            changed=[event for event in last.values() if event is not None],
            removed=[event_id for event_id, event in last.items() if event is None],
            sync_token=token,
        )


class Notification(Model):
    """One thing that happened; `cursor` is where to go on after it.

    `user_id` and `role` are of `permission_*`; `data` are the facts, which depend on the `type`.
    """

    id: UUID
    cursor: str
    type: str
    event_id: UUID | None = None
    initiator_id: UUID | None = None
    user_id: UUID | None = None
    role: str | None = None
    message: str = ""
    occurred_at: datetime
    data: dict[str, Any] = {}


class QuietHours(Model):
    """When not to be disturbed, every day: two times `HH:MM` on the clock of a zone."""

    start: str
    end: str
    time_zone: str


class NotificationSettings(Model):
    """What the caller wants to be told, null being everything, and when not."""

    types: list[str] | None
    quiet_hours: QuietHours | None


class Webhook(Model):
    """Where the caller's notifications are posted; `secret` comes only when it was made."""

    id: UUID
    url: str
    description: str
    types: list[str] | None
    is_active: bool
    failing_since: datetime | None
    disabled_at: datetime | None
    created_at: datetime
    updated_at: datetime
    secret: str | None = Field(None, repr=False)


class Attempt(Model):
    """What came of one attempt to deliver; `error` null is success."""

    at: datetime
    status: int | None
    error: str | None
    duration_ms: int
    answer: str = ""


class Delivery(Model):
    """One notification on its way to one webhook; `attempts` and `body` come if it is asked for."""

    id: UUID
    message_id: UUID
    type: str
    state: str
    attempt_count: int
    last_attempt: Attempt | None
    next_attempt_at: datetime | None
    queued_at: datetime
    created_at: datetime
    attempts: list[Attempt] = []
    body: str | None = None


class Unread(Model):
    """How many notifications are not read, at most 1,000 counted; they end at `cursor`."""

    unread: int
    more: bool
    cursor: str
