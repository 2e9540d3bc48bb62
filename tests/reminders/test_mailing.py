"""Reminders by email and to webhooks, from the look to the mail server."""

import asyncio
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import orjson
import pytest
from pydantic import SecretStr
from structlog.testing import capture_logs

from eventmanager.core.config import Settings
from eventmanager.core.database import Database, query
from eventmanager.core.ids import uuid7
from eventmanager.core.smtp import SmtpServer
from eventmanager.core.time import rfc3339
from eventmanager.reminders.mailing import JOB, mailing
from eventmanager.worker import background
from tests.conftest import User
from tests.events.conftest import share
from tests.mail_server import mailbox
from tests.reminders.conftest import (
    PER_HOUR,
    SOON,
    Look,
    changed,
    event,
    minutes,
    moved,
    reminded,
    told,
)

# By statement, since the server of these tests sends no email and would refuse the wish.
_BY_EMAIL = query("UPDATE reminders SET channel = 'email' WHERE event_id = :event_id")
_DISABLE = query("UPDATE users SET is_active = false WHERE id = :user_id")
_TAKE_JOBS = query("""
    DELETE FROM pgqueuer
    WHERE entrypoint = 'mail_reminder'
      AND CAST(convert_from(payload, 'UTF8') AS json) ->> 'user_id' = CAST(:user_id AS text)
    RETURNING payload
""")


async def by_email(database: Database, event_id: str) -> None:
    """Have reminders of an event come by email."""
    async with database.reading() as read:
        await read.first(_BY_EMAIL, event_id=event_id)


async def jobs(database: Database, user: User) -> list[dict[str, Any]]:
    """Take the mails to a user out of the queue."""
    async with database.reading() as read:
        return [
            orjson.loads(row["payload"]) for row in await read.all(_TAKE_JOBS, user_id=str(user.id))
        ]


async def test_an_email_says_what_starts_when_and_where(
    alice: User, look: Look, database: Database
) -> None:
    """It is all there without signing in, and no title can make it something else."""
    created = await event(
        alice,
        10,
        title="Stand\nup: Grüße \u2615",
        location="Room\r\nBcc: all@example.com",
        time_zone="Asia/Kolkata",
    )
    await by_email(database, created["id"])
    await look(SOON - minutes(10))
    await look(SOON - minutes(9))
    [payload] = await jobs(database, alice)
    async with mailbox() as box:
        job = mailing(SmtpServer.of(box.url, sender="events@example.com"))
        await job.run(database, SOON - minutes(10), payload)
    [envelope], [mail] = box.envelopes, box.mails
    assert envelope.rcpt_tos == [alice.email]
    assert (mail["To"], mail["Bcc"]) == (alice.email, None)
    start = SOON.astimezone(ZoneInfo("Asia/Kolkata"))
    end = start + minutes(60)
    when = f"starts in 10 minutes ({start:%Y-%m-%d %H:%M} Asia/Kolkata)"
    assert mail["Subject"] == f"Stand up: Grüße \u2615 {when}"
    assert mail.get_content().replace("\r\n", "\n").splitlines() == [
        f"\u201cStand up: Grüße \u2615\u201d {when}.",
        "",
        f"Ends: {end:%Y-%m-%d %H:%M} Asia/Kolkata",
        "Where: Room Bcc: all@example.com",
        "",
        "You asked to be reminded 10 minutes before it starts.",
        f"The account \u201c{alice.username}\u201d asked for this email, and can turn it off in the"
        " reminders of the event. If it is not yours, ask whoever runs the server to disable it.",
    ]
    assert await reminded(alice) == []


async def sent(database: Database, payload: dict[str, Any], *, at: datetime) -> list[str]:
    """Do the job of a mail, and return the subject of what arrives."""
    async with mailbox() as box:
        await mailing(SmtpServer.of(box.url)).run(database, at, payload)
    return [mail["Subject"].partition(" (")[0] for mail in box.mails]


