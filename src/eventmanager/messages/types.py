"""PURE. What there is to be told: the one list of notification types."""

from enum import StrEnum


class NotificationType(StrEnum):
    """The types of notification; more may come, so clients pass over those they don't know."""

    EVENT_CREATED = "event_created"
    EVENT_UPDATED = "event_updated"
    EVENT_DELETED = "event_deleted"
    EVENT_RESTORED = "event_restored"
    EVENT_ROLLED_BACK = "event_rolled_back"
    SERIES_SPLIT = "series_split"
    LATE_CLASH = "late_clash"
    PERMISSION_GRANTED = "permission_granted"
    PERMISSION_UPDATED = "permission_updated"
    PERMISSION_REVOKED = "permission_revoked"
    REMINDER = "reminder"
    WEBHOOK_DISABLED = "webhook_disabled"
