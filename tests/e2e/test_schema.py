"""The OpenAPI document is kept: random requests, valid and not, get answers that it announces."""

import os
from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import Case, GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.core.result import Ok
from schemathesis.schemas import APIOperation
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from eventmanager.app import create_app
from eventmanager.core.config import Settings
from tests.e2e.conftest import Server, serving, sign_up

EXAMPLES = int(os.environ.get("SCHEMA_EXAMPLES", "10"))
# These end the very session that the other requests need.
_ENDING = {"POST /api/auth/logout", "POST /api/auth/password"}
# An answer without end, which this client would wait for.
_ENDLESS = {"GET /api/notifications/stream"}

SCHEMA = schemathesis.openapi.from_dict(create_app(Settings(_env_file=None)).openapi())
OPERATIONS = [
    operation
    for result in SCHEMA.get_all_operations()
    if isinstance(result, Ok) and (operation := result.ok()).label not in _ENDING | _ENDLESS
]


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


@pytest.mark.parametrize("mode", list(GenerationMode), ids=lambda mode: str(mode.value))
@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: str(operation.label))
def test_answers_are_as_announced(
    operation: APIOperation[Any, Any, Any, Any], mode: GenerationMode, server: tuple[Server, str]
) -> None:
    """No 5xx, no undocumented status or media type, no body off its schema."""
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
        case.call_and_validate(
            base_url=running.base_url,
            headers={"Authorization": f"Bearer {token}"},
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
