"""Taking back one change, the last or one in the middle, and removing for good."""

from datetime import timedelta
from typing import Any

import asyncpg
import pytest

from eventmanager.core.clock import SystemClock
from eventmanager.core.database import Database
from eventmanager.events.upkeep import purge_bin
from tests.conftest import User
from tests.events.conftest import Body, meeting, share


async def create(user: User, **fields: Any) -> str:
    """Create an event and return where it is."""
    answer = await user.client.post("/api/events", json=meeting("09:00", "10:00", **fields))
    assert answer.status_code == 201, answer.text
    return f"/api/events/{answer.json()['id']}"


async def undo(user: User, url: str, **params: Any) -> Body:
    """Take a change back, which must not be refused."""
    answer = await user.client.post(f"{url}/undo", params=params)
    assert answer.status_code == 200, answer.text
    undone: Body = answer.json()
    return undone


async def test_undo_takes_back_the_last_change_and_then_itself(alice: User) -> None:
    """As in an editor: undo, and undo of the undo."""
    url = await create(alice)
    await alice.client.patch(url, json={"title": "New", "location": "Roof"})
    undone = await undo(alice, url)
    assert (undone["title"], undone["location"], undone["version"]) == ("Meeting", None, 3)
    again = await undo(alice, url)
    assert (again["title"], again["location"]) == ("New", "Roof")
    history = (await alice.client.get(f"{url}/history")).json()
    assert [item["operation"] for item in history] == ["create", "update", "undo", "undo"]


async def test_undo_of_a_change_in_the_middle_keeps_what_came_after(alice: User) -> None:
    """A rollback would lose the later changes; this is a merge in reverse."""
    url = await create(alice)
    await alice.client.patch(url, json={"title": "Wrong", "location": "Roof"})
    await alice.client.patch(url, json={"description": "Later"})
    await alice.client.patch(url, json={"end_time": "2027-03-10T11:00:00Z"})
    undone = await undo(alice, url, version=2)
    assert (undone["title"], undone["location"]) == ("Meeting", None)
    assert (undone["description"], undone["end_time"]) == ("Later", "2027-03-10T11:00:00Z")
    nothing = await alice.client.post(f"{url}/undo", params={"version": 2})
    assert (nothing.status_code, nothing.json()["code"]) == (409, "nothing_to_undo")


async def test_undo_of_what_was_changed_again_is_a_conflict(alice: User) -> None:
    """Whose word counts is for the caller to say."""
    url = await create(alice)
    await alice.client.patch(url, json={"title": "Second"})
    await alice.client.patch(url, json={"title": "Third"})
    refused = await alice.client.post(f"{url}/undo", params={"version": 2})
    assert (refused.status_code, refused.json()["code"]) == (409, "merge_conflict")
    assert refused.json()["conflicts"] == [
        {"field": "title", "base": "Second", "yours": "Meeting", "theirs": "Third"}
    ]
    resolved = await undo(alice, url, version=2, resolve="mine")
    assert resolved["title"] == "Meeting"


async def test_undo_of_an_edit_of_one_occurrence_leaves_the_others(alice: User) -> None:
    """Each override is a field of its own."""
    url = await create(alice, recurrence_pattern="FREQ=DAILY;COUNT=5")
    for day in (11, 12):
        name = f"2027-03-{day}T09:00:00Z"
        await alice.client.patch(f"{url}/occurrences/{name}", json={"title": f"Day {day}"})
    undone = await undo(alice, url, version=2)
    assert undone["overrides"] == {"2027-03-12T09:00:00Z": {"title": "Day 12"}}
    await alice.client.delete(f"{url}/occurrences/2027-03-13T09:00:00Z")
    assert len((await undo(alice, url))["overrides"]) == 1


DAYS = {"start_time": "2027-03-01", "end_time": "2027-03-02"}


def half_an_hour(hour: str) -> Body:
    """Return the times of half an hour that begins at, say, `2027-03-01T09` in UTC."""
    return {"start_time": f"{hour}:00:00Z", "end_time": f"{hour}:30:00Z"}


@pytest.mark.parametrize("hour", ["00", "09"])
async def test_times_of_their_own_go_when_hours_become_days_again(alice: User, hour: str) -> None:
    """An occurrence that was moved by hours since has its day again; what else it has stays."""
    url = await create(alice, recurrence_pattern="FREQ=WEEKLY;COUNT=4", **DAYS)
    await alice.client.patch(url, json=half_an_hour(f"2027-03-01T{hour}"))
    moved, both, named = (f"2027-03-{day}T{hour}:00:00Z" for day in ("08", "15", "22"))
    for name, title in ((moved, {}), (both, {"title": "Own"})):
        own = half_an_hour(f"{name[:11]}15") | title
        await alice.client.patch(f"{url}/occurrences/{name}", json=own)
    await alice.client.patch(f"{url}/occurrences/{named}", json={"title": "New"})
    undone = await undo(alice, url, version=2)
    assert undone["overrides"] == {"2027-03-15": {"title": "Own"}, "2027-03-22": {"title": "New"}}
    assert undone["dropped_overrides"] == [moved]
    listed = (await alice.client.get(f"{url}/occurrences")).json()
    assert [item["start_time"] for item in listed] == [item["recurrence_id"] for item in listed]
    again = await alice.client.patch(f"{url}/occurrences/2027-03-08", json={"title": "Again"})
    assert again.status_code == 200


