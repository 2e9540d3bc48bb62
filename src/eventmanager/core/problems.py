"""Turns errors into HTTP, and nothing else does: RFC 9457 problems, and FastAPI's own 422 shape."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final

import orjson
import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.requests import HTTPConnection
from starlette.exceptions import HTTPException
from starlette.responses import Response

from eventmanager.core import errors
from eventmanager.core.idempotency.service import Replay
from eventmanager.core.negotiation import negotiated

STATUS: Final[Mapping[type[errors.EventManagerError], int]] = {
    errors.TokenRefused: 400,
    errors.Unauthenticated: 401,
    errors.Forbidden: 403,
    errors.NotFound: 404,
    errors.Conflict: 409,
    errors.Gone: 410,
    errors.PreconditionFailed: 412,
    errors.PreconditionRequired: 428,
    errors.Invalid: 422,
    errors.RateLimited: 429,
    errors.Unavailable: 503,
}
# Stable codes of what the framework itself refuses; the phrases differ between Python versions.
FRAMEWORK_CODES: Final = {
    400: "bad_request",
    404: "not_found",
    405: "method_not_allowed",
    413: "body_too_large",
    415: "unsupported_media_type",
}
RETRY_AFTER_SECONDS: Final = 2
# More of them help nobody, and a body can have a hundred thousand.
ERRORS_TOLD: Final = 100

_log = structlog.get_logger("app")
_security = structlog.get_logger("security")


def status_of(error: errors.EventManagerError) -> int:
    """Return the HTTP status of the nearest ancestor that has one."""
    return next(STATUS[kind] for kind in type(error).__mro__ if kind in STATUS)


def install(app: FastAPI) -> None:
    """Let the application answer every error as a problem."""
    app.add_exception_handler(errors.EventManagerError, refusal)
    app.add_exception_handler(Replay, _replay)
    app.add_exception_handler(RequestValidationError, _validation_error)
    app.add_exception_handler(HTTPException, _http_exception)
    app.add_exception_handler(Exception, _unexpected)


def problem(
    request: HTTPConnection,
    *,
    status: int,
    code: str,
    title: str,
    detail: str,
    facts: Mapping[str, Any] | None = None,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """Return an `application/problem+json` response (RFC 9457)."""
    body = (
        _head(request, status=status, code=code, title=title)
        | {"detail": detail}
        | dict(facts or {})
    )
    return Response(
        orjson.dumps(body, default=str, option=orjson.OPT_UTC_Z),
        status_code=status,
        headers=headers,
        media_type="application/problem+json",
    )


def facts_of(error: errors.EventManagerError) -> dict[str, Any]:
    """Return what a problem says of an error, for an answer that holds several."""
    return {
        "status": status_of(error),
        "code": error.code,
        "title": error.title,
        "detail": error.detail,
        **error.facts,
    }


def invalid(
    request: HTTPConnection,
    details: list[dict[str, Any]],
    *,
    code: str = errors.Invalid.code,
    facts: Mapping[str, Any] | None = None,
) -> Response:
    """Return a 422 in the shape FastAPI's clients expect, with the problem members beside it."""
    title = errors.Invalid.title
    body = (
        _head(request, status=422, code=code, title=title) | {"detail": details} | dict(facts or {})
    )
    return Response(orjson.dumps(body, default=str), status_code=422, media_type="application/json")


def _head(request: HTTPConnection, *, status: int, code: str, title: str) -> dict[str, Any]:
    return {
        "type": f"urn:eventmanager:problem:{code}",
        "title": title,
        "status": status,
        "code": code,
        "instance": request.url.path,
        "request_id": request.scope.get("state", {}).get("request_id", ""),
    }


async def refusal(request: HTTPConnection, error: Exception) -> Response:
    """Return the problem that a domain error is, with the headers that belong to it."""
    assert isinstance(error, errors.EventManagerError)
    status = status_of(error)
    headers: dict[str, str] = {}
    if status == HTTPStatus.UNAUTHORIZED:
        challenge = 'error="invalid_token"' if isinstance(error, errors.InvalidToken) else ""
        headers["WWW-Authenticate"] = f'Bearer realm="eventmanager"{challenge and ", "}{challenge}'
    if isinstance(error, errors.RateLimited):
        headers["Retry-After"] = str(error.facts["retry_after"])
    if status == HTTPStatus.SERVICE_UNAVAILABLE:
        headers["Retry-After"] = str(RETRY_AFTER_SECONDS)
    record(request, error)
    if isinstance(error, errors.TokenRefused):
        # No cache may keep what the token endpoint answers, refusals included (RFC 6749, 5.2).
        headers["Cache-Control"] = "no-store"
    if "loc" in error.facts:
        return invalid(request, [_as_detail(error)], code=error.code)
    return problem(
        request,
        status=status,
        code=error.code,
        title=error.title,
        detail=error.detail,
        facts=error.facts,
        headers=headers,
    )


def record(request: HTTPConnection, error: errors.EventManagerError) -> None:
    """Log a refusal that whoever runs the service should know of."""
    status = status_of(error)
    if status == HTTPStatus.SERVICE_UNAVAILABLE:
        _log.error("unavailable", path=request.url.path, cause=repr(error.__cause__))
    if status in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}:
        _security.warning("refused", path=request.url.path, code=error.code, status=status)


def _as_detail(error: errors.EventManagerError) -> dict[str, Any]:
    facts = dict(error.facts)
    kind = facts.pop("type", error.code)
    item = {"loc": list(facts.pop("loc")), "msg": error.detail, "type": kind}
    return item | ({"ctx": facts} if facts else {})


async def _replay(_: HTTPConnection, found: Exception) -> Response:
    assert isinstance(found, Replay)
    return found.answer


async def _validation_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    found = error.errors()
    told = [_without_input(item) for item in found[:ERRORS_TOLD]]
    return invalid(request, told, facts={"total": len(found)} if len(found) > len(told) else {})


def _without_input(item: Mapping[str, Any]) -> dict[str, Any]:
    """Keep what helps the caller; the rejected input may hold a password, so it is left out."""
    kept: dict[str, Any] = {"loc": list(item["loc"]), "msg": item["msg"], "type": item["type"]}
    if item.get("ctx"):
        kept["ctx"] = {name: _plain(value) for name, value in item["ctx"].items()}
    return kept


def _plain(value: object) -> object:
    return value if isinstance(value, str | int | float | bool) else str(value)


async def _http_exception(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    if isinstance(error.detail, list):
        return invalid(request, error.detail)
    if error.status_code == HTTPStatus.BAD_REQUEST and error.__cause__ is not None:
        # FastAPI's word for a body that is not even text, or nested too deeply.
        item = {"loc": ["body"], "msg": "The body is not valid JSON", "type": "json_invalid"}
        return invalid(request, [item])
    return problem(
        request,
        status=error.status_code,
        code=FRAMEWORK_CODES.get(error.status_code, "http_error"),
        title=HTTPStatus(error.status_code).phrase,
        detail=str(error.detail),
        headers=error.headers,
    )


async def _unexpected(request: Request, error: Exception) -> Response:
    _log.error("unexpected_error", path=request.url.path, exc_info=error)
    answer = problem(
        request,
        status=500,
        code="internal_error",
        title="Internal error",
        detail="Something went wrong on our side; the log has it under this request_id.",
        headers={"X-Request-ID": request.scope.get("state", {}).get("request_id", "")},
    )
    # Starlette sends this one from outside every middleware.
    return negotiated(answer, request.headers.get("accept", ""))
