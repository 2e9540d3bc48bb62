"""Three logs, safe to share between workers, with no secret in them."""

import json
import logging as stdlib
import multiprocessing
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog
from structlog.testing import capture_logs

from eventmanager.core import logging
from eventmanager.core.config import Settings
from eventmanager.core.logging import LOGS, SharedRotatingFileHandler


@pytest.fixture
def logs(settings: Settings, tmp_path: Path) -> Iterator[Path]:
    """Logs of their own, which the other tests' take over again afterwards."""
    logging.configure(tmp_path, level="INFO", stdout=False)
    yield tmp_path
    logging.configure(settings.log_dir, level="INFO", stdout=False)


def test_each_log_has_its_own_file_of_json_lines(logs: Path) -> None:
    """A line is a JSON object with time, level, log and event."""
    for name in LOGS:
        structlog.get_logger(name).info("something", n=1)
        line = json.loads((logs / f"{name}.log").read_text())
        assert (line["log"], line["event"], line["level"], line["n"]) == (
            name,
            "something",
            "info",
            1,
        )
        assert line["time"].endswith("Z")


def test_secrets_are_redacted_at_any_depth(logs: Path) -> None:
    """Even a careless call can't write a password or a token."""
    structlog.get_logger("security").warning(
        "careless", password="hunter2", nested={"Authorization": "Bearer hunter2", "ok": "kept"}
    )
    text = (logs / "security.log").read_text()
    assert "hunter2" not in text
    assert "kept" in text


def test_logs_that_are_configured_anew_leave_no_file_open(logs: Path) -> None:
    """What a library says through the root is in the new log, and the old file is let go."""
    root = stdlib.getLogger()
    [old] = [it for it in root.handlers if isinstance(it, SharedRotatingFileHandler)]
    # No other logger knows of it any more, and the next line opens its file again.
    stdlib.getLogger("app").handlers = []
    old.close()
    stdlib.getLogger("asyncio").warning("to the old one")
    logging.configure(logs / "new", level="INFO", stdout=False)
    assert old.stream is None
    stdlib.getLogger("asyncio").warning("to the new one")
    assert "to the old one" in (logs / "app.log").read_text()
    assert "to the new one" not in (logs / "app.log").read_text()
    assert "to the new one" in (logs / "new" / "app.log").read_text()


def test_a_logger_that_was_used_before_logs_as_is_configured_now(logs: Path) -> None:
    """It keeps what it was made with, so that is changed and not replaced."""
    log = structlog.get_logger("app")
    log.info("before")
    logging.configure(logs / "new", level="INFO", stdout=False)
    with capture_logs() as captured:
        log.info("now")
    assert [line["event"] for line in captured] == ["now"]


def _write(path: Path, worker: int, lines: int) -> None:
    handler = SharedRotatingFileHandler(path)
    handler.maxBytes = 20_000
    for n in range(lines):
        # A second passes from line to line, so that the size is looked at each time.
        record = stdlib.makeLogRecord({"msg": f"{worker}:{n}:" + "x" * 50, "created": float(n * 2)})
        handler.emit(record)
    handler.close()


def test_workers_that_share_a_file_lose_no_line_when_it_rotates(tmp_path: Path) -> None:
    """Four processes, rotating under each other: every line is whole and in exactly one file."""
    path = tmp_path / "app.log"
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=_write, args=(path, n, 300)) for n in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(timeout=30)
        assert worker.exitcode == 0
    files = [*tmp_path.glob("app.log"), *tmp_path.glob("app.log.[0-9]*")]
    assert len(files) > 2
    written = [line for file in files for line in file.read_text().splitlines()]
    assert len(written) == len(set(written)) == 1_200
    assert all(line.endswith("x" * 50) for line in written)