async def test_an_override_comes_back_as_the_series_is_written_since(alice: User) -> None:
    """Days of its own mean nothing among hours; and one that was made since stays instead."""
    weekly = {"recurrence_pattern": "FREQ=WEEKLY;COUNT=4", "transparency": "transparent"}
    url = await create(alice, **weekly, **DAYS)
    later = {"start_time": "2027-03-19", "end_time": "2027-03-20"}
    for name, own in (("2027-03-08", later | {"title": "Own"}), ("2027-03-15", later)):
        await alice.client.patch(f"{url}/occurrences/{name}", json=own)
    for name in ("2027-03-08", "2027-03-15"):
        await alice.client.post(f"{url}/occurrences/{name}/reset")
    await alice.client.patch(url, json=half_an_hour("2027-03-01T09"))
    back = await undo(alice, url, version=4)
    assert back["overrides"] == {"2027-03-08T09:00:00Z": {"title": "Own"}}
    assert "dropped_overrides" not in back
    assert (await undo(alice, url, version=5))["dropped_overrides"] == ["2027-03-15"]
    await alice.client.patch(f"{url}/occurrences/2027-03-08T09:00:00Z", json={"title": "Since"})
    twice = await undo(alice, url, version=4)
    assert twice["overrides"] == {"2027-03-08T09:00:00Z": {"title": "Since"}}
    assert twice["dropped_overrides"] == ["2027-03-08"]


async def test_a_series_that_becomes_one_event_again_names_what_it_drops(alice: User) -> None:
    """Its occurrences are no more, nor what was made of them since."""
    url = await create(alice)
    await alice.client.patch(url, json={"recurrence_pattern": "FREQ=DAILY;COUNT=3"})
    name = "2027-03-11T09:00:00Z"
    await alice.client.patch(f"{url}/occurrences/{name}", json={"title": "Own"})
    undone = await undo(alice, url, version=2)
    assert (undone["overrides"], undone["dropped_overrides"]) == ({}, [name])


async def test_undo_into_time_that_is_taken_is_refused(alice: User) -> None:
    """Undoing a move needs the old time to be free."""
    url = await create(alice)
    await alice.client.patch(
        url, json={"start_time": "2027-03-10T14:00:00Z", "end_time": "2027-03-10T15:00:00Z"}
    )
    await create(alice)
    refused = await alice.client.post(f"{url}/undo")
    assert (refused.status_code, refused.json()["code"]) == (409, "time_conflict")
    allowed = await alice.client.post(f"{url}/undo", params={"on_conflict": "allow"})
    assert allowed.status_code == 200


async def split(user: User, url: str, name: str) -> str:
    """Split a series before one of its occurrences and return the id of the second half."""
    answer = await user.client.patch(
        f"{url}/occurrences/{name}", json={"title": "Half"}, params={"scope": "following"}
    )
    assert answer.status_code == 200, answer.text
    return str(answer.json()["id"])


@pytest.mark.parametrize("act", ["undo", "undo?version=2", "rollback/1"])
@pytest.mark.parametrize(
    ("transparency", "code"), [("opaque", "time_conflict"), ("transparent", "second_half_stands")]
)
async def test_a_split_is_taken_back_once_its_second_half_is_gone(
    alice: User, act: str, transparency: str, code: str
) -> None:
    """Else the meeting would take place twice, which no clash tells of if it takes up no time."""
    url = await create(alice, recurrence_pattern="FREQ=DAILY;COUNT=4", transparency=transparency)
    half = await split(alice, url, "2027-03-12T09:00:00Z")
    refused = await alice.client.post(f"{url}/{act}")
    assert (refused.status_code, refused.json()["code"]) == (409, code)
    assert half in refused.text
    allowed = {"on_conflict": "allow", "dry_run": "true"}
    assert (await alice.client.post(f"{url}/{act}", params=allowed)).status_code == 200
    await alice.client.delete(f"/api/events/{half}")
    assert (await alice.client.post(f"{url}/{act}")).status_code == 200
    assert len((await alice.client.get(f"{url}/occurrences")).json()) == 4


