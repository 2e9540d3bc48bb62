"""PURE. What sockets and streams are sent, in the form they take: made once, for all of them."""

from typing import Any, Final

import orjson
import ormsgpack

MSGPACK: Final = "msgpack"
"""The WebSocket subprotocol by which a client asks for MessagePack in binary frames."""
_TEXT: Final = 0x81
_BINARY: Final = 0x82
_SHORT: Final = 126
_LONG: Final = 0x10000


class Letter:
    """One message as JSON, and what is made of it where somebody wants it.

    A server's frames are not masked (RFC 6455, 5.1), so the same bytes go to every socket.
    """

    __slots__ = ("_packed", "_packed_frame", "_text_frame", "json")

    def __init__(self, json: bytes) -> None:
        self.json = json
        self._text_frame = b""
        self._packed = b""
        self._packed_frame = b""

    def __len__(self) -> int:
        """Return how many bytes it takes, more or less."""
        return len(self.json)

    @property
    def text_frame(self) -> bytes:
        """The WebSocket frame with the JSON as text."""
        if not self._text_frame:
            self._text_frame = _frame(_TEXT, self.json)
        return self._text_frame

    @property
    def packed(self) -> bytes:
        """The same object as MessagePack."""
        if not self._packed:
            self._packed = ormsgpack.packb(orjson.loads(self.json))
        return self._packed

    @property
    def packed_frame(self) -> bytes:
        """The WebSocket frame with the MessagePack."""
        if not self._packed_frame:
            self._packed_frame = _frame(_BINARY, self.packed)
        return self._packed_frame

    def as_event(self) -> bytes:
        """Return it as a server-sent event: its cursor is the id, its type the name."""
        said: dict[str, Any] = orjson.loads(self.json)
        return b"id: %b\nevent: %b\ndata: %b\n\n" % (
            said["cursor"].encode(),
            said["type"].encode(),
            self.json,
        )


def _frame(kind: int, payload: bytes) -> bytes:
    """Return a whole message as one unmasked frame (RFC 6455, 5.2)."""
    length = len(payload)
    if length < _SHORT:
        head = bytes((kind, length))
    elif length < _LONG:
        head = bytes((kind, 126)) + length.to_bytes(2, "big")
    else:
        head = bytes((kind, 127)) + length.to_bytes(8, "big")
    return head + payload
