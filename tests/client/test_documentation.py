"""What the documentation shows, runs."""

import asyncio
import re
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import PASSWORD, User
from tests.realtime.conftest import Worker, until

PAGE = Path(__file__).parents[2] / "docs" / "client.md"


async def test_the_example_runs(
    here: Worker, alice: User, bob: User, capsys: pytest.CaptureFixture[str]
) -> None:
    """To its last line, which listens: with what it says is printed."""
    found = re.search(r"```python\n(.*?)asyncio\.run\(main\(\)\)\n```", PAGE.read_text(), re.DOTALL)
    assert found is not None
    example = found[1].replace("http://127.0.0.1:8000", f"http://127.0.0.1:{here.port}")
    example = example.replace("ada", alice.username).replace("grace", bob.username)
    example = example.replace('password="correct horse"', f'password="{PASSWORD}", trust_env=False')
    names: dict[str, Any] = {}
    exec(compile(example, PAGE, "exec"), names)
    running = asyncio.create_task(names["main"]())
    await until(lambda: bool(here.app.state.news.hub.subscribers()) or running.done())
    running.cancel()
    with suppress(asyncio.CancelledError):
        await running
    printed = capsys.readouterr().out.splitlines()
    assert printed[0] == "Standup"
    assert printed[-1] == "2027-04-02 07:00:00+00:00 Standup"
    assert len(printed) == 11
