"""Webhooks and mail share the hands of a worker, and neither waits for the other's servers."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import orjson
from pydantic import SecretStr

from eventmanager.core.config import Settings
from eventmanager.core.database import Database, Transaction, query
from eventmanager.core.mail import PLACES
from eventmanager.reminders import service
from eventmanager.reminders.mailing import JOB
from eventmanager.webhooks.delivering import Draft, make
from tests.conftest import User, started
from tests.mail_server import mailbox
from tests.reminders.conftest import event
from tests.webhooks.conftest import TAKE, Receiver, Steps, event_of, webhook_of

SECONDS = 5
_BY_EMAIL = query("""
    UPDATE reminders SET channel = 'email', next_at = now() WHERE event_id = :event_id
""")


@asynccontextmanager
async def worker(settings: Settings, smtp_url: str) -> AsyncIterator[None]:
    """Work as a process does that sends mail by a server."""
    given = {
        "webhook_allow_private": True,
        "background_tasks": True,
        "smtp_url": SecretStr(smtp_url),
    }
    async with started(settings.model_copy(update=given)):
        yield


async def remind(database: Database, user: User, count: int) -> None:
    """Have reminders of a user due that come by email."""
    for number in range(count):
        at = datetime.now(UTC) + timedelta(minutes=10, seconds=number)
        created = await event(user, 9, at=at)
        async with database.reading() as read:
            await read.first(_BY_EMAIL, event_id=created["id"])
    now = datetime.now(UTC) + timedelta(minutes=5)
    while await service.remind(database, now, emails_per_hour=count):
        pass


async def test_a_mail_server_that_hangs_holds_up_no_webhook(
    settings: Settings, ada: User, receiver: Receiver, steps: Steps
) -> None:
    """It accepts connections and never answers; many mails wait for it."""
    hanging: set[Any] = set()

    async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        hanging.add(writer)
        await reader.read()
        writer.close()

    await webhook_of(ada, receiver.url)
    await remind(steps.database, ada, 45)
    server = await asyncio.start_server(hang, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        async with worker(settings, f"smtp://127.0.0.1:{port}"):
            async with asyncio.timeout(SECONDS):
                while len(hanging) < PLACES:  # noqa: ASYNC110  # the worker brings it about
                    await asyncio.sleep(0.02)
            await event_of(ada)
            async with asyncio.timeout(SECONDS):
                await receiver.until(1)
            assert len(hanging) == PLACES
        for writer in hanging:
            writer.close()
    async with steps.database.reading() as read:
        rows = await read.all(TAKE, entrypoint=JOB)
    payloads = [orjson.loads(row["payload"]) for row in rows]
    assert [payload["user_id"] for payload in payloads].count(str(ada.id)) == 45


async def test_many_deliveries_that_wait_hold_up_no_mail(
    settings: Settings, ada: User, receiver: Receiver, steps: Steps
) -> None:
    """A mail goes before them, however long their receiver takes."""
    receiver.answers = [None] * 100
    webhook = await webhook_of(ada, receiver.url)
    now = datetime.now(UTC)
    drafts = [Draft(webhook["id"], uuid4(), "ping", now, b"{}") for _ in range(5000)]

    async def put(tx: Transaction) -> None:
        await make(tx, drafts, now=now)

    await steps.database.transaction(put)
    await remind(steps.database, ada, 1)
    async with mailbox() as box, worker(settings, box.url):
        async with asyncio.timeout(SECONDS):
            while not box.mails:  # noqa: ASYNC110  # the worker brings it about
                await asyncio.sleep(0.02)
    await steps.jobs()
