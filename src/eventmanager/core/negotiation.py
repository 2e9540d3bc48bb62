"""MessagePack in and out, for every route, which all speak JSON and know nothing of it.

A body under a MessagePack `Content-Type` reaches the route as JSON; JSON leaves as MessagePack
where `Accept` prefers that. Timestamps (extension -1) come in as RFC 3339; instants go out as the
same strings as in JSON, so that both forms have one schema.

`ETag` is the same for both forms, although RFC 9110, 8.8.1 would have them differ: it is the
event's version, and `If-Match` is about the event, whichever form its reader happened to get.
`Vary: Accept` is what keeps caches from confusing the forms.
"""

import json
import re
import secrets
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any, Final

import orjson
import ormsgpack
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

Headers = Iterable[tuple[bytes, bytes]]

# Nothing of the kind is registered but `application/vnd.msgpack`, which came last of the three.
MSGPACK: Final = ("application/msgpack", "application/x-msgpack", "application/vnd.msgpack")
_MSGPACK_TYPES: Final = frozenset(name.encode() for name in MSGPACK)
_JSON_TYPES: Final = frozenset({b"application/json", b"application/problem+json"})
_BODILESS: Final = frozenset({204, 304})
_QVALUE: Final = re.compile(r"0(\.\d{0,3})?|1(\.0{0,3})?")
_LONGEST_ACCEPT: Final = 1000

# The largest batch has half as many; to decode a million takes a second.
ITEMS_MAX: Final = 100_000
# How many bytes an item begins with, by its first: all that it has where its length is not in the
# next ones (`_LENGTHS`). What an array or a map holds are items of their own.
_SIZES: Final = (
    *[1] * 0xA0,
    *range(1, 33),
    *[1] * 4,
    *(2, 3, 5, 3, 4, 6, 5, 9),
    *(2, 3, 5, 9, 2, 3, 5, 9),
    *(3, 4, 6, 10, 18, 2, 3, 5),
    *(3, 5, 3, 5),
    *[1] * 32,
)
# In how many bytes strings, binary data and extensions tell how many more they have.
_LENGTHS: Final = dict(zip(b"\xc4\xc5\xc6\xc7\xc8\xc9\xd9\xda\xdb", (1, 2, 4) * 3, strict=True))

_TIMESTAMP: Final = -1
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
# How a 32 or 64 bit float that is not a finite number begins.
_NOT_FINITE: Final = re.compile(rb"\xca[\x7f\xff][\x80-\xff]|\xcb[\x7f\xff][\xf0-\xff]", re.DOTALL)
# Put behind a body, to see that it ended there: the decoder ignores whatever follows. Nobody knows
# it, or they could send it themselves, and anything behind it.
_END: Final = secrets.token_hex(16)
_REASONS: Final = {
    "ext_hook failed": "an extension type other than a timestamp of the years 1 to 9999",
    "invalid type": "a map key that is no string, or a byte without meaning",
    "Recursion limit reached": "nested too deeply",
    "Type is not JSON serializable: bytes": "binary data, for which JSON has no value",
}


