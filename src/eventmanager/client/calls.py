"""PURE. Requests as values: what is sent, how the answer is read, and whether it may be sent again.

The functions that make them say what a client can do; `surface` gives each to both kinds of client.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from functools import cache
from typing import Any, Final, Generic, TypeAlias, TypeVar
from urllib.parse import quote
from uuid import UUID, uuid4

import httpx
import orjson
from pydantic import TypeAdapter

from eventmanager.client.models import Model

T = TypeVar("T")
M = TypeVar("M", bound=Model)
Id: TypeAlias = UUID | str
When: TypeAlias = datetime | date | str
"""An instant; wall clock without an offset; a date; or any of these as RFC 3339 writes it."""

_IDEMPOTENT: Final = frozenset({"GET", "PUT"})
_KEY: Final = "Idempotency-Key"


@dataclass(frozen=True)
class Call(Generic[T]):
    """One request. `form` is sent in place of JSON; what is None among `query` is left out."""

    method: str
    path: str
    read: Callable[[httpx.Response], T]
    query: Mapping[str, Any] = field(default_factory=dict)
    body: Any = None
    form: Mapping[str, str] | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    timeout_s: float | None = None
    repeatable: bool = False
    """Whether it may be sent again when nobody knows if it was done."""

    def request(self, client: httpx.Client | httpx.AsyncClient, token: str | None) -> httpx.Request:
        """Return what is sent, with an access token if there is one."""
        headers = {"Accept": "application/json", **self.headers}
        if token is not None:
            headers["Authorization"] = f"Bearer {token}"
        content = None
        if self.body is not None:
            content = orjson.dumps(self.body, default=_written)
            headers["Content-Type"] = "application/json"
        query = {name: _plain(value) for name, value in self.query.items() if value is not None}
        timeout = client.timeout if self.timeout_s is None else self.timeout_s
        return client.build_request(
            self.method,
            self.path,
            params=query,
            content=content,
            data=self.form,
            headers=headers,
            timeout=timeout,
        )

    def next(self, answer: httpx.Response) -> "Call[T] | None":
        """Return the call for the page after the one answered, None if that was the last."""
        link = answer.links.get("next")
        # Only the query: the path that we know also has what a proxy strips.
        return replace(self, query=dict(httpx.URL(link["url"]).params)) if link else None


def get(path: str, read: Callable[[httpx.Response], T], **query: Any) -> Call[T]:
    """Return a call that changes nothing."""
    return Call("GET", path, read, query=query, repeatable=True)


def write(
    method: str,
    path: str,
    read: Callable[[httpx.Response], T],
    *,
    body: Any = None,
    key: str | None = None,
    if_match: int | str | None = None,
    once: bool = True,
    **query: Any,
) -> Call[T]:
    """Return a call that changes something, done once however often it is sent.

    That is so by its `Idempotency-Key`, drawn unless the caller has one. Where a route takes none
    (`once=False`) a key of the caller's is refused, and only a PUT can be sent again; not with
    `if_match`, since what it names would be changed by the PUT itself.
    """
    if key is not None and not once:
        raise ValueError("This takes no idempotency_key: it is not done once")
    headers = {}
    is_rehearsed = bool(query.get("dry_run"))
    if once and not is_rehearsed:
        headers[_KEY] = key or uuid4().hex
    if if_match is not None:
        headers["If-Match"] = f'"{if_match}"' if isinstance(if_match, int) else if_match
    repeatable = once or is_rehearsed or (method in _IDEMPOTENT and if_match is None)
    return Call(method, path, read, query, body, headers=headers, repeatable=repeatable)


def part(value: object) -> str:
    """Return a value as one part of a path."""
    return quote(_plain(value), safe="")


def one(kind: type[M]) -> Callable[[httpx.Response], M]:
    """Return how one value is read."""
    return lambda answer: kind.model_validate_json(answer.content)


def many(kind: type[M]) -> Callable[[httpx.Response], list[M]]:
    """Return how a list is read."""
    return lambda answer: _list_of(kind).validate_json(answer.content)


def named(kind: type[M]) -> Callable[[httpx.Response], dict[str, M]]:
    """Return how values are read that have names."""
    return lambda answer: _names_of(kind).validate_json(answer.content)


def nothing(_: httpx.Response) -> None:
    """Read an answer that says nothing."""


# Each takes milliseconds to make.
@cache
def _list_of(kind: type[M]) -> TypeAdapter[list[M]]:
    return TypeAdapter(list[kind])  # type: ignore[valid-type]  # known at run time


@cache
def _names_of(kind: type[M]) -> TypeAdapter[dict[str, M]]:
    return TypeAdapter(dict[str, kind])  # type: ignore[valid-type]  # known at run time


def _plain(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    # An offset such as +00:00 is for httpx to quote.
    return value.isoformat() if isinstance(value, datetime | date) else str(value)


def _written(value: object) -> Any:
    if isinstance(value, Model):
        return value.model_dump(mode="json")
    return str(value)