async def test_a_mail_that_is_late_says_what_is_so_then(
    alice: User, look: Look, database: Database
) -> None:
    """A mail server may be away for hours: ten minutes are over by then, and the event may be."""
    created = await event(alice, 10)
    await by_email(database, created["id"])
    await look(SOON - minutes(10))
    [payload] = await jobs(database, alice)
    await changed(alice, created["id"], title="Retro")
    assert await sent(database, payload, at=SOON - minutes(3)) == ["Retro starts in 3 minutes"]
    assert await sent(database, payload, at=SOON + minutes(59)) == ["Retro started 59 minutes ago"]
    assert await sent(database, payload, at=SOON + minutes(60)) == []


@pytest.mark.parametrize(
    "what", ["moved", "cancelled", "deleted", "revoked", "not wanted", "disabled"]
)
async def test_a_mail_of_what_is_not_so_any_more_is_not_sent(
    alice: User, bob: User, look: Look, database: Database, what: str
) -> None:
    """Nor to anybody who must not read it any more."""
    created = await event(alice)
    await share(alice, created["id"], bob, "Viewer")
    await changed(bob, created["id"], reminders=told(10))
    await by_email(database, created["id"])
    await look(SOON - minutes(10))
    [payload] = await jobs(database, bob)
    assert await sent(database, payload, at=SOON) == ["Standup starts now"]
    path = f"/api/events/{created['id']}"
    if what == "moved":
        await moved(alice, created["id"], SOON + minutes(30))
    elif what == "cancelled":
        await changed(alice, created["id"], status="cancelled")
    elif what == "deleted":
        await alice.client.delete(path)
    elif what == "revoked":
        await alice.client.delete(f"{path}/permissions/{bob.id}")
    elif what == "not wanted":
        await changed(bob, created["id"], reminders=[])
    else:
        async with database.reading() as read:
            await read.first(_DISABLE, user_id=bob.id)
    assert await sent(database, payload, at=SOON) == []


async def split(user: User, event_id: str, start: datetime, **fields: Any) -> str:
    """Split a series at an occurrence, and return the second half."""
    path = f"/api/events/{event_id}/occurrences/{rfc3339(start)}"
    answer = await user.client.patch(path, params={"scope": "following"}, json=fields)
    assert answer.status_code == 200, answer.text
    assert answer.json()["split_from"] == event_id
    half: str = answer.json()["id"]
    return half


@pytest.mark.parametrize("days", [[1], [1, 2], [2]], ids=["before", "twice", "at it"])
async def test_a_mail_that_waits_is_sent_though_its_series_is_split(
    alice: User, look: Look, database: Database, days: list[int]
) -> None:
    """The second half knows that it was told, and would not tell it again."""
    created = await event(alice, 10, recurrence_pattern="FREQ=DAILY;COUNT=5")
    await by_email(database, created["id"])
    third = SOON + timedelta(days=2)
    await look(third - minutes(10))
    payload = (await jobs(database, alice))[-1]
    half = created["id"]
    for day in days:
        half = await split(alice, half, SOON + timedelta(days=day), title=f"From {day}")
    assert await sent(database, payload, at=third) == [f"From {days[-1]} starts now"]
    await look(third)
    assert await jobs(database, alice) == []


async def test_a_mail_of_what_was_moved_is_sent_though_its_series_is_split(
    alice: User, look: Look, database: Database
) -> None:
    """Its name is another one where the split was made with its times."""
    created = await event(alice, 10, recurrence_pattern="FREQ=DAILY;COUNT=5")
    await by_email(database, created["id"])
    second = SOON + timedelta(days=1)
    there = second + minutes(90)
    await moved(alice, created["id"], there, f"/occurrences/{rfc3339(second)}")
    await look(there - minutes(10))
    payload = (await jobs(database, alice))[-1]
    end = there + minutes(30)
    times = {"start_time": there.isoformat(), "end_time": end.isoformat()}
    await split(alice, created["id"], second, **times)
    assert await sent(database, payload, at=there) == ["Standup starts now"]


