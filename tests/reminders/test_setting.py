"""Reminders as each reader sets and sees them."""

from typing import Any

import httpx
import pytest
from pydantic import SecretStr

from eventmanager.core.config import Settings
from tests.conftest import User, register, started
from tests.events.conftest import Body, share
from tests.reminders.conftest import changed, event, told


async def seen(user: User, event_id: str) -> list[Body]:
    """Return the reminders that the user sees on an event."""
    answer = await user.client.get(f"/api/events/{event_id}")
    assert answer.status_code == 200, answer.text
    found: list[Body] = answer.json()["reminders"]
    return found


async def versions(user: User, event_id: str) -> int:
    """Return how many versions the event has."""
    answer = await user.client.get(f"/api/events/{event_id}/history")
    return len(answer.json())


async def test_reminders_come_with_the_event(alice: User) -> None:
    """Every answer that shows the event shows the caller's reminders, in one order."""
    wanted = [*told(60), *told(10, channel="webhook"), *told(10)]
    created = await event(alice, reminders=wanted)
    expected = [*told(10), *told(10, channel="webhook"), *told(60)]
    path = f"/api/events/{created['id']}"
    assert created["reminders"] == expected
    assert await seen(alice, created["id"]) == expected
    assert (await changed(alice, created["id"], title="Other"))["reminders"] == expected
    moved = await changed(alice, created["id"], time_zone="Europe/Berlin")
    assert moved["reminders"] == expected
    [listed] = (await alice.client.get("/api/events")).json()
    assert listed["reminders"] == expected
    then = await alice.client.get(path, params={"as_of": created["created_at"]})
    assert then.json()["reminders"] == expected
    [synced] = (await alice.client.get("/api/sync")).json()["changed"]
    assert synced["reminders"] == expected
    assert (await alice.client.delete(path)).status_code == 204
    [binned] = (await alice.client.get("/api/events", params={"deleted": True})).json()
    assert binned["reminders"] == expected
    assert (await alice.client.post(f"{path}/restore")).json()["reminders"] == expected


async def test_a_batch_has_its_own_each(alice: User) -> None:
    """Each event of a batch has those that were sent with it."""
    start: Body = {
        "title": "A",
        "start_time": "2030-01-01T10:00:00Z",
        "end_time": "2030-01-01T11:00:00Z",
    }
    events: list[Body] = [
        start | {"reminders": told(5)},
        start,
        start | {"reminders": told(0, 40_320)},
    ]
    answer = await alice.client.post(
        "/api/events/batch", params={"on_conflict": "allow"}, json={"events": events}
    )
    assert answer.status_code == 201, answer.text
    for sent, created in zip(events, answer.json(), strict=True):
        assert created["reminders"] == sent.get("reminders", [])
        assert await seen(alice, created["id"]) == sent.get("reminders", [])


@pytest.mark.parametrize("role", ["Viewer", "Editor", "Owner"])
async def test_every_reader_has_their_own(alice: User, bob: User, role: str) -> None:
    """Who may only read may still want to be reminded, and nobody else sees of what."""
    created = await event(alice, 10)
    await share(alice, created["id"], bob, role)
    before = await alice.client.get(f"/api/events/{created['id']}")
    assert await seen(bob, created["id"]) == []
    mine = await changed(bob, created["id"], reminders=told(30))
    assert mine["reminders"] == told(30)
    assert mine["version"] == 1
    assert await seen(bob, created["id"]) == told(30)
    after = await alice.client.get(f"/api/events/{created['id']}")
    assert after.content == before.content
    assert after.headers["ETag"] == before.headers["ETag"]
    assert await versions(alice, created["id"]) == 1


async def test_nobody_is_told_that_reminders_were_set(alice: User, bob: User) -> None:
    """They are nobody's business, and no change of the event."""
    created = await event(alice)
    await share(alice, created["id"], bob, "Viewer")
    unread = (await alice.client.get("/api/notifications/unread")).json()["unread"]
    await changed(bob, created["id"], reminders=told(30))
    assert (await alice.client.get("/api/notifications/unread")).json()["unread"] == unread


async def test_a_viewer_changes_nothing_else(alice: User, bob: User) -> None:
    """Reminders beside another field are a change of the event, and all of it is refused."""
    created = await event(alice)
    await share(alice, created["id"], bob, "Viewer")
    both = {"title": "Mine", "reminders": told(10)}
    answer = await bob.client.patch(f"/api/events/{created['id']}", json=both)
    assert answer.status_code == 403
    assert await seen(bob, created["id"]) == []


