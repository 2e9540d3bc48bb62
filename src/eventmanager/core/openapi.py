"""The OpenAPI document: FastAPI's own, with our problems in it and nothing undocumented."""

from collections.abc import Callable
from typing import Any, Final

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from eventmanager.core.limits.middleware import is_spared
from eventmanager.core.negotiation import MSGPACK
from eventmanager.core.problems import ERRORS_TOLD

_MEMBERS: Final[dict[str, Any]] = {
    "type": {"type": "string", "description": "A URI for the kind of problem."},
    "title": {"type": "string", "description": "What this kind of problem is."},
    "status": {"type": "integer"},
    "code": {"type": "string", "description": "Stable, for programs."},
    "instance": {"type": "string", "description": "The path that was asked for."},
    "request_id": {"type": "string", "description": "As in `X-Request-ID` and in the log."},
}

PROBLEM: Final[dict[str, Any]] = {
    "type": "object",
    "title": "Problem",
    "description": "An error (RFC 9457); some kinds have further members with the facts.",
    "properties": _MEMBERS | {"detail": {"type": "string", "description": "What went wrong."}},
    "required": [*_MEMBERS, "detail"],
    "additionalProperties": True,
    "examples": [
        {
            "type": "urn:eventmanager:problem:not_found",
            "title": "Not found",
            "status": 404,
            "code": "not_found",
            "instance": "/api/events/01936b0e-7c00-7a4e-9d3c-0f6a2b1c4d5e",
            "request_id": "01936b0e7c007a4e9d3c0f6a2b1c4d5e",
            "detail": "There is no such event",
        }
    ],
}

VALIDATION_PROBLEM: Final[dict[str, Any]] = {
    "type": "object",
    "title": "ValidationProblem",
    "description": "Which values are not valid, as FastAPI says it, with a problem's members.",
    "properties": _MEMBERS
    | {
        "detail": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {
                    "loc": {
                        "type": "array",
                        "items": {"anyOf": [{"type": "string"}, {"type": "integer"}]},
                        "description": "Where the value is.",
                    },
                    "msg": {"type": "string", "description": "What is wrong with it."},
                    "type": {"type": "string", "description": "Stable, for programs."},
                    "ctx": {"type": "object", "description": "The facts."},
                },
                "required": ["loc", "msg", "type"],
            },
        },
        "total": {
            "type": "integer",
            "description": "How many values are not valid, where `detail` names only the first"
            f" {ERRORS_TOLD}.",
        },
    },
    "required": [*_MEMBERS, "detail"],
    "examples": [
        {
            "type": "urn:eventmanager:problem:validation_error",
            "title": "The request is not valid",
            "status": 422,
            "code": "validation_error",
            "instance": "/api/events",
            "request_id": "01936b0e7c007a4e9d3c0f6a2b1c4d5e",
            "detail": [
                {
                    "loc": ["body", "recurrence_pattern"],
                    "msg": "recurrence_pattern must be a valid RRULE string",
                    "type": "invalid_rrule",
                    "ctx": {"reason": "FREQ=HOURLY is not supported: use DAILY or slower."},
                }
            ],
        }
    ],
}

TOO_MANY: Final[dict[str, Any]] = {
    "description": "Too many requests; the next one may pass in `Retry-After` seconds",
    "headers": {
        name: {"description": meaning, "schema": {"type": "integer"}}
        for name, meaning in {
            "Retry-After": "Seconds to wait.",
            "RateLimit-Limit": "How many requests may be made in one window of time.",
            "RateLimit-Remaining": "How many more may be made now.",
            "RateLimit-Reset": "In how many seconds the oldest one no longer counts.",
        }.items()
    },
    "content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}},
}


def install(app: FastAPI, *, describe: Callable[[dict[str, Any]], None]) -> None:
    """Let `app.openapi()` answer the document with our problems, made once.

    `describe` may add to it what no route says.
    """

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            document = get_openapi(
                title=app.title,
                version=app.version,
                summary=app.summary,
                description=app.description,
                routes=app.routes,
                tags=app.openapi_tags,
                servers=app.servers or [{"url": "/"}],
                license_info={"name": "MIT", "identifier": "MIT"},
            )
            schemas = document["components"]["schemas"]
            schemas |= {"Problem": PROBLEM, "ValidationProblem": VALIDATION_PROBLEM}
            # FastAPI adds its own 422 schemas, which no route of ours refers to.
            schemas.pop("HTTPValidationError", None)
            schemas.pop("ValidationError", None)
            for path in document["paths"].values():
                for operation in path.values():
                    # Said outright: this one needs no token.
                    operation.setdefault("security", [])
            describe(document)
            _nulls(document)
            _limits(document)
            _formats(document)
            app.openapi_schema = document
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]  # FastAPI's documented way to extend it


def _nulls(document: dict[str, Any]) -> None:
    """Put back the nulls of examples, which FastAPI leaves out wherever they are in a document."""
    for schema in document["components"]["schemas"].values():
        for example in schema.get("examples", ()):
            for name in schema.get("required", ()):
                example.setdefault(name, None)


def _limits(document: dict[str, Any]) -> None:
    """Say of every operation that has a rate limit how it answers beyond it."""
    for path, operations in document["paths"].items():
        if not is_spared(path):
            for operation in operations.values():
                operation["responses"].setdefault("429", dict(TOO_MANY))


def _formats(document: dict[str, Any]) -> None:
    """Name MessagePack wherever JSON is named: `core.negotiation` does it for every route."""
    for operations in document["paths"].values():
        for operation in operations.values():
            for described in (operation.get("requestBody", {}), *operation["responses"].values()):
                content = described.get("content", {})
                for kind in ("application/json", "application/problem+json"):
                    if kind in content:
                        described["content"] = content | dict.fromkeys(MSGPACK, content[kind])
