"""Editing a series from one of its occurrences."""

import json
from dataclasses import dataclass
from typing import Any

import asyncpg
import httpx
import pytest

from eventmanager.events.schemas import EventRead, OccurrenceRead
from tests.conftest import User
from tests.events.conftest import Body, share

ZONE = "Europe/Berlin"


@dataclass
class Series:
    """A series of alice's and what a test asks of it."""

    owner: User
    id: str

    @property
    def url(self) -> str:
        """Where it is."""
        return f"/api/events/{self.id}"

    async def event(self) -> Body:
        """Return it as it is."""
        answer = await self.owner.client.get(self.url)
        assert answer.status_code == 200, answer.text
        found: Body = answer.json()
        return found

    async def occurrences(self, **params: Any) -> list[Body]:
        """Return its occurrences."""
        answer = await self.owner.client.get(f"{self.url}/occurrences", params=params)
        assert answer.status_code == 200, answer.text
        found: list[Body] = answer.json()
        return found

    async def starts(self, **params: Any) -> list[str]:
        """Return when it takes place, without the seconds."""
        return [item["start_time"][:16] for item in await self.occurrences(**params)]

    async def patch(self, name: str, body: Body, **params: Any) -> httpx.Response:
        """Change an occurrence."""
        url = f"{self.url}/occurrences/{name}"
        return await self.owner.client.patch(url, json=body, params=params)

    async def delete(self, name: str, **params: Any) -> httpx.Response:
        """Delete an occurrence."""
        return await self.owner.client.delete(f"{self.url}/occurrences/{name}", params=params)

    async def reset(self, name: str, **params: Any) -> httpx.Response:
        """Reset an occurrence."""
        return await self.owner.client.post(f"{self.url}/occurrences/{name}/reset", params=params)


async def series(owner: User, pattern: str, **fields: Any) -> Series:
    """Create a series that begins on Monday, 1 March 2027, at nine in Berlin, for an hour."""
    body = {
        "title": "Review",
        "start_time": "2027-03-01T09:00:00",
        "end_time": "2027-03-01T10:00:00",
        "time_zone": ZONE,
        "recurrence_pattern": pattern,
        **fields,
    }
    answer = await owner.client.post("/api/events", json=body)
    assert answer.status_code == 201, answer.text
    return Series(owner, answer.json()["id"])


@pytest.fixture
async def weekly(alice: User) -> Series:
    """Six Mondays at nine in Berlin; the clocks go forward before the fifth."""
    return await series(alice, "FREQ=WEEKLY;COUNT=6")


MONDAYS = [
    "2027-03-01T08:00",
    "2027-03-08T08:00",
    "2027-03-15T08:00",
    "2027-03-22T08:00",
    "2027-03-29T07:00",
    "2027-04-05T07:00",
]
SECOND, THIRD, FIFTH, SIXTH = (f"{MONDAYS[n]}:00Z" for n in (1, 2, 4, 5))


async def test_an_occurrence_is_read_by_its_name(weekly: Series) -> None:
    """The name is the original start, however it is written."""
    answer = await weekly.owner.client.get(f"{weekly.url}/occurrences/{SECOND}")
    assert answer.status_code == 200
    OccurrenceRead.model_validate(answer.json())
    assert answer.headers["ETag"] == '"1"'
    assert answer.json() | {"event_id": ""} == {
        "event_id": "",
        "recurrence_id": "2027-03-08T08:00:00Z",
        "start_time": "2027-03-08T08:00:00Z",
        "end_time": "2027-03-08T09:00:00Z",
        "all_day": False,
        "title": "Review",
        "description": None,
        "location": None,
        "time_zone": ZONE,
        "status": "confirmed",
        "transparency": "opaque",
        "is_recurring": True,
        "is_override": False,
    }
    for name in ("2027-03-08T09:00:00%2B01:00", "2027-03-08T09:00:00"):
        same = await weekly.owner.client.get(f"{weekly.url}/occurrences/{name}")
        assert same.json() == answer.json()
    for name in ("2027-03-09T08:00:00Z", "2027-03-08", "2027-02-22T08:00:00Z"):
        absent = await weekly.owner.client.get(f"{weekly.url}/occurrences/{name}")
        assert (absent.status_code, absent.json()["code"]) == (404, "not_found")
    cached = await weekly.owner.client.get(
        f"{weekly.url}/occurrences/{SECOND}", headers={"If-None-Match": '"1"'}
    )
    assert cached.status_code == 304


