"""Reading versions, comparing them, and bringing one back."""

import asyncio
import copy
import json
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventmanager.core.database import Database, Query
from eventmanager.history import diff
from eventmanager.history.schemas import Difference, VersionRead
from tests.conftest import User
from tests.events.conftest import meeting, share

_TYPES = Query("SELECT type FROM messages WHERE event_id = $1 ORDER BY position", ("event_id",))


async def create(user: User, **fields: Any) -> str:
    """Create an event and return its address."""
    answer = await user.client.post("/api/events", json=meeting("10:00", "11:00", **fields))
    assert answer.status_code == 201, answer.text
    return str(answer.headers["Location"])


async def history(user: User, event: str, **params: Any) -> list[dict[str, Any]]:
    """Return an event's versions."""
    answer = await user.client.get(f"{event}/history", params=params)
    assert answer.status_code == 200, answer.text
    return list(answer.json())


def apply(document: dict[str, Any], patch: list[dict[str, Any]]) -> dict[str, Any]:
    """Apply the operations of RFC 6902 that we make, as RFC 6901 reads their paths."""
    result = copy.deepcopy(document)
    for operation in patch:
        first, *path = operation["path"].split("/")
        assert first == ""
        *parents, field = [part.replace("~1", "/").replace("~0", "~") for part in path]
        place = result
        for parent in parents:
            place = place[parent]
        assert (field in place) == (operation["op"] != "add")
        if operation["op"] == "remove":
            del place[field]
        else:
            place[field] = operation["value"]
    return result


async def test_a_version_is_the_state_after_its_change(alice: User) -> None:
    """Oldest first; each with its author, and the last is the event."""
    event = await create(alice)
    await alice.client.put(event, json={"title": "Second"})
    await alice.client.put(event, json={"title": "Third"})
    versions = await history(alice, event)
    assert [version["version"] for version in versions] == [1, 2, 3]
    assert [version["data"]["title"] for version in versions] == ["Meeting", "Second", "Third"]
    assert {version["changed_by"] for version in versions} == {str(alice.id)}
    for version in versions:
        VersionRead.model_validate(version)
    now = (await alice.client.get(event)).json()
    del now["permissions"], now["reminders"]
    assert versions[-1]["data"] == now


async def test_history_comes_in_pages(alice: User) -> None:
    """By skip and limit, with the next page in the Link header."""
    event = await create(alice)
    for n in range(6):
        await alice.client.put(event, json={"title": f"Title {n}"})
    url, found = f"{event}/history?limit=3", []
    while url:
        answer = await alice.client.get(url)
        found += [version["version"] for version in answer.json()]
        url = answer.links.get("next", {}).get("url", "")
    assert found == [1, 2, 3, 4, 5, 6, 7]
    assert await history(alice, event, skip=7) == []


async def test_a_version_is_found_by_id_and_by_number(alice: User) -> None:
    """Both name the same."""
    event = await create(alice)
    await alice.client.put(event, json={"title": "Second"})
    second = (await history(alice, event))[1]
    for key in (second["id"], "2", second["id"].upper()):
        assert (await alice.client.get(f"{event}/history/{key}")).json() == second


@pytest.mark.parametrize("key", ["3", "8ad79b2e-3814-4826-8391-962ef4f39ffa", "2147483647"])
async def test_a_version_that_is_not_there_is_404(alice: User, key: str) -> None:
    """On every route that takes one."""
    event = await create(alice)
    for method, path in (
        ("GET", f"history/{key}"),
        ("GET", f"diff/1/{key}"),
        ("GET", f"diff/{key}/1"),
        ("POST", f"rollback/{key}"),
    ):
        assert (await alice.client.request(method, f"{event}/{path}")).status_code == 404, path


@pytest.mark.parametrize("key", ["0", "-1", "1.5", "x", "2147483648", "9" * 40])
async def test_what_names_no_version_is_422(alice: User, key: str) -> None:
    """Neither an id nor a number."""
    event = await create(alice)
    assert (await alice.client.get(f"{event}/history/{key}")).status_code == 422


async def test_a_version_of_another_event_is_404(alice: User) -> None:
    """An id is only ever looked up together with its event, even between events of one owner."""
    event = await create(alice)
    other = await create(alice, transparency="transparent")
    foreign = (await history(alice, other))[0]["id"]
    for method, path in (
        ("GET", f"history/{foreign}"),
        ("GET", f"diff/1/{foreign}"),
        ("GET", f"diff/{foreign}/1"),
        ("POST", f"rollback/{foreign}"),
    ):
        assert (await alice.client.request(method, f"{event}/{path}")).status_code == 404, path


async def test_a_diff_says_what_changed_and_how_to_get_there(alice: User) -> None:
    """Fields with before and after, and a JSON Patch that makes the second of the first."""
    event = await create(alice, location="Room 1")
    await alice.client.put(event, json={"title": "New", "location": None})
    await alice.client.put(event, json={"end_time": "2027-03-10T11:30:00Z"})
    answer = await alice.client.get(f"{event}/diff/1/3")
    difference = answer.json()
    Difference.model_validate(difference)
    changed = {
        change["field"]: (change["before"], change["after"]) for change in difference["changes"]
    }
    del changed["updated_at"]
    assert changed == {
        "title": ("Meeting", "New"),
        "location": ("Room 1", None),
        "end_time": ("2027-03-10T11:00:00Z", "2027-03-10T11:30:00Z"),
        "version": (1, 3),
    }
    first, _, third = [version["data"] for version in await history(alice, event)]
    assert apply(first, difference["patch"]) == third
    back = (await alice.client.get(f"{event}/diff/3/1")).json()
    assert apply(third, back["patch"]) == first
    same = (await alice.client.get(f"{event}/diff/2/2")).json()
    assert (same["changes"], same["patch"]) == ([], [])