async def test_a_stranger_sets_none(alice: User, bob: User) -> None:
    """Without a grant the event is not there to be reminded of."""
    created = await event(alice)
    answer = await bob.client.patch(f"/api/events/{created['id']}", json={"reminders": told(1)})
    assert answer.status_code == 403
    nowhere = f"/api/events/{alice.id}"
    assert (await bob.client.patch(nowhere, json={"reminders": []})).status_code == 404


async def test_reminders_and_fields_are_one_change(alice: User) -> None:
    """Both are done, or neither."""
    created = await event(alice, 10)
    path = f"/api/events/{created['id']}"
    done = await changed(alice, created["id"], title="New", reminders=told(20))
    assert (done["version"], done["title"], done["reminders"]) == (2, "New", told(20))
    wrong = {"end_time": created["start_time"], "reminders": told(30)}
    assert (await alice.client.patch(path, json=wrong)).status_code == 422
    assert await seen(alice, created["id"]) == told(20)


async def test_put_without_reminders_leaves_them(alice: User) -> None:
    """A client that does not know of them takes none away; an empty list does."""
    created = await event(alice, 10)
    path = f"/api/events/{created['id']}"
    body = {name: created[name] for name in ("title", "start_time", "end_time")}
    assert (await alice.client.put(path, json=body)).json()["reminders"] == told(10)
    assert (await alice.client.put(path, json=body | {"reminders": []})).json()["reminders"] == []
    assert await seen(alice, created["id"]) == []


async def test_the_terms_of_a_change_hold(alice: User) -> None:
    """If-Match is checked, a dry run changes nothing, a repeated request is done once."""
    created = await event(alice, 10)
    path = f"/api/events/{created['id']}"
    stale = {"If-Match": '"7"'}
    refused = await alice.client.patch(path, json={"reminders": []}, headers=stale)
    assert refused.status_code == 412
    tried = await alice.client.patch(path, json={"reminders": told(5)}, params={"dry_run": True})
    assert tried.json()["reminders"] == told(5)
    assert await seen(alice, created["id"]) == told(10)
    once = {"Idempotency-Key": f"reminders-{created['id']}", "If-Match": '"1"'}
    first = await alice.client.patch(path, json={"reminders": told(5)}, headers=once)
    await changed(alice, created["id"], reminders=told(6))
    again = await alice.client.patch(path, json={"reminders": told(5)}, headers=once)
    assert first.content == again.content
    assert again.headers["Idempotent-Replayed"] == "true"
    assert await seen(alice, created["id"]) == told(6)


async def test_a_rollback_leaves_them(alice: User) -> None:
    """They are no part of the event's history."""
    created = await event(alice, 10)
    await changed(alice, created["id"], title="New", reminders=told(20))
    back = await alice.client.post(f"/api/events/{created['id']}/rollback/1")
    assert back.json()["title"] == "Standup"
    assert back.json()["reminders"] == told(20)
    past = await alice.client.get(f"/api/events/{created['id']}/history/1")
    assert "reminders" not in past.json()["data"]


async def test_they_are_of_the_whole_series(alice: User, bob: User) -> None:
    """A reminder of one occurrence alone is refused; that of all may be set beside any of them."""
    created = await event(alice, 10, recurrence_pattern="FREQ=DAILY;COUNT=5")
    await share(alice, created["id"], bob, "Viewer")
    path = f"/api/events/{created['id']}/occurrences/{created['start_time']}"
    for scope in ("this", "following"):
        answer = await bob.client.patch(path, params={"scope": scope}, json={"reminders": []})
        assert answer.status_code == 422
        assert answer.json()["detail"][0]["loc"] == ["body", "reminders"]
    answer = await bob.client.patch(path, params={"scope": "all"}, json={"reminders": told(7)})
    assert (answer.status_code, answer.json()["reminders"]) == (200, told(7))
    assert answer.json()["version"] == 1
    both = {"title": "All", "reminders": told(8)}
    assert (await bob.client.patch(path, params={"scope": "all"}, json=both)).status_code == 403
    done = (await alice.client.patch(path, params={"scope": "all"}, json=both)).json()
    assert (done["title"], done["version"], done["reminders"]) == ("All", 2, told(8))
    assert await seen(bob, created["id"]) == told(7)


