"""What is told to a user arrives at the user's webhooks, signed, or is known to have failed."""

import asyncio
import socket
import threading
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
import standardwebhooks

from eventmanager.core.background import Postponed
from eventmanager.core.config import Settings
from eventmanager.core.database import Transaction, query
from eventmanager.webhooks import connecting, delivering, dispatching, queries
from eventmanager.webhooks.connecting import Lookups
from eventmanager.webhooks.delivering import (
    Deliverer,
    Draft,
    expire_deliveries,
    make,
    purge_deliveries,
)
from eventmanager.webhooks.lanes import Lanes
from eventmanager.webhooks.service import notify
from tests.conftest import User, started, timed
from tests.events.conftest import share
from tests.webhooks.conftest import (
    OK,
    Received,
    Receiver,
    Steps,
    answering,
    deliveries_of,
    event_of,
    webhook_of,
)

DOWN = answering(500, body="it is broken")
DAY = timedelta(hours=24)


def verified(secret: str, request: Received) -> Any:
    """Return a body as a receiver reads it that trusts nobody."""
    return standardwebhooks.Webhook(secret).verify(request.body, request.headers)


async def detail_of(user: User, webhook: Any, delivery_id: str) -> Any:
    """Return all about a delivery."""
    path = f"/api/webhooks/{webhook['id']}/deliveries/{delivery_id}"
    return (await user.client.get(path)).json()


async def told_of_disabling(user: User) -> list[Any]:
    """Return what a user was told of webhooks."""
    said = (await user.client.get("/api/notifications")).json()
    return [message for message in said if message["type"] == "webhook_disabled"]


async def test_a_delivery_is_signed_as_standard_webhooks_says(
    ada: User, ben: User, receiver: Receiver, steps: Steps
) -> None:
    """Their own library accepts it, and what it reads is the user's own notification."""
    webhook = await webhook_of(ada, receiver.url)
    event = await event_of(ben)
    await share(ben, event["id"], ada, "Viewer")
    await steps.deliver()
    [request] = receiver.received
    body = verified(webhook["secret"], request)
    [notification] = (await ada.client.get("/api/notifications")).json()
    assert body == {
        "type": "permission_granted",
        "timestamp": notification["occurred_at"],
        "data": notification,
    }
    assert (
        notification["message"] == "\u201cStandup\u201d was shared with you. Your role is Viewer."
    )
    assert request.headers["webhook-id"] == notification["id"]
    assert request.headers["content-type"] == "application/json"
    assert request.target == "/hook?room=1"
    [delivery] = await deliveries_of(ada, webhook)
    assert delivery["state"] == "delivered"
    assert delivery["last_attempt"]["status"] == 200
    detail = await detail_of(ada, webhook, delivery["id"])
    assert detail["body"].encode() == request.body
    assert [attempt["error"] for attempt in detail["attempts"]] == [None]


async def test_a_worker_delivers_within_seconds(
    settings: Settings, ada: User, receiver: Receiver, steps: Steps
) -> None:
    """The whole way: from a change, by the watch and the queue of a real worker."""
    webhook = await webhook_of(ada, receiver.url)
    worker = settings.model_copy(update={"webhook_allow_private": True, "background_tasks": True})
    async with started(worker):
        event = await event_of(ada)
        [request] = await receiver.until(1)
    assert verified(webhook["secret"], request)["data"]["event_id"] == event["id"]
    # Whatever was put off in the worker's last moment.
    await steps.jobs()


async def test_one_is_told_what_one_wants_to_be_told(
    ada: User, ben: User, receiver: Receiver, steps: Steps
) -> None:
    """Of the chosen types only, one's own doing included, and nothing of other people's."""
    await webhook_of(ada, receiver.url, types=["event_deleted", "event_updated"])
    event = await event_of(ada)
    await event_of(ben)
    await ada.client.patch(f"/api/events/{event['id']}", json={"title": "New"})
    await ada.client.delete(f"/api/events/{event['id']}")
    await steps.deliver()
    types = sorted(request.json["type"] for request in receiver.received)
    assert types == ["event_deleted", "event_updated"]
    assert {request.json["data"]["initiator_id"] for request in receiver.received} == {str(ada.id)}


