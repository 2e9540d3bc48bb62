"""Make `.env` from `.env.example`, with a fresh random value for each empty secret and password."""

import os
import re
import secrets
import sys
from pathlib import Path

EMPTY_SECRET = re.compile(r"^(\w+_(?:SECRET|PASSWORD))=$", re.MULTILINE)


def filled(example: str) -> str:
    """Return the text with a value of its own for each secret that is empty.

    The values are safe in a URL, since Compose puts the password into `DATABASE_URL`.
    """
    return EMPTY_SECRET.sub(lambda found: f"{found[1]}={secrets.token_urlsafe(48)}", example)


def main() -> None:
    """Write `.env` beside `.env.example`, for its owner's eyes only; never over an old one."""
    root = Path(__file__).resolve().parent.parent
    try:
        descriptor = os.open(root / ".env", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        sys.exit(".env is there already; move it away to make a new one.")
    with os.fdopen(descriptor, "w") as file:
        file.write(filled((root / ".env.example").read_text()))


if __name__ == "__main__":
    main()