async def test_a_moved_occurrence_frees_its_old_slot_and_takes_its_new_one(weekly: Series) -> None:
    """What is elsewhere blocks elsewhere, and nothing where it was."""
    times = {"start_time": "2027-03-09T14:00:00", "end_time": "2027-03-09T15:30:00"}
    moved = await weekly.patch(SECOND, times)
    assert moved.status_code == 200, moved.text
    assert moved.headers["ETag"] == '"2"'
    assert moved.json()["recurrence_id"] == SECOND
    assert moved.json()["start_time"] == "2027-03-09T13:00:00Z"
    assert moved.json()["is_override"] is True
    client = weekly.owner.client

    async def book(start: str, end: str) -> int:
        body = {"title": "Other", "start_time": start, "end_time": end}
        return (await client.post("/api/events", json=body)).status_code

    assert await book("2027-03-08T08:00:00Z", "2027-03-08T09:00:00Z") == 201
    assert await book("2027-03-09T14:00:00Z", "2027-03-09T15:00:00Z") == 409
    assert await book("2027-03-09T14:30:00Z", "2027-03-09T15:00:00Z") == 201
    # Back to where it was: somebody else is there by now.
    assert (await weekly.reset(SECOND)).status_code == 409
    assert (await weekly.starts())[1] == "2027-03-09T13:00"


async def test_a_cancelled_occurrence_takes_no_time_and_a_deleted_one_is_gone(
    weekly: Series,
) -> None:
    """Cancelled ones are still shown, as cancelled; both can be had back."""
    assert (await weekly.patch(SECOND, {"status": "cancelled"})).json()["status"] == "cancelled"
    assert (await weekly.delete(THIRD)).status_code == 204
    shown = [(item["start_time"][:16], item["status"]) for item in await weekly.occurrences()]
    assert shown[:3] == [
        (MONDAYS[0], "confirmed"),
        (MONDAYS[1], "cancelled"),
        (MONDAYS[3], "confirmed"),
    ]
    assert (await weekly.event())["overrides"] == {
        SECOND: {"status": "cancelled"},
        THIRD: {"excluded": True},
    }
    for slot in (SECOND, THIRD):
        body = {"title": "Other", "start_time": slot, "end_time": slot.replace("08:00", "09:00")}
        assert (await weekly.owner.client.post("/api/events", json=body)).status_code == 201
    assert (await weekly.delete(THIRD)).status_code == 404
    assert (await weekly.patch(THIRD, {"title": "X"})).status_code == 404
    assert (await weekly.reset(THIRD)).status_code == 409
    assert (await weekly.reset(THIRD, on_conflict="allow")).status_code == 200
    assert await weekly.starts() == MONDAYS
    assert (await weekly.event())["overrides"] == {SECOND: {"status": "cancelled"}}


async def test_an_override_holds_only_what_differs(weekly: Series) -> None:
    """What is as the series says follows the series when that changes."""
    await weekly.patch(SECOND, {"title": "Special", "location": "Roof"})
    await weekly.patch(SECOND, {"title": "Review"})
    assert (await weekly.event())["overrides"] == {SECOND: {"location": "Roof"}}
    await weekly.owner.client.patch(weekly.url, json={"title": "Retro", "location": "Lab"})
    second = (await weekly.occurrences())[1]
    assert (second["title"], second["location"]) == ("Retro", "Roof")
    same = await weekly.reset(SECOND)
    assert same.json()["location"] == "Lab"
    assert (await weekly.event())["overrides"] == {}
    # There is nothing to reset any more, so nothing is written.
    assert (await weekly.reset(SECOND)).headers["ETag"] == same.headers["ETag"]


async def test_what_all_occurrences_share_is_not_of_one(weekly: Series) -> None:
    """A zone or a rule belongs to the series; the refusal says which scope to send."""
    for field, value in (
        ("time_zone", "UTC"),
        ("all_day", True),
        ("recurrence_pattern", "FREQ=DAILY"),
        ("is_recurring", False),
    ):
        refused = await weekly.patch(SECOND, {field: value})
        assert refused.status_code == 422
        assert refused.json()["detail"][0]["type"] == "not_of_one_occurrence"
        assert refused.json()["detail"][0]["loc"] == ["body", field]
    backwards = await weekly.patch(SECOND, {"end_time": "2027-03-08T07:00:00Z"})
    assert backwards.json()["detail"][0]["type"] == "invalid_time_order"