async def test_a_webhook_hears_of_what_comes_after_its_creation(
    ada: User, receiver: Receiver, steps: Steps
) -> None:
    """Also when what came before has not been dispatched yet."""
    await event_of(ada, "before")
    await webhook_of(ada, receiver.url)
    await event_of(ada, "after")
    await steps.deliver()
    assert [request.json["data"]["data"]["title"] for request in receiver.received] == ["after"]


async def test_each_message_is_dispatched_once(ada: User, receiver: Receiver, steps: Steps) -> None:
    """However many processes look at the same time, and one that fails in the middle."""
    webhook = await webhook_of(ada, receiver.url)
    for number in range(3):
        await event_of(ada, f"{number}")
        async with asyncio.timeout(5):
            await asyncio.gather(*(steps.dispatch() for _ in range(4)))
        await steps.dispatch()
    assert len(await deliveries_of(ada, webhook)) == 3
    await steps.attempt()
    titles = sorted(request.json["data"]["data"]["title"] for request in receiver.received)
    assert titles == ["0", "1", "2"]


_MADE = query("""
    SELECT count(*) AS deliveries, coalesce(sum(octet_length(body)), 0) AS bytes
    FROM deliveries d JOIN webhooks w ON w.id = d.webhook_id WHERE w.user_id = :user_id
""")


async def made_for(steps: Steps, user: User) -> tuple[int, int]:
    """Return how many deliveries there are to a user's webhooks, and their size."""
    async with steps.database.reading() as read:
        row = await read.first(_MADE, user_id=user.id)
    assert row is not None
    return row["deliveries"], int(row["bytes"])