class Negotiation:
    """Decodes MessagePack requests, and encodes JSON answers for clients that prefer it.

    What is not JSON passes untouched and unbuffered. It stands inside the body limit, so a
    MessagePack body is read within that, and around all that may answer with a problem.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run one request; the usual one, all JSON, costs a look at its headers."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        accept = content_type = b""
        for name, value in scope["headers"]:
            if name == b"accept":
                accept = accept + b"," + value if accept else value
            elif name == b"content-type":
                content_type = value
        if content_type and _bare(content_type) in _MSGPACK_TYPES:
            scope, receive = _with_json_headers(scope), _json_of(receive)
        if scope["method"] != "HEAD" and b"msgpack" in accept.lower():
            send = _Packing(send, accept).send
            await self.app(scope, receive, send)
            return

        async def send_varying(message: Message) -> None:
            if message["type"] == "http.response.start":
                _vary(message)
            await send(message)

        await self.app(scope, receive, send_varying)


def negotiated(response: Response, accept: str) -> Response:
    """Return a whole response in the form that `accept` prefers.

    For what is sent from outside the middleware: the answer to an unexpected error.
    """
    own = _bare(response.headers["content-type"].encode())
    kind = preferred(accept.encode()[:_LONGEST_ACCEPT], own)
    if kind != own:
        response.body = _packed(bytes(response.body))
        response.headers["content-type"] = kind.decode()
        response.headers["content-length"] = str(len(response.body))
    response.headers["vary"] = "Accept"
    return response


@lru_cache(maxsize=256)
def preferred(accept: bytes, own: bytes) -> bytes:
    """Return the media type to answer in: `own`, some kind of JSON, or one of MessagePack's.

    The highest quality wins; at the same quality what is named more exactly, then what is named
    first (RFC 9110, 12.5.1). MessagePack must be named: `*/*` and `application/*` mean JSON, and so
    does an `Accept` that admits neither.
    """
    ranges: dict[bytes, tuple[float, int]] = {}
    for position, item in enumerate(accept.lower().split(b",")):
        kind, *parameters = (part.strip() for part in item.split(b";"))
        quality = _quality(parameters)
        if quality is not None:
            ranges.setdefault(kind, (quality, -position))

    def rank(kind: bytes, *wider: bytes) -> tuple[float, int, int]:
        for breadth, name in enumerate((kind, *wider)):
            if name in ranges:
                quality, place = ranges[name]
                return quality, -breadth, place
        return 0, 0, 0

    best, best_rank = own, rank(own, b"application/*", b"*/*")
    for kind in _MSGPACK_TYPES & ranges.keys():
        kind_rank = rank(kind)
        if kind_rank[0] > 0 and (kind_rank > best_rank or best_rank[0] == 0):
            best, best_rank = kind, kind_rank
    return best


def _quality(parameters: list[bytes]) -> float | None:
    """Return the `q` among a range's parameters, 1 if there is none, None if it makes no sense."""
    for parameter in parameters:
        name, _, value = parameter.partition(b"=")
        if name.strip() == b"q":
            text = value.strip().decode("latin-1")
            return float(text) if _QVALUE.fullmatch(text) else None
    return 1.0


class _Packing:
    """Holds back a JSON answer until it is whole, and sends it as MessagePack."""

    def __init__(self, send: Send, accept: bytes) -> None:
        self._send = send
        self._accept = accept[:_LONGEST_ACCEPT]
        self._start: Message | None = None
        self._kind = b""
        self._parts: list[bytes] = []

    async def send(self, message: Message) -> None:
        """Take the application's next message."""
        if message["type"] == "http.response.start":
            own = _vary(message)
            if own and message["status"] not in _BODILESS:
                self._kind = preferred(self._accept, own)
                if self._kind != own:
                    self._start = message
                    return
            await self._send(message)
        elif self._start is None:
            await self._send(message)
        else:
            self._parts.append(message.get("body", b""))
            if not message.get("more_body", False):
                await self._send_packed(self._start, b"".join(self._parts))

    async def _send_packed(self, start: Message, body: bytes) -> None:
        packed = _packed(body) if body else body
        kept = [
            (name, value)
            for name, value in start["headers"]
            if name.lower() not in {b"content-type", b"content-length"}
        ]
        length = str(len(packed)).encode()
        start["headers"] = [*kept, (b"content-type", self._kind), (b"content-length", length)]
        await self._send(start)
        await self._send({"type": "http.response.body", "body": packed})


def _packed(body: bytes) -> bytes:
    return ormsgpack.packb(orjson.loads(body))


def _vary(message: Message) -> bytes:
    """Say that an answer depends on `Accept`, if it does; return which kind of JSON it is."""
    kind = vary = b""
    headers = message.get("headers", ())
    for name, value in headers:
        lower = name.lower()
        if lower == b"content-type":
            kind = _bare(value)
        elif lower == b"vary":
            vary = vary + b", " + value if vary else value
    is_json = kind in _JSON_TYPES
    if is_json or message["status"] == 304:
        named = {part.strip().lower() for part in vary.split(b",")} if vary else set()
        if not vary:
            message["headers"] = [*headers, (b"vary", b"Accept")]
        elif not named & {b"*", b"accept"}:
            kept = [(name, value) for name, value in headers if name.lower() != b"vary"]
            message["headers"] = [*kept, (b"vary", vary + b", Accept")]
    return kind if is_json else b""


