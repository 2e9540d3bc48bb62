"""Anybody may learn when people are busy, as far as these allow it, and nobody with what."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import httpx
import pytest

from eventmanager.core.database import Database, Query
from eventmanager.core.time import rfc3339
from eventmanager.scheduling import busy_queries
from tests.conftest import MakeUser, User
from tests.events.conftest import meeting, share

BERLIN = ZoneInfo("Europe/Berlin")
DAY = {"start": "2027-03-10T00:00:00Z", "end": "2027-03-11T00:00:00Z"}
NOBODY = "00000000-0000-0000-0000-000000000000"


async def ask(
    caller: User, *users: object, start: str = DAY["start"], end: str = DAY["end"]
) -> httpx.Response:
    """Ask when some users are busy."""
    body = {"users": [str(user) for user in users], "start": start, "end": end}
    return await caller.client.post("/api/freebusy", json=body)


async def busy_times(
    caller: User, user: User, *, start: str = DAY["start"], end: str = DAY["end"]
) -> list[tuple[str, str]]:
    """Return when a user is busy, as the caller sees it."""
    answer = await ask(caller, user.id, start=start, end=end)
    assert answer.status_code == 200, answer.text
    [one] = answer.json()["users"]
    assert one["error"] is None
    return [(item["start_time"], item["end_time"]) for item in one["busy"]]


async def create(user: User, body: dict[str, Any]) -> str:
    """Create an event and return its id."""
    answer = await user.client.post("/api/events", json=body)
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])


async def allow(user: User, who: str) -> None:
    """Let a user decide who may ask."""
    answer = await user.client.patch("/api/me", json={"free_busy": who})
    assert (answer.status_code, answer.json()["free_busy"]) == (200, who), answer.text


async def error_seen(caller: User, user: User) -> str | None:
    """Return why the caller learns nothing about a user; None if they learn it."""
    [one] = (await ask(caller, user.username)).json()["users"]
    assert one["user_id"] == str(user.id)
    assert (one["busy"] is None) == (one["error"] is not None)
    error: str | None = one["error"]
    return error


async def test_it_says_when_and_never_what(alice: User, bob: User) -> None:
    """Two instants an interval: no title, no place, no id, nothing else."""
    secret = {"title": "Job interview", "description": "At Acme", "location": "Acme Tower"}
    event_id = await create(alice, meeting("09:00", "10:30", **secret))
    answer = await ask(bob, alice.username)
    assert answer.json() == DAY | {
        "users": [
            {
                "user": alice.username,
                "user_id": str(alice.id),
                "busy": [
                    {"start_time": "2027-03-10T09:00:00Z", "end_time": "2027-03-10T10:30:00Z"}
                ],
                "error": None,
            }
        ]
    }
    for word in (*secret.values(), event_id):
        assert word not in answer.text


async def test_what_touches_is_one_interval(alice: User, bob: User) -> None:
    """Back-to-back meetings leave no free moment between them; a minute's break does."""
    for start, end in (("11:00", "12:00"), ("09:00", "10:00"), ("10:00", "11:00")):
        await create(alice, meeting(start, end))
    await create(alice, meeting("12:01", "13:00"))
    assert await busy_times(bob, alice) == [
        ("2027-03-10T09:00:00Z", "2027-03-10T12:00:00Z"),
        ("2027-03-10T12:01:00Z", "2027-03-10T13:00:00Z"),
    ]


async def test_what_overlaps_is_one_interval(alice: User, bob: User) -> None:
    """Booked twice, one is still busy once."""
    for start, end in (("09:00", "12:00"), ("10:00", "11:00"), ("11:30", "13:00")):
        answer = await alice.client.post(
            "/api/events", params={"on_conflict": "allow"}, json=meeting(start, end)
        )
        assert answer.status_code == 201, answer.text
    assert await busy_times(bob, alice) == [("2027-03-10T09:00:00Z", "2027-03-10T13:00:00Z")]


async def test_intervals_end_where_the_window_does(alice: User, bob: User) -> None:
    """What reaches into the window counts as far as it does; what merely meets it does not."""
    for start, end in (("08:00", "09:00"), ("09:00", "10:00"), ("12:00", "13:00")):
        await create(alice, meeting(start, end))
    await create(alice, meeting("13:00", "14:00"))
    seen = await busy_times(bob, alice, start="2027-03-10T09:30:00Z", end="2027-03-10T13:00:00Z")
    assert seen == [
        ("2027-03-10T09:30:00Z", "2027-03-10T10:00:00Z"),
        ("2027-03-10T12:00:00Z", "2027-03-10T13:00:00Z"),
    ]
    assert not await busy_times(
        bob, alice, start="2027-03-10T10:00:00+00:00", end="2027-03-10T13:00:00+01:00"
    )


