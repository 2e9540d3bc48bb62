"""`asyncapi.yaml` says what really goes over the WebSocket."""

from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jsonschema_rs
import orjson
import pytest
import yaml  # type: ignore[import-untyped]  # only what is parsed matters
from fastapi import FastAPI
from websockets.asyncio.client import ClientConnection

from eventmanager.core.ids import uuid7
from eventmanager.messages.facts import DATA
from eventmanager.messages.positions import write_position
from eventmanager.messages.types import NotificationType
from eventmanager.realtime import answering, subscriber
from eventmanager.realtime.asyncapi import CHANNEL, CLOSE_CODES, as_yaml, document
from tests.conftest import User
from tests.realtime.conftest import Worker, share, told
from tests.realtime.test_told import again

COMMITTED = Path(__file__).parents[2] / "asyncapi.yaml"
ITSELF = document(release=version("eventmanager"))
MESSAGES: dict[str, Any] = ITSELF["components"]["messages"]


def followed(ref: str) -> Any:
    """Return what a reference leads to."""
    node: Any = ITSELF
    for part in ref.removeprefix("#/").split("/"):
        node = node[part]
    return node


def references(node: object) -> Iterator[str]:
    """Yield every reference in a document."""
    if isinstance(node, dict):
        if isinstance(node.get("$ref"), str):
            yield node["$ref"]
        for value in node.values():
            yield from references(value)
    elif isinstance(node, list):
        for value in node:
            yield from references(value)


def validate(name: str, said: object) -> None:
    """Check a message against its schema, and that it has nothing that is not described."""
    payload = MESSAGES[name]["payload"]["$ref"].rsplit("/", 1)[1]
    schema = {"$ref": f"#/components/schemas/{payload}", "components": ITSELF["components"]}
    jsonschema_rs.validator_for(schema, validate_formats=True).validate(said)
    described = ITSELF["components"]["schemas"][payload]["properties"]
    assert isinstance(said, dict)
    assert said.keys() <= described.keys()
    if name in set(NotificationType):
        data = followed(described["data"]["$ref"])
        assert said["data"].keys() <= data["properties"].keys(), said


def test_the_committed_file_is_what_is_generated() -> None:
    """`make asyncapi` writes it; and another reader of YAML reads the same."""
    written = COMMITTED.read_text()
    assert written == as_yaml(ITSELF), "run `make asyncapi`"
    assert yaml.safe_load(written) == ITSELF


def test_every_reference_leads_somewhere() -> None:
    """A generated client would fail on one that does not."""
    for ref in set(references(ITSELF)):
        assert followed(ref)


def test_the_document_has_the_shape_of_asyncapi_3() -> None:
    """What its specification requires of each object, and of what operations refer to."""
    assert ITSELF["asyncapi"] == "3.0.0"
    assert {"title", "version"} <= ITSELF["info"].keys()
    for server in ITSELF["servers"].values():
        assert {"host", "protocol"} <= server.keys()
    [(name, channel)] = ITSELF["channels"].items()
    assert name == CHANNEL
    assert channel["address"] == "/api/ws/notifications"
    in_channel = {f"#/channels/{name}/messages/{message}" for message in channel["messages"]}
    used = set()
    for operation in ITSELF["operations"].values():
        assert operation["action"] in {"send", "receive"}
        assert operation["channel"] == {"$ref": f"#/channels/{name}"}
        refs = set(references([operation["messages"], operation.get("reply", {})]))
        used |= refs - {f"#/channels/{name}"}
    assert used == in_channel
    for message in MESSAGES.values():
        assert message["summary"]
        assert message["payload"]["$ref"].startswith("#/components/schemas/")
    for scheme in ITSELF["components"]["securitySchemes"].values():
        assert scheme["type"] in {"http", "httpApiKey"}


def test_every_schema_is_a_schema() -> None:
    """As its own rules have it."""
    for name, schema in ITSELF["components"]["schemas"].items():
        assert schema.get("description"), name
        jsonschema_rs.validator_for({**schema, "components": ITSELF["components"]})


def test_every_type_says_what_it_carries() -> None:
    """None can be added without."""
    assert set(DATA) == set(NotificationType)
    assert set(NotificationType) < MESSAGES.keys()


