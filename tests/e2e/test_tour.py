"""What the README shows, works: every command of its tour, in order, as it is written."""

import json
import re
import shutil
import subprocess
from pathlib import Path
from uuid import uuid4

import pytest

from tests.e2e.conftest import launched, wait_until_ready

README = Path(__file__).parents[2] / "README.md"
CURL = shutil.which("curl")
# Writes down what each answer is, and leaves what it prints as it is.
WRAPPER = """#!/bin/sh
exec {curl} --noproxy '*' -D "$HEADS/$(ls "$HEADS" | wc -l | tr -d ' ')" "$@"
"""


def tour(base_url: str) -> str:
    """Return the commands from the first to the last, for a server and users of one's own."""
    told = README.read_text().partition("\n## A tour with curl\n")[2].partition("\n## Roles\n")[0]
    blocks = re.findall(r"^```sh\n(.*?)^```", told, re.DOTALL | re.MULTILINE)
    lines = "".join(blocks).replace("http://127.0.0.1:8000", base_url).splitlines()
    # What npm would have to bring first is asked for by polling below.
    text = "\n".join(line for line in lines if not line.startswith("npx "))
    name = uuid4().hex[:12]
    return re.sub(r"\b(ada|grace)\b", rf"\g<1>{name}", text)


@pytest.mark.skipif(CURL is None, reason="needs curl")
def test_the_tour_works_as_it_is_written(database_url: str, tmp_path: Path) -> None:
    """The one refusal in it is the one that it shows, and the one who listens hears of it."""
    heads, programs = tmp_path / "heads", tmp_path / "programs"
    for folder in (heads, programs):
        folder.mkdir()
    (programs / "curl").write_text(WRAPPER.format(curl=CURL))
    (programs / "curl").chmod(0o755)
    with launched(tmp_path, DATABASE_URL=database_url, BACKGROUND_TASKS="false") as server:
        wait_until_ready(server)
        heard = '\ncurl -s "$API/api/notifications?after=$CURSOR" -H "$GRACE" > heard.json\n'
        script = f'PATH="{programs}:$PATH" HEADS="{heads}"\nexport HEADS\n{tour(server.base_url)}'
        done = subprocess.run(
            ["sh", "-eu", "-c", script + heard],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
    assert (done.returncode, done.stderr) == (0, "")
    answers = sorted(heads.iterdir(), key=lambda path: int(path.name))
    statuses = [int(path.read_text().split()[1]) for path in answers]
    assert len(statuses) > 15
    assert [status for status in statuses if status >= 400] == [409], statuses
    (said,) = json.loads((tmp_path / "heard.json").read_text())
    shown = re.search(r'^#  "data":(\{"title".*\})\}$', README.read_text(), re.MULTILINE)
    assert shown is not None
    assert said["data"] == json.loads(shown[1])
