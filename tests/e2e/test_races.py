"""Many clients against several processes: nobody is double-booked, and nobody refused for nothing.

The calendars are judged from outside: by brute force over what the API lists, and by the versions.
"""

import asyncio
import itertools
import random
import time
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from datetime import time as dt_time
from pathlib import Path
from typing import Any, Final
from zoneinfo import ZoneInfo

import asyncpg
import httpx
import orjson
import pytest

from eventmanager.recurrence import expand, parse
from tests.conftest import PASSWORD
from tests.e2e.conftest import SEVERAL, Server, make_database, serving

CLIENTS: Final = 32
ROUNDS: Final = 20
RACE_SECONDS: Final = 8.0
RACE_REQUESTS: Final = 1_000
"""So many at least, however long it takes: with fewer, not everything would have happened."""
SEED: Final = 20261122
ZONES: Final = ("Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kolkata")
NOW: Final = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
HORIZON: Final = NOW + timedelta(days=730)
FAR: Final = NOW + timedelta(days=9 * 365)
TICK: Final = timedelta(seconds=1)
NUMBERS: Final = itertools.count(1)
EXPECTED: Final = {
    "POST": {201, 409},
    # Some rules can't be moved to another day, or end before it (422).
    "PUT": {200, 404, 409, 422},
    "DELETE": {204, 404},
    "GET": {200},
    "edit this": {200, 404, 409},
    "edit following": {200, 404, 409, 422},
    "edit all": {200, 404, 409, 422},
    "delete this": {204, 404},
    "delete following": {204, 404},
    "reset": {200, 404, 409},
    "rollback": {200, 404, 409},
    "restore": {200, 404, 409},
    "look": {200, 404},
}
STATE: Final = (
    "title",
    "start_time",
    "end_time",
    "time_zone",
    "all_day",
    "recurrence_pattern",
    "overrides",
    "status",
    "transparency",
)

Json = dict[str, Any]


@dataclass
class Owner:
    """A user with a calendar, the zone they live in, and the ids of events made so far."""

    name: str
    zone: str
    client: httpx.AsyncClient
    user_id: str
    ids: list[str] = field(default_factory=list)
    gone: list[str] = field(default_factory=list)
    taken: list[tuple[str, str]] = field(default_factory=list)


@dataclass
class Record:
    """What the clients were told, to be judged when all is over."""

    statuses: Counter[tuple[str, int]] = field(default_factory=Counter)
    conflicts: list[tuple[Owner, Json]] = field(default_factory=list)
    put: dict[str, tuple[str, int]] = field(default_factory=dict)
    not_put: set[str] = field(default_factory=set)
    own: dict[str, tuple[str, int]] = field(default_factory=dict)
    rolled_back: dict[tuple[str, int], int] = field(default_factory=dict)
    done: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    unexpected: list[str] = field(default_factory=list)


@pytest.fixture(scope="module")
async def races_database(database_url: str) -> str:
    """A database for these races alone."""
    return await make_database(database_url)


@pytest.fixture(scope="module")
async def server(
    races_database: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Server]:
    """A server with several worker processes."""
    directory: Path = tmp_path_factory.mktemp("races")
    with serving(directory, workers=SEVERAL, DATABASE_URL=races_database) as running:
        yield running
        assert '"status":5' not in running.logs
        assert "traceback" not in running.logs


@pytest.fixture
async def owners(server: Server) -> AsyncIterator[list[Owner]]:
    """Four new owners, each in another time zone."""
    async with AsyncExitStack() as stack:
        yield [await sign_up(stack, server, zone) for zone in ZONES]