async def test_following_splits_the_series_and_links_the_halves(weekly: Series, bob: User) -> None:
    """The rest is an event of its own, shared with the same people; nothing takes place twice."""
    await share(weekly.owner, weekly.id, bob, "Viewer")
    answer = await weekly.patch(THIRD, {"title": "New review"}, scope="following")
    assert answer.status_code == 200, answer.text
    rest = answer.json()
    EventRead.model_validate(rest)
    assert rest["split_from"] == weekly.id
    assert rest["version"] == 1
    assert {item["user_id"] for item in rest["permissions"]} == {
        str(weekly.owner.id),
        str(bob.id),
    }
    assert await weekly.starts() == MONDAYS[:2]
    after = Series(bob, rest["id"])
    assert await after.starts() == MONDAYS[2:]
    history = (await bob.client.get(f"{weekly.url}/history")).json()
    assert [item["operation"] for item in history] == ["create", "split"]
    agenda = await bob.client.get("/api/occurrences?start=2027-03-01&end=2027-05-01")
    titles = [item["title"] for item in agenda.json()]
    assert titles == ["Review"] * 2 + ["New review"] * 4


async def test_following_moves_the_rule_to_the_new_weekday(weekly: Series) -> None:
    """Known calendars keep the old weekday, so that the moved occurrence stands alone."""
    times = {"start_time": "2027-03-16T11:00:00", "end_time": "2027-03-16T11:30:00"}
    answer = await weekly.patch(THIRD, times, scope="following")
    rest = Series(weekly.owner, answer.json()["id"])
    assert await weekly.starts() == MONDAYS[:2]
    # Eleven in Berlin, on Tuesdays, also once the clocks have gone forward.
    assert await rest.starts() == [
        "2027-03-16T10:00",
        "2027-03-23T10:00",
        "2027-03-30T09:00",
        "2027-04-06T09:00",
    ]
    assert answer.json()["recurrence_text"] == "every week on Tuesday, 4 times"


async def test_later_overrides_move_to_the_second_half(weekly: Series) -> None:
    """Each stays with its slot, wherever that goes."""
    await weekly.patch(SECOND, {"title": "Early"})
    await weekly.patch(FIFTH, {"title": "Late"})
    await weekly.delete(SIXTH)
    times = {"start_time": "2027-03-16T09:00:00", "end_time": "2027-03-16T10:00:00"}
    rest = (await weekly.patch(THIRD, times, scope="following")).json()
    assert (await weekly.event())["overrides"] == {SECOND: {"title": "Early"}}
    assert rest["overrides"] == {
        "2027-03-30T07:00:00Z": {"title": "Late"},
        "2027-04-06T07:00:00Z": {"excluded": True},
    }
    assert "dropped_overrides" not in rest


async def test_following_from_the_first_is_the_whole_series(weekly: Series) -> None:
    """There is nothing before it to keep, so nothing is split."""
    answer = await weekly.patch(f"{MONDAYS[0]}:00Z", {"title": "All"}, scope="following")
    assert answer.json()["id"] == weekly.id
    assert {item["title"] for item in await weekly.occurrences()} == {"All"}


async def test_all_moves_the_series_as_far_as_the_occurrence(weekly: Series) -> None:
    """Who drags one of them says how far all of them go, not where the series begins."""
    await weekly.patch(FIFTH, {"location": "Roof"})
    times = {"start_time": "2027-03-16T10:00:00", "end_time": "2027-03-16T11:00:00"}
    answer = await weekly.patch(THIRD, times, scope="all")
    assert answer.status_code == 200, answer.text
    assert await weekly.starts() == [
        "2027-03-02T09:00",
        "2027-03-09T09:00",
        "2027-03-16T09:00",
        "2027-03-23T09:00",
        "2027-03-30T08:00",
        "2027-04-06T08:00",
    ]
    assert answer.json()["overrides"] == {"2027-03-30T08:00:00Z": {"location": "Roof"}}


async def test_overrides_survive_where_their_slots_do_and_the_others_are_named(
    weekly: Series,
) -> None:
    """Nothing is dropped silently."""
    await weekly.patch(SECOND, {"title": "Gone"})
    await weekly.patch(THIRD, {"title": "Kept"})
    pattern = {"recurrence_pattern": "FREQ=WEEKLY;INTERVAL=2;COUNT=6"}
    answer = await weekly.patch(THIRD, pattern, scope="all")
    assert answer.json()["dropped_overrides"] == [SECOND]
    assert answer.json()["overrides"] == {THIRD: {"title": "Kept"}}
    once = await weekly.owner.client.put(weekly.url, json={"is_recurring": False})
    assert once.json()["dropped_overrides"] == [THIRD]
    assert len(await weekly.occurrences()) == 1