@pytest.mark.parametrize(
    "what",
    ["split with other times", "moved", "cancelled", "deleted", "not wanted", "revoked", "binned"],
)
async def test_a_mail_of_what_a_half_has_no_more_is_not_sent(
    alice: User, bob: User, look: Look, database: Database, what: str
) -> None:
    """As of an event that was not split."""
    created = await event(alice, recurrence_pattern="FREQ=DAILY;COUNT=5")
    await share(alice, created["id"], bob, "Viewer")
    await changed(bob, created["id"], reminders=told(10))
    await by_email(database, created["id"])
    second = SOON + timedelta(days=1)
    await look(second - minutes(10))
    payload = (await jobs(database, bob))[-1]
    later = second + minutes(30)
    times = {"start_time": later.isoformat(), "end_time": (later + minutes(60)).isoformat()}
    fields = times if what == "split with other times" else {"title": "Retro"}
    half = await split(alice, created["id"], second, **fields)
    occurrence = f"/occurrences/{rfc3339(second)}"
    path = f"/api/events/{half}"
    if what == "split with other times":
        await look(later - minutes(10))
        [again] = await jobs(database, bob)
        assert await sent(database, again, at=later) == ["Standup starts now"]
    else:
        assert await sent(database, payload, at=second) == ["Retro starts now"]
    if what == "moved":
        await moved(alice, half, later, occurrence)
    elif what == "cancelled":
        await changed(alice, half, occurrence, status="cancelled")
    elif what == "deleted":
        await alice.client.delete(f"{path}{occurrence}")
    elif what == "not wanted":
        await changed(bob, half, reminders=[])
    elif what == "revoked":
        await alice.client.delete(f"{path}/permissions/{bob.id}")
    elif what == "binned":
        await alice.client.delete(path)
    assert await sent(database, payload, at=second) == []


async def test_a_mail_of_what_was_deleted_is_not_sent_when_its_series_is_split_later(
    alice: User, look: Look, database: Database
) -> None:
    """That its series has it no more need not mean that a half has it."""
    created = await event(alice, 10, recurrence_pattern="FREQ=DAILY;COUNT=5")
    await by_email(database, created["id"])
    await look(SOON - minutes(10))
    [payload] = await jobs(database, alice)
    await alice.client.delete(f"/api/events/{created['id']}/occurrences/{rfc3339(SOON)}")
    await split(alice, created["id"], SOON + timedelta(days=1), title="Retro")
    assert await sent(database, payload, at=SOON) == []


async def test_a_process_without_email_leaves_it_to_others(
    alice: User, look: Look, database: Database, settings: Settings
) -> None:
    """Whoever finds that a reminder is due need not be who sends the mail."""
    both = await event(alice, 10)
    silent = await event(alice, 10, title="Silent")
    await by_email(database, silent["id"])
    await look(SOON)
    assert [item["title"] for item in await reminded(alice)] == [both["title"]]
    assert JOB not in {job.name for job in background(settings).jobs}
    by_mail = settings.model_copy(update={"smtp_url": SecretStr("smtp://127.0.0.1:9")})
    assert JOB in {job.name for job in background(by_mail).jobs}
    [payload] = await jobs(database, alice)
    assert await sent(database, payload, at=SOON) == ["Silent starts now"]


