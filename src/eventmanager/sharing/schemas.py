"""Grants as clients write and read them."""

from collections.abc import Iterable
from datetime import datetime
from hashlib import sha256
from typing import Annotated, Final, Self
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator
from pydantic_core import PydanticCustomError

from eventmanager.core.bodies import Body
from eventmanager.sharing.models import GrantOperation, Role

SHARE_MAX: Final = 100
CHANGES_MAX: Final = 200

_Name = Annotated[str, StringConstraints(min_length=1, max_length=254, pattern="^[^\\x00]*$")]


class ShareWith(Body):
    """Whom to share with, by exactly one of id, username and email, and in which role."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"user_id": "01936b0e-0000-7b1f-8a2d-3c4e5f607182", "role": "Editor"},
                {"email": "grace@example.com", "role": "Viewer"},
            ]
        },
    )

    user_id: UUID | None = None
    username: _Name | None = None
    email: _Name | None = None
    role: Role

    @model_validator(mode="after")
    def _one_name(self) -> Self:
        if sum(name is not None for name in (self.user_id, self.username, self.email)) != 1:
            raise PydanticCustomError(
                "user_not_named", "name the user by exactly one of user_id, username and email"
            )
        return self


class RoleChange(Body):
    """The new role."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"role": "Viewer"}]})

    role: Role


class Permission(BaseModel):
    """One user's role on the event."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"user_id": "01936b0e-0000-7b1f-8a2d-3c4e5f607182", "role": "Editor"}]
        }
    )

    user_id: UUID
    role: Role


class PermissionChange(BaseModel):
    """One change of one user's role on the event."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "id": "01936b0e-9c00-7b52-a1d4-6e8f90a1b2c3",
                    "event_id": "01936b0e-7c00-7a4e-9d3c-0f6a2b1c4d5e",
                    "user_id": "01936b0e-0000-7b1f-8a2d-3c4e5f607182",
                    "operation": "grant",
                    "role": "Editor",
                    "changed_by": "01936b0d-4000-7c3a-b5e6-7f8091a2b3c4",
                    "changed_at": "2026-12-01T09:00:00Z",
                }
            ]
        }
    )

    id: UUID
    event_id: UUID
    user_id: UUID = Field(description="Whose role it is.")
    operation: GrantOperation
    role: Role = Field(description="The role after the change; the one that a revocation took.")
    changed_by: UUID | None = Field(description="Null is the server.")
    changed_at: datetime


def tag_of(permissions: Iterable[Permission]) -> str:
    """Return the strong entity tag of the whole list of who has which role, in its order."""
    listed = "\n".join(f"{item.user_id} {item.role}" for item in permissions)
    return f'"{sha256(listed.encode()).hexdigest()[:32]}"'