async def test_of_slots_that_become_one_the_first_keeps_its_override(alice: User) -> None:
    """Two hours of a day become the day: one override has no place any more, and is named."""
    twice = await series(alice, "FREQ=DAILY;BYHOUR=9,15;COUNT=6")
    nine, three = "2027-03-03T08:00:00Z", "2027-03-03T14:00:00Z"
    await twice.patch(three, {"title": "At three"})
    await twice.patch(nine, {"title": "At nine"})
    days = {
        "start_time": "2027-03-01",
        "end_time": "2027-03-02",
        "recurrence_pattern": "FREQ=DAILY",
    }
    answer = await alice.client.patch(twice.url, json=days)
    assert answer.json()["overrides"] == {"2027-03-03": {"title": "At nine"}}
    assert answer.json()["dropped_overrides"] == [three]


async def test_what_is_said_of_all_is_also_said_of_the_one_it_was_said_of(weekly: Series) -> None:
    """An override of the very occurrence must not hide the edit from the one who made it."""
    await weekly.patch(THIRD, {"title": "Special", "location": "Roof"})
    await weekly.patch(THIRD, {"title": "Everywhere"}, scope="all")
    third = (await weekly.occurrences())[2]
    assert (third["title"], third["location"]) == ("Everywhere", "Roof")


@pytest.mark.parametrize("scope", ["following", "all"])
@pytest.mark.parametrize(
    ("sent", "begin", "end"),
    [
        ({"end_time": "2027-03-16T16:30:00"}, "T14:00", "T15:30"),
        ({"start_time": "2027-03-16T15:30:00"}, "T14:30", "T15:00"),
    ],
)
async def test_one_time_of_a_moved_occurrence_is_completed_by_its_own(
    weekly: Series, scope: str, sent: Body, begin: str, end: str
) -> None:
    """Not by that of its slot, which its client doesn't see: it would end before it begins."""
    times = {"start_time": "2027-03-16T15:00:00", "end_time": "2027-03-16T16:00:00"}
    assert (await weekly.patch(THIRD, times)).status_code == 200
    answer = await weekly.patch(THIRD, sent, scope=scope)
    assert answer.status_code == 200, answer.text
    assert answer.json()["overrides"] == {}
    tuesdays = await Series(weekly.owner, answer.json()["id"]).occurrences(
        start="2027-03-16T00:00:00Z", end="2027-03-28T00:00:00Z"
    )
    assert [(item["start_time"][:16], item["end_time"][:16]) for item in tuesdays] == [
        (f"2027-03-16{begin}", f"2027-03-16{end}"),
        (f"2027-03-23{begin}", f"2027-03-23{end}"),
    ]


@pytest.mark.parametrize("scope", ["following", "all"])
async def test_a_moved_occurrence_stays_where_it_is_in_another_zone(
    weekly: Series, scope: str
) -> None:
    """The zone alone says nothing of its times, as in a change of the event."""
    own = {"start_time": "2027-03-16T14:00:00Z", "end_time": "2027-03-16T15:00:00Z"}
    await weekly.patch(THIRD, own)
    answer = await weekly.patch(THIRD, {"time_zone": "UTC"}, scope=scope)
    assert answer.status_code == 200, answer.text
    assert answer.json()["overrides"] == {THIRD: own}
    starts = await Series(weekly.owner, answer.json()["id"]).starts()
    assert starts[-4:] == [
        "2027-03-16T14:00",
        "2027-03-22T08:00",
        "2027-03-29T08:00",
        "2027-04-05T08:00",
    ]


async def test_times_of_its_own_that_whole_days_take_from_an_occurrence_are_named(
    alice: User,
) -> None:
    """Also if it is the very occurrence whose days are to be whole."""
    midnights = {"start_time": "2027-03-01T00:00:00", "end_time": "2027-03-02T00:00:00"}
    nights = await series(alice, "FREQ=WEEKLY;COUNT=3", **midnights)
    second = "2027-03-07T23:00:00Z"
    own = {"start_time": "2027-03-09T00:00:00", "end_time": "2027-03-10T00:00:00"}
    await nights.patch(second, own)
    answer = await nights.patch(second, {"all_day": True}, scope="all")
    assert answer.status_code == 200, answer.text
    assert answer.json()["dropped_overrides"] == [second]


async def test_a_put_of_a_new_time_takes_rule_exclusions_and_overrides_along(alice: User) -> None:
    """Elsewhere the excluded dates come back, and the last occurrence is cut off."""
    pattern = "RRULE:FREQ=WEEKLY;UNTIL=20270405T070000Z\nEXDATE:20270308T080000Z"
    weekly = await series(alice, pattern)
    await weekly.patch(THIRD, {"title": "Special"})
    times = {"start_time": "2027-03-02T18:00:00", "end_time": "2027-03-02T19:00:00"}
    answer = await alice.client.put(weekly.url, json=times)
    assert answer.status_code == 200, answer.text
    assert await weekly.starts() == [
        "2027-03-02T17:00",
        "2027-03-16T17:00",
        "2027-03-23T17:00",
        "2027-03-30T16:00",
        "2027-04-06T16:00",
    ]
    assert answer.json()["overrides"] == {"2027-03-16T17:00:00Z": {"title": "Special"}}


