"""The API's description is complete: what a newcomer reads in /docs is all there is."""

from collections.abc import Iterator
from typing import Any

import jsonschema_rs
import pytest
from fastapi import FastAPI

from eventmanager.app import create_app
from eventmanager.core.config import Settings


def operations(document: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield each operation with its name."""
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield f"{method.upper()} {path}", operation


@pytest.fixture(scope="module")
def document(settings: Settings) -> dict[str, Any]:
    """The OpenAPI document."""
    app: FastAPI = create_app(settings)
    return app.openapi()


def refs(node: object) -> Iterator[str]:
    """Yield every reference in a document."""
    if isinstance(node, dict):
        if isinstance(node.get("$ref"), str):
            yield node["$ref"]
        for value in node.values():
            yield from refs(value)
    elif isinstance(node, list):
        for value in node:
            yield from refs(value)


def examples(node: object, path: str = "") -> Iterator[tuple[str, dict[str, Any], object]]:
    """Yield each example of a document: where it is, the schema that it is of, and itself."""
    if isinstance(node, dict):
        if isinstance(node.get("schema"), dict):
            for name, example in (node.get("examples") or {}).items():
                yield f"{path}/{name}", node["schema"], example["value"]
            if "example" in node:
                yield path, node["schema"], node["example"]
        elif isinstance(node.get("examples"), list):
            for example in node["examples"]:
                yield path, node, example
        for name, value in node.items():
            if name not in {"example", "examples"}:
                yield from examples(value, f"{path}/{name}")
    elif isinstance(node, list):
        for number, value in enumerate(node):
            yield from examples(value, f"{path}/{number}")


def test_every_example_is_valid(document: dict[str, Any]) -> None:
    """People copy them, and programs make their tests and mocks of them."""
    found = list(examples(document))
    assert len(found) > 100
    for path, schema, example in found:
        whole = {**schema, "components": document["components"]}
        validator = jsonschema_rs.validator_for(whole, validate_formats=True)
        errors = [error.message for error in validator.iter_errors(example)]
        assert not errors, (path, example)


def test_every_reference_leads_somewhere(document: dict[str, Any]) -> None:
    """A generated client would fail on one that does not."""
    for ref in set(refs(document)):
        node: Any = document
        for part in ref.removeprefix("#/").split("/"):
            node = node[part]


def test_every_operation_is_described(document: dict[str, Any]) -> None:
    """With a summary, a description, a tag and a unique id."""
    ids = set()
    for name, operation in operations(document):
        assert operation.get("summary"), name
        assert operation.get("description"), name
        assert operation.get("tags"), name
        ids.add(operation["operationId"])
    assert len(ids) == len(list(operations(document)))


def test_every_parameter_and_body_field_is_explained(document: dict[str, Any]) -> None:
    """Nobody should have to guess what a parameter means."""
    for name, operation in operations(document):
        for parameter in operation.get("parameters", []):
            assert parameter.get("description"), (name, parameter["name"])


def test_every_operation_documents_its_errors(document: dict[str, Any]) -> None:
    """Those that need a token say 401, those with input 422, all of them 503."""
    for name, operation in operations(document):
        if "/health" in name:
            continue
        statuses = operation["responses"].keys()
        assert "503" in statuses, name
        if operation.get("security"):
            assert "401" in statuses, name
        if operation.get("parameters") or operation.get("requestBody"):
            assert statuses & {"422", "400"}, name
        for status, response in operation["responses"].items():
            if status >= "400":
                [schema, *others] = [media["schema"] for media in response["content"].values()]
                assert schema, (name, status)
                assert all(other == schema for other in others), (name, status)


def test_every_body_has_an_example(document: dict[str, Any]) -> None:
    """In /docs one can press Execute at once."""
    for name, operation in operations(document):
        body = operation.get("requestBody")
        if body is None:
            continue
        for media in body["content"].values():
            schema = media["schema"]
            if "$ref" in schema:
                schema = document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
            fields = schema.get("properties", {}).values()
            has_example = "examples" in schema or any(
                "examples" in field or "items" in field for field in fields
            )
            assert has_example or "examples" in media, name
