"""What was acknowledged is true: once, in order, whoever else writes and whatever is killed.

`E2E_ROUNDS` and `E2E_KILLS` say how often; the suite's own figures are small.
"""

import asyncio
import itertools
import os
import random
import signal
import socket
import sys
import time
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, ExitStack, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import httpx
import pytest

from tests.conftest import PASSWORD
from tests.e2e.conftest import (
    EVERY_WAY,
    SEVERAL,
    Pid,
    Server,
    assert_nothing_left,
    descendants,
    needs_proc,
    pid_of,
    processes,
    serving,
)

ROUNDS: Final = int(os.environ.get("E2E_ROUNDS", "4"))
KILLS: Final = int(os.environ.get("E2E_KILLS", "1"))
CLIENTS: Final = 64
WRITERS: Final = 16
USERS: Final = 4
EDIT_SECONDS: Final = 3.0
# So many requests are acknowledged before each kill, and a bit more.
BEFORE_A_KILL: Final = 250 if EVERY_WAY else 120
RETRY_SECONDS: Final = 0.25
"""Sixteen writers that ask more often take from a server that starts what it needs to start."""
PATIENCE_SECONDS: Final = 100.0
REPLAYED: Final = "Idempotent-Replayed"
DAY: Final = datetime(2027, 3, 1, tzinfo=UTC)
NUMBERS: Final = itertools.count(1)

Json = dict[str, Any]


@dataclass
class User:
    """Somebody who is signed in, on as many connections as they have requests in flight."""

    user_id: str
    client: httpx.AsyncClient


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with several worker processes, on a database that waits for the disk."""
    with serving(tmp_path_factory.mktemp("truth"), workers=SEVERAL) as running:
        yield running
        assert '"status":5' not in running.logs
        assert "traceback" not in running.logs


@pytest.fixture
async def editors(server: Server) -> AsyncIterator[list[User]]:
    """Four new users, the first of whom is to share with the others."""
    async with AsyncExitStack() as stack:
        yield [await sign_up(stack, server) for _ in range(USERS)]


async def sign_up(stack: AsyncExitStack, server: Server) -> User:
    """Register a user and sign them in."""
    name = f"truthful{next(NUMBERS)}"
    client = await stack.enter_async_context(
        httpx.AsyncClient(
            base_url=server.base_url,
            timeout=60,
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
    return User((await client.get("/api/me")).json()["id"], client)


async def share_with_all(users: Sequence[User]) -> str:
    """Have the first user make an event that all the others may edit; return its path."""
    owner, *others = users
    made = await owner.client.post("/api/events", json={"title": "Shared", **at(-1)})
    assert made.status_code == 201, made.text
    path = f"/api/events/{made.json()['id']}"
    grants = [{"user_id": user.user_id, "role": "Editor"} for user in others]
    assert (await owner.client.post(f"{path}/share", json=grants)).status_code == 201
    return path


def at(slot: int) -> dict[str, str]:
    """Return the times of one of many slots, none of which overlap."""
    start = DAY + timedelta(minutes=10 * slot)
    return {
        "start_time": start.isoformat(),
        "end_time": (start + timedelta(minutes=10)).isoformat(),
    }


def say(capsys: pytest.CaptureFixture[str], line: str) -> None:
    """Print a figure where whoever runs the tests sees it."""
    with capsys.disabled():
        sys.stdout.write(f"\n  [{line}]")
        sys.stdout.flush()


# --- One event, many editors ----------------------------------------------------------------------


@pytest.mark.timeout(120 + ROUNDS * 2)
@pytest.mark.parametrize("what", ["text", "time", "all sorts"])
async def test_of_64_edits_of_one_version_exactly_one_is_made(
    server: Server, editors: Sequence[User], what: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """The ETag that a client read is the one it changes: nobody's change is lost unseen."""
    path = await share_with_all(editors)
    await asyncio.gather(*(user.client.get(path) for user in editors for _ in range(16)))
    used = {pid: pid.cpu_s() for pid in server.workers()}
    titles = ["Shared"]
    began = time.monotonic()
    for number in range(1, ROUNDS + 1):
        edits = [
            edit(editors[client % USERS], path, what, number, client) for client in range(CLIENTS)
        ]
        answers = await asyncio.gather(*edits)
        statuses = Counter(answer.status_code for answer in answers)
        assert statuses == {200: 1, 412: CLIENTS - 1}, [a.text for a in answers if a.is_error][:3]
        [won] = [answer for answer in answers if answer.status_code == 200]
        assert won.headers["ETag"] == f'"{number + 1}"'
        titles.append(won.json()["title"])
        for answer in answers:
            if answer is not won:
                problem = answer.json()
                assert (problem["code"], problem["current_version"]) == (
                    "stale_version",
                    number + 1,
                )
        assert (await editors[number % USERS].client.get(path)).content == won.content
    taken = time.monotonic() - began
    told = await judge_versions(editors[0], path)
    assert told == titles
    busy = [pid.cpu_s() - before for pid, before in used.items()]
    say(
        capsys,
        f"{what}: {ROUNDS} rounds of {CLIENTS} in {taken:.1f} s, {ROUNDS} x 200 and"
        f" {ROUNDS * (CLIENTS - 1)} x 412; CPU of the workers"
        f" {', '.join(f'{seconds:.1f} s' for seconds in busy)}",
    )


