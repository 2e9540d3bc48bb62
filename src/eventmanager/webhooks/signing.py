"""PURE. Signatures as Standard Webhooks has them: HMAC-SHA256 by a secret that both sides know."""

import base64
import binascii
import secrets
from collections.abc import Sequence
from hashlib import sha256
from hmac import digest
from typing import Final

PREFIX: Final = "whsec_"
SHORTEST, LONGEST = 24, 64
"""How many bytes a secret may have."""
_MADE: Final = 32


def make_secret() -> bytes:
    """Return a new random secret."""
    return secrets.token_bytes(_MADE)


def write_secret(secret: bytes) -> str:
    """Return a secret as its owner reads it."""
    return PREFIX + base64.b64encode(secret).decode()


def read_secret(text: str) -> bytes:
    """Return the secret in `whsec_` and base64; raises `ValueError` for what is none."""
    if not text.startswith(PREFIX):
        raise ValueError(f"it must begin with {PREFIX}")
    try:
        secret = base64.b64decode(text.removeprefix(PREFIX), validate=True)
    except binascii.Error as error:
        raise ValueError("it must go on in base64") from error
    if not SHORTEST <= len(secret) <= LONGEST:
        raise ValueError(f"it must be of {SHORTEST} to {LONGEST} bytes")
    return secret


def sign(keys: Sequence[bytes], *, id: str, timestamp: int, body: bytes) -> str:  # noqa: A002
    """Return the `webhook-signature`: one for each key, so that keys can be changed over."""
    signed = b"%b.%d.%b" % (id.encode(), timestamp, body)
    return " ".join("v1," + base64.b64encode(digest(key, signed, sha256)).decode() for key in keys)
