"""Stale edits are merged field by field, or refused with what collides."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventmanager.core.errors import MergeConflict
from eventmanager.events.merging import fields_of, merge, put_over
from tests.conftest import User
from tests.events.conftest import Body, meeting, share


async def create(user: User, **fields: Any) -> str:
    """Create an event and return where it is."""
    answer = await user.client.post("/api/events", json=meeting("09:00", "10:00", **fields))
    assert answer.status_code == 201, answer.text
    return f"/api/events/{answer.json()['id']}"


async def patch(user: User, url: str, body: Body, **params: Any) -> Body:
    """Change an event, which must not be refused."""
    answer = await user.client.patch(url, json=body, params=params)
    assert answer.status_code == 200, answer.text
    changed: Body = answer.json()
    return changed


@pytest.mark.parametrize("method", ["PUT", "PATCH"])
async def test_changes_of_other_fields_are_kept_beside_mine(
    alice: User, bob: User, method: str
) -> None:
    """Two people edit the same event offline, and neither loses a word."""
    url = await create(alice)
    await share(alice, url.rsplit("/", 1)[1], bob, "Editor")
    await patch(bob, url, {"location": "Roof", "start_time": "2027-03-10T08:00:00Z"})
    answer = await alice.client.request(
        method, url, json={"title": "Lunch"}, params={"base_version": 1}
    )
    assert answer.status_code == 200
    merged = answer.json()
    assert (merged["title"], merged["location"]) == ("Lunch", "Roof")
    assert merged["start_time"] == "2027-03-10T08:00:00Z"
    assert merged["merged"] is True
    assert merged["taken"] == {"mine": ["title"], "theirs": ["location", "times"]}
    assert answer.headers["ETag"] == '"3"'
    # The event itself knows nothing of how it came about.
    assert "merged" not in (await alice.client.get(url)).json()


async def test_a_client_that_sends_everything_changes_only_what_it_changed(alice: User) -> None:
    """What equals the base was not edited, so it doesn't undo the edits of others."""
    url = await create(alice, location="Lab", description="Old")
    base = (await alice.client.get(url)).json()
    await patch(alice, url, {"location": "Roof"})
    names = ("title", "description", "location", "start_time", "end_time", "time_zone", "status")
    whole = {name: base[name] for name in names} | {"description": "New"}
    merged = await patch(alice, url, whole, base_version=1)
    assert (merged["location"], merged["description"]) == ("Roof", "New")
    assert merged["taken"] == {"mine": ["description"], "theirs": ["location"]}


async def test_the_same_field_changed_both_ways_is_a_conflict(alice: User) -> None:
    """The answer has all three values of each, and nothing is written."""
    url = await create(alice)
    await patch(alice, url, {"title": "Theirs", "location": "Roof"})
    mine = {"title": "Mine", "description": "Mine too"}
    refused = await alice.client.patch(url, json=mine, params={"base_version": 1})
    assert refused.status_code == 409
    problem = refused.json()
    assert problem["code"] == "merge_conflict"
    assert (problem["base_version"], problem["current_version"]) == (1, 2)
    assert problem["conflicts"] == [
        {"field": "title", "base": "Meeting", "yours": "Mine", "theirs": "Theirs"}
    ]
    assert (await alice.client.get(url)).json()["version"] == 2
    theirs = await patch(alice, url, mine, base_version=1, resolve="theirs")
    assert (theirs["title"], theirs["description"]) == ("Theirs", "Mine too")
    won = await patch(alice, url, {"title": "Mine"}, base_version=1, resolve="mine")
    assert (won["title"], won["location"]) == ("Mine", "Roof")


async def test_times_are_one_field(alice: User) -> None:
    """My end with somebody else's start could be a time that nobody meant."""
    url = await create(alice)
    theirs = {"start_time": "2027-03-10T12:00:00Z", "end_time": "2027-03-10T13:00:00Z"}
    await patch(alice, url, theirs)
    mine = {"end_time": "2027-03-10T09:30:00Z"}
    refused = await alice.client.patch(url, json=mine, params={"base_version": 1})
    [conflict] = refused.json()["conflicts"]
    assert conflict["field"] == "times"
    assert conflict["yours"]["start_time"] == "2027-03-10T09:00:00Z"
    assert conflict["theirs"]["start_time"] == "2027-03-10T12:00:00Z"
    won = await patch(alice, url, mine, base_version=1, resolve="mine")
    assert (won["start_time"], won["end_time"]) == (
        "2027-03-10T09:00:00Z",
        "2027-03-10T09:30:00Z",
    )