async def edit(user: User, path: str, what: str, number: int, client: int) -> httpx.Response:
    """Ask for the change of one client in one round, on the version of the round."""
    fields: Json = {"title": f"round {number}, client {client}"}
    headers = {"If-Match": f'"{number}"'}
    if what == "time" or (what == "all sorts" and client % 2):
        # Each client wants another time, and each round ends elsewhere.
        fields |= at(number * CLIENTS + client)
    if what == "all sorts" and client % 3 == 0:
        headers["Idempotency-Key"] = f"{path} {number} {client}".replace(" ", "-")
    method = "PUT" if client % 5 else "PATCH"
    return await user.client.request(method, path, json=fields, headers=headers)


async def test_edits_without_a_version_are_all_made_one_after_the_other(
    editors: Sequence[User], capsys: pytest.CaptureFixture[str]
) -> None:
    """The last one wins, and the history shows every one that was acknowledged."""
    path = await share_with_all(editors)
    acknowledged: dict[str, int] = {"Shared": 1}
    until = time.monotonic() + EDIT_SECONDS

    async def write(writer: int) -> None:
        client = editors[writer % USERS].client
        for number in itertools.count(1):
            title = f"writer {writer}, change {number}"
            fields: Json = {"title": title}
            if (writer + number) % 3 == 0:
                fields |= at(number * WRITERS + writer)
            headers = {"Idempotency-Key": title.replace(" ", "-")} if number % 4 == 0 else {}
            answer = await client.patch(path, json=fields, headers=headers)
            assert answer.status_code == 200, answer.text
            assert title not in acknowledged
            acknowledged[title] = answer.json()["version"]
            assert answer.headers["ETag"] == f'"{acknowledged[title]}"'
            if time.monotonic() > until:
                return

    await asyncio.gather(*(write(writer) for writer in range(WRITERS)))
    told = await judge_versions(editors[0], path)
    assert {title: number for number, title in enumerate(told, 1)} == acknowledged
    assert len(told) == len(acknowledged) > WRITERS
    say(capsys, f"{len(told)} versions by {WRITERS} writers in {EDIT_SECONDS:.0f} s")


async def judge_versions(user: User, path: str) -> list[str]:
    """Fail unless versions run 1..n and the last is the event; return their titles."""
    history = await everything(user, f"{path}/history?limit=200")
    numbers = list(range(1, len(history) + 1))
    assert [version["version"] for version in history] == numbers
    assert [version["data"]["version"] for version in history] == numbers
    current = await user.client.get(path)
    assert history[-1]["data"] == without_permissions(current)
    assert current.headers["ETag"] == f'"{len(history)}"'
    return [version["data"]["title"] for version in history]


def without_permissions(answer: httpx.Response) -> Json:
    """Return an event as its versions have it."""
    assert answer.is_success, answer.text
    return {
        name: value
        for name, value in answer.json().items()
        if name not in {"permissions", "reminders"}
    }


async def everything(user: User, path: str) -> list[Json]:
    """Return all pages of a list."""
    found: list[Json] = []
    while path:
        answer = await user.client.get(path)
        assert answer.status_code == 200, answer.text
        found += answer.json()
        path = answer.links.get("next", {}).get("url", "")
    return found


# --- Killed ---------------------------------------------------------------------------------------


@dataclass
class Asked:
    """A request with its key, how often it got no answer, and the answer that it got at last."""

    user: User
    method: str
    path: str
    body: Any
    key: str = field(default_factory=lambda: f"truth-{next(NUMBERS)}")
    cut_off: int = 0
    answer: httpx.Response | None = None

    async def send(self) -> httpx.Response:
        """Send it, be it the first time or not."""
        headers = {"Idempotency-Key": self.key}
        return await self.user.client.request(
            self.method, self.path, json=self.body, headers=headers
        )


