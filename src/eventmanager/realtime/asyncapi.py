"""PURE. The WebSocket as an AsyncAPI 3.0 document, made of the models of what goes over it.

`python -m eventmanager.realtime.asyncapi` prints it; `asyncapi.yaml` is what it prints.
"""

import json
import re
import sys
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any, Final
from uuid import UUID

import orjson
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from eventmanager.messages.facts import DATA
from eventmanager.messages.letters import MSGPACK
from eventmanager.messages.schemas import Message, Notification
from eventmanager.messages.types import NotificationType
from eventmanager.realtime.wire import FRAMES, Ack, Announce, Subscribe

CHANNEL: Final = "notifications"
_UNDERSTOOD: Final[Mapping[str, type[BaseModel]]] = {
    "subscribe": Subscribe,
    "ack": Ack,
    "announce": Announce,
}
_ANSWERS: Final = {"subscribe": "subscribed", "ack": "acked", "announce": "announced"}
_DESCRIPTION: Final = """\
What a client of Event Manager hears and says on its WebSocket. The server sends nothing by itself
but notifications; everything else answers what the client has said, and a client need say nothing.

Without a subprotocol all messages are JSON texts. With the subprotocol `msgpack` the server sends
the same objects as MessagePack in binary messages, and understands both. A message of the client
may have 64 KiB.

A client that was away connects with `?after=<cursor>`, the `cursor` of the last notification it
has, and misses nothing. There may come further types of messages, and further members in them:
pass over what you don't know.
"""
CLOSE_CODES: Final[Mapping[int, str]] = {
    1007: "A text was not UTF-8.",
    1008: "Too many messages: more than 20 a second. The error `too_many_messages` came before."
    " Or as many pings.",
    1009: "A message of the client was longer than 64 KiB.",
    1011: "Something went wrong on the server: connect again.",
    1012: "The server restarts: connect again.",
    1013: "The client did not keep up, or the database is away: connect again with `after`.",
    4401: "The session has ended: sign in again. Or, in a browser, nobody was signed in, or the"
    " ticket is of no use: get another.",
    4403: "As 403 to the handshake, on a server that can't refuse it: pages of this origin may not"
    " connect.",
    4410: "What came after the cursor is no longer kept: begin again with `GET /api/sync`.",
    4422: "As 422 to the handshake, in a browser: the cursor is none.",
    4429: "As 429 to the handshake, in a browser: too many sockets are open (`too_many_sockets`),"
    " or its address asks too often (`rate_limited`). Try again later.",
    4503: "As 503 to the handshake, in a browser: try again shortly.",
}


def document(*, release: str) -> dict[str, Any]:
    """Return the description of the WebSocket of a release."""
    schemas = _schemas()
    messages = dict(_messages())
    told = [str(one) for one in NotificationType]
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Event Manager: notifications",
            "version": release,
            "description": _DESCRIPTION,
            "license": {"name": "MIT"},
        },
        "defaultContentType": "application/json",
        "servers": {
            "local": {
                "host": "127.0.0.1:8000",
                "protocol": "ws",
                "description": "As `make serve` starts it; behind a proxy with TLS it is `wss`.",
                "security": [_ref("securitySchemes", "bearer"), _ref("securitySchemes", "ticket")],
            }
        },
        "channels": {CHANNEL: _channel(messages)},
        "operations": {
            "notify": _operation("send", told, summary="Tell of what has happened"),
            "tellPresence": _operation(
                "send", ["presence"], summary="Tell who is at an event that was subscribed to"
            ),
            **{
                said: _operation(
                    "receive",
                    [said],
                    summary=_first_line(model),
                    reply=[_ANSWERS[said], "error"],
                )
                for said, model in _UNDERSTOOD.items()
            },
        },
        "components": {
            "messages": messages,
            "schemas": schemas,
            "securitySchemes": {
                "bearer": {
                    "type": "http",
                    "scheme": "bearer",
                    "bearerFormat": "JWT",
                    "description": "An access token, in the header `Authorization`.",
                },
                "ticket": {
                    "type": "httpApiKey",
                    "name": "ticket",
                    "in": "query",
                    "description": "From `POST /api/auth/ws-ticket`, for browsers: good for one"
                    " socket within 30 seconds.",
                },
            },
        },
    }


