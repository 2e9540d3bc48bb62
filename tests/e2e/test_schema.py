"""The OpenAPI document is kept: random requests, valid and not, get answers that it announces.

schemathesis is imported and the document is made where they are used: that takes seconds, and each
process of a test run would spend them to collect the tests.
"""

import os
from collections.abc import Iterator
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from fastapi import APIRouter
from fastapi.routing import APIRoute
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable

from eventmanager import api
from eventmanager.app import create_app
from eventmanager.core.config import Settings
from tests.e2e.conftest import Server, serving, sign_up

if TYPE_CHECKING:
    from schemathesis.schemas import APIOperation

EXAMPLES = int(os.environ.get("SCHEMA_EXAMPLES", "5"))
URL_BYTES = 65_535
# These end the very session that the other requests need.
_ENDING = {"POST /api/auth/logout", "POST /api/auth/password"}
# An answer without end, which this client would wait for.
_ENDLESS = {"GET /api/notifications/stream"}


def _labels() -> Iterator[str]:
    """Name every operation that is to be tried."""
    routers: list[APIRouter] = []
    api.mount(SimpleNamespace(include_router=routers.append))  # type: ignore[arg-type]  # is enough
    for route in (route for router in routers for route in router.routes):
        if isinstance(route, APIRoute) and route.include_in_schema:
            labels = {f"{method} {route.path}" for method in route.methods or ()}
            yield from labels - _ENDING - _ENDLESS


LABELS = sorted(_labels())


@pytest.fixture(scope="module")
def operations() -> "dict[str, APIOperation[Any, Any, Any, Any]]":
    """What the document announces, by method and path."""
    import schemathesis
    from schemathesis.core.result import Ok

    document = create_app(Settings(_env_file=None)).openapi()
    found = schemathesis.openapi.from_dict(document).get_all_operations()
    announced = [result.ok() for result in found if isinstance(result, Ok)]
    return {operation.label: operation for operation in announced}


@pytest.fixture(scope="module")
def server(
    fresh_database: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Server, str]]:
    """A server and the access token of a user with an event."""
    directory = tmp_path_factory.mktemp("schema")
    with (
        serving(directory, DATABASE_URL=fresh_database, RATE_LIMIT_ENABLED="false") as server,
        server.client() as client,
    ):
        token = sign_up(client)
        yield server, token


def test_every_operation_of_the_document_is_tried(operations: dict[str, Any]) -> None:
    """One that were not among the tests below could answer anything."""
    assert operations.keys() == {*LABELS} | _ENDING | _ENDLESS


@pytest.mark.parametrize("kind", ["positive", "negative"])
@pytest.mark.parametrize("label", LABELS)
def test_answers_are_as_announced(
    operations: "dict[str, APIOperation[Any, Any, Any, Any]]",
    label: str,
    kind: str,
    server: tuple[Server, str],
) -> None:
    """No 5xx, no undocumented status or media type, no body off its schema."""
    from schemathesis import Case, GenerationMode
    from schemathesis.checks import not_a_server_error
    from schemathesis.specs.openapi.checks import (
        content_type_conformance,
        response_schema_conformance,
        status_code_conformance,
    )

    operation, mode = operations[label], GenerationMode(kind)
    running, token = server

    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        derandomize=True,
        database=None,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(generation_mode=mode))
    def check(case: Case[Any]) -> None:
        answer = case.call(running.base_url, headers={"Authorization": f"Bearer {token}"})
        if len(answer.request.url or "") > URL_BYTES:
            # To the parser it is no HTTP: it is refused before the API sees it.
            assert answer.status_code == 400
            return
        case.validate_response(
            answer,
            checks=[
                not_a_server_error,
                status_code_conformance,
                content_type_conformance,
                response_schema_conformance,
            ],
        )

    try:
        check()
    except Unsatisfiable:
        pytest.skip("there is nothing invalid to send")