async def test_what_takes_no_time_is_not_busy(alice: User, bob: User) -> None:
    """Cancelled, transparent and deleted events leave their time free."""
    await create(alice, meeting("09:00", "10:00", transparency="transparent"))
    cancelled = await create(alice, meeting("10:00", "11:00"))
    await alice.client.patch(f"/api/events/{cancelled}", json={"status": "cancelled"})
    deleted = await create(alice, meeting("11:00", "12:00"))
    await alice.client.delete(f"/api/events/{deleted}")
    await create(alice, meeting("12:00", "13:00", status="tentative"))
    assert await busy_times(bob, alice) == [("2027-03-10T12:00:00Z", "2027-03-10T13:00:00Z")]


async def test_an_event_of_somebody_else_is_not_ones_own_time(alice: User, bob: User) -> None:
    """Whose event it is, is busy: sharing it books nobody else."""
    event_id = await create(alice, meeting("09:00", "10:00"))
    await share(alice, event_id, bob, "Editor")
    assert not await busy_times(bob, bob)
    assert len(await busy_times(bob, alice)) == 1


@pytest.mark.parametrize(
    ("day", "next_day", "start", "end"),
    [
        ("2027-03-28", "2027-03-29", "2027-03-27T23:00:00Z", "2027-03-28T22:00:00Z"),
        ("2027-07-01", "2027-07-02", "2027-06-30T22:00:00Z", "2027-07-01T22:00:00Z"),
        ("2027-10-31", "2027-11-01", "2027-10-30T22:00:00Z", "2027-10-31T23:00:00Z"),
    ],
)
async def test_an_all_day_event_is_busy_for_its_whole_local_day(
    alice: User, bob: User, day: str, next_day: str, start: str, end: str
) -> None:
    """From midnight to midnight in its zone: 23, 24 or 25 hours."""
    holiday = {"title": "Holiday", "all_day": True, "time_zone": "Europe/Berlin"}
    await create(alice, holiday | {"start_time": day, "end_time": next_day})
    seen = await busy_times(bob, alice, start="2027-03-01T00:00:00Z", end="2027-12-01T00:00:00Z")
    assert seen == [(start, end)]


async def test_everybody_may_ask_at_first(alice: User, bob: User) -> None:
    """As in a calendar at work: one need not know each other."""
    assert (await alice.client.get("/api/me")).json()["free_busy"] == "everyone"
    assert await error_seen(bob, alice) is None


async def test_nobody_may_ask_who_said_so(alice: User, bob: User) -> None:
    """Neither a stranger nor who shares their events; they themselves still may."""
    await share(alice, await create(alice, meeting("09:00", "10:00")), bob, "Editor")
    await allow(alice, "nobody")
    assert await error_seen(bob, alice) == "not_allowed"
    assert await error_seen(alice, alice) is None
    await allow(alice, "everyone")
    assert await error_seen(bob, alice) is None


async def test_who_shares_an_event_may_ask_as_long_as_they_do(
    alice: User, bob: User, make_user: MakeUser
) -> None:
    """In both directions, and also where the event is a third person's."""
    carol, stranger = await make_user(), await make_user()
    for user in (alice, bob, carol):
        await allow(user, "shared")
    assert await error_seen(alice, alice) is None
    event_id = await create(alice, meeting("09:00", "10:00"))
    assert await error_seen(bob, alice) == "not_allowed"
    await share(alice, event_id, bob, "Viewer")
    await share(alice, event_id, carol, "Editor")
    for one, other in ((alice, bob), (bob, alice), (bob, carol), (carol, bob)):
        assert await error_seen(one, other) is None
    for user in (alice, bob, carol):
        assert await error_seen(stranger, user) == "not_allowed"

    await alice.client.delete(f"/api/events/{event_id}/permissions/{bob.id}")
    for one, other in ((alice, bob), (bob, alice), (bob, carol), (carol, bob)):
        assert await error_seen(one, other) == "not_allowed"
    assert await error_seen(carol, alice) is None

    await alice.client.delete(f"/api/events/{event_id}")
    assert await error_seen(carol, alice) == "not_allowed"
    assert await error_seen(alice, carol) == "not_allowed"


