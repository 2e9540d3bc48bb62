"""All the work beside the requests, and the process that does nothing else."""

import asyncio
import signal
from datetime import timedelta
from functools import partial

from eventmanager.accounts.service import purge
from eventmanager.core.background import Background, Task, Watch, working
from eventmanager.core.background.queue import purge_log
from eventmanager.core.clock import SystemClock
from eventmanager.core.config import Settings
from eventmanager.core.database import Database
from eventmanager.core.idempotency.service import forget
from eventmanager.events import upkeep
from eventmanager.messages.service import purge_messages
from eventmanager.realtime.relay import Relay
from eventmanager.reminders.mailing import mailing
from eventmanager.reminders.service import remind
from eventmanager.webhooks.delivering import delivering, expire_deliveries, purge_deliveries
from eventmanager.webhooks.dispatching import dispatch


def background(settings: Settings) -> Background:
    """Return all that is done beside the requests, by a server or by a worker."""
    hour, smtp = timedelta(hours=1), settings.smtp
    reminders = partial(remind, emails_per_hour=settings.reminder_emails_per_hour)
    return Background(
        tasks=(
            *upkeep.TASKS,
            Task("purge_bin", hour, partial(upkeep.purge_bin, bin_days=settings.bin_days)),
            Task("purge_sessions", hour, purge),
            Task("purge_messages", hour, partial(purge_messages, days=settings.notification_days)),
            Task("expire_deliveries", hour, expire_deliveries),
            Task(
                "purge_deliveries",
                hour,
                partial(purge_deliveries, days=settings.notification_days),
            ),
            Task("forget_answers", hour, forget),
            Task("purge_queue_log", hour, purge_log),
        ),
        watches=(
            Watch("reminders", timedelta(seconds=1), reminders),
            Watch("dispatch_webhooks", timedelta(seconds=1), dispatch),
        ),
        jobs=(
            delivering(allow_private=settings.webhook_allow_private),
            *((mailing(smtp),) if smtp else ()),
        ),
    )


async def work(settings: Settings) -> None:
    """Work until SIGTERM or Ctrl-C, and wake the sockets of all servers for what comes of it."""
    ended = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    url = settings.database_url
    everything = background(settings)
    async with (
        Database.connect(url, pool_size=settings.database_pool_size, must_answer=False) as database,
        Relay.running(
            database_url=url, redis_url=settings.redis_url, heard=everything.wake, others={}
        ) as relay,
    ):
        database.on_news = relay.wake
        async with working(database, everything, database_url=url, clock=SystemClock()):
            await ended.wait()