async def test_deleting_what_follows_ends_the_series_before_it(weekly: Series) -> None:
    """From the first on, that is the whole event."""
    await weekly.patch(SIXTH, {"title": "Never"})
    assert (await weekly.delete(THIRD, scope="following")).status_code == 204
    assert await weekly.starts() == MONDAYS[:2]
    assert (await weekly.event())["overrides"] == {}
    assert (await weekly.delete(f"{MONDAYS[0]}:00Z", scope="following")).status_code == 204
    assert (await weekly.owner.client.get(weekly.url)).status_code == 404


async def test_only_an_owner_deletes_all(weekly: Series, bob: User) -> None:
    """Editors may change a series and end it, as they may change its rule."""
    await share(weekly.owner, weekly.id, bob, "Editor")
    mine = Series(bob, weekly.id)
    assert (await mine.delete(SIXTH)).status_code == 204
    assert (await mine.delete(FIFTH, scope="following")).status_code == 204
    for scope in ("all", "following"):
        refused = await mine.delete(f"{MONDAYS[0]}:00Z", scope=scope)
        assert (refused.status_code, refused.json()["code"]) == (403, "role_too_low")
    assert await mine.starts() == MONDAYS[:4]


async def test_an_all_day_occurrence_is_named_and_moved_by_dates(alice: User) -> None:
    """Its days are days in its zone, also where one of them has 23 hours."""
    days = await series(
        alice, "FREQ=WEEKLY;COUNT=5", start_time="2027-03-01", end_time="2027-03-02"
    )
    two_days = {"start_time": "2027-03-28", "end_time": "2027-03-30"}
    # They would cover the 29th, which is taken by the series itself.
    assert (await days.patch("2027-03-08", two_days)).status_code == 409
    answer = await days.patch("2027-03-08", {"start_time": "2027-03-28", "end_time": "2027-03-29"})
    assert answer.status_code == 200, answer.text
    assert answer.json()["recurrence_id"] == "2027-03-08"
    assert (answer.json()["start_time"], answer.json()["end_time"]) == ("2027-03-28", "2027-03-29")
    assert (await days.event())["overrides"] == {
        "2027-03-08": {"start_time": "2027-03-28", "end_time": "2027-03-29"}
    }


async def test_a_version_holds_the_overrides_so_that_they_come_back(weekly: Series) -> None:
    """Rollback and diff see what single occurrences had of their own."""
    await weekly.patch(SECOND, {"title": "Special"})
    await weekly.delete(THIRD)
    client = weekly.owner.client
    diff = (await client.get(f"{weekly.url}/diff/1/3")).json()
    changed = {change["field"] for change in diff["changes"]}
    assert {f"overrides/{SECOND}", f"overrides/{THIRD}"} <= changed
    assert {"op": "add", "path": f"/overrides/{THIRD}", "value": {"excluded": True}} in diff[
        "patch"
    ]
    assert (await client.post(f"{weekly.url}/rollback/1")).json()["overrides"] == {}
    assert await weekly.starts() == MONDAYS
    assert (await client.post(f"{weekly.url}/rollback/3")).status_code == 200
    occurrences = await weekly.occurrences()
    assert [item["title"] for item in occurrences] == ["Review", "Special", *["Review"] * 3]


async def test_readers_are_told_which_occurrence_changed(
    weekly: Series, bob: User, database_url: str
) -> None:
    """So that an open calendar can redraw one day instead of a year."""
    await share(weekly.owner, weekly.id, bob, "Viewer")
    await weekly.patch(SECOND, {"title": "Special"})
    rest = (await weekly.patch(FIFTH, {"title": "Rest"}, scope="following")).json()
    connection = await asyncpg.connect(database_url)
    rows = await connection.fetch(
        "SELECT type, data FROM messages WHERE $1 = ANY(recipients) ORDER BY position", bob.id
    )
    await connection.close()
    assert [row["type"] for row in rows] == ["permission_granted", "event_updated", "series_split"]
    _, updated, split = (json.loads(row["data"]) for row in rows)
    assert (updated["recurrence_id"], updated["scope"]) == (SECOND, "this")
    assert (split["recurrence_id"], split["new_event_id"]) == (FIFTH, rest["id"])


