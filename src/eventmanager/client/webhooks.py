"""PURE but for the clock. Webhooks: what can be done with one's own, and whether one is genuine."""

import base64
import binascii
import hashlib
import hmac
import time
from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal, TypedDict, Unpack

import orjson

from eventmanager.client.calls import Call, Id, get, many, nothing, one, part, write
from eventmanager.client.models import Delivery, Webhook
from eventmanager.client.surface import Act, Listing, Resource, Sender_co

PATH: Final = "/api/webhooks"
TOLERANCE_SECONDS: Final = 5 * 60
_PREFIX: Final = "whsec_"
_VERSION: Final = "v1"


class WebhookChanges(TypedDict, total=False):
    """What of a webhook is to change; `types` None is all."""

    url: str
    description: str
    types: Sequence[str] | None
    is_active: bool


class NotGenuine(ValueError):  # a sentence says why
    """The request was not signed with this secret, or not in the last five minutes."""


def verify(payload: bytes | str, headers: Mapping[str, str], secret: str) -> dict[str, Any]:
    """Return what a webhook says, if it is genuine (Standard Webhooks); raises `NotGenuine`.

    `payload` is the body as it came, not parsed and written again; `secret` is the webhook's, with
    `whsec_` or without. One delivery may come several times: remember its `webhook-id`.
    """
    given = {name.lower(): value for name, value in headers.items()}
    try:
        message_id, sent_at = given["webhook-id"], given["webhook-timestamp"]
        signatures = given["webhook-signature"]
        age_s = abs(time.time() - int(sent_at))
    except (KeyError, ValueError) as error:
        raise NotGenuine("A header is missing or is not what it should be") from error
    body = payload.encode() if isinstance(payload, str) else payload
    try:
        key = base64.b64decode(secret.removeprefix(_PREFIX), validate=True)
    except binascii.Error as error:
        raise NotGenuine("The secret is not base64") from error
    signed = f"{message_id}.{sent_at}.".encode() + body
    expected = base64.b64encode(hmac.digest(key, signed, hashlib.sha256))
    for each in signatures.split():
        version, _, signature = each.partition(",")
        if version == _VERSION and hmac.compare_digest(signature.encode(), expected):
            break
    else:
        raise NotGenuine("It is not signed with this secret")
    if age_s > TOLERANCE_SECONDS:
        raise NotGenuine("It was signed more than five minutes ago, or is of the future")
    said: dict[str, Any] = orjson.loads(body)
    return said


def _create(
    url: str,
    *,
    types: Sequence[str] | None = None,
    description: str = "",
    secret: str | None = None,
    is_active: bool = True,
    idempotency_key: str | None = None,
) -> Call[Webhook]:
    """Have notifications posted to a URL; keep the answer's `secret`, it is not shown again."""
    body = {"url": url, "types": types, "description": description, "is_active": is_active}
    if secret is not None:
        body["secret"] = secret
    return write("POST", PATH, one(Webhook), body=body, key=idempotency_key)


def _list() -> Call[list[Webhook]]:
    """Go through the caller's webhooks, the oldest first."""
    return get(PATH, many(Webhook))


def _get(webhook_id: Id) -> Call[Webhook]:
    """Return one of the caller's webhooks."""
    return get(_path(webhook_id), one(Webhook))


def _update(webhook_id: Id, **changes: Unpack[WebhookChanges]) -> Call[Webhook]:
    """Change, pause or enable a webhook."""
    # Doing it again changes nothing.
    return Call("PATCH", _path(webhook_id), one(Webhook), body=changes, repeatable=True)


def _delete(webhook_id: Id) -> Call[None]:
    """Delete a webhook, with what waits for it."""
    return write("DELETE", _path(webhook_id), nothing, once=False)


def _change_secret(
    webhook_id: Id, *, secret: str | None = None, idempotency_key: str | None = None
) -> Call[Webhook]:
    """Give a webhook a new secret; for a day the one before signs as well."""
    body = {} if secret is None else {"secret": secret}
    path = f"{_path(webhook_id)}/secret"
    return write("POST", path, one(Webhook), body=body, key=idempotency_key)


def _test(webhook_id: Id) -> Call[Delivery]:
    """Post a `ping`; the delivery says what came of it."""
    return write("POST", f"{_path(webhook_id)}/test", one(Delivery), once=False)


def _deliveries(
    webhook_id: Id,
    *,
    state: Literal["pending", "delivered", "failed"] | None = None,
    page_size: int = 100,
) -> Call[list[Delivery]]:
    """Go through what was posted, the latest first."""
    return get(f"{_path(webhook_id)}/deliveries", many(Delivery), state=state, limit=page_size)


def _delivery(webhook_id: Id, delivery_id: Id) -> Call[Delivery]:
    """Return one delivery with its body and all attempts."""
    return get(f"{_path(webhook_id)}/deliveries/{part(delivery_id)}", one(Delivery))


def _replay(webhook_id: Id, delivery_id: Id) -> Call[Delivery]:
    """Post a delivery again, with the same `webhook-id`."""
    path = f"{_path(webhook_id)}/deliveries/{part(delivery_id)}/replay"
    return write("POST", path, one(Delivery), once=False)


def _path(webhook_id: Id) -> str:
    return f"{PATH}/{part(webhook_id)}"


class Webhooks(Resource[Sender_co]):
    """Where the caller's notifications are posted."""

    create = Act(_create)
    list = Listing(_list)
    get = Act(_get)
    update = Act(_update)
    delete = Act(_delete)
    change_secret = Act(_change_secret)
    test = Act(_test)
    deliveries = Listing(_deliveries)
    delivery = Act(_delivery)
    replay = Act(_replay)
