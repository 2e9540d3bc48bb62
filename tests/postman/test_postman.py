"""The collection is the API's tour: every endpoint is in it, and newman finds it true."""

import asyncio
import re
import subprocess
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import pytest

from eventmanager.app import create_app
from eventmanager.core.config import Settings
from tests.conftest import PASSWORD
from tests.e2e.conftest import make_database, run, serving
from tests.npm import INSTALL_SECONDS
from tests.postman.conftest import LOCK, POSTMAN, without_proxies

COLLECTION = POSTMAN / "eventmanager.postman_collection.json"
ENVIRONMENT = POSTMAN / "eventmanager.postman_environment.json"
RUN_SECONDS = 90
# They leave what a later run could stumble over: users, the Admin's list of them, and events.
FIRST_FOLDERS = ("Auth", "Users & admin", "Events")

_ASSERTED = re.compile(r"to\.have\.status\((\d{3})\)")
# Refusals that any route may document, even one that has no input that could be wrong.
_EVERYWHERE = {"405", "406", "413", "415", "422", "429"}
_VARIABLE = re.compile(r"\{\{([^}$]+)\}\}")


@dataclass(frozen=True)
class Example:
    """A request of the collection and the statuses that its script asserts."""

    name: str
    method: str
    path: str
    statuses: frozenset[int]


def collection() -> dict[str, Any]:
    """Return the collection."""
    content: dict[str, Any] = orjson.loads(COLLECTION.read_bytes())
    return content


def requests(folder: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield every request below a folder, in order."""
    for item in folder["item"]:
        if "item" in item:
            yield from requests(item)
        else:
            yield item


def examples() -> list[Example]:
    """Return every request of the collection."""
    return [_example(item) for item in requests(collection())]


def _example(item: dict[str, Any]) -> Example:
    scripts = [e["script"]["exec"] for e in item.get("event", ()) if e["listen"] == "test"]
    asserted = _ASSERTED.findall("\n".join(line for script in scripts for line in script))
    request = item["request"]
    path = "/" + "/".join(request["url"]["path"])
    return Example(item["name"], request["method"], path, frozenset(map(int, asserted)))


@pytest.fixture(scope="module")
def operations(settings: Settings) -> dict[tuple[str, str], dict[str, Any]]:
    """Every operation of the API's description, by method and path."""
    paths = create_app(settings).openapi()["paths"]
    return {(m.upper(), path): o for path, methods in paths.items() for m, o in methods.items()}


@pytest.fixture(scope="module")
def shown(
    operations: dict[tuple[str, str], dict[str, Any]],
) -> dict[tuple[str, str] | None, list[Example]]:
    """The examples of each operation; under None, those that belong to no operation."""
    found = defaultdict(list)
    for example in examples():
        found[_operation(example, operations)].append(example)
    return found


def _operation(
    example: Example, operations: dict[tuple[str, str], dict[str, Any]]
) -> tuple[str, str] | None:
    """Return the operation that answers the example: of several, the most literal one."""

    def answers(template: str) -> bool:
        pattern = "[^/]+".join(map(re.escape, re.split(r"\{[^}]+\}", template)))
        return re.fullmatch(pattern, example.path) is not None

    paths = [path for method, path in operations if method == example.method and answers(path)]
    return (example.method, min(paths, key=lambda path: path.count("{"))) if paths else None


def test_every_endpoint_is_in_the_collection(
    operations: dict[tuple[str, str], dict[str, Any]],
    shown: dict[tuple[str, str] | None, list[Example]],
) -> None:
    """Who adds a route adds it here too."""
    assert operations.keys() - shown.keys() == set()


def test_every_endpoint_is_seen_to_succeed_and_to_fail(
    operations: dict[tuple[str, str], dict[str, Any]],
    shown: dict[tuple[str, str] | None, list[Example]],
) -> None:
    """A refusal is as much a part of the API as a success."""
    for name, operation in operations.items():
        statuses = {status for example in shown.get(name, ()) for status in example.statuses}
        answers = operation["responses"]
        # newman waits for the end of an answer, and a stream has none.
        if "text/event-stream" not in answers.get("200", {}).get("content", {}):
            assert any(status < 300 for status in statuses), name
        if any(status.startswith("4") for status in answers.keys() - _EVERYWHERE):
            assert any(status >= 400 for status in statuses), name


def test_nothing_in_the_collection_is_out_of_date(
    shown: dict[tuple[str, str] | None, list[Example]],
) -> None:
    """A request that no route answers is there to be refused, or is the description itself."""
    for example in shown.get(None, ()):
        assert example.statuses & {404, 405} or example.path == "/openapi.json", example


def test_every_request_asserts_a_status_and_is_described() -> None:
    """One that asserts nothing would pass whatever happened."""
    for item in requests(collection()):
        assert _example(item).statuses, item["name"]
        assert item["request"]["description"], item["name"]


def test_every_variable_is_declared() -> None:
    """An undeclared one would be sent to the server as it stands."""
    content = collection()
    declared = {variable["key"] for variable in content["variable"]}
    declared |= {value["key"] for value in orjson.loads(ENVIRONMENT.read_bytes())["values"]}
    used = set(_VARIABLE.findall(orjson.dumps(content["item"]).decode()))
    assert used - declared == set()


def test_the_lock_names_no_host() -> None:
    """Whoever installs newman does so from the registry of their own."""
    packages = orjson.loads(LOCK.read_bytes())["packages"]
    assert not any("resolved" in package for package in packages.values())
    assert all(package.get("integrity") for name, package in packages.items() if name)


@pytest.mark.timeout(INSTALL_SECONDS + 2 * RUN_SECONDS)
def test_the_collection_passes(newman: Path, database_url: str, tmp_path: Path) -> None:
    """It is run in part before, on a fresh server: it gets in nobody's way, nor its own."""
    url = asyncio.run(make_database(database_url))
    with serving(tmp_path, DATABASE_URL=url, WEBHOOK_ALLOW_PRIVATE="true") as server:
        admin = ["user", "create", "admin", "admin@example.com", "--admin", "--password-stdin"]
        made = run(tmp_path, *admin, stdin=f"{PASSWORD}\n", DATABASE_URL=url)
        assert made.returncode == 0, made.stderr
        command: list[str | Path] = [newman, "run", COLLECTION, "--environment", ENVIRONMENT]
        command += ["--env-var", f"base_url={server.base_url}", "--color", "off"]
        command += ["--env-var", f"admin_password={PASSWORD}"]
        # Not even a name is to be looked up elsewhere: it posts to itself, which refuses that.
        command += ["--env-var", f"webhook_url={server.base_url}/health/live"]
        first = [option for folder in FIRST_FOLDERS for option in ("--folder", folder)]
        for folders in (first, []):
            done = subprocess.run(
                [*command, *folders],
                capture_output=True,
                text=True,
                env=without_proxies(),
                timeout=RUN_SECONDS,
                check=False,
            )
            assert done.returncode == 0, done.stdout + done.stderr
