"""Booking time that is taken, trying things out, and the clashes that stand."""

import json
from typing import Any

import asyncpg
import pytest

from eventmanager.events.schemas import Clash
from tests.conftest import User
from tests.events.conftest import Body, meeting, share

WINDOW = {"start": "2027-03-01T00:00:00Z", "end": "2027-04-01T00:00:00Z"}
ALLOW = {"on_conflict": "allow"}
DRY_RUN = {"dry_run": "true"}


async def create(user: User, body: Body, **params: Any) -> Body:
    """Create an event that must not be refused."""
    answer = await user.client.post("/api/events", json=body, params=params)
    assert answer.status_code == 201, answer.text
    created: Body = answer.json()
    return created


async def conflicts(user: User, **window: str) -> list[Body]:
    """Return the clashes that stand."""
    answer = await user.client.get("/api/conflicts", params=WINDOW | window)
    assert answer.status_code == 200, answer.text
    found: list[Body] = answer.json()
    for pair in found:
        Clash.model_validate(pair)
    return found


async def test_time_that_is_taken_is_booked_if_asked_for(alice: User) -> None:
    """The clash then stands, and is listed until one of the two moves away."""
    first = await create(alice, meeting("09:00", "10:00", title="First"))
    assert await conflicts(alice) == []
    second = await create(alice, meeting("09:30", "10:30", title="Second"), **ALLOW)
    [pair] = await conflicts(alice)
    assert pair["earlier"] == {
        "event_id": first["id"],
        "title": "First",
        "recurrence_id": "2027-03-10T09:00:00Z",
        "start_time": "2027-03-10T09:00:00Z",
        "end_time": "2027-03-10T10:00:00Z",
    }
    assert (pair["later"]["event_id"], pair["later"]["title"]) == (second["id"], "Second")
    moved = {"start_time": "2027-03-10T10:00:00Z", "end_time": "2027-03-10T11:00:00Z"}
    url = f"/api/events/{second['id']}"
    assert (await alice.client.patch(url, json=moved)).status_code == 200
    assert await conflicts(alice) == []


async def test_every_way_in_is_checked_and_may_be_allowed(alice: User) -> None:
    """A clash comes about by a batch, a move, a status, a transparency, a zone or a rollback."""
    await create(alice, meeting("09:00", "10:00"))
    client = alice.client
    batch = {"events": [meeting("09:15", "09:45"), meeting("11:00", "12:00")]}
    assert (await client.post("/api/events/batch", json=batch)).status_code == 409
    allowed = await client.post("/api/events/batch", json=batch, params=ALLOW)
    assert allowed.status_code == 201
    for idle, busy in (
        ({"status": "cancelled"}, {"status": "confirmed"}),
        ({"transparency": "transparent"}, {"transparency": "opaque"}),
        ({"time_zone": "UTC"}, {"end_time": "2027-03-10T09:30:00Z"}),
    ):
        body = meeting("08:00" if "time_zone" in idle else "09:00", "09:00", **idle)
        if "time_zone" not in idle:
            body["end_time"] = "2027-03-10T10:00:00Z"
        url = f"/api/events/{(await create(alice, body))['id']}"
        assert (await client.patch(url, json=busy)).status_code == 409
        assert (await client.patch(url, json=busy, params=ALLOW)).status_code == 200
        assert (await client.post(f"{url}/rollback/1")).status_code == 200
        refused = await client.post(f"{url}/rollback/2")
        assert (refused.status_code, refused.json()["code"]) == (409, "time_conflict")
        assert (await client.post(f"{url}/rollback/2", params=ALLOW)).status_code == 200
        assert (await client.delete(url)).status_code == 204


async def test_a_change_of_zone_is_checked(alice: User) -> None:
    """Nine in the morning comes at another time there, once the clocks have changed."""
    series = {
        "title": "Series",
        "start_time": "2027-03-20T09:00:00+01:00",
        "end_time": "2027-03-20T10:00:00+01:00",
        "recurrence_pattern": "FREQ=DAILY;COUNT=20",
    }
    event = await create(alice, series)
    await create(
        alice,
        {
            "title": "Summer",
            "start_time": "2027-03-29T07:00:00Z",
            "end_time": "2027-03-29T07:30:00Z",
        },
    )
    url = f"/api/events/{event['id']}"
    refused = await alice.client.patch(url, json={"time_zone": "Europe/Berlin"})
    assert (refused.status_code, refused.json()["total"]) == (409, 1)


