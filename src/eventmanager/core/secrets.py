"""The secrets of tokens that nobody has set: made at random once, and kept in DATA_DIR."""

import os
import secrets
from pathlib import Path
from typing import Final

import orjson

from eventmanager.core.config import SECRET_MIN_LENGTH
from eventmanager.core.files import sync_directory

_NAMES: Final = ("access_token_secret", "refresh_token_secret")


class SecretsUnusable(Exception):
    """The kept secrets cannot be read; its message is made for a terminal."""


def kept_secrets(data_dir: Path) -> dict[str, str] | None:
    """Return the secrets by the names of their settings, None where none were made yet.

    Raises ``SecretsUnusable``: new ones never take the place of a file that is there, since that
    would refuse all access tokens, and the file in a backup may be whole.
    """
    path = data_dir / "secrets.json"
    try:
        kept = orjson.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except OSError as error:
        raise SecretsUnusable(
            f"{path} cannot be read ({error.strerror}); let your account read it, or run this as "
            "the account that runs the server."
        ) from None
    except orjson.JSONDecodeError:
        kept = None
    if not isinstance(kept, dict) or not all(_is_secret(kept.get(name)) for name in _NAMES):
        raise SecretsUnusable(
            f"{path} is damaged; bring it back from a backup, or remove it: the next start makes "
            "new secrets. Access tokens are then refused, and renewed with refresh tokens as when "
            "they expire; who has none signs in again. Nothing else is lost."
        )
    return {name: kept[name] for name in _NAMES}


def make_secrets(data_dir: Path) -> dict[str, str]:
    """Make secrets at random and keep them; a power cut leaves the whole file or none."""
    made = {name: secrets.token_urlsafe(48) for name in _NAMES}
    path = data_dir / "secrets.json"
    fresh = path.with_suffix(".new")
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(orjson.dumps(made))
        file.flush()
        os.fsync(file.fileno())
    fresh.rename(path)
    sync_directory(data_dir)
    return made


def _is_secret(value: object) -> bool:
    return isinstance(value, str) and len(value) >= SECRET_MIN_LENGTH