async def test_a_split_takes_each_readers_along(alice: User, bob: User) -> None:
    """Who is reminded of a meeting still is when somebody moves the later ones."""
    created = await event(alice, 10, recurrence_pattern="FREQ=DAILY;COUNT=5")
    await share(alice, created["id"], bob, "Viewer")
    await changed(bob, created["id"], reminders=told(7))
    listed = await alice.client.get(f"/api/events/{created['id']}/occurrences")
    third = listed.json()[2]["recurrence_id"]
    path = f"/api/events/{created['id']}/occurrences/{third}"
    later = await alice.client.patch(path, params={"scope": "following"}, json={"title": "Later"})
    assert later.json()["reminders"] == told(10)
    assert await seen(bob, later.json()["id"]) == told(7)


async def test_many_events_at_once(alice: User, bob: User) -> None:
    """A Viewer sets their reminders of many events, and nothing else of them."""
    ids = [(await event(alice))["id"] for _ in range(3)]
    for event_id in ids:
        await share(alice, event_id, bob, "Viewer")
    answer = await bob.client.patch(
        "/api/events/batch", json={"ids": ids, "changes": {"reminders": told(15)}}
    )
    assert [item["event"]["reminders"] for item in answer.json()] == [told(15)] * 3
    assert [item["event"]["version"] for item in answer.json()] == [1] * 3


async def test_they_go_with_the_grant(alice: User, bob: User) -> None:
    """Who gets access again later starts without."""
    created = await event(alice)
    await share(alice, created["id"], bob, "Viewer")
    await changed(bob, created["id"], reminders=told(15))
    path = f"/api/events/{created['id']}/permissions/{bob.id}"
    assert (await alice.client.delete(path)).status_code == 204
    await share(alice, created["id"], bob, "Viewer")
    assert await seen(bob, created["id"]) == []


@pytest.mark.parametrize(
    ("wrong", "loc", "kind"),
    [
        (
            [{"minutes_before": -1, "channel": "webhook"}],
            [0, "minutes_before"],
            "greater_than_equal",
        ),
        (
            [{"minutes_before": 40_321, "channel": "webhook"}],
            [0, "minutes_before"],
            "less_than_equal",
        ),
        ([{"minutes_before": 1, "channel": "pigeon"}], [0, "channel"], "enum"),
        ([{"minutes_before": 1}], [0, "channel"], "missing"),
        (told(1, 2, 3, 4, 5, 6), [], "too_long"),
        (told(1, 2, 1), [], "duplicate_reminder"),
        (told(1, channel="email"), [0, "channel"], "email_is_off"),
        (None, [], "not_nullable"),
    ],
    ids=["past", "far", "pigeon", "channel", "six", "twice", "email", "null"],
)
async def test_what_cannot_be_is_named(alice: User, wrong: Any, loc: list[Any], kind: str) -> None:
    """In a new event, in a batch and in a change, the answer points at what is wrong."""
    created = await event(alice)
    body = {name: created[name] for name in ("title", "start_time", "end_time")}
    answers: list[tuple[httpx.Response, list[Any]]] = [
        (await alice.client.patch(f"/api/events/{created['id']}", json={"reminders": wrong}), [])
    ]
    if wrong is not None:
        body |= {"reminders": wrong}
        post = alice.client.post
        answers.append((await post("/api/events", json=body), []))
        batch = await post("/api/events/batch", json={"events": [body]})
        answers.append((batch, ["events", 0]))
    for answer, before in answers:
        assert answer.status_code == 422, answer.text
        [item] = answer.json()["detail"]
        assert item["loc"] == ["body", *before, "reminders", *loc]
        assert item["type"] == kind
    assert await seen(alice, created["id"]) == []


async def test_email_is_for_servers_that_send_it(settings: Settings) -> None:
    """Where `SMTP_URL` is set, the channel is there."""
    url = SecretStr("smtp://127.0.0.1:9")
    async with started(settings.model_copy(update={"smtp_url": url})) as app:
        user = await register(app)
        try:
            created = await event(user, reminders=told(10, channel="email"))
        finally:
            await user.client.aclose()
    assert created["reminders"] == told(10, channel="email")
