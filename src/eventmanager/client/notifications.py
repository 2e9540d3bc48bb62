"""PURE. What can be done with notifications: listen to them, read what is kept, mark as read."""

from collections.abc import Sequence
from typing import Final

from eventmanager.client.calls import Call, get, many, nothing, one, write
from eventmanager.client.following import Trail
from eventmanager.client.models import Notification, NotificationSettings, QuietHours, Unread
from eventmanager.client.surface import Act, Listening, Listing, Resource, Sender_co

PATH: Final = "/api/notifications"
SETTINGS_PATH: Final = "/api/me/notification-settings"


def unread() -> Call[Unread]:
    """Return how many are not read, and the `cursor` that what comes from now on comes after."""
    return get(f"{PATH}/unread", one(Unread))


def _list(*, after: str | None = None, page_size: int = 100) -> Call[list[Notification]]:
    """Go through what came after a cursor, or all that is kept, and stop where that ends."""
    return get(PATH, many(Notification), after=after, limit=page_size)


def _mark_read(cursor: str) -> Call[None]:
    """Mark everything up to a cursor as read; what is read stays read."""
    # Doing it again changes nothing.
    return Call("POST", f"{PATH}/read", nothing, body={"cursor": cursor}, repeatable=True)


def _settings() -> Call[NotificationSettings]:
    """Return what the caller wants to be told, and when not to be disturbed."""
    return get(SETTINGS_PATH, one(NotificationSettings))


def _save_settings(
    *, types: Sequence[str] | None = None, quiet_hours: QuietHours | None = None
) -> Call[NotificationSettings]:
    """Set what the caller wants to be told, None being everything, and when not."""
    body = {"types": types, "quiet_hours": quiet_hours}
    return write("PUT", SETTINGS_PATH, one(NotificationSettings), body=body, once=False)


class Notifications(Resource[Sender_co]):
    """What others did to the caller's events.

    Called, it listens: `async for message in client.notifications(after=cursor)`, without end and
    without a gap. Without `after` it begins with what happens from the first iteration on. Lost
    sockets are opened again, wherever the server is by then. Keep each message's `cursor`, once you
    have dealt with the message: with it as `after` another process goes on where you were. `types`
    and `events` leave out others. Raises `CursorExpired`, `Unauthorized`.
    """

    __call__ = Listening(Trail)
    list = Listing(_list)
    unread = Act(unread)
    mark_read = Act(_mark_read)
    settings = Act(_settings)
    save_settings = Act(_save_settings)