def _channel(messages: Mapping[str, Any]) -> dict[str, Any]:
    after = {"type": "string", "description": "Go on after the notification with this cursor."}
    ticket = {"type": "string", "description": "Instead of a token; see the security schemes."}
    return {
        "address": "/api/ws/notifications",
        "title": "Notifications",
        "description": "A refusal of the handshake is the problem that any other route would"
        " answer. A browser shows its pages none, so where there is an `Origin` or a `ticket`, the"
        " socket is opened and closed at once with 4000 plus the status, and the `code` as reason;"
        " only pages of other origins are refused with 403.",
        "messages": {name: _ref("messages", name) for name in messages},
        "bindings": {
            "ws": {
                "method": "GET",
                "query": {"type": "object", "properties": {"after": after, "ticket": ticket}},
                "bindingVersion": "0.1.0",
            }
        },
        "x-subprotocols": {MSGPACK: "MessagePack in binary messages instead of JSON as text."},
        "x-close-codes": {str(code): reason for code, reason in CLOSE_CODES.items()},
    }


def _operation(
    action: str, messages: Sequence[str], *, summary: str, reply: Sequence[str] = ()
) -> dict[str, Any]:
    channel = {"$ref": f"#/channels/{CHANNEL}"}
    made: dict[str, Any] = {
        "action": action,
        "channel": channel,
        "summary": summary,
        "messages": [_of_channel(name) for name in messages],
    }
    if reply:
        made["reply"] = {"channel": channel, "messages": [_of_channel(name) for name in reply]}
    return made


def _messages() -> Iterator[tuple[str, dict[str, Any]]]:
    for kind, model in DATA.items():
        [data] = _extra(model)["examples"]
        yield (
            str(kind),
            _message(kind, model, payload=_named(kind), examples=[_notification(kind, data)]),
        )
    for frame in FRAMES:
        name = str(frame.model_fields["type"].annotation.__args__[0])  # type: ignore[union-attr]  # a Literal
        yield name, _message(name, frame, payload=frame.__name__)
    for name, said in _UNDERSTOOD.items():
        yield name, _message(name, said, payload=said.__name__)


def _message(
    name: str, model: type[BaseModel], *, payload: str, examples: Sequence[Any] | None = None
) -> dict[str, Any]:
    shown = _extra(model).get("examples", []) if examples is None else examples
    made: dict[str, Any] = {
        "name": name,
        "title": payload,
        "summary": _first_line(model),
        "contentType": "application/json",
        "payload": _ref("schemas", payload),
    }
    if "id" in model.model_fields:
        made["correlationId"] = {"location": "$message.payload#/id"}
    if shown:
        made["examples"] = [{"payload": one} for one in shown]
    return made


def _schemas() -> dict[str, Any]:
    models: list[type[BaseModel]] = [
        Notification,
        *dict.fromkeys(DATA.values()),
        *FRAMES,
        *_UNDERSTOOD.values(),
    ]
    _, made = models_json_schema(
        [(model, "validation") for model in models], ref_template="#/components/schemas/{model}"
    )
    schemas: dict[str, Any] = made["$defs"]
    base = schemas.pop("Notification")
    for kind, model in DATA.items():
        schemas[_named(kind)] = _notification_schema(base, kind, model)
    return dict(sorted(schemas.items()))