@dataclass
class Made:
    """An event that a writer made, and what became of it."""

    owner: User
    guest: User
    path: str
    answers: list[httpx.Response]


@dataclass
class Ledger:
    """What was asked, and what the writers were told."""

    asked: list[Asked] = field(default_factory=list)
    made: list[Made] = field(default_factory=list)
    shared: dict[str, int] = field(default_factory=lambda: {"Shared": 1})
    enough: bool = False

    def acknowledged(self) -> int:
        """Return how many requests were answered so far."""
        return sum(asked.answer is not None for asked in self.asked)


@needs_proc
@pytest.mark.timeout(180 + KILLS * 60)
async def test_kill_9_among_16_writers_loses_nothing_and_does_nothing_twice(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whoever got no answer asks again with the same key, and need not know what has happened."""
    ledger, port, luck = Ledger(), free_port(), random.Random(20261123)
    async with AsyncExitStack() as clients:
        users: list[User] = []
        writing: list[asyncio.Task[None]] = []
        for life in range(KILLS + 1):
            with ExitStack() as stack:
                server = await asyncio.to_thread(
                    stack.enter_context, serving(tmp_path, workers=SEVERAL, port=port)
                )
                if not users:
                    users = [await sign_up(clients, server) for _ in range(USERS)]
                    shared = await share_with_all(users)
                    writers = [Writer(ledger, users, shared, n) for n in range(WRITERS)]
                    writing = [asyncio.create_task(writer.write()) for writer in writers]
                    clients.push_async_callback(stop, writing)
                await acknowledge(ledger, writing, BEFORE_A_KILL)
                await asyncio.sleep(luck.random() / 4)
                if life < KILLS:
                    await asyncio.to_thread(kill, server, HOW[life % len(HOW)])
                    continue
                ledger.enough = True
                await asyncio.gather(*writing)
                again = await ask_again(ledger)
                await judge(ledger, users, shared)
                assert '"status":500' not in server.logs
    cut = [asked for asked in ledger.asked if asked.cut_off]
    assert len(cut) >= KILLS
    done = sum(REPLAYED in asked.answer.headers for asked in cut if asked.answer)
    acts = Counter(act_of(asked) for asked in cut)
    say(
        capsys,
        f"{KILLS} kills: {len(ledger.asked)} requests, {len(ledger.made)} events,"
        f" {len(cut)} requests cut off ({', '.join(f'{n} {act}' for act, n in acts.items())}),"
        f" of which {done} had been done; {again} asked again",
    )


def act_of(asked: Asked) -> str:
    """Return what a request does, without whom it concerns."""
    return " ".join([asked.method, *asked.path.split("/")[4:5]])


def free_port() -> int:
    """Return a port that nobody listens on, below those that clients connect from.

    A client that keeps connecting to a free port among its own may meet itself, and hold it.
    """
    for port in random.sample(range(20_000, 32_000), 100):
        with suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port
    raise AssertionError("no port is free")


async def acknowledge(ledger: Ledger, writing: Sequence[asyncio.Task[None]], number: int) -> None:
    """Wait until so many more requests are answered, and fail with the first writer that fails."""
    wanted = ledger.acknowledged() + number
    async with asyncio.timeout(PATIENCE_SECONDS):
        while ledger.acknowledged() < wanted:
            for task in writing:
                if task.done():
                    await task
            await asyncio.sleep(0.02)


async def stop(writing: Sequence[asyncio.Task[None]]) -> None:
    """End the writers, whatever has become of them."""
    for task in writing:
        task.cancel()
    await asyncio.gather(*writing, return_exceptions=True)


HOW: Final = ("the server", "everything", "its main process")


def kill(server: Server, how: str) -> None:
    """Kill a server, with or without its PostgreSQL, and wait until all of it is gone."""
    main = pid_of(server.process.pid)
    server.family |= descendants(main.number) | server.left_over()
    victims: set[Pid] = {main}
    victims |= {"the server": server.workers(), "everything": server.family}.get(how, set())
    for pid in victims & processes():
        with suppress(ProcessLookupError):
            os.kill(pid.number, signal.SIGKILL)
    server.ended()
    assert_nothing_left(server)


class Writer:
    """A client that makes events, changes them, takes changes back, and shares them."""

    def __init__(self, ledger: Ledger, users: Sequence[User], shared: str, number: int) -> None:
        self.ledger = ledger
        self.user = users[number % USERS]
        self.guest = users[(number + 1) % USERS]
        self.shared = shared

    async def write(self) -> None:
        """Go on until there is enough, each request until it is acknowledged."""
        while not self.ledger.enough:
            slot = next(NUMBERS)
            answers = [
                await self.ask("POST", "/api/events", {"title": f"first {slot}", **at(slot)})
            ]
            path = f"/api/events/{answers[0].json()['id']}"
            made = Made(self.user, self.guest, path, answers)
            self.ledger.made.append(made)
            answers.append(await self.ask("PATCH", path, {"title": f"second {slot}"}))
            answers.append(await self.ask("POST", f"{path}/undo", None))
            grants = [{"user_id": self.guest.user_id, "role": "Viewer"}]
            await self.ask("POST", f"{path}/share", grants)
            answers.append(await self.ask("POST", f"{path}/rollback/2", None))
            title = f"common {slot}"
            answer = await self.ask("PATCH", self.shared, {"title": title})
            assert answer.json()["title"] == title
            self.ledger.shared[title] = answer.json()["version"]

    async def ask(self, method: str, path: str, body: Any) -> httpx.Response:
        """Send a request with one key until it is acknowledged."""
        asked = Asked(self.user, method, path, body)
        self.ledger.asked.append(asked)
        async with asyncio.timeout(PATIENCE_SECONDS):
            while True:
                try:
                    answer = await asked.send()
                except httpx.TransportError:
                    asked.cut_off += 1
                else:
                    if answer.is_success:
                        break
                    # The database went first, or the request of before is still on its way.
                    problem = answer.json()["code"]
                    assert problem in {"unavailable", "idempotency_key_in_use"}, answer.text
                    asked.cut_off += problem == "unavailable"
                await asyncio.sleep(RETRY_SECONDS)
        asked.answer = answer
        assert asked.cut_off or REPLAYED not in answer.headers
        return answer


async def ask_again(ledger: Ledger) -> int:
    """Send every request once more: it must be answered as before, to the byte."""
    for begin in range(0, len(ledger.asked), WRITERS):
        some = ledger.asked[begin : begin + WRITERS]
        answers = await asyncio.gather(*(asked.send() for asked in some))
        for asked, again in zip(some, answers, strict=True):
            first = asked.answer
            assert first is not None
            assert again.headers.get(REPLAYED) == "true", (asked, again.text)
            assert (again.status_code, again.content) == (first.status_code, first.content)
            assert told_by(again.headers) == told_by(first.headers)
    return len(ledger.asked)


def told_by(headers: Mapping[str, str]) -> list[str | None]:
    """Return those headers of an answer that say what was done."""
    return [headers.get(name) for name in ("ETag", "Location", "Content-Type")]


async def judge(ledger: Ledger, users: Sequence[User], shared: str) -> None:
    """Fail unless exactly what was acknowledged is there, once."""
    expected: dict[str, Counter[str]] = defaultdict(Counter)
    expected[users[0].user_id][shared] += 1
    for made in ledger.made:
        expected[made.owner.user_id][made.path] += 1
    for user in users:
        owned = await everything(user, "/api/events?role=Owner&limit=200")
        assert Counter(f"/api/events/{event['id']}" for event in owned) == expected[user.user_id]
    for made in ledger.made:
        await judge_made(made)
    told = await judge_versions(users[0], shared)
    assert {title: number for number, title in enumerate(told, 1)} == ledger.shared
    assert len(told) == len(ledger.shared)


async def judge_made(made: Made) -> None:
    """Fail unless an event was created, changed and shared just as its writer was told."""
    client = made.owner.client
    history = await everything(made.owner, f"{made.path}/history")
    operations = [version["operation"] for version in history]
    assert operations == ["create", "update", "undo", "rollback"], made
    told = [without_permissions(answer) for answer in made.answers]
    assert [version["data"] for version in history] == told
    assert without_permissions(await client.get(made.path)) == told[-1]
    sharing = (await client.get(f"{made.path}/permissions")).json()
    assert {grant["user_id"]: grant["role"] for grant in sharing} == {
        made.owner.user_id: "Owner",
        made.guest.user_id: "Viewer",
    }
    grants = await everything(made.owner, f"{made.path}/permissions/history")
    assert [grant["user_id"] for grant in grants] == [made.owner.user_id, made.guest.user_id]