async def test_a_merge_is_checked_for_clashes_and_keeps_overrides(alice: User) -> None:
    """What others said of single occurrences survives my move of the series."""
    url = await create(alice, recurrence_pattern="FREQ=DAILY;COUNT=5")
    day = f"{url}/occurrences/2027-03-12T09:00:00Z"
    assert (await alice.client.patch(day, json={"title": "Special"})).is_success
    moved = {"start_time": "2027-03-10T14:00:00Z", "end_time": "2027-03-10T15:00:00Z"}
    merged = await patch(alice, url, moved, base_version=1)
    assert merged["overrides"] == {"2027-03-12T14:00:00Z": {"title": "Special"}}
    other = meeting("18:00", "19:00")
    assert (await alice.client.post("/api/events", json=other)).is_success
    onto = {"start_time": "2027-03-10T18:30:00Z", "end_time": "2027-03-10T19:30:00Z"}
    refused = await alice.client.patch(url, json=onto, params={"base_version": 3})
    assert (refused.status_code, refused.json()["code"]) == (409, "time_conflict")


async def test_a_change_that_is_there_already_makes_no_version(alice: User) -> None:
    """Two who make the same change agree."""
    url = await create(alice)
    await patch(alice, url, {"title": "Same"})
    same = await patch(alice, url, {"title": "Same"}, base_version=1)
    assert same["version"] == 2
    assert same["taken"] == {"mine": [], "theirs": []}


async def test_a_base_that_never_was_is_refused(alice: User) -> None:
    """It can only be a mistake."""
    url = await create(alice)
    answer = await alice.client.patch(url, json={"title": "X"}, params={"base_version": 7})
    assert answer.status_code == 422
    assert answer.json()["detail"][0]["type"] == "no_such_version"


VALUES = st.sampled_from(["a", "b", "c"])
STATES = st.fixed_dictionaries(
    {
        "title": VALUES,
        "description": st.none() | VALUES,
        "location": st.none() | VALUES,
        "status": st.sampled_from(["confirmed", "cancelled"]),
        "transparency": st.just("opaque"),
        "start_time": st.sampled_from(["1", "2"]),
        "end_time": st.sampled_from(["3", "4"]),
        "time_zone": st.just("UTC"),
        "all_day": st.just(False),
        "recurrence_pattern": st.none(),
        "overrides": st.dictionaries(
            st.sampled_from(["x", "y"]), st.fixed_dictionaries({"title": VALUES})
        ),
    }
)


@given(base=STATES, mine=STATES, theirs=STATES)
def test_a_merge_is_what_a_plain_model_says(base: Body, mine: Body, theirs: Body) -> None:
    """Each field: the side that changed it; both alike: that; both otherwise: a conflict."""
    was, my, their = fields_of(base), fields_of(mine), fields_of(theirs)
    names = was.keys() | my.keys() | their.keys()
    colliding = {
        name
        for name in names
        if my.get(name) != was.get(name)
        and their.get(name) != was.get(name)
        and my.get(name) != their.get(name)
    }
    expected = {
        name: my.get(name) if my.get(name) != was.get(name) else their.get(name) for name in names
    }
    if colliding:
        with pytest.raises(MergeConflict) as refused:
            merge(base, mine=mine, theirs=theirs)
        assert {item["field"] for item in refused.value.facts["conflicts"]} == colliding
    found = merge(base, mine=mine, theirs=theirs, resolve="mine")
    merged = fields_of(put_over(theirs, mine, found.mine))
    # A field without a value that is not there is an override that one side has removed.
    there = {name: value for name, value in expected.items() if name in merged or value is not None}
    assert merged == there


async def test_stale_edits_of_one_occurrence_are_merged_too(alice: User) -> None:
    """Its time is one field, and its texts are others."""
    url = await create(alice, recurrence_pattern="FREQ=DAILY;COUNT=5")
    day = f"{url}/occurrences/2027-03-12T09:00:00Z"
    times = {"start_time": "2027-03-12T14:00:00Z", "end_time": "2027-03-12T15:00:00Z"}
    assert (await alice.client.patch(day, json=times)).is_success
    base = {"base_version": 1}
    answer = await alice.client.patch(day, json={"title": "Special"}, params=base)
    assert answer.status_code == 200, answer.text
    merged = answer.json()
    assert (merged["title"], merged["start_time"]) == ("Special", "2027-03-12T14:00:00Z")
    assert merged["taken"] == {"mine": ["title"], "theirs": ["times"]}
    other = {"start_time": "2027-03-12T16:00:00Z", "end_time": "2027-03-12T17:00:00Z"}
    refused = await alice.client.patch(day, json=other, params=base)
    assert (refused.status_code, refused.json()["code"]) == (409, "merge_conflict")
    won = await alice.client.patch(day, json=other, params=base | {"resolve": "mine"})
    assert won.json()["start_time"] == "2027-03-12T16:00:00Z"
    whole = await alice.client.patch(day, json={"title": "X"}, params=base | {"scope": "following"})
    assert whole.json()["detail"][0]["type"] == "base_of_one_occurrence"