def test_every_code_that_a_socket_is_closed_with_is_described() -> None:
    """A client decides by it what to do next."""
    ours = [one for module in (subscriber, answering) for one in vars(module).values()]
    codes = {one.code for one in ours if isinstance(one, subscriber.Ending)}
    assert {1008, 1012, 1013, 4401, 4410} <= codes <= CLOSE_CODES.keys()


@pytest.mark.parametrize("name", sorted(MESSAGES))
def test_examples_are_valid(name: str) -> None:
    """Readers copy them."""
    for example in MESSAGES[name].get("examples", []):
        validate(name, example["payload"])


SERIES = {
    "title": "Standup",
    "start_time": "2027-06-01T09:00:00Z",
    "end_time": "2027-06-01T09:15:00Z",
    "recurrence_pattern": "RRULE:FREQ=DAILY;COUNT=10",
}


async def changed(owner: User, path: str, method: str = "PATCH", **body: Any) -> None:
    """Make a change that succeeds."""
    answer = await owner.client.request(method, f"/api/events/{path}", json=body or None)
    assert answer.status_code < 300, answer.text


async def hear(socket: ClientConnection, *names: str) -> None:
    """Wait for messages of these names, each valid."""
    for name in names:
        said = await told(socket)
        assert said["type"] == name
        validate(name, said)


async def test_what_is_told_of_an_event_is_as_described(
    here: Worker, alice: User, bob: User
) -> None:
    """Whatever happens to it: no fact is undescribed, and none that is promised is missing."""
    async with here.open(bob) as socket:
        answer = await alice.client.post("/api/events", json=SERIES)
        event_id: str = answer.json()["id"]
        await share(alice, event_id, bob)
        await hear(socket, "permission_granted")
        await changed(alice, event_id, title="Daily", location="Room 2")
        await hear(socket, "event_updated")
        one = f"{event_id}/occurrences/2027-06-03T09:00:00Z"
        await changed(alice, f"{one}?scope=this", title="Demo")
        await hear(socket, "event_updated")
        later = f"{event_id}/occurrences/2027-06-06T09:00:00Z"
        await changed(alice, f"{later}?scope=following", title="Later")
        await hear(socket, "series_split")
        await changed(alice, f"{one}?scope=this", "DELETE")
        await hear(socket, "event_updated")
        await changed(alice, event_id, "DELETE")
        await hear(socket, "event_deleted")
        await changed(alice, f"{event_id}/restore", "POST")
        await hear(socket, "event_restored")
        await changed(alice, f"{event_id}/rollback/1?on_conflict=allow", "POST")
        await hear(socket, "event_rolled_back")
        await changed(alice, f"{event_id}/permissions/{bob.id}", "PUT", role="Editor")
        await hear(socket, "permission_updated")
        await changed(alice, f"{event_id}/permissions/{bob.id}", "DELETE")
        await hear(socket, "permission_revoked")


async def test_what_is_answered_is_as_described(here: Worker, alice: User) -> None:
    """Every kind of answer, and every kind of error."""
    answer = await alice.client.post("/api/events", json=SERIES)
    event_id = answer.json()["id"]
    async with here.open(alice) as socket:
        for said, heard in [
            ({"type": "subscribe", "events": [event_id], "id": "1"}, ("subscribed", "presence")),
            (
                {"type": "presence", "event_id": event_id, "state": "editing"},
                ("announced", "presence"),
            ),
            ({"type": "ack", "cursor": "nonsense", "id": "2"}, ("error",)),
            ({"type": "ack", "cursor": write_position(1, 1), "id": "2"}, ("acked",)),
            ({"type": "presence", "event_id": str(uuid7()), "state": "viewing"}, ("error",)),
            ({"type": "shout"}, ("error",)),
        ]:
            await socket.send(orjson.dumps(said).decode())
            await hear(socket, *heard)


async def test_what_another_session_created_is_as_described(
    app: FastAPI, here: Worker, alice: User
) -> None:
    """The only ones who hear of a new event are the other sessions of its owner."""
    other = await again(app, alice)
    async with here.open(other) as socket:
        await alice.client.post("/api/events", json=SERIES)
        await hear(socket, "event_created")
    await other.client.aclose()
