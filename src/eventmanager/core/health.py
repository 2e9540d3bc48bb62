"""Whether the service works: for people, for supervisors and for load balancers."""

import asyncio
from importlib.metadata import version
from typing import Any, Final, Literal

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel

from eventmanager.core.database import Database, query
from eventmanager.core.http import errors

PATIENCE_SECONDS: Final = 2.0
PING: Final = query("SELECT 1")

router = APIRouter(tags=["health"])


class Health(BaseModel):
    """The state of the service and of what it needs; `redis` is "off" where none is configured.

    While Redis is away the service goes on, "degraded".
    """

    status: Literal["ok", "degraded"]
    db: Literal["ok", "unavailable"]
    redis: Literal["ok", "unavailable", "off"]
    version: str


class Alive(BaseModel):
    """The process answers."""

    status: Literal["ok"]


_ONLY_GET: Final[dict[int | str, dict[str, Any]]] = {405: errors(405)[405]}
_DEGRADED: Final[dict[int | str, dict[str, Any]]] = _ONLY_GET | {
    503: {"model": Health, "description": "The database is away."}
}


@router.get("/health", summary="Health", responses=_DEGRADED)
async def health(request: Request, response: Response) -> Health:
    """Report the service, its database and its Redis; 503 when it can't work."""
    state = request.app.state
    works, redis = await asyncio.gather(
        _database_answers(state.database), state.news.relay.redis_state()
    )
    response.status_code = 200 if works else 503
    return Health(
        status="ok" if works and redis != "unavailable" else "degraded",
        db="ok" if works else "unavailable",
        redis=redis,
        version=version("eventmanager"),
    )


@router.get("/health/ready", summary="Readiness", responses=_DEGRADED)
async def ready(request: Request, response: Response) -> Health:
    """Tell a load balancer whether to send requests here."""
    return await health(request, response)


@router.get("/health/live", summary="Liveness", responses=_ONLY_GET)
async def live() -> Alive:
    """Tell a supervisor that the process answers, whatever the database does."""
    return Alive(status="ok")


async def _database_answers(database: Database) -> bool:
    """Ask, and do not wait longer than we have patience: not even for asking to be given up."""

    async def ping() -> None:
        async with database.reading() as read:
            await read.first(PING)

    asked = asyncio.ensure_future(ping())
    answered, _ = await asyncio.wait({asked}, timeout=PATIENCE_SECONDS)
    if not answered:
        asked.cancel()
        return False
    return asked.exception() is None
