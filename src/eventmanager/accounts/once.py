"""A request that its caller wants to be done once, by its `Idempotency-Key`."""

from typing import Annotated

from fastapi import Depends, Request

from eventmanager.accounts.access import CurrentUser
from eventmanager.core.http import Now
from eventmanager.core.idempotency.header import IdempotencyKey, checked, fingerprint, route_of
from eventmanager.core.idempotency.service import Once


async def _once(
    request: Request, caller: CurrentUser, now: Now, idempotency_key: IdempotencyKey = None
) -> Once | None:
    if idempotency_key is None:
        return None
    key, asked = checked(idempotency_key), await fingerprint(request)
    return Once(caller.user_id, route_of(request), key, asked, now)


InOnce = Annotated[Once | None, Depends(_once)]
"""The request, if it has a key."""