async def test_an_edit_of_one_occurrence_is_checked_against_the_time_of_the_owner(
    weekly: Series, bob: User
) -> None:
    """An Editor moves the owner's time, and learns no title of what else is in it."""
    await share(weekly.owner, weekly.id, bob, "Editor")
    secret = {
        "title": "Secret",
        "start_time": "2027-03-10T08:00:00Z",
        "end_time": "2027-03-10T09:00:00Z",
    }
    assert (await weekly.owner.client.post("/api/events", json=secret)).status_code == 201
    mine = Series(bob, weekly.id)
    times = {"start_time": "2027-03-10T08:30:00Z", "end_time": "2027-03-10T09:30:00Z"}
    refused = await mine.patch(SECOND, times)
    assert refused.status_code == 409
    [pair] = refused.json()["conflicts"]
    assert pair["requested"]["recurrence_id"] == SECOND
    assert pair["existing"]["title"] is None
    assert (await mine.patch(SECOND, times, on_conflict="allow")).status_code == 200


async def test_what_stood_before_an_edit_is_not_checked_again(weekly: Series) -> None:
    """A clash that was allowed once doesn't stand in the way of every later edit."""
    other = {"title": "Other", "start_time": SECOND, "end_time": "2027-03-08T09:00:00Z"}
    client = weekly.owner.client
    assert (await client.post("/api/events", json=other)).status_code == 409
    allowed = await client.post("/api/events", json=other, params={"on_conflict": "allow"})
    assert allowed.status_code == 201
    assert (await weekly.patch(THIRD, {"title": "Special"})).status_code == 200
    assert (await client.put(weekly.url, json={"status": "tentative"})).status_code == 200
    assert (await weekly.patch(SECOND, {"title": "New"}, scope="following")).status_code == 200


async def test_a_stale_edit_of_an_occurrence_is_refused(weekly: Series) -> None:
    """The ETag of an occurrence is its event's version."""
    await weekly.patch(SECOND, {"title": "First"})
    url = f"{weekly.url}/occurrences/{THIRD}"
    for method, body in (("PATCH", {"title": "X"}), ("DELETE", None)):
        stale = await weekly.owner.client.request(
            method, url, json=body, headers={"If-Match": '"1"'}
        )
        assert stale.status_code == 412
    stale = await weekly.owner.client.post(f"{url}/reset", headers={"If-Match": '"1"'})
    assert stale.status_code == 412


async def test_an_occurrence_years_ahead_can_be_edited(alice: User) -> None:
    """What is stored is extended first; beyond ten years nothing is."""
    daily = await series(alice, "FREQ=DAILY")
    answer = await daily.patch("2034-07-03T07:00:00Z", {"title": "Far"})
    assert answer.status_code == 200, answer.text
    found = await daily.occurrences(start="2034-07-02T00:00:00Z", end="2034-07-04T00:00:00Z")
    assert [item["title"] for item in found] == ["Review", "Far"]
    beyond = await daily.patch("2044-07-03T07:00:00Z", {"title": "Too far"})
    assert (beyond.status_code, beyond.json()["code"]) == (422, "window_too_far")
    assert (await alice.client.get(f"{daily.url}/occurrences/2044-07-03T07:00:00Z")).json()[
        "code"
    ] == "window_too_far"


async def test_an_edit_that_changes_nothing_years_ahead_answers_the_occurrence(
    alice: User,
) -> None:
    """Nothing is booked, so nothing was stored so far ahead, and clients got no JSON."""
    daily = await series(alice, "FREQ=DAILY")
    far = "2034-07-03T07:00:00Z"
    answers = [
        await daily.reset(far, dry_run=True),
        await daily.patch(far, {}, dry_run=True),
        await daily.patch(far, {"title": "Review"}, base_version=1, dry_run=True),
        await daily.patch(far, {"title": "Review"}),
    ]
    for answer in answers:
        assert (answer.status_code, answer.headers["ETag"]) == (200, '"1"')
        assert (answer.json()["recurrence_id"], answer.json()["title"]) == (far, "Review")
    assert answers[2].json()["merged"] is False
    assert (await daily.event())["version"] == 1


async def test_occurrences_of_an_event_come_in_pages(alice: User) -> None:
    """Following the links gives every one once."""
    daily = await series(alice, "FREQ=DAILY;COUNT=25")
    found: list[str] = []
    url: str | None = f"{daily.url}/occurrences?limit=10"
    while url:
        answer = await alice.client.get(url)
        found += [item["start_time"] for item in answer.json()]
        url = answer.links.get("next", {}).get("url")
    assert len(found) == len(set(found)) == 25
    assert found == sorted(found)


