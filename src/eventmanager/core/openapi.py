"""The OpenAPI document: FastAPI's own, with our problems in it and nothing undocumented."""

from collections.abc import Callable
from typing import Any, Final

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

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
        }
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
                license_info={"name": "MIT", "identifier": "MIT"},
            )
            schemas = document["components"]["schemas"]
            schemas |= {"Problem": PROBLEM, "ValidationProblem": VALIDATION_PROBLEM}
            # FastAPI adds its own 422 schemas, which no route of ours refers to.
            schemas.pop("HTTPValidationError", None)
            schemas.pop("ValidationError", None)
            describe(document)
            app.openapi_schema = document
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]  # FastAPI's documented way to extend it
