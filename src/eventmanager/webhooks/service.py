"""Webhooks: their users' side. What is told to a user is also posted to the user's webhooks."""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

import asyncpg
import orjson
from starlette.responses import Response

from eventmanager.core.audit.entries import enter, mirror
from eventmanager.core.database import Database, Transaction
from eventmanager.core.errors import Invalid, NotFound, PrivateAddress, TooManyWebhooks
from eventmanager.core.idempotency.service import Once, transact
from eventmanager.core.ids import UserId, uuid7
from eventmanager.webhooks import delivering, queries
from eventmanager.webhooks.connecting import (
    RESOLVE_SECONDS,
    AddressRefused,
    Lookups,
    NotResolved,
    TooManyLookups,
    addresses,
)
from eventmanager.webhooks.delivering import Draft
from eventmanager.webhooks.destinations import BadDestination, read_destination
from eventmanager.webhooks.schemas import State, WebhookChange, WebhookDraft
from eventmanager.webhooks.signing import make_secret, read_secret, write_secret

WEBHOOKS_MAX: Final = 20
OLD_SECRET_SIGNS_FOR: Final = timedelta(hours=24)
LATEST: Final = UUID(int=2**128 - 1)
PING: Final = "ping"
# Apart from those of the deliveries, which requests must not hold up.
_LOOKUPS: Final = Lookups(32, of_each=4)
_PORTS: Final = {"http": 80, "https": 443}


async def check_url(text: str, *, caller_id: UserId, allow_private: bool) -> None:
    """Refuse a URL that could not be delivered to; raises `Invalid` and `PrivateAddress`.

    This is for people. What a name stands for may change, so it is looked at again for each
    connection; one that stands for nothing now may do so later.
    """
    where: dict[str, Any] = {"loc": ("body", "url")}
    try:
        url = read_destination(text, allow_http=allow_private)
    except BadDestination as error:
        raise Invalid(f"must {error}", type="invalid_url", **where) from error
    port = url.port or _PORTS[url.scheme]
    try:
        await addresses(
            url.raw_host.decode("ascii"),
            port,
            resolve=_LOOKUPS.of(caller_id),
            allow_private=allow_private,
            timeout_s=RESOLVE_SECONDS,
        )
    except AddressRefused as error:
        raise PrivateAddress(type=PrivateAddress.code, **where) from error
    except (NotResolved, TooManyLookups):
        return


async def create(
    db: Database,
    *,
    caller_id: UserId,
    draft: WebhookDraft,
    now: datetime,
    once: Once | None,
    answer: Callable[[Mapping[str, Any]], Response],
) -> Mapping[str, Any]:
    """Create a webhook and return it with its secret; raises `TooManyWebhooks`.

    The `answer` made of it is kept if it is to be done `once`.
    """
    secret = read_secret(draft.secret) if draft.secret else make_secret()

    async def write(tx: Transaction) -> Mapping[str, Any]:
        held = await tx.first(queries.HELD_USER, caller_id=caller_id)
        if held is None or held["webhooks"] >= WEBHOOKS_MAX:
            raise TooManyWebhooks(limit=WEBHOOKS_MAX)
        row = await tx.first(
            queries.CREATE,
            id=uuid7(),
            caller_id=caller_id,
            url=draft.url,
            description=draft.description,
            types=draft.types,
            secret=secret,
            is_active=draft.is_active,
            now=now,
        )
        assert row is not None
        await enter(tx, "webhook_created", now=now, **_done(caller_id, row["id"], draft.url))
        return dict(row) | {"secret": write_secret(secret)}

    webhook = await transact(db, write, once=once, answer=answer)
    mirror("webhook_created", **_done(caller_id, webhook["id"], draft.url))
    return webhook


async def list_webhooks(db: Database, *, caller_id: UserId) -> list[Mapping[str, Any]]:
    """Return the caller's webhooks, the oldest first."""
    async with db.reading() as read:
        rows = await read.all(queries.WEBHOOKS, caller_id=caller_id, webhook_id=None)
    return [dict(row) for row in rows]


