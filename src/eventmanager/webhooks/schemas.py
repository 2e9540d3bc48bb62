"""Webhooks and deliveries as clients write and read them."""

from datetime import datetime
from typing import Annotated, Any, Final, Literal
from uuid import UUID

import orjson
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    WithJsonSchema,
)
from pydantic_core import PydanticCustomError

from eventmanager.core.bodies import Body
from eventmanager.messages.types import NotificationType
from eventmanager.webhooks import signing
from eventmanager.webhooks.destinations import LONGEST, BadDestination, read_destination

# A name that never stands for anything (RFC 2606), so that nobody is posted to by trying it out.
_URL: Final = "https://calendar.example/events"
_SECRET: Final = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwMfKQ9r8GKYo="  # noqa: S105  # an example
_WEBHOOK: Final[dict[str, Any]] = {
    "id": "01936b0e-7c00-7a4e-9d3c-0f6a2b1c4d5e",
    "url": _URL,
    "description": "The team's room display",
    "types": ["event_created", "event_updated"],
    "is_active": True,
    "failing_since": None,
    "disabled_at": None,
    "created_at": "2026-12-01T09:00:00Z",
    "updated_at": "2026-12-01T09:00:00Z",
}
_ATTEMPT: Final[dict[str, Any]] = {
    "at": "2026-12-01T09:00:00.250000Z",
    "status": 503,
    "error": "the answer is 503",
    "duration_ms": 41,
    "answer": "try again later",
}
_DELIVERY: Final[dict[str, Any]] = {
    "id": "01936b0e-9c00-7b52-a1d4-6e8f90a1b2c3",
    "message_id": "01936b0e-9bff-7c41-8d3e-5f6a7b8c9d0e",
    "type": "event_updated",
    "state": "pending",
    "attempt_count": 1,
    "last_attempt": _ATTEMPT,
    "next_attempt_at": "2026-12-01T09:00:05Z",
    "queued_at": "2026-12-01T09:00:00Z",
    "created_at": "2026-12-01T09:00:00Z",
}

State = Literal["pending", "delivered", "failed"]


def _checked_url(text: str) -> str:
    """Read it as leniently as any server may; whether http is allowed is a setting."""
    try:
        read_destination(text, allow_http=True)
    except BadDestination as error:
        raise PydanticCustomError("invalid_url", "must {reason}", {"reason": str(error)}) from None
    return text


def _checked_secret(text: str) -> str:
    try:
        signing.read_secret(text)
    except ValueError as error:
        raise PydanticCustomError(
            "invalid_secret", "is no secret: {reason}", {"reason": str(error)}
        ) from None
    return text


def _once_each(types: list[NotificationType]) -> list[NotificationType]:
    return list(dict.fromkeys(types))


def _from_json(value: object) -> object:
    return orjson.loads(value) if isinstance(value, bytes) else value


Url = Annotated[
    str,
    StringConstraints(min_length=1, max_length=LONGEST),
    AfterValidator(_checked_url),
    Field(
        description="Where notifications are posted: https, and a public address, unless"
        " `WEBHOOK_ALLOW_PRIVATE` is set.",
        examples=[_URL],
    ),
]
Description = Annotated[
    str,
    StringConstraints(max_length=200, pattern="^[^\\x00]*$"),
    Field(description="For its user.", examples=["The team's room display"]),
]
Types = Annotated[
    list[NotificationType],
    Field(
        min_length=1,
        max_length=len(NotificationType),
        description="Only notifications of these types; null is all of them, those of later"
        " releases included.",
        examples=[["event_created", "event_updated"]],
    ),
    AfterValidator(_once_each),
]
Secret = Annotated[
    str,
    StringConstraints(max_length=200),
    AfterValidator(_checked_secret),
    Field(description="`whsec_` and 24 to 64 bytes in base64; made at random if it is left out."),
    WithJsonSchema(
        {"type": "string", "pattern": "^whsec_[A-Za-z0-9+/]{32,88}={0,2}$", "examples": [_SECRET]}
    ),
]


class WebhookDraft(Body):
    """A webhook to be created."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"url": _URL, "types": ["event_created", "event_updated"]}]
        },
    )

    url: Url
    description: Description = ""
    types: Types | None = None
    secret: Secret | None = None
    is_active: bool = True


class WebhookChange(Body):
    """What is to change; what is left out stays. Null is a value of `types` only."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"is_active": True, "types": None}]})

    url: Url | None = None
    description: Description | None = None
    types: Types | None = None
    is_active: bool | None = Field(
        None,
        description="False: nothing is sent, and what waits fails. True also enables a webhook"
        " that was disabled.",
    )


class NewSecret(Body):
    """The secret that takes the place of the one before."""

    model_config = ConfigDict(json_schema_extra={"examples": [{}]})

    secret: Secret | None = None


class Webhook(BaseModel):
    """Where notifications of one user are posted."""

    model_config = ConfigDict(json_schema_extra={"examples": [_WEBHOOK]})

    id: UUID
    url: str
    description: str
    types: list[str] | None = Field(description="Null is all.")
    is_active: bool
    failing_since: datetime | None = Field(
        description="The first failed attempt since the last that went well."
    )
    disabled_at: datetime | None = Field(
        description="When the server has disabled it, since nothing could be delivered for a day."
    )
    created_at: datetime
    updated_at: datetime


class WebhookWithSecret(Webhook):
    """A webhook and the secret that signs its deliveries, which is not answered again."""

    model_config = ConfigDict(json_schema_extra={"examples": [_WEBHOOK | {"secret": _SECRET}]})

    secret: str


class Attempt(BaseModel):
    """What came of one attempt to deliver."""

    at: datetime
    status: int | None = Field(description="The receiver's; null is no answer.")
    error: str | None = Field(description="Why it has failed, for people; null is success.")
    duration_ms: int
    answer: str = Field(description="The beginning of the receiver's answer, 200 characters.")


class DeliverySummary(BaseModel):
    """One notification on its way to one webhook."""

    model_config = ConfigDict(json_schema_extra={"examples": [_DELIVERY]})

    id: UUID
    message_id: UUID = Field(
        description="The `webhook-id` of every attempt, and the notification's own id."
    )
    type: str
    state: State
    attempt_count: int = Field(description="At most the last 50 attempts are kept.")
    last_attempt: Annotated[Attempt | None, BeforeValidator(_from_json)]
    next_attempt_at: datetime | None
    queued_at: datetime = Field(description="When it was made, or replayed for the last time.")
    created_at: datetime


class Delivery(DeliverySummary):
    """One delivery with all there is to know about it."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                _DELIVERY
                | {
                    "attempts": [_ATTEMPT],
                    "body": '{"type":"event_updated","timestamp":"2026-12-01T09:00:00Z","data":{}}',
                }
            ]
        }
    )

    attempts: Annotated[list[Attempt], BeforeValidator(_from_json)]
    body: str = Field(description="The very text that is signed and sent.")