async def test_an_event_that_does_not_recur_has_one_occurrence(alice: User) -> None:
    """Editing it edits the event, whatever the scope."""
    body = {
        "title": "Once",
        "start_time": "2027-03-01T08:00:00Z",
        "end_time": "2027-03-01T09:00:00Z",
    }
    event = (await alice.client.post("/api/events", json=body)).json()
    once = Series(alice, event["id"])
    answer = await once.patch("2027-03-01T08:00:00Z", {"title": "Twice"})
    assert answer.json()["title"] == "Twice"
    assert answer.json()["id"] == event["id"]
    assert (await once.reset("2027-03-01T08:00:00Z")).status_code == 404
    assert (await once.delete("2027-03-01T08:00:00Z")).status_code == 204
    assert (await alice.client.get(once.url)).status_code == 404


async def test_an_occurrence_cannot_move_onto_another_of_its_series(weekly: Series) -> None:
    """Its series holds that time already, and would take it twice."""
    onto = {"start_time": "2027-03-15T09:00:00", "end_time": "2027-03-15T10:00:00"}
    refused = await weekly.patch(SECOND, onto)
    assert (refused.status_code, refused.json()["total"]) == (409, 1)
    half = {"start_time": "2027-03-15T09:30:00", "end_time": "2027-03-15T10:30:00"}
    assert (await weekly.patch(SECOND, half)).status_code == 409
    # Once that one is out of the way, it may.
    assert (await weekly.delete(THIRD)).status_code == 204
    assert (await weekly.patch(SECOND, onto)).status_code == 200
    assert (await weekly.reset(THIRD)).status_code == 409


async def test_a_daily_series_that_is_dragged_moves_as_a_whole(alice: User) -> None:
    """By days too: it takes its end, its extra dates and what single occurrences have along."""
    pattern = "RRULE:FREQ=DAILY;UNTIL=20270303T080000Z\nRDATE:20270310T120000"
    daily = await series(alice, pattern)
    await daily.patch("2027-03-02T08:00:00Z", {"title": "Special"})
    times = {"start_time": "2027-03-05T09:00:00", "end_time": "2027-03-05T10:00:00"}
    answer = await daily.patch("2027-03-03T08:00:00Z", times, scope="all")
    assert answer.status_code == 200, answer.text
    assert await daily.starts() == [
        "2027-03-03T08:00",
        "2027-03-04T08:00",
        "2027-03-05T08:00",
        "2027-03-12T11:00",
    ]
    assert answer.json()["overrides"] == {"2027-03-04T08:00:00Z": {"title": "Special"}}


async def test_a_series_that_begins_beside_its_rule_cannot_be_dragged(alice: User) -> None:
    """Nobody can say where the rule should go, and an edit must not do nothing silently."""
    beside = await series(alice, "FREQ=WEEKLY;BYDAY=TU;COUNT=3")
    times = {"start_time": "2027-03-03T09:00:00", "end_time": "2027-03-03T10:00:00"}
    answer = await beside.patch("2027-03-02T08:00:00Z", times, scope="all")
    assert answer.status_code == 422
    assert "send a recurrence_pattern" in answer.json()["detail"][0]["ctx"]["reason"]


WEEKDAYS = "FREQ=WEEKLY;BYDAY=MO,TU,WE,TH,FR"


@pytest.mark.parametrize(
    ("pattern", "start", "slot", "to"),
    [
        # Only the start would move, and the first occurrence be gone.
        (WEEKDAYS, "2027-01-04T09", "2027-01-11T09", "2027-01-12T09"),
        ("FREQ=WEEKLY;BYDAY=MO,WE;COUNT=6", "2027-01-04T09", "2027-01-11T09", "2027-01-13T09"),
        ("FREQ=DAILY;BYHOUR=9,15;COUNT=6", "2027-01-04T09", "2027-01-05T09", "2027-01-05T15"),
        ("FREQ=WEEKLY;COUNT=4", "2027-01-04T09", "2027-01-11T09", "2027-01-18T09"),
        # The others would move, and not as far.
        ("FREQ=MONTHLY", "2027-01-15T09", "2027-02-15T09", "2027-03-01T09"),
        ("FREQ=MONTHLY;BYDAY=2MO", "2027-01-11T09", "2027-06-14T09", "2027-06-15T09"),
    ],
)
async def test_a_series_is_not_dragged_where_its_rule_would_not_bring_the_occurrence(
    alice: User, pattern: str, start: str, slot: str, to: str
) -> None:
    """It was answered with 200: the one that was dragged stayed, and another one was gone."""
    times = {"start_time": f"{start}:00:00Z", "end_time": f"{start}:15:00Z"}
    rule = await series(alice, pattern, time_zone="UTC", **times)
    before = await rule.event()
    put = {"start_time": f"{to}:00:00Z", "end_time": f"{to}:15:00Z"}
    answer = await rule.patch(f"{slot}:00:00Z", put, scope="all")
    assert answer.status_code == 422, answer.text
    [detail] = answer.json()["detail"]
    assert detail["type"] == "invalid_rrule"
    assert "send scope=following" in detail["ctx"]["reason"]
    assert await rule.event() == before
    # From this one on there is a rule that has it there.
    rest = await rule.patch(f"{slot}:00:00Z", put, scope="following")
    assert rest.status_code == 200, rest.text
    assert (await Series(alice, rest.json()["id"]).starts())[0] == f"{to}:00"


