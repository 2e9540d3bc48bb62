"""One line that says what a version changed."""

from typing import Any

import pytest

from eventmanager.history.summary import summary
from tests.conftest import User
from tests.events.conftest import meeting, share

_STATE: dict[str, Any] = {
    "id": "x",
    "title": "Meeting",
    "description": None,
    "location": "Room 1",
    "start_time": "2027-03-10T08:00:00Z",
    "end_time": "2027-03-10T09:00:00Z",
    "time_zone": "Europe/Berlin",
    "all_day": False,
    "is_recurring": True,
    "recurrence_pattern": "FREQ=DAILY",
    "recurrence_text": "every day",
    "overrides": {
        "2027-03-11T08:00:00Z": {"title": "Long one"},
        "2027-03-12T08:00:00Z": {"excluded": True},
    },
    "split_from": None,
    "status": "confirmed",
    "transparency": "opaque",
    "version": 1,
    "updated_at": "2026-12-01T00:00:00Z",
}
_MOVED = {"start_time": "2027-03-11T08:00:00Z", "end_time": "2027-03-11T09:00:00Z"}
_ALL_DAY = {"all_day": True, "start_time": "2027-03-10", "end_time": "2027-03-11"}
_LONG, _GONE = _STATE["overrides"].values()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, "nothing changed"),
        ({"version": 2, "updated_at": "2026-12-02T00:00:00Z"}, "nothing changed"),
        ({"title": "New"}, "title changed"),
        ({"title": "New", "location": None}, "title and location changed"),
        (
            {"title": "New", "location": None, "description": "Long"},
            "title, description and location changed",
        ),
        (_MOVED, "moved to 11 March 2027 09:00"),
        ({**_MOVED, "location": "Room 2"}, "moved to 11 March 2027 09:00, location changed"),
        ({"end_time": "2027-03-10T10:30:00Z"}, "end moved to 10 March 2027 11:30"),
        (_ALL_DAY, "made all-day on 10 March 2027"),
        (
            {"time_zone": "UTC", "start_time": "2027-03-10T09:00:00Z"},
            "moved to 10 March 2027 09:00, time zone changed to UTC",
        ),
        ({"status": "cancelled"}, "cancelled"),
        ({"status": "tentative", "transparency": "transparent"}, "made tentative, made free"),
        ({"recurrence_pattern": "FREQ=WEEKLY"}, "recurrence changed"),
        ({"recurrence_pattern": None, "overrides": {}}, "no longer recurring, 2 occurrences reset"),
        ({"overrides": {"a": _LONG, "b": _GONE}}, "nothing changed"),
        ({"overrides": {**_STATE["overrides"], "c": _GONE}}, "1 occurrence deleted"),
        ({"overrides": {}}, "2 occurrences reset"),
        (
            {
                "location": "Room 2",
                "overrides": {**_STATE["overrides"], "c": {}, "d": {"title": ""}},
            },
            "location and 2 occurrences changed",
        ),
        ({"colour_of_hat": "red"}, "colour of hat changed"),
    ],
)
def test_an_update_says_what_changed(changes: dict[str, Any], said: str) -> None:
    """Times as the event's own clock tells them."""
    assert summary("update", _STATE, _STATE | changes) == said


def test_an_all_day_event_that_gets_times_was_moved() -> None:
    """Its day and time are those that it has now."""
    assert summary("update", _STATE | _ALL_DAY, _STATE) == "moved to 10 March 2027 09:00"


def test_a_first_pattern_makes_an_event_recurring() -> None:
    """And an occurrence can have something of its own at once."""
    before = _STATE | {"recurrence_pattern": None, "overrides": {}}
    said = "made recurring, 1 occurrence deleted, 1 occurrence changed"
    assert summary("update", before, _STATE) == said


@pytest.mark.parametrize(
    ("operation", "said"),
    [
        ("rollback", "rolled back: title changed"),
        ("undo", "undone: title changed"),
        ("split", "split: title changed"),
        ("restore", "restored: title changed"),
        ("delete", "deleted"),
    ],
)
def test_other_acts_are_named(operation: str, said: str) -> None:
    """With what they changed."""
    assert summary(operation, _STATE, _STATE | {"title": "New"}) == said
    assert summary(operation, _STATE, _STATE) == said.partition(":")[0]


def test_a_creation_has_no_state_before_it() -> None:
    """The second half of a series says so."""
    assert summary("create", None, _STATE) == "created"
    second = _STATE | {"split_from": "y"}
    assert summary("create", None, second) == "created, to continue a series"


def test_the_server_says_why_it_changed_something() -> None:
    """Nobody asked for it."""
    moved = summary("update", _STATE, _STATE | _MOVED, by_server=True)
    assert moved == "time zone data changed: moved to 11 March 2027 09:00"
    assert summary("update", _STATE, _STATE, by_server=True) == "time zone data changed"


def test_versions_from_before_overrides_existed_can_be_compared() -> None:
    """What they lack was empty."""
    lacking = ("overrides", "recurrence_text", "split_from")
    old = {name: value for name, value in _STATE.items() if name not in lacking}
    assert summary("update", old, _STATE | {"overrides": {}}) == "nothing changed"
    assert summary("update", old, _STATE) == "1 occurrence deleted, 1 occurrence changed"


async def test_each_version_in_a_list_says_what_it_changed(alice: User, bob: User) -> None:
    """Whatever happened to the event, on whichever page it is, and also when it is read alone."""
    body = meeting("10:00", "10:30", recurrence_pattern="FREQ=DAILY;COUNT=5")
    event = str((await alice.client.post("/api/events", json=body)).headers["Location"])
    await share(alice, event.rpartition("/")[2], bob, "Editor")
    await bob.client.patch(event, json={"title": "New", "location": "Room 2"})
    await alice.client.patch(f"{event}/occurrences/2027-03-11T10:00:00Z", json={"title": "Own"})
    await alice.client.delete(f"{event}/occurrences/2027-03-12T10:00:00Z")
    await bob.client.post(f"{event}/rollback/2")
    elsewhere = {"start_time": "2027-03-10T12:00:00Z", "end_time": "2027-03-10T12:30:00Z"}
    await alice.client.patch(event, json=elsewhere)
    await alice.client.patch(
        f"{event}/occurrences/2027-03-12T12:00:00Z",
        params={"scope": "following"},
        json={"title": "Half"},
    )
    await alice.client.delete(event)
    await alice.client.post(f"{event}/restore")
    said = [
        "created",
        "title and location changed",
        "1 occurrence changed",
        "1 occurrence deleted",
        "rolled back: 2 occurrences reset",
        "moved to 10 March 2027 12:00",
        "split: recurrence changed",
        "deleted",
        "restored",
    ]
    for limit in (100, 2, 1):
        url, found = f"{event}/history?limit={limit}", []
        while url:
            answer = await bob.client.get(url)
            found += [version["summary"] for version in answer.json()]
            url = answer.links.get("next", {}).get("url", "")
        assert found == said
    by_bob = (await bob.client.get(f"{event}/history?changed_by={bob.id}")).json()
    assert [version["summary"] for version in by_bob] == [said[1], said[4]]
    one = (await bob.client.get(f"{event}/history/4")).json()
    assert one["summary"] == said[3]
