"""What the standard library lacks about files."""

import os
from pathlib import Path


def sync_directory(directory: Path) -> None:
    """Have the disk know which names are in ``directory``, such as one that was just renamed."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