async def test_an_owner_who_left_shares_nothing(alice: User, bob: User) -> None:
    """It is grants that count, not whose time an event takes."""
    await allow(alice, "shared")
    event_id = await create(alice, meeting("09:00", "10:00"))
    await share(alice, event_id, bob, "Owner")
    assert await error_seen(bob, alice) is None
    left = await bob.client.delete(f"/api/events/{event_id}/permissions/{alice.id}")
    assert left.status_code == 204
    assert await error_seen(bob, alice) == "not_allowed"


async def test_the_setting_is_ones_own_and_one_of_three(alice: User, bob: User) -> None:
    """Nothing else of oneself can be changed on the way, and nobody else's."""
    for wrong in ({"free_busy": "friends"}, {"role": "Admin"}, {"free_busy": "shared", "id": "1"}):
        assert (await alice.client.patch("/api/me", json=wrong)).status_code == 422
    await allow(alice, "shared")
    nothing: list[dict[str, Any]] = [{}, {"free_busy": None}]
    for body in nothing:
        answer = await alice.client.patch("/api/me", json=body)
        assert (answer.status_code, answer.json()["free_busy"]) == (200, "shared")
    assert answer.json() == (await alice.client.get("/api/me")).json()
    assert (await bob.client.get("/me")).json()["free_busy"] == "everyone"


async def test_names_come_in_any_form_and_back_as_asked(alice: User, bob: User) -> None:
    """Ids, usernames and emails in any letter case; who is named twice is there once."""
    names = [
        bob.email.upper(),
        str(alice.id).upper(),
        alice.username.title(),
        alice.email,
        bob.username.upper(),
    ]
    users = (await ask(alice, *names)).json()["users"]
    assert [(user["user"], user["user_id"]) for user in users] == [
        (names[0], str(bob.id)),
        (names[1], str(alice.id)),
    ]


async def test_who_is_unknown_does_not_stop_the_others(alice: User) -> None:
    """Each answer stands for itself, in the order asked."""
    names = ["nobody.at.all", NOBODY, alice.username, "nobody@example.com", "Nobody.At.All", "a b"]
    users = (await ask(alice, *names)).json()["users"]
    unknown = {"user_id": None, "busy": None, "error": "unknown_user"}
    assert users == [
        {"user": "nobody.at.all"} | unknown,
        {"user": NOBODY} | unknown,
        {"user": alice.username, "user_id": str(alice.id), "busy": [], "error": None},
        {"user": "nobody@example.com"} | unknown,
        {"user": "a b"} | unknown,
    ]


async def test_a_username_like_an_id_stands_for_nobody_else(
    alice: User, bob: User, make_user: MakeUser
) -> None:
    """Who calls themselves by another's id is not asked in their place."""
    await make_user(str(alice.id))
    [one] = (await ask(bob, alice.id)).json()["users"]
    assert one["user_id"] == str(alice.id)


async def test_a_hundred_users_may_be_asked_for(alice: User, bob: User) -> None:
    """And not one more."""
    await create(alice, meeting("09:00", "10:00"))
    others = [f"nobody{number}" for number in range(99)]
    answer = await ask(bob, *others, alice.id)
    assert answer.status_code == 200
    assert len(answer.json()["users"]) == 100
    assert len(answer.json()["users"][-1]["busy"]) == 1
    assert (await ask(bob, *others, alice.id, bob.id)).status_code == 422
    assert (await ask(bob)).status_code == 422


@pytest.mark.parametrize(
    ("start", "end", "code", "kind"),
    [
        ("2027-01-01T00:00:00Z", "2028-01-02T00:00:01Z", "window_too_long", "window_too_long"),
        ("2200-01-01T00:00:00Z", "2200-01-02T00:00:00Z", "window_too_far", "window_too_far"),
        ("2027-01-02T00:00:00Z", "2027-01-01T00:00:00Z", "validation_error", "invalid_time_order"),
        ("2027-01-01T00:00:00Z", "2027-01-01T00:00:00Z", "validation_error", "invalid_time_order"),
        ("2027-01-01T00:00:00Z", "soon", "validation_error", "invalid_time"),
    ],
)
async def test_a_window_that_cannot_be_is_refused(
    alice: User, start: str, end: str, code: str, kind: str
) -> None:
    """With what is wrong about it, and where."""
    answer = await ask(alice, alice.id, start=start, end=end)
    assert (answer.status_code, answer.json()["code"]) == (422, code)
    [detail] = answer.json()["detail"]
    assert (detail["loc"], detail["type"]) == (["body", "end"], kind)


