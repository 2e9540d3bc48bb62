"""The audit log as clients ask for it and read it."""

from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, Final
from uuid import UUID

from fastapi import Depends, Query
from pydantic import BaseModel, ConfigDict, Field

from eventmanager.core.errors import Invalid
from eventmanager.core.time import Instant

_ID: Final = "01936b0e-7c00-7a4e-9d3c-0f6a2b1c4d5e"
_USER: Final = "01920f0e-7a3c-7b1e-9a55-0d8e6a1c2b3d"

AuditLimit = Annotated[int, Query(ge=1, le=200, description="How many at most.")]


@dataclass(frozen=True, slots=True)
class Asked:
    """Which entries are asked for; None is any."""

    act: str | None = None
    event_id: UUID | None = None
    start: datetime | None = None
    end: datetime | None = None


async def _asked(
    act: Annotated[
        str | None,
        Query(
            pattern="^[a-z_]+$",
            max_length=64,
            description="Only these acts.",
            examples=["signed_in"],
        ),
    ] = None,
    event_id: Annotated[UUID | None, Query(description="Only what concerns this event.")] = None,
    start: Annotated[Instant | None, Query(description="Only what was done then or later.")] = None,
    end: Annotated[Instant | None, Query(description="Only what was done before.")] = None,
) -> Asked:
    if start is not None and end is not None and end <= start:
        raise Invalid("end must be after start", loc=("query", "end"), type="invalid_time_order")
    return Asked(act, event_id, start, end)


Filters = Annotated[Asked, Depends(_asked)]


class AuditRead(BaseModel):
    """Who did what, and from where."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "id": _ID,
                    "at": "2026-06-01T09:30:00.123456Z",
                    "act": "signed_in",
                    "user_id": _USER,
                    "event_id": None,
                    "subject_id": None,
                    "address": "203.0.113.5",
                    "user_agent": "Mozilla/5.0 (X11; Linux x86_64)",
                    "request_id": "01936b0e7c007a4e9d3c0f6a2b1c4d5e",
                    "details": {"session_id": "01920f0e-7a3c-7b1e-9a55-0d8e6a1c2b3e"},
                }
            ]
        }
    )

    id: UUID = Field(description="Later acts have greater ids.")
    at: datetime = Field(description="When the request came.")
    act: str = Field(
        description="What was done, such as `signed_in`, `sign_in_failed`, `password_changed`,"
        " `user_changed`, `event_created` or `event_updated`."
    )
    user_id: UUID | None = Field(
        description="Who did it. Null is nobody who is known: the server itself, the command"
        " line, or somebody who did not prove that they are the user in `subject_id`."
    )
    event_id: UUID | None = Field(description="The event that it was done to.")
    subject_id: UUID | None = Field(description="The user whom it was done to, by somebody else.")
    address: str | None = Field(
        description="Where the request came from. Null is no request or, in your own log, that of"
        " another user; so are the two that follow."
    )
    user_agent: str | None = Field(description="What sent it, in its own words: 400 characters.")
    request_id: str | None = Field(description="The `X-Request-ID` of its answer.")
    details: dict[str, Any] = Field(description="What more there is to say; differs by `act`.")
