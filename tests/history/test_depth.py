"""Who changed what: filters of the history, the current version, and blame."""

from datetime import datetime, timedelta
from typing import Any

import pytest

from eventmanager.history import blame
from eventmanager.history.schemas import Blame
from tests.conftest import User
from tests.events.conftest import share
from tests.history.test_history import apply, create, history

_DAILY = {"recurrence_pattern": "FREQ=DAILY;COUNT=5"}


async def test_history_is_filtered_by_author_and_time(alice: User, bob: User) -> None:
    """From `start` on and before `end`, each alone or together, in pages that keep the filters."""
    event = await create(alice)
    await share(alice, event.rpartition("/")[2], bob, "Editor")
    for n in range(2, 8):
        author = bob if n % 2 else alice
        await author.client.patch(event, json={"title": f"Title {n}"})
    times = [version["timestamp"] for version in await history(alice, event)]

    async def numbers(**params: Any) -> list[int]:
        return [version["version"] for version in await history(alice, event, **params)]

    assert await numbers(changed_by=bob.id) == [3, 5, 7]
    assert await numbers(start=times[4]) == [5, 6, 7]
    assert await numbers(end=times[4]) == [1, 2, 3, 4]
    assert await numbers(start=times[2], end=times[5], changed_by=alice.id) == [4]
    assert await numbers(start=times[6], changed_by=alice.id) == []
    answer = await alice.client.get(f"{event}/history?changed_by={bob.id}&limit=2")
    assert [version["version"] for version in answer.json()] == [3, 5]
    answer = await alice.client.get(answer.links["next"]["url"])
    assert [version["version"] for version in answer.json()] == [7]
    assert "next" not in answer.links


@pytest.mark.parametrize(
    "params", [{"changed_by": "x"}, {"start": "x"}, {"start": "2027-01-02", "end": "2027-01-02"}]
)
async def test_filters_that_make_no_sense_are_422(alice: User, params: dict[str, str]) -> None:
    """A window of no length holds nothing."""
    event = await create(alice)
    assert (await alice.client.get(f"{event}/history", params=params)).status_code == 422


async def test_a_filtered_history_does_not_tell_who_may_not_read_it(alice: User, bob: User) -> None:
    """403 whatever the filter, 404 once the event is deleted."""
    event = await create(alice)
    for path in ("history?end=2020-01-01", "history", "blame", "diff/1/current"):
        assert (await bob.client.get(f"{event}/{path}")).status_code == 403
    await alice.client.delete(event)
    for path in ("history?end=2020-01-01", "history", "blame", "diff/current/current"):
        assert (await alice.client.get(f"{event}/{path}")).status_code == 404


async def test_a_diff_with_now_includes_single_occurrences(alice: User) -> None:
    """`current` stands for the newest version, on either side; its patch leads there and back."""
    event = await create(alice, **_DAILY)
    second = f"{event}/occurrences/2027-03-11T10:00:00Z"
    await alice.client.patch(second, json={"title": "Long one"})
    await alice.client.delete(f"{event}/occurrences/2027-03-12T10:00:00Z")
    there = (await alice.client.get(f"{event}/diff/1/current")).json()
    assert there == (await alice.client.get(f"{event}/diff/1/3")).json()
    fields = {item["field"]: item["after"] for item in there["changes"]}
    assert fields["overrides/2027-03-11T10:00:00Z"] == {"title": "Long one"}
    assert fields["overrides/2027-03-12T10:00:00Z"] == {"excluded": True}
    back = (await alice.client.get(f"{event}/diff/current/1")).json()
    assert (back["from_version"], back["to_version"]) == (3, 1)
    first, _, third = [version["data"] for version in await history(alice, event)]
    assert apply(first, there["patch"]) == third
    assert apply(third, back["patch"]) == first
    same = (await alice.client.get(f"{event}/diff/current/current")).json()
    assert same["changes"] == []
    assert (await alice.client.get(f"{event}/history/current")).status_code == 422


async def test_a_diff_to_what_was_rolled_back_to_is_empty(alice: User) -> None:
    """But for the version and the time of the change, whatever was rolled back over."""
    event = await create(alice, **_DAILY)
    await alice.client.patch(f"{event}/occurrences/2027-03-11T10:00:00Z", json={"title": "Own"})
    await alice.client.delete(f"{event}/occurrences/2027-03-12T10:00:00Z")
    await alice.client.patch(event, json={"status": "cancelled", "description": "Off"})
    await alice.client.delete(event)
    await alice.client.post(f"{event}/restore")
    await alice.client.patch(
        event,
        json={"start_time": "2027-04-01", "end_time": "2027-04-02", "time_zone": "Asia/Tokyo"},
    )
    for number in (3, 1, 4, 7, 2):
        assert (await alice.client.post(f"{event}/rollback/{number}")).status_code == 200
        difference = (await alice.client.get(f"{event}/diff/{number}/current")).json()
        fields = {item["field"] for item in difference["changes"]}
        assert fields == {"version", "updated_at"}, number


async def test_blame_names_the_version_and_author_of_each_field(alice: User, bob: User) -> None:
    """The last that changed it: a change that was taken back counts, and one without effect not."""
    event = await create(alice, location="Room 1", **_DAILY)
    await share(alice, event.rpartition("/")[2], bob, "Editor")
    await bob.client.patch(event, json={"title": "Second", "location": "Room 2"})
    await bob.client.patch(f"{event}/occurrences/2027-03-11T10:00:00Z", json={"title": "Own"})
    await alice.client.delete(f"{event}/occurrences/2027-03-12T10:00:00Z")
    await alice.client.patch(event, json={"title": "Second", "location": "Room 1"})
    await bob.client.post(f"{event}/rollback/4")
    viewer = await bob.client.get(f"{event}/blame")
    blamed = viewer.json()
    numbers = {field: item["version"] for field, item in blamed.items()}
    assert {field: number for field, number in numbers.items() if number != 1} == {
        "title": 2,
        "location": 6,
        "overrides/2027-03-11T10:00:00Z": 3,
        "overrides/2027-03-12T10:00:00Z": 4,
    }
    versions = await history(alice, event)
    assert numbers.keys() == blame.fields(versions[-1]["data"]).keys()
    for item in blamed.values():
        Blame.model_validate(item)
        version = versions[item["version"] - 1]
        assert item == {
            "version": version["version"],
            "version_id": version["id"],
            "changed_by": version["changed_by"],
            "timestamp": version["timestamp"],
        }


async def test_a_reset_occurrence_is_nobodys(alice: User) -> None:
    """What an occurrence no longer has of its own isn't blamed on anybody."""
    event = await create(alice, **_DAILY)
    second = f"{event}/occurrences/2027-03-11T10:00:00Z"
    await alice.client.patch(second, json={"title": "Own"})
    await alice.client.post(f"{second}/reset")
    blamed = (await alice.client.get(f"{event}/blame")).json()
    assert {item["version"] for item in blamed.values()} == {1}
    assert not [field for field in blamed if field.startswith("overrides")]


async def test_times_of_versions_are_written_alike(alice: User) -> None:
    """In the history, in blame, and as the event's own."""
    event = await create(alice)
    (version,) = await history(alice, event)
    blamed = (await alice.client.get(f"{event}/blame")).json()
    assert blamed["title"]["timestamp"] == version["timestamp"] == version["data"]["created_at"]
    written = datetime.fromisoformat(version["timestamp"])
    after = written + timedelta(microseconds=1)
    assert await history(alice, event, start=after.isoformat()) == []
