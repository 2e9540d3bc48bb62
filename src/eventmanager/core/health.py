"""Whether the service works: for people, for supervisors and for load balancers."""

import asyncio
import time
from collections.abc import Sequence
from datetime import datetime
from importlib.metadata import version
from typing import Any, Final, Literal

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, Field

from eventmanager.core.background import Background
from eventmanager.core.background.records import Standing, State, standings
from eventmanager.core.database import Database
from eventmanager.core.http import errors

PATIENCE_SECONDS: Final = 2.0

router = APIRouter(tags=["health"])


class TaskHealth(BaseModel):
    """How it stands with one piece of the work beside the requests, in whichever process.

    "waiting" has not been done yet, "late" should have been, "failing" was tried in vain.
    """

    state: State
    last_finished_at: datetime | None


class NewsHealth(BaseModel):
    """Whether messages are told, as this process found a few seconds ago.

    "held_up": they wait for a transaction that somebody has left open, in whichever database of the
    server; `eventmanager doctor` names it.
    """

    state: Literal["ok", "held_up"]
    waiting_s: float | None = Field(description="For how long the oldest message has waited.")


class Health(BaseModel):
    """The state of the service and of what it needs; `redis` is "off" where none is configured.

    While Redis is away, news is held up, or a task is late or failing, the service goes on,
    "degraded". While the database is away, nothing is known of the tasks.
    """

    status: Literal["ok", "degraded"]
    db: Literal["ok", "unavailable"]
    redis: Literal["ok", "unavailable", "off"]
    version: str
    news: NewsHealth
    tasks: dict[str, TaskHealth] = Field(
        description="The work beside the requests, by name.",
        examples=[
            {"extend_horizons": {"state": "ok", "last_finished_at": "2027-03-01T09:00:00.123456Z"}}
        ],
    )


class Alive(BaseModel):
    """The process answers."""

    status: Literal["ok"]


_ONLY_GET: Final[dict[int | str, dict[str, Any]]] = {405: errors(405)[405]}
_DEGRADED: Final[dict[int | str, dict[str, Any]]] = _ONLY_GET | {
    503: {"model": Health, "description": "The database is away."}
}


@router.get("/health", summary="Health", responses=_DEGRADED)
async def health(request: Request, response: Response) -> Health:
    """Report the service, its database, its Redis and its tasks; 503 when it can't work."""
    state = request.app.state
    up_s = time.monotonic() - state.started_s
    tasks, redis = await asyncio.gather(
        _tasks(state.database, state.background, up_s=up_s), state.news.relay.redis_state()
    )
    works = tasks is not None
    response.status_code = 200 if works else 503
    hold_up = state.news.settling.hold_up
    is_well = (
        works
        and redis != "unavailable"
        and hold_up is None
        and all(task.is_well for task in tasks or ())
    )
    return Health(
        status="ok" if is_well else "degraded",
        db="ok" if works else "unavailable",
        redis=redis,
        version=version("eventmanager"),
        news=NewsHealth(
            state="held_up" if hold_up else "ok",
            waiting_s=round(hold_up.waiting_s, 1) if hold_up else None,
        ),
        tasks={
            task.name: TaskHealth(state=task.state, last_finished_at=task.finished_at)
            for task in tasks or ()
        },
    )


@router.get("/health/ready", summary="Readiness", responses=_DEGRADED)
async def ready(request: Request, response: Response) -> Health:
    """Tell a load balancer whether to send requests here."""
    return await health(request, response)


@router.get("/health/live", summary="Liveness", responses=_ONLY_GET)
async def live() -> Alive:
    """Tell a supervisor that the process answers, whatever the database does."""
    return Alive(status="ok")


async def _tasks(
    database: Database, background: Background, *, up_s: float
) -> Sequence[Standing] | None:
    """Ask how it stands with the tasks; None where the database does not answer.

    Do not wait longer than we have patience: not even for asking to be given up.
    """

    async def ask() -> Sequence[Standing]:
        async with database.reading() as read:
            return await standings(read, background, up_s=up_s)

    asked = asyncio.ensure_future(ask())
    answered, _ = await asyncio.wait({asked}, timeout=PATIENCE_SECONDS)
    if not answered:
        asked.cancel()
        return None
    return None if asked.exception() else asked.result()