async def test_only_what_was_split_off_since_is_in_the_way(alice: User) -> None:
    """A part of it too; but not a half that the series had lost by then, nor a change of texts."""
    url = await create(alice, recurrence_pattern="FREQ=DAILY;COUNT=6", transparency="transparent")
    last = await split(alice, url, "2027-03-15T09:00:00Z")
    middle = await split(alice, url, "2027-03-12T09:00:00Z")
    part = await split(alice, f"/api/events/{middle}", "2027-03-13T09:00:00Z")
    await alice.client.patch(url, json={"title": "New"})
    await undo(alice, url)
    await alice.client.delete(f"/api/events/{middle}")
    for act, halves in (("undo?version=3", [part]), ("rollback/2", [part])):
        refused = await alice.client.post(f"{url}/{act}")
        assert refused.json()["event_ids"] == halves
    whole = await alice.client.post(f"{url}/rollback/1")
    assert whole.json()["event_ids"] == sorted([last, part])
    await alice.client.delete(f"/api/events/{part}")
    await undo(alice, url, version=3)
    assert len((await alice.client.get(f"{url}/occurrences")).json()) == 5


async def test_the_creation_and_a_restoration_cannot_be_undone(alice: User, bob: User) -> None:
    """Deleting is how an event goes; a Viewer undoes nothing."""
    url = await create(alice)
    await share(alice, url.rsplit("/", 1)[1], bob, "Viewer")
    assert (await bob.client.post(f"{url}/undo")).status_code == 403
    refused = await alice.client.post(f"{url}/undo")
    assert (refused.status_code, refused.json()["code"]) == (409, "nothing_to_undo")
    await alice.client.delete(url)
    assert (await alice.client.post(f"{url}/undo")).status_code == 404
    await alice.client.post(f"{url}/restore")
    assert (await alice.client.post(f"{url}/undo")).json()["code"] == "nothing_to_undo"
    assert (await alice.client.post(f"{url}/undo?version=9")).status_code == 404


async def rows_of(database_url: str, event_id: str) -> dict[str, int]:
    """Return how many rows each table has of an event."""
    connection = await asyncpg.connect(database_url)
    found = {
        table: await connection.fetchval(
            f"SELECT count(*) FROM {table} WHERE {column} = $1::uuid", event_id
        )
        for table, column in (
            ("events", "id"),
            ("versions", "event_id"),
            ("grants", "event_id"),
            ("occurrences", "event_id"),
            ("series", "event_id"),
        )
    }
    await connection.close()
    return found


async def test_a_permanent_deletion_leaves_nothing_but_the_fact(
    alice: User, bob: User, database_url: str
) -> None:
    """At once, or from the bin; only for an Owner. The audit log knows of it."""
    for from_the_bin in (False, True):
        url = await create(alice, recurrence_pattern="FREQ=DAILY")
        event_id = url.rsplit("/", 1)[1]
        await share(alice, event_id, bob, "Editor")
        assert (await bob.client.delete(f"{url}?permanent=true")).status_code == 403
        if from_the_bin:
            assert (await alice.client.delete(url)).status_code == 204
            assert (await alice.client.delete(url)).status_code == 404
            assert (await bob.client.delete(f"{url}?permanent=true")).status_code == 404
        assert (await alice.client.delete(f"{url}?permanent=true")).status_code == 204
        assert set((await rows_of(database_url, event_id)).values()) == {0}
        assert (await alice.client.post(f"{url}/restore")).status_code == 404
        assert (await alice.client.delete(f"{url}?permanent=true")).status_code == 404
        connection = await asyncpg.connect(database_url)
        acts = await connection.fetch(
            "SELECT act, user_id, request_id FROM audit_log WHERE event_id = $1::uuid ORDER BY id",
            event_id,
        )
        revoked = await connection.fetch(
            "SELECT user_id FROM grant_changes WHERE event_id = $1::uuid AND operation = 'revoke'",
            event_id,
        )
        await connection.close()
        assert acts[-1]["act"] == "event_purged"
        assert acts[-1]["user_id"] == alice.id
        assert acts[-1]["request_id"]
        assert {row["user_id"] for row in revoked} == {alice.id, bob.id}


async def test_the_bin_is_emptied_after_its_days(
    alice: User, database: Database, database_url: str
) -> None:
    """What is older goes, what is younger can still be restored."""
    url = await create(alice)
    event_id = url.rsplit("/", 1)[1]
    await alice.client.delete(url)
    now = SystemClock().now()
    await purge_bin(database, now + timedelta(days=29), bin_days=30)
    assert (await rows_of(database_url, event_id))["events"] == 1
    await purge_bin(database, now + timedelta(days=30, minutes=1), bin_days=30)
    assert set((await rows_of(database_url, event_id)).values()) == {0}
