"""The HTTP surface of webhooks."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Final
from uuid import UUID

from fastapi import APIRouter, Body, Path, Query, Request, Response

from eventmanager.accounts.access import CurrentUser
from eventmanager.accounts.dependencies import Given
from eventmanager.accounts.once import InOnce
from eventmanager.core.http import LINK, Db, Now, errors, json_value
from eventmanager.core.paging import Cursor, Limit, id_page, read_id
from eventmanager.webhooks import service
from eventmanager.webhooks.schemas import (
    Delivery,
    DeliverySummary,
    NewSecret,
    State,
    Webhook,
    WebhookChange,
    WebhookDraft,
    WebhookWithSecret,
)

router: Final = APIRouter(prefix="/api/webhooks", tags=["webhooks"])

TheWebhook = Annotated[UUID, Path(alias="id", description="The webhook's id.")]
TheDelivery = Annotated[UUID, Path(alias="delivery_id", description="The delivery's id.")]

_LOCATION: Final[dict[str, Any]] = {
    "Location": {"description": "The webhook's path.", "schema": {"type": "string"}}
}
_DELIVERY: Final[dict[str, Any]] = {
    "Location": {"description": "The delivery's path.", "schema": {"type": "string"}}
}
_ABSENT: Final = "You have no such webhook"
_NO_DELIVERY: Final = "You have no such webhook, or it has no such delivery"
_REFUSED: Final = (
    "A value is missing or not valid; `private_address`: the URL's host is not a public address"
)


@router.post(
    "",
    status_code=201,
    summary="Create a webhook",
    response_model=WebhookWithSecret,
    responses={
        201: {"headers": _LOCATION},
        **errors(
            401,
            409,
            413,
            422,
            _409=f"`too_many_webhooks`: a user may have {service.WEBHOOKS_MAX}",
            _422=_REFUSED,
        ),
    },
)
async def create_webhook(
    draft: WebhookDraft, caller: CurrentUser, db: Db, now: Now, settings: Given, once: InOnce
) -> Response:
    """Have all that you are told from now on posted to a URL, what you do yourself included.

    A delivery is `{"type", "timestamp", "data"}` with a notification as `data`, signed as Standard
    Webhooks says by the `secret` in this answer, which is not shown again. Any 2xx takes it; else
    it is tried again for 24 hours, with ever longer pauses. It may come more than once, with the
    same `webhook-id`, and deliveries are in no order. Redirects by 307 and 308 are followed.
    """
    await service.check_url(
        draft.url, caller_id=caller.user_id, allow_private=settings.webhook_allow_private
    )

    def answer(webhook: Mapping[str, Any]) -> Response:
        headers = {"Location": f"{router.prefix}/{webhook['id']}"}
        return json_value(webhook, status=201, headers=headers)

    webhook = await service.create(
        db, caller_id=caller.user_id, draft=draft, now=now, once=once, answer=answer
    )
    return answer(webhook)


@router.get("", summary="List your webhooks", response_model=list[Webhook], responses=errors(401))
async def list_webhooks(caller: CurrentUser, db: Db) -> Sequence[Mapping[str, Any]]:
    """List all your webhooks, the oldest first."""
    return await service.list_webhooks(db, caller_id=caller.user_id)


@router.get(
    "/{id}",
    summary="Get a webhook",
    response_model=Webhook,
    responses=errors(401, 404, 422, _404=_ABSENT),
)
async def get_webhook(webhook_id: TheWebhook, caller: CurrentUser, db: Db) -> Mapping[str, Any]:
    """Return one of your webhooks, without its secret."""
    return await service.get(db, caller_id=caller.user_id, webhook_id=webhook_id)


@router.patch(
    "/{id}",
    summary="Change, pause or enable a webhook",
    response_model=Webhook,
    responses=errors(401, 404, 413, 422, _404=_ABSENT, _422=_REFUSED),
)
async def change_webhook(
    webhook_id: TheWebhook,
    change: WebhookChange,
    caller: CurrentUser,
    db: Db,
    now: Now,
    settings: Given,
) -> Mapping[str, Any]:
    """Change what you give of a webhook.

    What waits for one that you pause fails, and can be replayed; what comes while it is paused is
    not posted. `is_active: true` also enables one that was disabled.
    """
    if change.url is not None:
        await service.check_url(
            change.url, caller_id=caller.user_id, allow_private=settings.webhook_allow_private
        )
    return await service.change(
        db, caller_id=caller.user_id, webhook_id=webhook_id, wanted=change, now=now
    )


@router.delete(
    "/{id}",
    status_code=204,
    summary="Delete a webhook",
    responses=errors(401, 404, 422, _404=_ABSENT),
)
async def delete_webhook(webhook_id: TheWebhook, caller: CurrentUser, db: Db, now: Now) -> Response:
    """Delete a webhook with all its deliveries, those that wait included."""
    await service.delete(db, caller_id=caller.user_id, webhook_id=webhook_id, now=now)
    return Response(status_code=204)


@router.post(
    "/{id}/secret",
    summary="Change a webhook's secret",
    response_model=WebhookWithSecret,
    responses=errors(401, 404, 409, 413, 422, _404=_ABSENT, _409="The `Idempotency-Key` is in use"),
)
async def change_secret(
    webhook_id: TheWebhook,
    caller: CurrentUser,
    db: Db,
    now: Now,
    once: InOnce,
    new: Annotated[NewSecret | None, Body(examples=[{}])] = None,
) -> Response:
    """Give a webhook a new secret, yours or a random one; it is not shown again.

    For 24 hours the one before signs as well: `webhook-signature` then holds two signatures.
    """

    def answer(webhook: Mapping[str, Any]) -> Response:
        return json_value(webhook)

    webhook = await service.rotate(
        db,
        caller_id=caller.user_id,
        webhook_id=webhook_id,
        secret=new.secret if new else None,
        now=now,
        once=once,
        answer=answer,
    )
    return answer(webhook)


@router.post(
    "/{id}/test",
    status_code=202,
    summary="Test a webhook",
    response_model=DeliverySummary,
    responses={202: {"headers": _DELIVERY}, **errors(401, 404, 422, _404=_ABSENT)},
)
async def test_webhook(
    webhook_id: TheWebhook, response: Response, caller: CurrentUser, db: Db, now: Now
) -> Mapping[str, Any]:
    """Post a delivery of the type `ping`, also to a webhook that is not active.

    Read the answered delivery to see what came of it.
    """
    delivery = await service.ping(db, caller_id=caller.user_id, webhook_id=webhook_id, now=now)
    response.headers["Location"] = f"{router.prefix}/{webhook_id}/deliveries/{delivery['id']}"
    return delivery


@router.get(
    "/{id}/deliveries",
    summary="List what was posted to a webhook",
    response_model=list[DeliverySummary],
    responses={200: {"headers": LINK}, **errors(401, 404, 422, _404=_ABSENT)},
)
async def list_deliveries(
    *,
    request: Request,
    response: Response,
    webhook_id: TheWebhook,
    caller: CurrentUser,
    db: Db,
    state: Annotated[State | None, Query(description="Only those in this state.")] = None,
    limit: Limit = 100,
    cursor: Cursor = None,
) -> Sequence[Mapping[str, Any]]:
    """List deliveries, the latest first; they are kept for `NOTIFICATION_DAYS`."""
    found = await service.list_deliveries(
        db,
        caller_id=caller.user_id,
        webhook_id=webhook_id,
        state=state,
        before=read_id(cursor, start=service.LATEST),
        limit=limit + 1,
    )
    return id_page(request, response, found, limit=limit)


@router.get(
    "/{id}/deliveries/{delivery_id}",
    summary="Get a delivery",
    response_model=Delivery,
    responses=errors(401, 404, 422, _404=_NO_DELIVERY),
)
async def get_delivery(
    webhook_id: TheWebhook, delivery_id: TheDelivery, caller: CurrentUser, db: Db
) -> Mapping[str, Any]:
    """Return what is posted, and what came of each attempt."""
    return await service.get_delivery(
        db, caller_id=caller.user_id, webhook_id=webhook_id, delivery_id=delivery_id
    )


@router.post(
    "/{id}/deliveries/{delivery_id}/replay",
    status_code=202,
    summary="Post a delivery again",
    response_model=DeliverySummary,
    responses=errors(401, 404, 422, _404=_NO_DELIVERY),
)
async def replay_delivery(
    webhook_id: TheWebhook, delivery_id: TheDelivery, caller: CurrentUser, db: Db, now: Now
) -> Mapping[str, Any]:
    """Post the same body with the same `webhook-id` again, now, whatever came of it before.

    If it fails it is tried again for 24 hours. It does not matter whether the webhook is active.
    """
    return await service.replay(
        db, caller_id=caller.user_id, webhook_id=webhook_id, delivery_id=delivery_id, now=now
    )