async def get(db: Database, *, caller_id: UserId, webhook_id: UUID) -> Mapping[str, Any]:
    """Return one of the caller's webhooks; raises `NotFound`."""
    async with db.reading() as read:
        row = await read.first(queries.WEBHOOKS, caller_id=caller_id, webhook_id=webhook_id)
    return dict(_found(row))


async def change(
    db: Database, *, caller_id: UserId, webhook_id: UUID, wanted: WebhookChange, now: datetime
) -> Mapping[str, Any]:
    """Change what of a webhook is given, and return it; raises `NotFound`.

    What waits for one that is made inactive fails. One that is enabled, or has another URL now, has
    not failed yet.
    """
    named = wanted.model_dump(exclude_unset=True)
    given = {name: value for name, value in named.items() if name == "types" or value is not None}

    async def write(tx: Transaction) -> Mapping[str, Any]:
        before = _found(await tx.first(queries.HELD, caller_id=caller_id, webhook_id=webhook_id))
        after = dict(before) | given
        if after["is_active"] and (given.get("is_active") or after["url"] != before["url"]):
            after |= {"failing_since": None, "disabled_at": None}
        names = ("url", "description", "types", "is_active", "failing_since", "disabled_at")
        row = await tx.first(
            queries.CHANGE,
            webhook_id=webhook_id,
            now=now,
            **{name: after[name] for name in names},
        )
        if before["is_active"] and not after["is_active"]:
            await delivering.give_up(tx, webhook_id)
        await enter(tx, "webhook_changed", now=now, **_done(caller_id, webhook_id, after["url"]))
        return dict(_found(row))

    webhook = await db.transaction(write)
    mirror("webhook_changed", **_done(caller_id, webhook_id, webhook["url"]))
    return webhook


async def rotate(
    db: Database,
    *,
    caller_id: UserId,
    webhook_id: UUID,
    secret: str | None,
    now: datetime,
    once: Once | None,
    answer: Callable[[Mapping[str, Any]], Response],
) -> Mapping[str, Any]:
    """Give a webhook a new secret and return it with that; raises `NotFound`.

    For a day the secret before signs beside it. The `answer` is kept as that of `create` is.
    """
    new = read_secret(secret) if secret else make_secret()

    async def write(tx: Transaction) -> Mapping[str, Any]:
        row = _found(
            await tx.first(
                queries.ROTATE,
                caller_id=caller_id,
                webhook_id=webhook_id,
                secret=new,
                old_until=now + OLD_SECRET_SIGNS_FOR,
                now=now,
            )
        )
        done = _done(caller_id, webhook_id, row["url"])
        await enter(tx, "webhook_secret_changed", now=now, **done)
        return dict(row) | {"secret": write_secret(new)}

    webhook = await transact(db, write, once=once, answer=answer)
    mirror("webhook_secret_changed", **_done(caller_id, webhook_id, webhook["url"]))
    return webhook


async def delete(db: Database, *, caller_id: UserId, webhook_id: UUID, now: datetime) -> None:
    """Delete a webhook and all its deliveries; raises `NotFound`."""

    async def write(tx: Transaction) -> str:
        row = await tx.first(queries.DELETE, caller_id=caller_id, webhook_id=webhook_id)
        url: str = _found(row)["url"]
        await enter(tx, "webhook_deleted", now=now, **_done(caller_id, webhook_id, url))
        return url

    url = await db.transaction(write)
    mirror("webhook_deleted", **_done(caller_id, webhook_id, url))


async def ping(
    db: Database, *, caller_id: UserId, webhook_id: UUID, now: datetime
) -> Mapping[str, Any]:
    """Make a delivery of the type `ping`, whatever a webhook wants, and return it.

    Raises `NotFound`.
    """
    data = orjson.dumps({"webhook_id": str(webhook_id)})
    draft = Draft(webhook_id, uuid7(), PING, now, data)

    async def write(tx: Transaction) -> Mapping[str, Any]:
        _found(await tx.first(queries.HELD, caller_id=caller_id, webhook_id=webhook_id))
        [delivery_id] = await delivering.make(tx, [draft], now=now)
        return await _delivery(
            tx, caller_id=caller_id, webhook_id=webhook_id, delivery_id=delivery_id
        )

    return await db.transaction(write)