async def sign_up(stack: AsyncExitStack, server: Server, zone: str) -> Owner:
    """Register an owner whose client opens a connection for every request in flight."""
    name = f"racer{next(NUMBERS)}"
    client = await stack.enter_async_context(
        httpx.AsyncClient(
            base_url=server.base_url,
            timeout=30,
            trust_env=False,
            verify=False,
            # The server closes what has been idle for five seconds: be sure to do so before it.
            limits=httpx.Limits(
                max_connections=CLIENTS, max_keepalive_connections=CLIENTS, keepalive_expiry=2
            ),
        )
    )
    body = {"username": name, "email": f"{name}@example.com", "password": PASSWORD}
    answer = await client.post("/api/auth/register", json=body)
    assert answer.status_code == 201, answer.text
    client.headers["Authorization"] = f"Bearer {answer.json()['access_token']}"
    return Owner(name, zone, client, (await client.get("/api/me")).json()["id"])


# --- One slot -------------------------------------------------------------------------------------


async def test_of_all_who_want_one_slot_exactly_one_gets_it(owners: Sequence[Owner]) -> None:
    """The promise of the product, put to the test twenty times on each of two calendars."""
    ids: set[str] = set()
    for number in range(ROUNDS):
        day = NOW + timedelta(days=number + 1)
        wants = [
            # Each wants another part of the hour, and all of them the minute in its middle.
            want(owner, day + timedelta(minutes=client % 16), day + timedelta(minutes=45))
            for client in range(CLIENTS // 2)
            for owner in owners[:2]
        ]
        answers = await asyncio.gather(*wants)
        for owner_answers in (answers[0::2], answers[1::2]):
            statuses = Counter(answer.status_code for answer in owner_answers)
            assert statuses == {201: 1, 409: CLIENTS // 2 - 1}
            [winner] = [a.json() for a in owner_answers if a.status_code == 201]
            ids.add(winner["id"])
            for answer in owner_answers:
                if answer.status_code == 409:
                    [conflict] = answer.json()["conflicts"]
                    assert conflict["existing"]["event_id"] == winner["id"]
    assert len(ids) == 2 * ROUNDS


async def test_one_owner_raced_by_all_clients(owners: Sequence[Owner]) -> None:
    """All 32 against one calendar, and against a series as against a single event."""
    owner = owners[2]
    for number in range(ROUNDS):
        day = NOW + timedelta(days=number + 1)
        pattern = "FREQ=DAILY;COUNT=3;INTERVAL=200" if number % 2 else None
        hour = timedelta(hours=1)
        answers = await asyncio.gather(
            *(want(owner, day, day + hour, recurrence_pattern=pattern) for _ in range(CLIENTS))
        )
        statuses = Counter(answer.status_code for answer in answers)
        assert statuses == {201: 1, 409: CLIENTS - 1}


async def test_owners_never_block_each_other(owners: Sequence[Owner]) -> None:
    """The same slot is free in every other calendar, even while it is being taken in one."""
    for number in range(ROUNDS):
        day = NOW + timedelta(days=number + 1)
        answers = await asyncio.gather(*(want(o, day, day + timedelta(hours=1)) for o in owners))
        assert [answer.status_code for answer in answers] == [201] * len(owners)


async def want(owner: Owner, start: datetime, end: datetime, **more: object) -> httpx.Response:
    """Ask for a slot."""
    body = {"title": "slot", "start_time": start.isoformat(), "end_time": end.isoformat(), **more}
    return await owner.client.post("/api/events", json=body)


# --- Everything at once ---------------------------------------------------------------------------


async def test_calendars_stay_whole_under_everything_at_once(
    owners: Sequence[Owner],
    races_database: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Series and single events around changes of the clocks, made, moved and deleted at once."""
    record = Record()
    until = time.monotonic() + RACE_SECONDS
    await asyncio.gather(
        *(Racer(random.Random(SEED + n), owners, record).run(until) for n in range(CLIENTS))
    )
    asked = record.statuses.total()
    with capsys.disabled():
        shown = ", ".join(f"{m} {s}: {n}" for (m, s), n in sorted(record.statuses.items()))
        print(f"\n  [{asked} requests in {RACE_SECONDS:.0f} s; {shown}]")  # noqa: T201
    assert not record.unexpected, record.unexpected[:3]
    seen = {("POST", 201), ("POST", 409), ("PUT", 200), ("PUT", 409), ("DELETE", 204)}
    seen |= {(f"edit {scope}", 200) for scope in SCOPES}
    seen |= {("delete this", 204), ("delete following", 204)}
    seen |= {("reset", 200), ("rollback", 200), ("restore", 200)}
    assert seen <= set(record.statuses), seen - set(record.statuses)
    assert any(record.statuses[f"edit {scope}", 409] for scope in SCOPES)
    busy = 0
    for owner in owners:
        events = await everything(owner, "/api/events?limit=200")
        window = f"start={NOW - timedelta(days=40):%Y-%m-%dT%H:%M:%SZ}&end={HORIZON:%Y-%m-%d}"
        listed = await everything(owner, f"/api/occurrences?limit=1000&{window}")
        busy += judge_calendar(listed)
        judge_occurrences(listed, events)
    assert busy > 100
    versions = await read_versions(races_database, owners)
    judge_versions(versions, record)
    judge_returns(versions, record)
    judge_halves(versions)
    judge_refusals(versions, record)


class Racer:
    """A client that does random things to random owners' calendars."""

    def __init__(self, luck: random.Random, owners: Sequence[Owner], record: Record) -> None:
        self.luck = luck
        self.owners = owners
        self.record = record

    async def run(self, until: float) -> None:
        """Go on until a moment of the monotonic clock, and until enough was asked."""
        acts = {
            self.create: 34,
            self.batch: 8,
            self.move: 14,
            self.retitle: 8,
            self.delete: 12,
            self.read: 4,
            self.edit_occurrence: 40,
            self.delete_occurrence: 10,
            self.reset: 10,
            self.roll_back: 12,
            self.restore: 10,
        }
        while time.monotonic() < until or self.record.statuses.total() < RACE_REQUESTS:
            [act] = self.luck.choices(list(acts), weights=list(acts.values()))
            await act(self.luck.choice(self.owners))

    async def create(self, owner: Owner) -> None:
        """Make one event or series."""
        answer = await self._ask(owner, "POST", "/api/events", self.draft(owner))
        if answer.status_code == 201:
            owner.ids.append(answer.json()["id"])

    async def batch(self, owner: Owner) -> None:
        """Make several at once."""
        drafts = [self.draft(owner) for _ in range(self.luck.randint(2, 4))]
        answer = await self._ask(owner, "POST", "/api/events/batch", {"events": drafts})
        if answer.status_code == 201:
            owner.ids += [event["id"] for event in answer.json()]

    async def move(self, owner: Owner) -> None:
        """Give an event other times, now and then another rule or none."""
        draft = self.draft(owner)
        changes = {name: draft[name] for name in ("start_time", "end_time", "time_zone")}
        if self.luck.random() < 0.5:
            changes["recurrence_pattern"] = draft["recurrence_pattern"]
            changes["all_day"] = draft["all_day"]
            changes["transparency"] = self.luck.choice(["opaque", "opaque", "transparent"])
            changes["status"] = self.luck.choice(["confirmed", "confirmed", "cancelled"])
        await self.put(owner, changes)

    async def retitle(self, owner: Owner) -> None:
        """Change nothing but the title, which takes no lock on the calendar."""
        await self.put(owner, {})

    async def put(self, owner: Owner, changes: Json) -> None:
        """Change an event, under a title that no other change has."""
        if not owner.ids:
            return
        event_id = self.luck.choice(owner.ids)
        title = f"change {next(NUMBERS)}"
        path = f"/api/events/{event_id}"
        answer = await self._ask(owner, "PUT", path, changes | {"title": title})
        if answer.status_code == 200:
            self.record.put[title] = (event_id, version_of(answer))
            self.record.done[event_id]["update"] += 1
        else:
            self.record.not_put.add(title)

    async def delete(self, owner: Owner) -> None:
        """Delete an event, which another client may be changing."""
        if len(owner.ids) < 4:
            return
        event_id = self.luck.choice(owner.ids)
        answer = await self._ask(owner, "DELETE", f"/api/events/{event_id}", None)
        self.record.done[event_id]["delete"] += answer.status_code == 204
        owner.gone += [event_id] * (answer.status_code == 204)

    async def edit_occurrence(self, owner: Owner) -> None:
        """Move or cancel an occurrence, or it and the following ones, or all, under a new title."""
        found = await self.look(owner)
        if found is None:
            return
        luck, title = self.luck, f"change {next(NUMBERS)}"
        [scope] = luck.choices(SCOPES, weights=(5, 4, 2))
        fields: Json = {"title": title}
        if luck.random() < 0.6:
            fields |= self.elsewhere(owner, found)
        if luck.random() < 0.2:
            fields["status"] = luck.choice(["confirmed", "tentative", "cancelled"])
        if luck.random() < 0.1:
            fields["transparency"] = luck.choice(["opaque", "transparent"])
        path = f"{occurrence_path(found)}?scope={scope}"
        answer = await self._ask(owner, "PATCH", path, fields, act=f"edit {scope}")
        if answer.status_code != 200:
            self.record.not_put.add(title)
            return
        version, event_id = version_of(answer), found["event_id"]
        if "recurrence_id" in answer.json():
            self.record.own[title] = (event_id, version)
        else:
            changed = answer.json()["id"]
            self.record.put[title] = (changed, version)
            if changed != event_id:
                owner.ids.append(changed)
        self.record.done[event_id]["update"] += 1

    def elsewhere(self, owner: Owner, found: Json) -> Json:
        """Return new times for an occurrence: nearby, or where something else has been."""
        luck = self.luck
        times = [datetime.fromisoformat(found[name]) for name in ("start_time", "end_time")]
        if found["all_day"]:
            away = timedelta(days=luck.choice([-2, -1, 1, 2]))
            start, end = (moment.date() + away for moment in times)
            return {"start_time": start.isoformat(), "end_time": end.isoformat()}
        if luck.random() < 0.3:
            return dict(zip(("start_time", "end_time"), luck.choice(owner.taken), strict=True))
        minutes = luck.choice([-120, -60, -30, -15, 15, 30, 45, 60, 120, 1440, -1440, 2880])
        times = [moment + timedelta(minutes=minutes) for moment in times]
        times[1] += timedelta(minutes=luck.choice([0, 0, 0, 15, 60]))
        return dict(zip(("start_time", "end_time"), map(datetime.isoformat, times), strict=True))

    async def delete_occurrence(self, owner: Owner) -> None:
        """Delete an occurrence, or it and the following ones."""
        found = await self.look(owner)
        if found is None:
            return
        scope = self.luck.choice(["this", "this", "following"])
        path = f"{occurrence_path(found)}?scope={scope}"
        answer = await self._ask(owner, "DELETE", path, None, act=f"delete {scope}")
        # An event that does not recur, or all of one that does, is in the bin then.
        self.record.done[found["event_id"]]["update or delete"] += answer.status_code == 204
        owner.gone += [found["event_id"]] * (answer.status_code == 204 and scope == "following")

    async def reset(self, owner: Owner) -> None:
        """Make an occurrence what its series says, rather one that has been deleted or moved."""
        event = await self.look_at_event(owner)
        if event is None or not event["is_recurring"]:
            return
        name = self.luck.choice(sorted(event["overrides"]) or [event["start_time"]])
        path = f"/api/events/{event['id']}/occurrences/{name}/reset"
        answer = await self._ask(owner, "POST", path, None, act="reset")
        self.record.done[event["id"]]["reset"] += answer.status_code == 200

    async def roll_back(self, owner: Owner) -> None:
        """Bring back a version from before."""
        event = await self.look_at_event(owner)
        if event is None:
            return
        number = self.luck.randint(1, event["version"])
        path = f"/api/events/{event['id']}/rollback/{number}"
        answer = await self._ask(owner, "POST", path, None, act="rollback")
        if answer.status_code == 200:
            self.record.rolled_back[event["id"], version_of(answer)] = number
            self.record.done[event["id"]]["rollback"] += 1

    async def restore(self, owner: Owner) -> None:
        """Bring back an event from the bin, which another client may be bringing back too."""
        if not owner.gone:
            return
        event_id = self.luck.choice(owner.gone[-20:])
        path = f"/api/events/{event_id}/restore"
        answer = await self._ask(owner, "POST", path, None, act="restore")
        self.record.done[event_id]["restore"] += answer.status_code == 200

    async def look_at_event(self, owner: Owner) -> Json | None:
        """Return an event as it is now, which it may not stay."""
        if not owner.ids:
            return None
        path = f"/api/events/{self.luck.choice(owner.ids[-60:])}"
        answer = await self._ask(owner, "GET", path, None, act="look")
        return answer.json() if answer.status_code == 200 else None

    async def look(self, owner: Owner) -> Json | None:
        """Return an occurrence, rather one of a series, as it is now."""
        for _ in range(3):
            event = await self.look_at_event(owner)
            if event is not None and (event["is_recurring"] or self.luck.random() < 0.1):
                path = f"/api/events/{event['id']}/occurrences?limit=8"
                answer = await self._ask(owner, "GET", path, None, act="look")
                found = answer.json() if answer.status_code == 200 else []
                owner.taken += [
                    (item["start_time"], item["end_time"]) for item in found if not item["all_day"]
                ]
                del owner.taken[:-200]
                return self.luck.choice(found) if found else None
        return None

    async def read(self, owner: Owner) -> None:
        """Look far ahead, so that more of every series is stored meanwhile."""
        end = NOW + timedelta(days=self.luck.randint(700, 1400))
        path = f"/api/occurrences?start={NOW:%Y-%m-%d}&end={end:%Y-%m-%d}&limit=5"
        await self._ask(owner, "GET", path, None)

    def draft(self, owner: Owner) -> Json:
        """Return a random event on the owner's wall clock, near a change of the clocks."""
        luck = self.luck
        change = luck.choice(changes_of_clocks(owner.zone))
        day = change.date() + timedelta(days=luck.randint(-4, 4))
        if luck.random() < 0.04:
            first = date.fromordinal(day.toordinal() + luck.randint(-60, 60))
            times = (first.isoformat(), (first + timedelta(days=luck.randint(1, 2))).isoformat())
            all_day = True
        else:
            hour = luck.choice([0, 1, 1, 1, 2, 2, 2, 3, luck.randint(4, 23)])
            start = datetime.combine(day, dt_time(hour, luck.choice([0, 15, 30, 45])))
            length = luck.choice([10, 15, 30, 30, 45, 60, 90, 150])
            times = wall_clock(start, timedelta(minutes=length), owner.zone)
            all_day = False
        return {
            "title": f"draft {next(NUMBERS)}",
            "start_time": times[0],
            "end_time": times[1],
            "time_zone": owner.zone,
            "all_day": all_day,
            "recurrence_pattern": self.pattern(),
            "transparency": "transparent" if luck.random() < 0.1 else "opaque",
        }

    def pattern(self) -> str | None:
        """Return no rule for most, else one of the usual ones; few of them never end."""
        luck = self.luck
        if luck.random() < 0.55:
            return None
        limit = luck.choice([f";COUNT={luck.randint(2, 12)}", f";COUNT={luck.randint(2, 12)}", ""])
        rule = luck.choice(
            [
                f"FREQ=DAILY;INTERVAL={luck.randint(1, 9)};COUNT={luck.randint(2, 20)}",
                "FREQ=WEEKLY;BYDAY=" + ",".join(luck.sample(WEEKDAYS, luck.randint(1, 3))) + limit,
                "FREQ=MONTHLY" + limit,
                f"FREQ=MONTHLY;BYDAY={luck.choice(['2SU', '-1SU', '1MO', '-1FR'])}" + limit,
                f"FREQ=MONTHLY;BYMONTHDAY={luck.choice(['31', '-1', '1,15'])}" + limit,
                f"FREQ=YEARLY;COUNT={luck.randint(2, 3)}",
            ]
        )
        return luck.choice(["", "RRULE:"]) + rule

    async def _ask(
        self, owner: Owner, method: str, path: str, body: Json | None, *, act: str | None = None
    ) -> httpx.Response:
        answer = await owner.client.request(method, path, json=body)
        act = act or method
        self.record.statuses[act, answer.status_code] += 1
        if answer.status_code not in EXPECTED[act] or (
            answer.status_code == 422 and "invalid_rrule" not in answer.text
        ):
            self.record.unexpected.append(f"{method} {path} {body}: {answer.text}")
        # A rollback may also be refused since the series was split, without any clash.
        if answer.status_code == 409 and answer.json()["code"] != "second_half_stands":
            self.record.conflicts.append((owner, answer.json()))
        return answer


SCOPES: Final = ("this", "following", "all")
WEEKDAYS: Final = ("MO", "TU", "WE", "TH", "FR", "SA", "SU")


def version_of(answer: httpx.Response) -> int:
    """Return the version that an answer's ETag names."""
    version = int(answer.headers["ETag"].strip('"'))
    assert answer.json().get("version", version) == version
    return version


def occurrence_path(found: Json) -> str:
    """Return where an occurrence is."""
    return f"/api/events/{found['event_id']}/occurrences/{found['recurrence_id']}"


def changes_of_clocks(zone: str) -> list[datetime]:
    """Return when the clocks of a zone change in the two years; of Berlin's where they never do."""
    if zone not in _CHANGES:
        info = ZoneInfo(zone)
        hours = [NOW + timedelta(hours=n) for n in range(24, 700 * 24)]
        offsets = [hour.astimezone(info).utcoffset() for hour in hours]
        pairs = zip(hours[1:], itertools.pairwise(offsets), strict=True)
        _CHANGES[zone] = [hour for hour, (a, b) in pairs if a != b]
    return _CHANGES[zone] or changes_of_clocks("Europe/Berlin")


_CHANGES: Final[dict[str, list[datetime]]] = {}


def wall_clock(start: datetime, length: timedelta, zone: str) -> tuple[str, str]:
    """Return the start on the wall clock, as people write it, and the end as an instant."""
    end = start.replace(tzinfo=ZoneInfo(zone)).astimezone(UTC) + length
    return start.isoformat(), end.isoformat()


# --- The judgement --------------------------------------------------------------------------------


async def everything(owner: Owner, path: str) -> list[Json]:
    """Return all pages of a list, by `Link`; no item may come twice."""
    found: list[Json] = []
    pages = 0
    while path:
        answer = await owner.client.get(path)
        assert answer.status_code == 200, answer.text
        found += answer.json()
        path = answer.links.get("next", {}).get("url", "")
        pages += 1
        assert pages < 500
    keys = {(item.get("id"), item.get("event_id"), item.get("recurrence_id")) for item in found}
    assert len(keys) == len(found)
    return found


def instant(text: str, zone: str) -> datetime:
    """Read an instant, or a date as its midnight in the zone."""
    read = datetime.fromisoformat(text)
    return (
        read.astimezone(UTC) if read.tzinfo else read.replace(tzinfo=ZoneInfo(zone)).astimezone(UTC)
    )


def judge_calendar(listed: Sequence[Json]) -> int:
    """Fail if two busy occurrences overlap; return how many busy ones there are."""
    busy = sorted(
        (
            instant(o["start_time"], o["time_zone"]),
            instant(o["end_time"], o["time_zone"]),
            o["title"],
        )
        for o in listed
        if o["transparency"] == "opaque" and o["status"] != "cancelled"
    )
    for (start, end, title), (next_start, _, next_title) in itertools.pairwise(busy):
        assert start < end <= next_start, f"{title} and {next_title} overlap at {next_start}"
    return len(busy)


Taking = tuple[datetime, datetime, str, str, str]


def judge_occurrences(listed: Sequence[Json], events: Sequence[Json]) -> None:
    """Fail unless each event takes place just as it says: no leftovers of what it was before."""
    stored: dict[str, dict[datetime, Taking]] = defaultdict(dict)
    for item in listed:
        name = instant(item["recurrence_id"], item["time_zone"])
        stored[item["event_id"]][name] = taking(item, item["time_zone"])
    begin, end = NOW - timedelta(days=40), HORIZON.replace(hour=0)
    for event in events:
        # An occurrence of its own may have come into the window from far after it.
        names = [instant(name, event["time_zone"]) for name in event["overrides"]]
        meant = {
            name: item
            for name, item in occurrences_of(event, max([end, *names]) + TICK).items()
            if item[1] > begin and item[0] < end
        }
        found = stored.pop(event["id"], {})
        assert found == meant, (event, found.items() ^ meant.items())
    assert not stored, "occurrences of events that are not there"


def taking(fields: Json, zone: str) -> Taking:
    """Return from when to when something takes place, and how."""
    start, end = (instant(fields[name], zone) for name in ("start_time", "end_time"))
    return start, end, fields["title"], fields["status"], fields["transparency"]


def takes_time(item: Taking) -> bool:
    """Tell whether it takes up its owner's time."""
    return item[3] != "cancelled" and item[4] == "opaque"


def occurrences_of(event: Json, end: datetime) -> dict[datetime, Taking]:
    """Expand an event as the API shows it, by the names of its occurrences."""
    zone = event["time_zone"]
    start, finish = instant(event["start_time"], zone), instant(event["end_time"], zone)
    if event["recurrence_pattern"] is None:
        return {start: taking(event, zone)}
    series = parse(
        event["recurrence_pattern"],
        start=start,
        end=finish,
        time_zone=ZoneInfo(zone),
        all_day=event["all_day"],
    )
    overrides = {instant(name, zone): own for name, own in event["overrides"].items()}
    found = {}
    for slot in expand(series, start=min(start, *series.rdates, end), end=end):
        own = overrides.pop(slot.recurrence_id, {})
        times = {"start_time": slot.start.isoformat(), "end_time": slot.end.isoformat()}
        if own != {"excluded": True}:
            found[slot.recurrence_id] = taking(event | times | own, zone)
    assert all(name >= end for name in overrides), "an override of no occurrence"
    return found


Versions = dict[str, list[tuple[int, str, Json]]]


async def read_versions(url: str, owners: Sequence[Owner]) -> Versions:
    """Return (version, operation, data) of every event of these owners, straight from the table."""
    connection = await asyncpg.connect(url, timeout=10)
    try:
        rows = await connection.fetch(
            "SELECT event_id, version, operation, data::text FROM versions"
            " WHERE owner_id = ANY($1::uuid[]) ORDER BY event_id, version",
            [owner.user_id for owner in owners],
        )
    finally:
        await connection.close()
    found: Versions = defaultdict(list)
    for row in rows:
        data = orjson.loads(row["data"])
        found[str(row["event_id"])].append((row["version"], row["operation"], data))
    return found


def judge_versions(versions: Versions, record: Record) -> None:
    """Fail unless numbers have no gap and each acknowledged change is in exactly one version."""
    for event_id, history in versions.items():
        assert [number for number, _, _ in history] == list(range(1, len(history) + 1))
        assert all(data["version"] == number for number, _, data in history)
        operations = Counter(operation for _, operation, _ in history)
        done = record.done[event_id]
        assert operations.pop("create") == 1
        for operation in ("rollback", "restore"):
            assert operations.pop(operation, 0) == done[operation]
        assert operations["delete"] >= done["delete"]
        changes = done["update"] + done["delete"] + done["update or delete"]
        # A reset of what is as its series says is no change.
        assert changes <= operations.total() <= changes + done["reset"]
        for (_, before, _), (_, operation, _) in itertools.pairwise(history):
            assert (before == "delete") == (operation == "restore")
    told = set()
    for history in versions.values():
        for _, _, data in history:
            told |= {data["title"], *(own.get("title") for own in data["overrides"].values())}
    assert not record.not_put & told
    for title, (event_id, version) in record.put.items():
        assert versions[event_id][version - 1][2]["title"] == title
    for title, (event_id, version) in record.own.items():
        number, operation, data = versions[event_id][version - 1]
        assert (number, operation) == (version, "update")
        assert title in [own.get("title") for own in data["overrides"].values()]


def judge_returns(versions: Versions, record: Record) -> None:
    """Fail unless a rollback brought back all of its version, and a restore all that was there."""
    for (event_id, version), number in record.rolled_back.items():
        past, present = versions[event_id][number - 1][2], versions[event_id][version - 1][2]
        assert {name: past[name] for name in STATE} == {name: present[name] for name in STATE}
    for history in versions.values():
        for (_, _, gone), (_, operation, data) in itertools.pairwise(history):
            if operation == "restore":
                assert [gone[name] for name in STATE] == [data[name] for name in STATE]


def judge_halves(versions: Versions) -> None:
    """Fail unless the halves of a series, as they were cut, kept out of each other's time."""
    halves = 0
    for history in versions.values():
        _, _, later = history[0]
        if later["split_from"] is None:
            continue
        [earlier] = [
            data
            for _, operation, data in versions[later["split_from"]]
            if operation == "split" and data["updated_at"] == later["created_at"]
        ]
        items = [*occurrences_of(earlier, HORIZON).values()]
        items += occurrences_of(later, HORIZON).values()
        busy = sorted(item for item in items if takes_time(item))
        for one, other in itertools.pairwise(busy):
            assert one[1] <= other[0], (earlier, later)
        halves += 1
    assert halves > 5


def judge_refusals(versions: Versions, record: Record) -> None:
    """Fail if a refusal names a clash with what never was, or with what it does not overlap."""
    assert record.conflicts
    known: dict[str, set[tuple[datetime, datetime]]] = {}
    for owner, refusal in record.conflicts:
        conflicts = refusal["conflicts"]
        assert refusal["code"] == "time_conflict"
        assert refusal["total"] >= len(conflicts) >= 1
        for conflict in conflicts:
            wanted, existing = conflict["requested"], conflict["existing"]
            assert read(wanted["start_time"]) < read(existing["end_time"])
            assert read(existing["start_time"]) < read(wanted["end_time"])
            if "event_id" not in existing:
                # Two of one batch, or two occurrences of one series that is longer than its gap.
                assert wanted != existing
                continue
            event_id = existing["event_id"]
            assert versions[event_id][0][2]["owner_id"] == owner.user_id
            if event_id not in known:
                known[event_id] = once_busy(versions[event_id])
            assert (read(existing["start_time"]), read(existing["end_time"])) in known[event_id]


def read(text: str) -> datetime:
    """Read an instant."""
    return datetime.fromisoformat(text)


def once_busy(history: Sequence[tuple[int, str, Json]]) -> set[tuple[datetime, datetime]]:
    """Return every stretch of time that some version of an event took."""
    return {
        item[:2]
        for _, operation, data in history
        if operation != "delete"
        for item in occurrences_of(data, FAR).values()
        if takes_time(item)
    }
