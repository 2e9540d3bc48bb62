"""Three logs of JSON lines under `LOG_DIR`: `app.log`, `audit.log` and `security.log`.

`app` has one line a request and what went wrong, `audit` who changed what, `security` refusals
and everything about credentials. Each line carries the `request_id`. With `LOG_STDOUT=true`
(containers) all three go to standard output instead.
"""

import fcntl
import logging
import os
import sys
from collections.abc import Mapping, MutableMapping
from datetime import UTC, datetime
from functools import lru_cache
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import Any, Final

import orjson
import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

LOGS: Final = ("app", "audit", "security")
MAX_BYTES: Final = 10 * 1024 * 1024
KEPT_FILES: Final = 5
_SECRET_WORDS: Final = ("password", "token", "secret", "authorization", "cookie")
_REDACTED: Final = "[redacted]"


def configure(directory: Path, *, level: str, stdout: bool) -> None:
    """Send our three logs, and uvicorn's own, to files in `directory` or to standard output."""
    for name in LOGS:
        handler: logging.Handler
        if stdout:
            handler = logging.StreamHandler(sys.stdout)
        else:
            directory.mkdir(parents=True, exist_ok=True)
            handler = SharedRotatingFileHandler(directory / f"{name}.log")
        handler.setFormatter(_JsonFormatter(name))
        logger = logging.getLogger(name)
        _hand_over(logger, [handler])
        logger.setLevel(level.upper())
        logger.propagate = False
    # What uvicorn and other libraries have to say belongs there too, not on the terminal.
    root = logging.getLogger()
    root.setLevel(logging.WARNING)
    for logger in (root, logging.getLogger("uvicorn")):
        _hand_over(logger, logging.getLogger("app").handlers)
        logger.propagate = False
    structlog.configure(
        # The same list each time: loggers keep the one that they were first used with.
        processors=_PROCESSORS,
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )


def _hand_over(logger: logging.Logger, handlers: list[logging.Handler]) -> None:
    """Let others write what a logger logs, and close those that did.

    Each logger closes its own: a handler that was closed with one, but is still another's, opens
    its file again for the next line.
    """
    for replaced in logger.handlers:
        if replaced not in handlers:
            replaced.close()
    logger.handlers = handlers


def redact(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """Replace the value of every field whose name speaks of a secret, at any depth."""
    return _redacted(event)


def _redacted(fields: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    for name, value in fields.items():
        if _is_secret(name):
            fields[name] = _REDACTED
        elif isinstance(value, dict):
            fields[name] = _redacted(value)
    return fields


@lru_cache(maxsize=1024)
def _is_secret(name: str) -> bool:
    return any(word in name.lower() for word in _SECRET_WORDS)


def _render(_: WrappedLogger, __: str, event: EventDict) -> tuple[tuple[str], Mapping[str, Any]]:
    """Hand the fields to the standard library as they are; the formatter writes the line."""
    error = event.pop("exc_info", None)
    message = str(event.pop("event"))
    return (message,), {"extra": {"fields": event}, "exc_info": error}


_PROCESSORS: Final[list[Processor]] = [
    structlog.stdlib.filter_by_level,
    structlog.contextvars.merge_contextvars,
    redact,
    _render,
]


class _JsonFormatter(logging.Formatter):
    """One JSON object a line: `time`, `level`, `log`, `event`, then the fields."""

    default_msec_format = "%s.%03dZ"

    def __init__(self, log: str) -> None:
        super().__init__()
        self._log = log

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": _instant(record.created),
            "level": record.levelname.lower(),
            "log": self._log,
            "event": record.getMessage(),
        }
        line |= getattr(record, "fields", {})
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return orjson.dumps(line, default=str).decode()


def _instant(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")[:-6] + "Z"


class SharedRotatingFileHandler(RotatingFileHandler):
    """A rotating file that several workers write at once.

    Lines are appended in single writes. Rotation happens under a lock file, and a worker whose
    file was rotated away by another one opens the new file before it writes on.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path, maxBytes=MAX_BYTES, backupCount=KEPT_FILES, encoding="utf-8")
        self._looked_at = 0.0

    def shouldRollover(self, record: logging.LogRecord) -> bool:  # noqa: N802 (the base class's name)
        """Rotate when the file on disk, which others write too, has grown too large.

        Looked at once a second: a line costs no system call beyond its own write.
        """
        if record.created - self._looked_at < 1:
            return False
        self._looked_at = record.created
        self._follow()
        if self.stream is None:
            self.stream = self._open()
        self.stream.seek(0, os.SEEK_END)
        return self.stream.tell() >= self.maxBytes

    def doRollover(self) -> None:  # noqa: N802 (the base class's name)
        """Rotate, unless another worker just did."""
        with Path(f"{self.baseFilename}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if Path(self.baseFilename).stat().st_size >= self.maxBytes:
                super().doRollover()
            self._follow()

    def _follow(self) -> None:
        """Reopen the file when its name points to another one than we have open."""
        try:
            current = Path(self.baseFilename).stat().st_ino
        except FileNotFoundError:
            current = -1
        if self.stream is not None and os.fstat(self.stream.fileno()).st_ino != current:
            self.stream.close()
            self.stream = self._open()