async def test_conflicts_come_in_pages_each_pair_once(alice: User) -> None:
    """Three that overlap are three pairs; a page may end within them."""
    for title in ("A", "B", "C"):
        await create(alice, meeting("09:00", "10:00", title=title), **ALLOW)
    daily = meeting("14:00", "15:00", recurrence_pattern="FREQ=DAILY;COUNT=10")
    await create(alice, daily)
    await create(alice, daily, **ALLOW)
    found: list[Body] = []
    url: str | None = "/api/conflicts?start=2027-03-01&end=2027-04-01&limit=2"
    while url:
        answer = await alice.client.get(url)
        assert len(answer.json()) <= 2
        found += answer.json()
        url = answer.links.get("next", {}).get("url")
    assert len(found) == 3 + 10
    assert len({json.dumps(pair) for pair in found}) == 13
    starts = [pair["later"]["start_time"] for pair in found]
    assert starts == sorted(starts)


async def test_a_conflict_is_in_the_window_only_where_the_two_overlap(alice: User) -> None:
    """Two long events that touch the window but overlap outside of it do not clash in it."""
    await create(alice, meeting("08:00", "12:00"))
    await create(alice, meeting("11:00", "15:00"), **ALLOW)

    async def count(start: str, end: str) -> int:
        return len(await conflicts(alice, start=start, end=end))

    assert await count("2027-03-10T11:30:00Z", "2027-03-10T11:40:00Z") == 1
    assert await count("2027-03-10T08:00:00Z", "2027-03-10T11:00:00Z") == 0
    assert await count("2027-03-10T12:00:00Z", "2027-03-10T15:00:00Z") == 0


async def test_conflicts_are_those_of_ones_own_time(alice: User, bob: User) -> None:
    """What others have booked twice is theirs, even where it is shared."""
    first = await create(alice, meeting("09:00", "10:00"))
    await create(alice, meeting("09:00", "10:00"), **ALLOW)
    await share(alice, first["id"], bob, "Editor")
    assert len(await conflicts(alice)) == 1
    assert await conflicts(bob) == []


async def everything(user: User, database_url: str) -> list[Any]:
    """Return all that a user's writes could have left."""
    connection = await asyncpg.connect(database_url)
    try:
        return [
            await connection.fetch(
                f"SELECT * FROM {table} WHERE owner_id = $1 ORDER BY 1, 2", user.id
            )
            for table in ("events", "versions", "grants", "occurrences", "series", "messages")
        ]
    finally:
        await connection.close()


async def test_a_dry_run_answers_as_the_write_would_and_changes_nothing(
    alice: User, bob: User, database_url: str
) -> None:
    """A form can show what would happen before its user says yes."""
    event = await create(alice, meeting("09:00", "10:00", recurrence_pattern="FREQ=DAILY;COUNT=5"))
    deleted = await create(alice, meeting("16:00", "17:00"))
    url = f"/api/events/{event['id']}"
    await share(alice, event["id"], bob, "Viewer")
    await alice.client.patch(url, json={"title": "New"})
    await alice.client.delete(f"/api/events/{deleted['id']}")
    day = f"{url}/occurrences/2027-03-12T09:00:00Z"
    before = await everything(alice, database_url)
    title = {"title": "Dry"}
    for method, path, body, status in (
        ("POST", "/api/events", meeting("12:00", "13:00", title="Dry"), 201),
        ("POST", "/api/events", meeting("09:30", "10:30"), 409),
        ("POST", "/api/events/batch", {"events": [meeting("12:00", "13:00")]}, 201),
        ("PATCH", url, title, 200),
        ("PUT", url, {"end_time": "2027-03-10T09:30:00Z"}, 200),
        ("PATCH", url, {"start_time": "2028-01-01T00:00:00Z"}, 422),
        ("POST", f"{url}/rollback/1", None, 200),
        ("PATCH", day, title, 200),
        ("PATCH", f"{day}?scope=following", title, 200),
        ("PATCH", f"{day}?scope=all", title, 200),
        ("DELETE", day, None, 204),
        ("DELETE", f"{day}?scope=following", None, 204),
        ("DELETE", url, None, 204),
        ("POST", f"/api/events/{deleted['id']}/restore", None, 200),
    ):
        answer = await alice.client.request(method, path, json=body, params=DRY_RUN)
        assert answer.status_code == status, (method, path, answer.text)
        if body is not None and body.get("title") == "Dry" and status < 300:
            assert answer.json()["title"] == "Dry"
        assert await everything(alice, database_url) == before, (method, path)


