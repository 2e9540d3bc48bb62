"""The contents page of the HTTP surface: every router, tag and shared schema."""

from importlib.metadata import version
from typing import Any, Final

from fastapi import FastAPI

from eventmanager.accounts import audit_router as own_audit
from eventmanager.accounts import oauth
from eventmanager.accounts import router as accounts
from eventmanager.admin import router as admin
from eventmanager.core import health
from eventmanager.events import bulk_router as bulk
from eventmanager.events import occurrences_router as occurrences
from eventmanager.events import router as events
from eventmanager.history import router as history
from eventmanager.messages import router as messages
from eventmanager.messages import settings_router as notification_settings
from eventmanager.realtime import router as realtime
from eventmanager.scheduling import router as scheduling
from eventmanager.sharing import router as sharing
from eventmanager.sync import router as sync
from eventmanager.webhooks import router as webhooks

VERSION: Final = version("eventmanager")
SUMMARY: Final = "Events that people share: never double-booked, every change versioned."
DESCRIPTION: Final = """\
Sign in with **Authorize** (any registered user), or `POST /api/auth/login` and send the
`access_token` as `Authorization: Bearer <token>`.

* Instants are RFC 3339; answers are in UTC with `Z`. A time without an offset is wall clock in the
  event's `time_zone`. All-day values are dates, the end being the day after the last.
* Every list is a bare array; the next page is in the `Link` header.
* Errors are RFC 9457 problems with a stable `code`; validation errors (422) keep FastAPI's `detail`
  list. Every answer carries `X-Request-ID`.
* A change with `If-Match` is made only to the version you saw; with `base_version` it is merged. A
  write with an `Idempotency-Key` may be sent again; with `dry_run=true` it changes nothing.
* Changes of the events you may read arrive as JSON messages on the WebSocket
  `/api/ws/notifications`, opened with the same `Authorization` header, or by a page with
  `?ticket=` from `POST /api/auth/ws-ticket`. `?after=` goes on from a message's `cursor`; close
  code 4410 (or 410 `cursor_expired` before it is open) says that what came after it is gone. A
  page reads any refusal as a close with 4000 plus the status, and the `code` as the reason.
  `asyncapi.yaml` describes every message, and what clients may say.
* `POST /api/webhooks` has them posted to a URL of yours, signed as Standard Webhooks says.
"""
TAGS: Final[list[dict[str, Any]]] = [
    {"name": "auth", "description": "Register, sign in, rotate and end sessions."},
    {"name": "users", "description": "The caller, and the Admin's view of all users."},
    {"name": "events", "description": "Create, find, change and delete events and series."},
    {"name": "occurrences", "description": "When events take place."},
    {"name": "free/busy", "description": "When people are busy, and when they could all meet."},
    {"name": "sync", "description": "A copy of all you may read, and what has changed since."},
    {"name": "notifications", "description": "What others did to events that you may read."},
    {"name": "webhooks", "description": "Notifications, posted to URLs of your own and signed."},
    {"name": "sharing", "description": "Who has which role on an event."},
    {"name": "history", "description": "What an event was, what changed, and bringing it back."},
    {"name": "audit", "description": "Who did what, and from where."},
    {"name": "health", "description": "Whether the service works."},
]


def mount(app: FastAPI) -> None:
    """Add every route to the application, those asked for most often first."""
    app.include_router(bulk.router)
    app.include_router(events.events)
    app.include_router(occurrences.occurrences)
    app.include_router(occurrences.of_event)
    app.include_router(occurrences.conflicts)
    app.include_router(scheduling.router)
    app.include_router(sync.router)
    app.include_router(sharing.router)
    app.include_router(history.router)
    app.include_router(accounts.auth)
    app.include_router(oauth.oauth)
    app.include_router(accounts.users)
    app.include_router(own_audit.audit)
    app.include_router(admin.users)
    app.include_router(admin.audit)
    app.include_router(messages.router)
    app.include_router(realtime.router)
    app.include_router(realtime.socket)
    app.include_router(notification_settings.router)
    app.include_router(webhooks.router)
    app.include_router(health.router)
