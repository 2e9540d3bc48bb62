"""What routes share: their dependencies, entity tags, links, and bodies that are ready bytes."""

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Final
from urllib.parse import urlencode

import orjson
from fastapi import Depends, Header, Request
from starlette.responses import Response

from eventmanager.core.database import Database
from eventmanager.core.errors import PreconditionRequired


async def _database(request: Request) -> Database:
    database: Database = request.app.state.database
    return database


async def _now(request: Request) -> datetime:
    now: datetime = request.app.state.clock.now()
    return now


_Tags = Annotated[
    str | None,
    Header(
        alias="If-Match",
        description='The ETag that the change is based on, e.g. `"3"`; 412 if it is stale.',
    ),
]


async def _precondition(request: Request, if_match: _Tags = None) -> str | None:
    """Return `If-Match`; raises `PreconditionRequired` where the server insists on it."""
    if if_match is None and request.app.state.settings.require_if_match:
        raise PreconditionRequired
    return if_match


async def _base(request: Request, if_match: _Tags = None) -> str | None:
    """Return `If-Match` of a change that may say by `base_version` instead what it is based on."""
    if "base_version" in request.query_params:
        return if_match
    return await _precondition(request, if_match)


MEBIBYTE: Final = 1024 * 1024
_VERSION_TAG: Final = re.compile(r'"([1-9][0-9]{0,8})"')

Db = Annotated[Database, Depends(_database)]
Now = Annotated[datetime, Depends(_now)]
IfMatch = Annotated[str | None, Depends(_precondition)]
IfMatchOrBase = Annotated[str | None, Depends(_base)]


def json_bytes(
    body: bytes, *, status: int = 200, headers: Mapping[str, str] | None = None
) -> Response:
    """Answer with JSON that is already serialised."""
    return Response(body, status_code=status, headers=headers, media_type="application/json")


def json_value(
    value: Any, *, status: int = 200, headers: Mapping[str, str] | None = None
) -> Response:
    """Answer with a plain value; instants are written in UTC with `Z`."""
    body = orjson.dumps(value, default=str, option=orjson.OPT_UTC_Z)
    return json_bytes(body, status=status, headers=headers)


def next_link(request: Request, **key: str) -> str:
    """Return a `Link` header value (RFC 8288) to the page of this list that begins at `key`."""
    passed = {"cursor", "skip", *key}
    kept = [(k, v) for k, v in request.query_params.multi_items() if k not in passed]
    return f'<{request.url.path}?{urlencode([*kept, *key.items()])}>; rel="next"'


LINK: Final[dict[str, Any]] = {
    "Link": {
        "description": 'The next page, `rel="next"`, when there is one (RFC 8288).',
        "schema": {"type": "string"},
    }
}
PROBLEM: Final = {"$ref": "#/components/schemas/Problem"}
VALIDATION: Final = {"$ref": "#/components/schemas/ValidationProblem"}
_MEANING: Final = {
    400: "The request is refused; `code` says why",
    401: "No access token, or one that is invalid, expired or of an ended session",
    403: "The caller is known and may not do this",
    404: "There is no such thing, or it is deleted",
    405: "Another method is needed; `Allow` says which",
    409: "It collides with what stands",
    410: "What you go on from is no longer kept; `restart` says where to begin again",
    412: "The version named in `If-Match` is no longer the current one",
    413: "The body is larger than this route accepts",
    422: "A value is missing or not valid; `detail` says which and why",
    428: "`REQUIRE_IF_MATCH` is set and the request has no `If-Match`",
    503: "The database is away; try again after `Retry-After` seconds",
}


def errors(*statuses: int, **described: str) -> dict[int | str, dict[str, Any]]:
    """Document the problems a route may answer, 503 always among them.

    `described` overrides a description: `errors(409, _409="The username is taken")`.
    """
    return {
        status: {
            "description": described.get(f"_{status}", _MEANING[status]),
            "content": {"application/json": {"schema": VALIDATION}}
            if status == 422
            else {"application/problem+json": {"schema": PROBLEM}},
        }
        for status in (*statuses, 503)
    }


def etag(version: int) -> str:
    """Return the strong entity tag of a version."""
    return f'"{version}"'


def etag_matches(if_none_match: str, version: int) -> bool:
    """Tell whether `If-None-Match` names `version`; see `names_tag`."""
    return names_tag(if_none_match, etag(version))


def names_tag(if_none_match: str, tag: str) -> bool:
    """Tell whether `If-None-Match` names `tag`; `*`, lists, weak tags (RFC 9110, 13.1.2)."""
    tags = [named.strip().removeprefix("W/") for named in if_none_match.split(",")]
    return "*" in tags or tag in tags


def tags_in(if_match: str | None) -> list[str] | None:
    """Return the entity tags that `If-Match` admits, None for any (RFC 9110, 13.1.1).

    Weak ones are left as they are written, so they equal no strong tag.
    """
    if if_match is None:
        return None
    tags = [tag.strip() for tag in if_match.split(",")]
    return None if "*" in tags else tags


def versions_in(if_match: str | None) -> list[int] | None:
    """Return the versions that `If-Match` admits, None for any (RFC 9110, 13.1.1).

    A weak or foreign tag matches no version, so a header of only those admits none.
    """
    tags = tags_in(if_match)
    if tags is None:
        return None
    return [int(found[1]) for tag in tags if (found := _VERSION_TAG.fullmatch(tag))]