async def test_a_dry_run_needs_the_same_rights(alice: User, bob: User) -> None:
    """It says nothing to those who might not do it."""
    event = await create(alice, meeting("09:00", "10:00"))
    url = f"/api/events/{event['id']}"
    answer = await bob.client.patch(url, json={"title": "X"}, params=DRY_RUN)
    assert answer.status_code == 403
    stale = await alice.client.delete(url, params=DRY_RUN, headers={"If-Match": '"7"'})
    assert stale.status_code == 412


@pytest.mark.parametrize("value", ["maybe", ""])
async def test_an_unknown_way_with_conflicts_is_refused(alice: User, value: str) -> None:
    """A slip of the pen must not book time twice."""
    body = meeting("09:00", "10:00")
    answer = await alice.client.post("/api/events", json=body, params={"on_conflict": value})
    assert answer.status_code == 422


async def test_a_deleted_event_is_in_the_bin_and_comes_back_as_it_was(
    alice: User, bob: User
) -> None:
    """With its rights, its overrides and its history."""
    event = await create(alice, meeting("09:00", "10:00", recurrence_pattern="FREQ=DAILY;COUNT=5"))
    url = f"/api/events/{event['id']}"
    await share(alice, event["id"], bob, "Viewer")
    await alice.client.patch(f"{url}/occurrences/2027-03-12T09:00:00Z", json={"title": "Special"})
    assert (await alice.client.get("/api/events?deleted=true")).json() == []
    await alice.client.delete(url)
    [binned] = (await alice.client.get("/api/events?deleted=true")).json()
    assert binned["id"] == event["id"]
    assert (await bob.client.get("/api/events?deleted=true")).json() == []
    assert (await bob.client.post(f"{url}/restore")).status_code == 404
    other = await create(alice, meeting("09:00", "09:30"))
    refused = await alice.client.post(f"{url}/restore")
    assert (refused.status_code, refused.json()["code"]) == (409, "time_conflict")
    await alice.client.delete(f"/api/events/{other['id']}")
    restored = await alice.client.post(f"{url}/restore")
    assert restored.status_code == 200
    assert restored.headers["ETag"] == '"4"'
    assert restored.json()["overrides"] == {"2027-03-12T09:00:00Z": {"title": "Special"}}
    assert (await bob.client.get(url)).status_code == 200
    occurrences = (await bob.client.get(f"{url}/occurrences")).json()
    assert [item["title"] for item in occurrences].count("Special") == 1
    history = (await bob.client.get(f"{url}/history")).json()
    assert [item["operation"] for item in history] == ["create", "update", "delete", "restore"]
    assert (await alice.client.post(f"{url}/restore")).status_code == 404


async def test_every_owner_sees_and_restores_what_is_in_the_bin(alice: User, bob: User) -> None:
    """A second Owner may delete, so a second Owner must be able to undo it."""
    event = await create(alice, meeting("09:00", "10:00"))
    url = f"/api/events/{event['id']}"
    await share(alice, event["id"], bob, "Owner")
    assert (await bob.client.delete(url)).status_code == 204
    for user in (alice, bob):
        binned = (await user.client.get("/api/events?deleted=true")).json()
        assert [item["id"] for item in binned] == [event["id"]]
    assert (await bob.client.post(f"{url}/restore")).status_code == 200


async def test_the_bin_goes_with_no_filter(alice: User) -> None:
    """A filter that is silently ignored would look like an empty bin."""
    answer = await alice.client.get("/api/events?deleted=true&q=x")
    assert answer.json()["detail"][0]["type"] == "filters_of_the_bin"
