"""Everything that runs beside the requests so that news is told, started and stopped as one."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from eventmanager.core.clock import Clock
from eventmanager.core.config import Settings
from eventmanager.core.database import Database
from eventmanager.realtime.hub import Hub
from eventmanager.realtime.relay import Relay
from eventmanager.realtime.sessions import watching


@dataclass(frozen=True, slots=True)
class News:
    """The parts that others ask: the hub for a socket's place, the relay for the state of Redis."""

    hub: Hub
    relay: Relay


@asynccontextmanager
async def telling(database: Database, *, settings: Settings, clock: Clock) -> AsyncIterator[News]:
    """Tell what is committed through `database`, here and in every other process."""
    async with (
        Hub.running(database) as hub,
        watching(hub, database, clock=clock),
        Relay.running(
            database_url=settings.database_url, redis_url=settings.redis_url, heard=hub.wake
        ) as relay,
    ):
        database.on_news = relay.wake
        yield News(hub, relay)
