"""The Python client: `Client` waits, `AsyncClient` is awaited, and both are typed throughout.

    async with AsyncClient("http://127.0.0.1:8000", username="ada", password=...) as client:
        await client.events.create(title="Dentist", start_time=..., end_time=...)
        async for message in client.notifications(after=cursor):
            ...

It signs in when it must, sends again what may be sent again, and listens without a gap. It uses
nothing else of `eventmanager`.
"""

from eventmanager.client import models, webhooks
from eventmanager.client.client import AsyncClient, Client
from eventmanager.client.conversation import Tokens
from eventmanager.client.errors import (
    ApiError,
    Conflict,
    CursorExpired,
    Forbidden,
    Invalid,
    NotFound,
    PreconditionFailed,
    RateLimited,
    Unauthorized,
    Unavailable,
    Unreachable,
)
from eventmanager.client.models import Event, Notification, Occurrence

__all__ = [
    "ApiError",
    "AsyncClient",
    "Client",
    "Conflict",
    "CursorExpired",
    "Event",
    "Forbidden",
    "Invalid",
    "NotFound",
    "Notification",
    "Occurrence",
    "PreconditionFailed",
    "RateLimited",
    "Tokens",
    "Unauthorized",
    "Unavailable",
    "Unreachable",
    "models",
    "webhooks",
]
