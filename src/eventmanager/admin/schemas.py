"""The bodies of the Admin's routes."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from eventmanager.accounts.models import GlobalRole
from eventmanager.core.bodies import Body


class Greeting(BaseModel):
    """What the admin area says."""

    msg: Annotated[str, Field(examples=["Hello, admin alice!"])]


class UserChange(Body):
    """What an Admin may change; what is left out stays as it is."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"role": "Admin"}]})

    is_active: Annotated[
        bool | None, Field(description="`false` ends all sessions of the user.", examples=[False])
    ] = None
    role: Annotated[GlobalRole | None, Field(examples=["Admin"])] = None
