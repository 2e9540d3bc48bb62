"""Everything that runs beside the requests so that news is told, started and stopped as one."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

from eventmanager.core.clock import Clock
from eventmanager.core.config import Settings
from eventmanager.core.database import Database
from eventmanager.realtime.holding import heeding_quiet_hours
from eventmanager.realtime.hub import Hub
from eventmanager.realtime.presence.presences import Presences
from eventmanager.realtime.presence.stores import CHANNEL as PRESENCE
from eventmanager.realtime.relay import Relay
from eventmanager.realtime.sessions import watching
from eventmanager.realtime.settling import Settling

NEWS_CONNECTIONS: Final = 2
NEWS_STATEMENT_SECONDS: Final = 3
"""What is looked at again and again takes milliseconds; whoever waits longer waits in vain."""


@dataclass(frozen=True, slots=True)
class News:
    """The parts that others ask: such as the hub for a place, and whether news is held up."""

    hub: Hub
    relay: Relay
    presences: Presences
    settling: Settling


@asynccontextmanager
async def telling(
    database: Database,
    *,
    through: Database,
    settings: Settings,
    clock: Clock,
    heard: Callable[[], None],
) -> AsyncIterator[News]:
    """Tell what is committed through `database`, here and in every other process.

    It is looked for `through` a pool of its own: requests that wait for locks must not hold it up.
    `heard` is called when there may be news, from here or elsewhere.
    """

    def wake() -> None:
        hub.wake()
        heard()

    async with (
        Hub.running(through, clock=clock, sockets_per_user=settings.max_sockets_per_user) as hub,
        watching(hub, through, clock=clock),
        heeding_quiet_hours(hub, through, clock=clock),
        Presences.running(through, redis_url=settings.redis_url, clock=clock) as presences,
        Settling.running(through, clock=clock) as settling,
        Relay.running(
            database_url=settings.database_url,
            redis_url=settings.redis_url,
            heard=wake,
            others={PRESENCE: presences.hear},
        ) as relay,
    ):
        database.on_news = relay.wake
        hub.on_access = presences.look_again
        yield News(hub, relay, presences, settling)
