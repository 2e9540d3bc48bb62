"""What a client that keeps a copy reads."""

from uuid import UUID

from pydantic import BaseModel, Field

from eventmanager.events.schemas import EventRead


class SyncRead(BaseModel):
    """One page of a sync."""

    changed: list[EventRead] = Field(
        description="Events as they are now: put each in the place of the one with its `id`."
    )
    removed: list[UUID] = Field(
        description="Ids of events that are deleted or no longer shared with you: drop them."
    )
    next_page: str | None = Field(
        description="The `cursor` of the next page; null on the last one, which has `sync_token`."
    )
    sync_token: str | None = Field(
        description="Keep it for the next sync; null as long as there is a `next_page`."
    )