async def list_deliveries(
    db: Database,
    *,
    caller_id: UserId,
    webhook_id: UUID,
    state: State | None,
    before: UUID,
    limit: int,
) -> list[Mapping[str, Any]]:
    """Return deliveries older than the one `before`, the latest first; raises `NotFound`."""
    async with db.reading() as read:
        _found(await read.first(queries.WEBHOOKS, caller_id=caller_id, webhook_id=webhook_id))
        rows = await read.all(
            queries.LOG,
            caller_id=caller_id,
            webhook_id=webhook_id,
            state=state,
            before=before,
            limit=limit,
        )
    return [dict(row) for row in rows]


async def get_delivery(
    db: Database, *, caller_id: UserId, webhook_id: UUID, delivery_id: UUID
) -> Mapping[str, Any]:
    """Return a delivery with what was sent and what came of it; raises `NotFound`."""

    async def read(tx: Transaction) -> Mapping[str, Any]:
        return await _delivery(
            tx, caller_id=caller_id, webhook_id=webhook_id, delivery_id=delivery_id
        )

    return await db.transaction(read)


async def replay(
    db: Database, *, caller_id: UserId, webhook_id: UUID, delivery_id: UUID, now: datetime
) -> Mapping[str, Any]:
    """Have a delivery attempted now, whatever came of it, and for a day; raises `NotFound`.

    It has the same `webhook-id` and body as ever.
    """
    whose: dict[str, Any] = {
        "caller_id": caller_id,
        "webhook_id": webhook_id,
        "delivery_id": delivery_id,
    }

    async def write(tx: Transaction) -> Mapping[str, Any]:
        row = await tx.first(queries.REPLAY, now=now, **whose)
        turn: int = _found(row, "There is no such delivery")["turn"]
        await delivering.attempt_again(tx, delivery_id, turn=turn)
        return await _delivery(tx, **whose)

    return await db.transaction(write)


async def notify(
    tx: Transaction,
    notifications: Sequence[tuple[UUID, Mapping[str, Any]]],
    *,
    type: str,  # noqa: A002
    now: datetime,
) -> int:
    """Post notifications, each of a user, to the user's active webhooks that want their type.

    Return how many deliveries that makes. They are sent if `tx` commits, and once for each `id` of
    a notification.
    """
    if not notifications:
        return 0
    user_ids = list({user_id for user_id, _ in notifications})
    wanted = defaultdict(list)
    for row in await tx.all(queries.WANTED_BY, user_ids=user_ids, type=type):
        wanted[row["user_id"]].append(row["id"])
    drafts = []
    for user_id, notification in notifications:
        written = orjson.dumps(dict(notification), default=str, option=orjson.OPT_UTC_Z)
        drafts += [
            Draft(webhook_id, notification["id"], type, now, written)
            for webhook_id in wanted[user_id]
        ]
    return len(await delivering.make(tx, drafts, now=now))


async def _delivery(
    tx: Transaction, *, caller_id: UserId, webhook_id: UUID, delivery_id: UUID
) -> Mapping[str, Any]:
    row = await tx.first(
        queries.DELIVERY, caller_id=caller_id, webhook_id=webhook_id, delivery_id=delivery_id
    )
    found = dict(_found(row, "There is no such delivery"))
    return found | {"body": found["body"].decode()}


def _found(row: asyncpg.Record | None, detail: str = "There is no such webhook") -> asyncpg.Record:
    if row is None:
        raise NotFound(detail)
    return row


def _done(caller_id: UserId, webhook_id: UUID, url: str) -> dict[str, Any]:
    """Return an act as the audit log takes it: of the URL, which may hold secrets, the host."""
    host = read_destination(url, allow_http=True).host
    return {"user_id": caller_id, "webhook_id": webhook_id, "host": host}