def written(state: dict[str, Any]) -> str:
    """Write a state as JSON, in which true is not 1."""
    return json.dumps(state, sort_keys=True)


_NAMES = st.text(alphabet="ab~/01:Z", max_size=4)
_VALUES = st.none() | st.booleans() | st.integers() | st.text(max_size=4)
_OVERRIDES = st.dictionaries(_NAMES, st.dictionaries(_NAMES, _VALUES, max_size=2), max_size=5)
_STATES = st.builds(
    lambda state, overrides: state if overrides is None else state | {"overrides": overrides},
    st.dictionaries(_NAMES, _VALUES, max_size=6),
    st.none() | _OVERRIDES,
)


@given(st.lists(_STATES, min_size=2, max_size=5), st.data())
def test_the_patch_makes_one_version_of_any_other(
    versions: list[dict[str, Any]], data: st.DataObject
) -> None:
    """For any history, forward and back, with names that a pointer has to escape."""
    before, after = data.draw(st.sampled_from(versions)), data.draw(st.sampled_from(versions))
    made = apply(before, diff.patch(before, after))
    assert written(made) == written(after)
    assert len(diff.patch(before, after)) == len(diff.changes(before, after))
    assert bool(diff.changes(before, after)) == (written(before) != written(after))


async def test_a_rollback_is_a_new_version(alice: User) -> None:
    """All that the owner writes is as it was; the history goes on."""
    body = {
        "title": "Offsite",
        "start_time": "2027-05-01",
        "end_time": "2027-05-03",
        "time_zone": "Europe/Berlin",
    }
    event = str((await alice.client.post("/api/events", json=body)).headers["Location"])
    await alice.client.put(
        event,
        json={
            "title": "Retreat",
            "start_time": "2027-06-01T09:00:00Z",
            "end_time": "2027-06-01T10:00:00Z",
            "recurrence_pattern": "FREQ=DAILY;COUNT=4",
        },
    )
    answer = await alice.client.post(f"{event}/rollback/1")
    assert answer.status_code == 200
    assert answer.headers["ETag"] == '"3"'
    difference = (await alice.client.get(f"{event}/diff/1/3")).json()
    assert {change["field"] for change in difference["changes"]} == {"version", "updated_at"}
    assert [version["operation"] for version in await history(alice, event)] == [
        "create",
        "update",
        "rollback",
    ]
    window = "start=2027-04-01&end=2027-07-01"
    found = (await alice.client.get(f"/api/occurrences?{window}")).json()
    assert [(item["start_time"], item["end_time"]) for item in found] == [
        ("2027-05-01", "2027-05-03")
    ]
    again = await alice.client.post(f"{event}/rollback/2")
    assert again.json()["recurrence_pattern"] == "FREQ=DAILY;COUNT=4"


async def test_a_rollback_onto_busy_time_is_refused(alice: User) -> None:
    """The time that the event had may have been given to another."""
    event = await create(alice)
    elsewhere = {"start_time": "2027-03-10T12:00:00Z", "end_time": "2027-03-10T13:00:00Z"}
    await alice.client.put(event, json=elsewhere)
    await create(alice)
    answer = await alice.client.post(f"{event}/rollback/1")
    assert (answer.status_code, answer.json()["code"]) == (409, "time_conflict")
    assert len(await history(alice, event)) == 2


async def test_viewers_read_history_and_editors_roll_back(
    alice: User, bob: User, database: Database
) -> None:
    """A Viewer's rollback is refused and changes nothing."""
    event = await create(alice)
    await alice.client.put(event, json={"title": "Second"})
    event_id = event.rpartition("/")[2]
    await share(alice, event_id, bob, "Viewer")
    for path in ("history", "history/1", "diff/1/2"):
        assert (await bob.client.get(f"{event}/{path}")).status_code == 200
    assert (await bob.client.post(f"{event}/rollback/1")).status_code == 403
    assert len(await history(alice, event)) == 2
    await alice.client.put(f"{event}/permissions/{bob.id}", json={"role": "Editor"})
    assert (await bob.client.post(f"{event}/rollback/1")).status_code == 200
    async with database.reading() as read:
        types = [row["type"] for row in await read.all(_TYPES, event_id=UUID(event_id))]
    assert types[-1] == "event_rolled_back"


async def test_concurrent_rollbacks_and_edits_make_no_gap(alice: User) -> None:
    """Each acknowledged one is exactly one version."""
    event = await create(alice)
    await alice.client.put(event, json={"title": "Second"})
    answers = await asyncio.gather(
        *(alice.client.post(f"{event}/rollback/{1 + n % 2}") for n in range(10)),
        *(alice.client.put(event, json={"title": f"Edit {n}"}) for n in range(10)),
    )
    assert {answer.status_code for answer in answers} == {200}
    assert sorted(answer.json()["version"] for answer in answers) == list(range(3, 23))
    assert [version["version"] for version in await history(alice, event)] == list(range(1, 23))