async def test_a_transaction_makes_so_many_bytes_of_deliveries(
    ada: User, receiver: Receiver, steps: Steps
) -> None:
    """A bulk change of long texts, times all webhooks, would be more than a process can hold."""
    for _ in range(20):
        await webhook_of(ada, receiver.url, types=["event_updated"])
    for number in range(25):
        event = await event_of(ada)
        change = {"description": f"{number}" * (20_000 // len(f"{number}"))}
        await ada.client.patch(f"/api/events/{event['id']}", json=change)
    before = (0, 0)
    more, rounds = True, 0
    while more:
        more = await dispatching.dispatch(steps.database, datetime.now(UTC))
        after = await made_for(steps, ada)
        assert after[0] - before[0] <= dispatching.DELIVERIES_AT_ONCE
        assert after[1] - before[1] <= dispatching.BYTES_AT_ONCE * 1.1
        before, rounds = after, rounds + 1
    assert before[0] == 20 * 25
    assert before[1] > dispatching.BYTES_AT_ONCE
    assert rounds == 2


@pytest.mark.parametrize(
    ("deliveries", "size", "at_once"), [(3, 10**9, 3), (500, 1, 1)], ids=["many", "big"]
)
async def test_a_message_for_many_webhooks_is_dispatched_in_parts(
    ada: User,
    receiver: Receiver,
    steps: Steps,
    monkeypatch: pytest.MonkeyPatch,
    deliveries: int,
    size: int,
    at_once: int,
) -> None:
    """Each webhook gets each message once, however many transactions it takes."""
    monkeypatch.setattr(dispatching, "DELIVERIES_AT_ONCE", deliveries)
    monkeypatch.setattr(dispatching, "BYTES_AT_ONCE", size)
    webhooks = [await webhook_of(ada, receiver.url) for _ in range(5)]
    for title in ("first", "second", "third"):
        await event_of(ada, title)
    made = 0
    while await dispatching.dispatch(steps.database, datetime.now(UTC)):
        now_made, _ = await made_for(steps, ada)
        assert 0 < now_made - made <= at_once
        made = now_made
    for webhook in webhooks:
        assert len(await deliveries_of(ada, webhook)) == 3
    await steps.attempt()
    titles = [request.json["data"]["data"]["title"] for request in receiver.received]
    assert sorted(titles) == ["first"] * 5 + ["second"] * 5 + ["third"] * 5


@timed
async def test_who_finds_another_process_at_it_goes_on(
    ada: User, receiver: Receiver, steps: Steps
) -> None:
    """One that hangs in the middle holds up dispatching, and no other process."""
    webhook = await webhook_of(ada, receiver.url)
    await event_of(ada)

    async def while_held(tx: Transaction) -> None:
        assert await tx.first(queries.HELD_MARK)
        async with asyncio.timeout(2):
            await steps.dispatch()
        assert await deliveries_of(ada, webhook) == []

    await steps.database.transaction(while_held)
    await steps.dispatch()
    assert len(await deliveries_of(ada, webhook)) == 1


async def test_a_message_that_commits_late_is_not_passed_over(
    ada: User, receiver: Receiver, steps: Steps
) -> None:
    """Dispatching waits for what runs: neither it nor what came after it is lost."""
    await webhook_of(ada, receiver.url)
    begun, over = asyncio.Event(), asyncio.Event()
    stage = query("""
        INSERT INTO messages (id, recipients, owner_id, type, data, occurred_at)
        VALUES (:id, ARRAY[CAST(:user_id AS uuid)], :user_id, 'event_created',
                '{"title": "late"}', now())
    """)

    async def late(tx: Transaction) -> None:
        await tx.first(stage, id=uuid4(), user_id=ada.id)
        begun.set()
        await over.wait()

    await event_of(ada, "settled")
    running = asyncio.create_task(steps.database.transaction(late))
    await begun.wait()
    await event_of(ada, "early")
    await steps.deliver()
    assert [request.json["data"]["data"]["title"] for request in receiver.received] == ["settled"]
    over.set()
    await running
    await steps.deliver()
    titles = sorted(request.json["data"]["data"]["title"] for request in receiver.received[1:])
    assert titles == ["early", "late"]


async def test_without_webhooks_messages_are_passed_over(ada: User, steps: Steps) -> None:
    """One that is made later hears nothing of them, and there is nothing to look through."""
    async with steps.database.reading() as read:
        await read.first(query("UPDATE webhooks SET is_active = false"))
    await event_of(ada)
    await steps.dispatch()
    mark = query("""
        SELECT EXISTS (
            SELECT FROM messages m
            WHERE (m.transaction_id, m.position) > (d.transaction_id, d.position)) AS waiting
        FROM dispatch_mark d
    """)
    async with steps.database.reading() as read:
        row = await read.first(mark)
    assert row is not None
    assert not row["waiting"]


async def test_a_failure_is_tried_again_until_it_succeeds(
    ada: User, receiver: Receiver, steps: Steps
) -> None:
    """With the same id and body, a signature of its own time, and ever longer pauses."""
    webhook = await webhook_of(ada, receiver.url)
    receiver.answers = [DOWN, answering(404), answering(302, "Location: /"), OK]
    await event_of(ada)
    await steps.dispatch()
    at = datetime.now(UTC)
    pauses = []
    for _ in range(3):
        await steps.attempt(at=at)
        [delivery] = await deliveries_of(ada, webhook, state="pending")
        next_at = datetime.fromisoformat(delivery["next_attempt_at"])
        pauses.append((next_at - at).total_seconds())
        at = next_at
    for pause, usual in zip(pauses, (5, 30, 120), strict=True):
        assert 0.8 * usual <= pause <= 1.2 * usual + 1
    assert (await ada.client.get(f"/api/webhooks/{webhook['id']}")).json()["failing_since"]
    await steps.attempt(at=at)
    assert [item["state"] for item in await deliveries_of(ada, webhook)] == ["delivered"]
    assert (await ada.client.get(f"/api/webhooks/{webhook['id']}")).json()["failing_since"] is None
    assert await steps.jobs() == []
    assert len({request.headers["webhook-id"] for request in receiver.received}) == 1
    assert len({request.body for request in receiver.received}) == 1
    assert len({request.headers["webhook-timestamp"] for request in receiver.received}) == 4
    for request in receiver.received:
        verified(webhook["secret"], request)
    detail = await detail_of(ada, webhook, delivery["id"])
    assert [attempt["status"] for attempt in detail["attempts"]] == [500, 404, 302, 200]
    assert detail["attempts"][0]["error"] == "the answer is 500"
    assert detail["attempts"][0]["answer"] == "it is broken"


async def test_the_retry_is_in_the_queue_with_its_pause(
    ada: User, receiver: Receiver, steps: Steps
) -> None:
    """Written down with the failure, in one transaction: no process need remember it."""
    await webhook_of(ada, receiver.url)
    receiver.answers = [DOWN]
    await event_of(ada)
    await steps.deliver()
    due = query(
        "SELECT execute_after - now() AS pause FROM pgqueuer WHERE entrypoint = 'deliver_webhook'"
    )
    async with steps.database.reading() as read:
        [row] = await read.all(due)
    assert timedelta(seconds=3) < row["pause"] < timedelta(seconds=7)


@pytest.mark.parametrize(
    ("header", "shortest", "longest"),
    [("3600", 3600, 3600), ("1", 4, 7), ("999999999", 6 * 3600, 6 * 3600), ("soon", 4, 7)],
)
async def test_a_receiver_may_ask_to_be_left_alone(
    ada: User, receiver: Receiver, steps: Steps, header: str, shortest: float, longest: float
) -> None:
    """`Retry-After` of a 429 or 503 is honoured, up to six hours."""
    webhook = await webhook_of(ada, receiver.url)
    receiver.answers = [answering(429, f"Retry-After: {header}")]
    await event_of(ada)
    await steps.deliver()
    [delivery] = await deliveries_of(ada, webhook)
    asked = datetime.fromisoformat(delivery["next_attempt_at"])
    pause = (asked - datetime.fromisoformat(delivery["last_attempt"]["at"])).total_seconds()
    assert shortest <= pause <= longest + 1


async def test_a_day_of_failures_disables_a_webhook_and_tells_its_user(
    ada: User, receiver: Receiver, steps: Steps
) -> None:
    """After the last attempt, when 24 hours are over; what else waits for it fails with it."""
    webhook = await webhook_of(ada, receiver.url)
    receiver.answers = [DOWN] * 50
    await event_of(ada)
    await steps.dispatch()
    queued_at = at = datetime.now(UTC)
    attempts = 0
    while (found := await deliveries_of(ada, webhook))[0]["state"] == "pending":
        next_at = datetime.fromisoformat(found[0]["next_attempt_at"])
        at = max(at, next_at)
        await steps.attempt(at=at)
        attempts += 1
        assert attempts < 30
    assert 10 <= attempts <= 15
    assert DAY - timedelta(minutes=2) <= at - queued_at <= DAY + timedelta(minutes=1)
    disabled = (await ada.client.get(f"/api/webhooks/{webhook['id']}")).json()
    assert disabled["is_active"] is False
    assert disabled["disabled_at"]
    [said] = await told_of_disabling(ada)
    assert said["event_id"] is None
    assert said["initiator_id"] is None
    assert said["data"] == {"webhook_id": webhook["id"], "url": receiver.url, "reason": "failing"}
    assert receiver.url in said["message"]
    assert said["message"].startswith("Your webhook \u201chttp")
    assert await steps.jobs() == []


async def test_a_disabled_webhook_is_enabled_by_its_user(
    ada: User, receiver: Receiver, steps: Steps
) -> None:
    """What failed can be replayed, and what comes from then on arrives."""
    webhook = await webhook_of(ada, receiver.url)
    other = await webhook_of(ada, receiver.url, types=["webhook_disabled"])
    receiver.answers = [answering(410)]
    await event_of(ada, "first")
    await steps.deliver()
    path = f"/api/webhooks/{webhook['id']}"
    assert (await ada.client.get(path)).json()["disabled_at"]
    await event_of(ada, "meanwhile")
    await steps.deliver()
    # It is told to the user's other webhook, and not to the disabled one.
    assert [request.json["type"] for request in receiver.received[1:]] == ["webhook_disabled"]
    assert len(await deliveries_of(ada, other)) == 1
    enabled = (await ada.client.patch(path, json={"is_active": True})).json()
    assert enabled["is_active"]
    assert enabled["disabled_at"] is None
    assert enabled["failing_since"] is None
    await event_of(ada, "second")
    [failed] = await deliveries_of(ada, webhook, state="failed")
    assert (await ada.client.post(f"{path}/deliveries/{failed['id']}/replay")).status_code == 202
    await steps.deliver()
    titles = sorted(request.json["data"]["data"]["title"] for request in receiver.received[2:])
    assert titles == ["first", "second"]
    assert len(await told_of_disabling(ada)) == 1


async def test_gone_disables_at_once_and_what_waits_fails(
    ada: User, receiver: Receiver, steps: Steps
) -> None:
    """410 is how a receiver says that it wants nothing any more."""
    webhook = await webhook_of(ada, receiver.url)
    receiver.answers = [answering(410)]
    for _ in range(3):
        await event_of(ada)
    await steps.dispatch()
    [job, *others] = await steps.jobs()
    await steps.do(job)
    assert [item["state"] for item in await deliveries_of(ada, webhook)] == ["failed"] * 3
    for other in others:
        await steps.do(other)
    assert len(receiver.received) == 1
    assert len(await told_of_disabling(ada)) == 1


async def test_a_day_on_which_nobody_tried_does_not_disable_a_webhook(
    ada: User, receiver: Receiver, steps: Steps
) -> None:
    """A server that was off for a weekend knows of one failure, and of no day of them."""
    webhook = await webhook_of(ada, receiver.url)
    receiver.answers = [DOWN]
    await event_of(ada)
    await steps.deliver(at=datetime.now(UTC) + 2 * DAY)
    assert [item["state"] for item in await deliveries_of(ada, webhook)] == ["failed"]
    assert (await ada.client.get(f"/api/webhooks/{webhook['id']}")).json()["is_active"]


async def test_too_many_that_wait_disable_a_webhook(
    ada: User, receiver: Receiver, steps: Steps, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether its receiver fails or is only slow: nothing of it fills the queue without end."""
    monkeypatch.setattr(delivering, "BACKLOG_MAX", 3)
    webhook = await webhook_of(ada, receiver.url)
    other = await webhook_of(ada, receiver.url, types=["event_created"])
    for _ in range(3):
        await event_of(ada)
    await steps.dispatch()
    [first, *_] = await steps.jobs()
    await steps.do(first)
    await event_of(ada)
    await steps.dispatch()
    states = {
        hook["id"]: [item["state"] for item in await deliveries_of(ada, hook)]
        for hook in (webhook, other)
    }
    # One of the two has got one of them, so that the next was not too many for it.
    full, slow = sorted(states, key=lambda hook: "delivered" in states[hook])
    assert states[full] == ["failed"] * 4
    assert sorted(states[slow]) == ["delivered"] + ["pending"] * 3
    assert not (await ada.client.get(f"/api/webhooks/{full}")).json()["is_active"]
    assert (await ada.client.get(f"/api/webhooks/{slow}")).json()["is_active"]
    [said] = await told_of_disabling(ada)
    assert said["data"] == {"webhook_id": full, "url": receiver.url, "reason": "backlog"}
    assert "too many deliveries were waiting" in said["message"]


async def test_what_waits_for_more_than_a_day_fails(
    ada: User, receiver: Receiver, steps: Steps
) -> None:
    """Though it was never attempted, or the job that was to do it is gone; it can be replayed."""
    webhook = await webhook_of(ada, receiver.url)
    await event_of(ada)
    await steps.dispatch()
    [job] = await steps.jobs()
    now = datetime.now(UTC)
    await expire_deliveries(steps.database, now + DAY)
    assert [item["state"] for item in await deliveries_of(ada, webhook)] == ["pending"]
    await expire_deliveries(steps.database, now + DAY + timedelta(hours=2))
    [delivery] = await deliveries_of(ada, webhook)
    assert (delivery["state"], delivery["next_attempt_at"]) == ("failed", None)
    await steps.do(job)
    assert receiver.received == []
    assert (await ada.client.get(f"/api/webhooks/{webhook['id']}")).json()["is_active"]
    path = f"/api/webhooks/{webhook['id']}/deliveries/{delivery['id']}/replay"
    assert (await ada.client.post(path)).status_code == 202
    await steps.attempt()
    assert len(receiver.received) == 1


async def test_one_message_that_a_receiver_refuses_does_not_disable_the_webhook(
    ada: User, receiver: Receiver, steps: Steps
) -> None:
    """Others arrive meanwhile, so it works."""
    webhook = await webhook_of(ada, receiver.url)
    receiver.answers = [DOWN, OK, DOWN]
    await event_of(ada, "refused")
    await steps.deliver()
    [retry] = await steps.jobs()
    await event_of(ada, "fine")
    await steps.deliver()
    await steps.do(retry, at=datetime.now(UTC) + DAY)
    states = [item["state"] for item in await deliveries_of(ada, webhook)]
    assert states == ["delivered", "failed"]
    assert (await ada.client.get(f"/api/webhooks/{webhook['id']}")).json()["is_active"]
    assert await told_of_disabling(ada) == []


async def test_a_replay_is_the_same_delivery_again(
    ada: User, receiver: Receiver, steps: Steps
) -> None:
    """With the same id, by which a receiver knows that it has it already."""
    webhook = await webhook_of(ada, receiver.url)
    await event_of(ada)
    await steps.deliver()
    [delivery] = await deliveries_of(ada, webhook)
    path = f"/api/webhooks/{webhook['id']}/deliveries/{delivery['id']}/replay"
    answer = await ada.client.post(path)
    assert answer.status_code == 202
    assert answer.json()["state"] == "pending"
    await steps.attempt()
    first, second = receiver.received
    assert first.body == second.body
    assert first.headers["webhook-id"] == second.headers["webhook-id"]
    [delivery] = await deliveries_of(ada, webhook)
    assert (delivery["state"], delivery["attempt_count"]) == ("delivered", 2)


async def test_a_replay_of_what_waits_takes_the_place_of_its_retry(
    ada: User, receiver: Receiver, steps: Steps
) -> None:
    """There is never more than one chain of attempts, however often one asks."""
    webhook = await webhook_of(ada, receiver.url)
    receiver.answers = [DOWN, DOWN]
    await event_of(ada)
    await steps.deliver()
    [delivery] = await deliveries_of(ada, webhook)
    for _ in range(3):
        await ada.client.post(f"/api/webhooks/{webhook['id']}/deliveries/{delivery['id']}/replay")
    assert len(receiver.received) == 1
    await steps.attempt()
    assert len(receiver.received) == 2
    [retry] = await steps.jobs()
    await steps.do(retry)
    assert len(receiver.received) == 3
    assert await steps.jobs() == []


async def test_a_replay_has_a_day_of_its_own(ada: User, receiver: Receiver, steps: Steps) -> None:
    """It is for a receiver that is being repaired."""
    webhook = await webhook_of(ada, receiver.url)
    receiver.answers = [DOWN] * 2
    await event_of(ada)
    await steps.deliver(at=datetime.now(UTC) + DAY)
    [delivery] = await deliveries_of(ada, webhook, state="failed")
    await ada.client.post(f"/api/webhooks/{webhook['id']}/deliveries/{delivery['id']}/replay")
    await steps.attempt()
    [delivery] = await deliveries_of(ada, webhook, state="pending")
    await steps.attempt()
    assert len(await deliveries_of(ada, webhook, state="delivered")) == 1


async def test_a_delivery_whose_name_can_not_be_looked_up_yet_is_postponed(
    ada: User, receiver: Receiver, steps: Steps
) -> None:
    """That others' names are slow is no failure of its receiver."""
    webhook = await webhook_of(ada, receiver.url)
    await event_of(ada)
    await steps.dispatch()
    [job] = await steps.jobs()
    busy = Deliverer(Lanes(), Lookups(0), allow_private=True)
    with pytest.raises(Postponed):
        await busy.deliver(steps.database, datetime.now(UTC), job)
    [delivery] = await deliveries_of(ada, webhook)
    assert (delivery["state"], delivery["attempt_count"]) == ("pending", 0)
    await steps.do(job)
    assert [item["state"] for item in await deliveries_of(ada, webhook)] == ["delivered"]


@pytest.mark.parametrize("redirected", [False, True], ids=["at once", "after a redirect"])
async def test_a_user_whose_names_hang_holds_up_no_other_users_deliveries(
    ada: User,
    ben: User,
    receiver: Receiver,
    steps: Steps,
    monkeypatch: pytest.MonkeyPatch,
    redirected: bool,
) -> None:
    """A lookup is given up after seconds, and keeps its thread for as long as name servers like."""
    hanging = "http://127.0.0.1:9/"
    gone_on, ask = threading.Event(), socket.getaddrinfo

    def slowly(host: str, port: int, **more: Any) -> Any:
        if port == 9:
            assert gone_on.wait(60)
        return ask(host, port, **more)

    hers = await webhook_of(ada, receiver.url if redirected else hanging)
    his = await webhook_of(ben, receiver.url)
    monkeypatch.setattr(connecting, "RESOLVE_SECONDS", 0.05)
    monkeypatch.setattr(socket, "getaddrinfo", slowly)
    now = datetime.now(UTC)
    job = delivering.delivering(allow_private=True)

    async def attempt(webhook: Any, count: int) -> None:
        drafts = [Draft(webhook["id"], uuid4(), "ping", now, b"{}") for _ in range(count)]
        await steps.database.transaction(lambda tx: make(tx, drafts, now=now))
        for payload in await steps.jobs():
            with suppress(Postponed):
                await job.run(steps.database, now, payload)

    try:
        receiver.answers = [answering(307, f"Location: {hanging}")] * 70
        await attempt(hers, 70)
        receiver.answers = []
        await attempt(his, 1)
    finally:
        gone_on.set()
    assert [item["state"] for item in await deliveries_of(ben, his)] == ["delivered"]


async def test_a_worker_that_dies_in_the_middle_loses_nothing(
    ada: User, receiver: Receiver, steps: Steps
) -> None:
    """Its job is taken again, since nothing says that it is done; the receiver may get it twice."""
    webhook = await webhook_of(ada, receiver.url)
    receiver.answers = [None]
    await event_of(ada)
    await steps.dispatch()
    [job] = await steps.jobs()
    dying = asyncio.create_task(steps.do(job))
    await receiver.until(1)
    dying.cancel()
    await asyncio.gather(dying, return_exceptions=True)
    assert [item["state"] for item in await deliveries_of(ada, webhook)] == ["pending"]
    await steps.do(job)
    first, second = receiver.received
    assert first.headers["webhook-id"] == second.headers["webhook-id"]
    assert [item["state"] for item in await deliveries_of(ada, webhook)] == ["delivered"]
    # Once it is written down, a job that is taken again does nothing.
    await steps.do(job)
    assert len(receiver.received) == 2


async def test_a_dispatch_that_dies_before_its_commit_is_done_again(
    ada: User, receiver: Receiver, steps: Steps
) -> None:
    """Deliveries, their jobs and the mark stand or fall together."""
    webhook = await webhook_of(ada, receiver.url)

    async def die(tx: Transaction) -> None:
        draft = Draft(webhook["id"], uuid4(), "ping", datetime.now(UTC), b"{}")
        assert len(await make(tx, [draft], now=datetime.now(UTC))) == 1
        raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        await steps.database.transaction(die)
    assert await steps.jobs() == []
    assert await deliveries_of(ada, webhook) == []


async def test_both_secrets_sign_for_a_day(ada: User, receiver: Receiver, steps: Steps) -> None:
    """So that a receiver can change over when it likes; then the old one is worth nothing."""
    webhook = await webhook_of(ada, receiver.url)
    path = f"/api/webhooks/{webhook['id']}"
    new = (await ada.client.post(f"{path}/secret")).json()["secret"]
    await ada.client.post(f"{path}/test")
    await steps.attempt()
    [request] = receiver.received
    assert verified(webhook["secret"], request) == verified(new, request)
    assert len(request.headers["webhook-signature"].split()) == 2
    await ada.client.post(f"{path}/test")
    await steps.attempt(at=datetime.now(UTC) + DAY + timedelta(seconds=1))
    assert len(receiver.received[1].headers["webhook-signature"].split()) == 1


async def test_a_ping_goes_to_a_webhook_that_is_not_active(
    ada: User, receiver: Receiver, steps: Steps
) -> None:
    """Whatever types it wants: to see whether it works before it is enabled."""
    webhook = await webhook_of(ada, receiver.url, is_active=False, types=["reminder"])
    answer = await ada.client.post(f"/api/webhooks/{webhook['id']}/test")
    assert answer.status_code == 202
    await steps.attempt()
    body = verified(webhook["secret"], receiver.received[0])
    assert body["type"] == "ping"
    assert body["data"] == {"webhook_id": webhook["id"]}


async def test_what_waits_for_a_webhook_that_is_deleted_is_not_sent(
    ada: User, receiver: Receiver, steps: Steps
) -> None:
    """Nor is that an error."""
    webhook = await webhook_of(ada, receiver.url)
    await event_of(ada)
    await steps.dispatch()
    assert (await ada.client.delete(f"/api/webhooks/{webhook['id']}")).status_code == 204
    await steps.attempt()
    assert receiver.received == []


async def test_a_disabled_account_is_sent_nothing(
    ada: User, receiver: Receiver, steps: Steps
) -> None:
    """Neither what waits nor what comes; the webhook is not to blame."""
    webhook = await webhook_of(ada, receiver.url)
    await event_of(ada)
    await steps.dispatch()
    disable = query("UPDATE users SET is_active = :is_active WHERE id = :id")
    async with steps.database.reading() as read:
        await read.first(disable, is_active=False, id=ada.id)
    await steps.attempt()
    assert receiver.received == []
    async with steps.database.reading() as read:
        await read.first(disable, is_active=True, id=ada.id)
    await asyncio.sleep(0.6)  # a session's state is remembered for half a second
    assert (await ada.client.get(f"/api/webhooks/{webhook['id']}")).json()["is_active"]
    [delivery] = await deliveries_of(ada, webhook)
    assert delivery["last_attempt"]["error"] == "the account is disabled"


async def test_others_may_post_to_a_users_webhooks_in_their_transaction(
    ada: User, receiver: Receiver, steps: Steps
) -> None:
    """As reminders do: once for each message, to the active webhooks that want the type."""
    wanting = await webhook_of(ada, receiver.url, types=["reminder"])
    await webhook_of(ada, receiver.url, types=["event_created"])
    await webhook_of(ada, receiver.url, is_active=False)
    message_id = uuid4()

    async def tell(tx: Transaction) -> int:
        return await notify(
            tx, [(ada.id, {"id": message_id, "title": "Standup"})], type="reminder",
            now=datetime.now(UTC),
        )  # fmt: skip

    assert await steps.database.transaction(tell) == 1
    assert await steps.database.transaction(tell) == 0
    await steps.attempt()
    [request] = receiver.received
    assert verified(wanting["secret"], request)["data"] == {
        "id": str(message_id),
        "title": "Standup",
    }
    assert request.headers["webhook-id"] == str(message_id)


async def test_old_deliveries_are_purged(ada: User, receiver: Receiver, steps: Steps) -> None:
    """As messages are; those that wait are not, however old they are."""
    webhook = await webhook_of(ada, receiver.url)
    for _ in range(2):
        await event_of(ada)
    await steps.dispatch()
    [job, _] = await steps.jobs()
    await steps.do(job)
    now = datetime.now(UTC)
    await purge_deliveries(steps.database, now + timedelta(days=29), days=30)
    assert len(await deliveries_of(ada, webhook)) == 2
    await purge_deliveries(steps.database, now + timedelta(days=31), days=30)
    assert [item["state"] for item in await deliveries_of(ada, webhook)] == ["pending"]