def _bare(content_type: bytes) -> bytes:
    """Return a media type without its parameters, in lower case."""
    return content_type.partition(b";")[0].strip().lower()


def _with_json_headers(scope: Scope) -> Scope:
    # The length goes: it was the packed body's, and the body limit has looked at it already.
    replaced = {b"content-type", b"content-length"}
    kept = [(name, value) for name, value in scope["headers"] if name not in replaced]
    return {**scope, "headers": [*kept, (b"content-type", b"application/json")]}


def _json_of(receive: Receive) -> Receive:
    """Return a `receive` that hands over the whole body as JSON, once somebody reads it.

    Until then nothing is decoded, so only a route that takes a body ever refuses one.
    """
    is_read = False

    async def receive_json() -> Message:
        nonlocal is_read
        if is_read:
            return await receive()
        parts: list[bytes] = []
        more = True
        while more:
            message = await receive()
            if message["type"] != "http.request":
                return message
            parts.append(message.get("body", b""))
            more = message.get("more_body", False)
        is_read = True
        body = b"".join(parts)
        return {"type": "http.request", "body": msgpack_to_json(body) if body else b""}

    return receive_json


def msgpack_to_json(body: bytes) -> bytes:
    """Return a MessagePack body as JSON.

    Raises a 422 for what is malformed, has no equal in JSON, or is too much to be made sense of.
    """
    try:
        if _has_more_items(body, than=ITEMS_MAX):
            raise ValueError(f"more than {ITEMS_MAX} items")
        items = ormsgpack.unpackb(b"\x92" + body + ormsgpack.packb(_END), ext_hook=_extension)
        if items[1] != _END:
            raise ValueError("more data after the end")
        if _NOT_FINITE.search(body):
            # orjson would write null for it; this one is slower, and refuses.
            return json.dumps(items[0], allow_nan=False).encode()
        return orjson.dumps(items[0])
    except (ValueError, TypeError, RecursionError) as error:
        said = str(error)
        reason = next((ours for theirs, ours in _REASONS.items() if theirs in said), said)
        item = {
            "loc": ["body"],
            "msg": f"The body is not valid MessagePack: {reason}",
            "type": "msgpack_invalid",
            "ctx": {"error": reason},
        }
        # FastAPI lets an HTTPException that is raised while it reads a body pass, and no other.
        raise HTTPException(422, [item]) from error  # type: ignore[arg-type]  # problems take it


def _has_more_items(body: bytes, *, than: int) -> bool:
    """Tell whether there are more items in a body, looking at no more of them than that.

    An empty array is one byte of a body and sixty of memory, so its length says nothing.
    """
    if len(body) <= than:
        return False
    place = 0
    for _ in range(than):
        first = body[place]
        length = body[place + 1 : place + 1 + _LENGTHS.get(first, 0)]
        place += _SIZES[first] + int.from_bytes(length, "big")
        if place >= len(body):
            return False
    return True


def _extension(tag: int, data: bytes) -> Any:
    """Read a timestamp of 32, 64 or 96 bits as RFC 3339 (MessagePack's timestamp extension)."""
    if tag != _TIMESTAMP:
        raise ValueError
    if len(data) == 4:
        seconds, nanoseconds = int.from_bytes(data, "big"), 0
    elif len(data) == 8:
        both = int.from_bytes(data, "big")
        seconds, nanoseconds = both & (1 << 34) - 1, both >> 34
    elif len(data) == 12:
        seconds = int.from_bytes(data[4:], "big", signed=True)
        nanoseconds = int.from_bytes(data[:4], "big")
    else:
        raise ValueError
    if nanoseconds > 999_999_999:
        raise ValueError
    instant = _EPOCH + timedelta(seconds=seconds, microseconds=nanoseconds // 1000)
    return instant.isoformat().replace("+00:00", "Z")
