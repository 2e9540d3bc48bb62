"""Versions and their differences as clients read them."""

from datetime import datetime
from typing import Annotated, Any, Final, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from eventmanager.history.models import Operation

MAX_NUMBER: Final = 2**31 - 1


VersionNumber = Annotated[int, Field(ge=1, le=MAX_NUMBER)]
VersionKey = VersionNumber | UUID
"""What names a version of a given event: its number or its id."""

Current = Literal["current"]
"""The version that an event is at."""
CURRENT: Final[Current] = "current"


def names(key: VersionKey | Current) -> dict[str, UUID | int | None]:
    """Return the parameters `version_id` and `number` of a statement that looks for `key`.

    For the current version both are null.
    """
    return {
        "version_id": key if isinstance(key, UUID) else None,
        "number": key if isinstance(key, int) else None,
    }


class VersionRead(BaseModel):
    """The event as it stood after one of its changes."""

    id: UUID
    event_id: UUID
    version: int = Field(description="1 is the creation; without a gap.")
    operation: Operation
    data: dict[str, Any] = Field(description="The event, without its permissions.")
    timestamp: datetime
    changed_by: UUID | None = Field(description="Null is the server: time zones have changed.")
    summary: str = Field(
        description="What it changed, in words.", examples=["title and 2 occurrences changed"]
    )


class Change(BaseModel):
    """A field that differs."""

    field: str
    before: Any
    after: Any


class PatchOperation(BaseModel):
    """An operation of a JSON Patch (RFC 6902)."""

    op: Literal["add", "remove", "replace"]
    path: str
    value: Any = None


class Difference(BaseModel):
    """What changed from one version to another; `patch` makes the second out of the first."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "event_id": "01936b0e-7c00-7a4e-9d3c-0f6a2b1c4d5e",
                    "from_version": 1,
                    "to_version": 2,
                    "changes": [{"field": "title", "before": "Lunch", "after": "Late lunch"}],
                    "patch": [{"op": "replace", "path": "/title", "value": "Late lunch"}],
                }
            ]
        }
    )

    event_id: UUID
    from_version: int
    to_version: int
    changes: list[Change]
    patch: list[PatchOperation]


class Blame(BaseModel):
    """The version that made a field what it is."""

    version: int
    version_id: UUID
    changed_by: UUID | None = Field(description="Null is the server: time zones have changed.")
    timestamp: datetime