def _notification_schema(
    base: Mapping[str, Any], kind: NotificationType, data: type[BaseModel]
) -> dict[str, Any]:
    """Return what `Notification` says, with one type and what that carries."""
    of_permission = kind.startswith("permission_")
    properties = base["properties"] | {
        "type": {"type": "string", "const": str(kind)},
        "data": _ref("schemas", data.__name__),
    }
    for name in ("user_id", "role"):
        properties.pop(name)
        if of_permission:
            own = data.model_json_schema()["properties"][name]
            properties[name] = own
    required = [*base["required"], *(("user_id", "role") if of_permission else ())]
    return {
        "title": _named(kind),
        "type": "object",
        "description": _first_line(data),
        "properties": properties,
        "required": required,
    }


def _notification(kind: NotificationType, data: Mapping[str, Any]) -> Any:
    """Return a notification as a recipient might read it."""
    event_id = UUID("01936b0e-7c00-7a4e-9d3c-0f6a2b1c4d5e")
    initiator_id = UUID("01936b0e-7c00-7b1a-8f2d-5c6e7a8b9c0d")
    by_server = kind in {
        NotificationType.LATE_CLASH,
        NotificationType.REMINDER,
        NotificationType.WEBHOOK_DISABLED,
    }
    row = {
        "transaction_id": 800,
        "position": 9,
        "id": UUID("01936b0e-7c01-7d63-b28f-3c9e0f1a2b3d"),
        "event_id": None if kind == NotificationType.WEBHOOK_DISABLED else event_id,
        "initiator_id": None if by_server else initiator_id,
        "type": str(kind),
        "data": orjson.dumps(data).decode(),
        "occurred_at": datetime(2027, 3, 1, 7, 50, tzinfo=UTC),
    }
    return orjson.loads(Message(row).json(event_id))


def _named(kind: str) -> str:
    return "".join(part.capitalize() for part in kind.split("_")) + "Notification"


def _first_line(model: type[BaseModel]) -> str:
    return (model.__doc__ or "").partition("\n")[0]


def _extra(model: type[BaseModel]) -> dict[str, Any]:
    extra = model.model_config.get("json_schema_extra")
    return extra if isinstance(extra, dict) else {}


def _ref(kind: str, name: str) -> dict[str, str]:
    return {"$ref": f"#/components/{kind}/{name}"}


def _of_channel(message: str) -> dict[str, str]:
    return {"$ref": f"#/channels/{CHANNEL}/messages/{message}"}


_PLAIN: Final = re.compile(r"[A-Za-z$_][A-Za-z0-9_./-]*")
# What YAML 1.1 reads as something else than a text.
_NO_TEXT: Final = frozenset({"y", "n", "yes", "no", "on", "off", "true", "false", "null"})


def as_yaml(node: Any, *, indent: int = 0) -> str:
    """Return JSON values as YAML: its blocks, and JSON's scalars, which are YAML's as well."""
    margin = " " * indent
    if isinstance(node, Mapping) and node:
        return "".join(
            f"{margin}{_key(name)}:{_value(value, indent=indent)}" for name, value in node.items()
        )
    if isinstance(node, list) and node:
        # The first line of an item follows its dash.
        items = (as_yaml(item, indent=indent + 2) for item in node)
        return "".join(f"{margin}- {item[indent + 2 :]}" for item in items)
    return f"{margin}{_scalar(node)}\n"


def _value(value: Any, *, indent: int) -> str:
    if isinstance(value, Mapping | list) and value:
        return "\n" + as_yaml(value, indent=indent + 2)
    if isinstance(value, str) and "\n" in value:
        style = "|" if value.endswith("\n") else "|-"
        lines = textwrap.indent(value.rstrip("\n"), " " * (indent + 2))
        return f" {style}\n{lines}\n"
    return f" {_scalar(value)}\n"


def _key(name: str) -> str:
    plain = _PLAIN.fullmatch(name) and name.lower() not in _NO_TEXT
    return name if plain else _scalar(name)


def _scalar(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


if __name__ == "__main__":
    sys.stdout.write(as_yaml(document(release=version("eventmanager"))))