async def test_a_user_gets_so_many_emails_an_hour(
    alice: User, bob: User, look: Look, database: Database
) -> None:
    """Anybody may register with anybody's address, and write the titles."""
    for user, count in ((alice, 6), (bob, 1)):
        for number in range(count):
            created = await event(user, 10, at=SOON + minutes(number))
            await by_email(database, created["id"])
    with capture_logs() as logs:
        await look(SOON - minutes(9))
        for number in range(6):
            await look(SOON - minutes(9 - number))
    assert len(await jobs(database, alice)) == PER_HOUR == 3
    assert len(await jobs(database, bob)) == 1
    said = [log for log in logs if log["event"] == "reminders_not_mailed"]
    assert [(log["user_id"], log["limit"]) for log in said] == [(alice.id, PER_HOUR)]
    later = await event(alice, 10, at=SOON + minutes(61))
    await by_email(database, later["id"])
    await look(SOON + minutes(51))
    assert len(await jobs(database, alice)) == 1


async def test_where_two_hours_meet_a_user_gets_twice_as_many_emails_and_no_more(
    alice: User, look: Look, database: Database
) -> None:
    """So the settings say: an hour begins with its first mail, and the next may follow at once."""
    # One begins the hour; the others come in its last minutes and in the first of the next.
    for after in (0, *range(55, 65)):
        created = await event(alice, 10, at=SOON + minutes(after))
        await by_email(database, created["id"])
    counts = []
    for after in (0, 59, 64):
        await look(SOON - minutes(10) + minutes(after))
        counts.append(len(await jobs(database, alice)))
    assert counts == [1, PER_HOUR - 1, PER_HOUR]


async def test_mails_and_marks_stand_or_fall_together(
    alice: User, look: Look, database: Database
) -> None:
    """Several looks at once put one mail into the queue."""
    created = await event(alice, 10)
    await by_email(database, created["id"])
    await asyncio.gather(*(look(SOON) for _ in range(6)))
    assert len(await jobs(database, alice)) == 1
    assert created["reminders"] == told(10)


_HOOK = query("""
    INSERT INTO webhooks (id, user_id, url, secret, created_at, updated_at)
    VALUES (:id, :user_id, 'https://hooks.example/', decode('00', 'hex'), :now, :now)
""")
_DELIVERIES = query("""
    SELECT d.type, convert_from(d.body, 'UTF8') AS body
    FROM deliveries d JOIN webhooks w ON w.id = d.webhook_id WHERE w.user_id = :user_id
""")


async def test_a_webhook_is_called_once_with_what_a_notification_says(
    alice: User, look: Look, database: Database
) -> None:
    """A program that is reminded needs the same facts, and no notification beside."""
    async with database.reading() as read:
        await read.first(_HOOK, id=uuid7(), user_id=alice.id, now=SOON)
    created = await event(alice, reminders=told(10, channel="webhook"))
    await asyncio.gather(*(look(SOON - minutes(10)) for _ in range(3)))
    async with database.reading() as read:
        [made] = await read.all(_DELIVERIES, user_id=alice.id)
    body = orjson.loads(made["body"])
    assert made["type"] == body["type"] == body["data"]["type"] == "reminder"
    assert body["data"]["event_id"] == created["id"]
    assert body["data"]["message"].startswith("\u201cStandup\u201d starts in 10 minutes (")
    assert body["data"]["data"]["minutes_before"] == 10
    assert await reminded(alice) == []


async def test_webhooks_of_many_are_called_each_with_its_own(
    alice: User, bob: User, look: Look, database: Database
) -> None:
    """What is due for several users at once is posted to each one's webhooks only."""
    async with database.reading() as read:
        for user in (alice, alice, bob):
            await read.first(_HOOK, id=uuid7(), user_id=user.id, now=SOON)
    created = [
        await event(user, reminders=told(10, 5, channel="webhook"), title=title)
        for user, title in ((alice, "Hers"), (bob, "His"))
    ]
    await look(SOON)
    for user, item, calls in ((alice, created[0], 4), (bob, created[1], 2)):
        async with database.reading() as read:
            rows = await read.all(_DELIVERIES, user_id=user.id)
        bodies = [orjson.loads(row["body"])["data"] for row in rows]
        assert [body["event_id"] for body in bodies] == [item["id"]] * calls
        assert {body["data"]["minutes_before"] for body in bodies} == {5, 10}