async def test_the_last_day_of_the_month_is_not_dragged_to_the_first_of_the_next(
    alice: User,
) -> None:
    """Days that are counted from the end are so too in a month of another length."""
    last = await series(
        alice, "FREQ=MONTHLY;BYMONTHDAY=-1", start_time="2027-01-31", end_time="2027-02-01"
    )
    to = {"start_time": "2029-03-01", "end_time": "2029-03-02"}
    answer = await last.patch("2029-02-28", to, scope="all")
    assert answer.status_code == 422, answer.text
    assert (await last.event())["version"] == 1


@pytest.mark.parametrize(
    ("pattern", "slot", "to", "starts"),
    [
        # The same days at another time, also beyond the change of the clocks.
        (WEEKDAYS, "03-30T09", "03-30T11", ["03-01T10", "03-02T10", "03-03T10"]),
        ("FREQ=WEEKLY;BYDAY=MO,WE", "03-31T09", "04-01T09", ["03-02T08", "03-04T08", "03-09T08"]),
        ("FREQ=MONTHLY", "05-01T09", "05-04T08", ["03-04T07", "04-04T06", "05-04T06"]),
        ("FREQ=MONTHLY;BYDAY=1MO", "04-05T09", "04-06T09", ["03-02T08", "04-06T07", "05-04T07"]),
        # The first says where the series begins, and every weekday stays so.
        (WEEKDAYS, "03-01T09", "03-02T09", ["03-02T08", "03-03T08", "03-04T08"]),
        # A date beside the rule takes the rule along.
        ("FREQ=WEEKLY\nRDATE:20270303T090000", "03-03T09", "03-04T09", ["03-02T08", "03-04T08"]),
    ],
)
async def test_a_series_is_dragged_where_its_rule_can_follow(
    alice: User, pattern: str, slot: str, to: str, starts: list[str]
) -> None:
    """What is dragged is there, and the others have moved as far on the wall clock."""
    rule = await series(alice, pattern)
    times = {"start_time": f"2027-{to}:00:00", "end_time": f"2027-{to}:30:00"}
    answer = await rule.patch(f"2027-{slot}:00:00", times, scope="all")
    assert answer.status_code == 200, answer.text
    assert (await rule.starts())[: len(starts)] == [f"2027-{start}:00" for start in starts]


async def test_the_first_is_not_dragged_onto_a_day_that_its_series_leaves_out(alice: User) -> None:
    """Neither of the two would take place then."""
    rule = await series(alice, f"{WEEKDAYS}\nEXDATE:20270303T090000")
    await rule.delete("2027-03-02T09:00:00")
    times = {"start_time": "2027-03-04T12:00:00", "end_time": "2027-03-04T13:00:00"}
    await rule.patch("2027-03-04T09:00:00", times)
    for day in ("02", "03", "04"):
        to = {"start_time": f"2027-03-{day}T09:00:00", "end_time": f"2027-03-{day}T10:00:00"}
        answer = await rule.patch("2027-03-01T09:00:00", to, scope="all")
        assert answer.status_code == 422, (day, answer.text)
    assert (await rule.starts())[:3] == ["2027-03-01T08:00", "2027-03-04T11:00", "2027-03-05T08:00"]


async def test_a_series_that_begins_when_the_clock_shows_a_time_again_stays_there(
    alice: User,
) -> None:
    """Another length is no move: it would begin an hour earlier, the others where they were."""
    times = {"start_time": "2027-10-31T01:30:00Z", "end_time": "2027-10-31T02:00:00Z"}
    twice = await series(alice, "FREQ=DAILY;COUNT=2", **times)
    for name in ("2027-10-31T01:30:00Z", "2027-11-01T01:30:00Z"):
        end = {"end_time": name.replace("01:30", "02:15")}
        assert (await twice.patch(name, end, scope="all")).status_code == 200
        assert await twice.starts() == ["2027-10-31T01:30", "2027-11-01T01:30"]