async def test_a_leap_year_is_not_too_long(alice: User) -> None:
    """A year, whichever."""
    answer = await ask(alice, alice.id, start="2027-03-01T00:00:00Z", end="2028-03-01T00:00:00Z")
    assert answer.status_code == 200


@pytest.mark.parametrize("name", ["", "x" * 255, "nul\x00", "\ud800"])
async def test_a_name_that_cannot_be_is_refused(alice: User, name: str) -> None:
    """Never an internal error."""
    body = json.dumps({"users": [name]} | DAY)
    answer = await alice.client.post(
        "/api/freebusy", content=body, headers={"Content-Type": "application/json"}
    )
    assert answer.status_code == 422, answer.text


@pytest.mark.parametrize("month", [1, 7])
async def test_eight_years_ahead_an_endless_series_is_exact(
    alice: User, bob: User, month: int
) -> None:
    """Nobody has looked so far before: what is not stored yet is busy, too."""
    year = datetime.now(UTC).year
    standup = {
        "title": "Standup",
        "start_time": f"{year + 1}-01-01T09:00:00",
        "end_time": f"{year + 1}-01-01T09:15:00",
        "time_zone": "Europe/Berlin",
        "recurrence_pattern": "RRULE:FREQ=DAILY",
    }
    await create(alice, standup)
    begin = datetime(year + 8, month, 1, tzinfo=BERLIN)
    days = [begin + timedelta(days=number) for number in range(31)]
    seen = await busy_times(
        bob, alice, start=rfc3339(begin), end=rfc3339(begin + timedelta(days=31))
    )
    assert seen == [
        (rfc3339(day.replace(hour=9)), rfc3339(day.replace(hour=9, minute=15))) for day in days
    ]


async def test_events_of_any_length_are_seen_from_within(alice: User, bob: User) -> None:
    """A window in the middle of a long absence is busy throughout."""
    for days in (1, 20, 500, 2_500):
        event_id = await create(
            alice,
            {
                "title": "Away",
                "start_time": rfc3339(datetime(2027, 3, 10, 12, tzinfo=UTC) - timedelta(days=days)),
                "end_time": "2027-03-10T12:00:00Z",
            },
        )
        start, end = "2027-03-10T11:59:59Z", "2027-03-10T12:00:01Z"
        seen = await busy_times(bob, alice, start=start, end=end)
        assert seen == [(start, "2027-03-10T12:00:00Z")]
        await alice.client.delete(f"/api/events/{event_id}")


@pytest.mark.parametrize("statement", [busy_queries.FREE_BUSY, busy_queries.BUSY_SECONDS])
async def test_what_lies_outside_the_window_is_not_read(
    alice: User, database: Database, statement: Query
) -> None:
    """A day of somebody with two years of meetings costs a day."""
    daily = meeting("09:00", "10:00", recurrence_pattern="RRULE:FREQ=DAILY")
    await create(alice, daily)
    asked = {
        "ids": [alice.id],
        "usernames": [None],
        "emails": [None],
        "caller_id": alice.id,
        "start": datetime(2027, 9, 1, tzinfo=UTC),
        "end": datetime(2027, 9, 2, tzinfo=UTC),
    }
    explain = Query(f"EXPLAIN (ANALYZE, FORMAT JSON) {statement.sql}", statement.parameters)
    async with database.reading() as read:
        row = await read.first(explain, **asked)
    assert row is not None
    scans = list(_scans(json.loads(row[0])))
    assert len(scans) == 5
    assert sum(rows for rows, _ in scans) == 1
    assert sum(wasted for _, wasted in scans) <= 2


def _scans(node: Any) -> Sequence[tuple[float, float]]:
    """Return the rows found and passed over by each scan of the stored occurrences."""
    if isinstance(node, list):
        return [scan for item in node for scan in _scans(item)]
    if not isinstance(node, dict):
        return []
    own = []
    if node.get("Relation Name") == "occurrences":
        own = [(node["Actual Rows"], node.get("Rows Removed by Filter", 0))]
    return [*own, *(scan for value in node.values() for scan in _scans(value))]
