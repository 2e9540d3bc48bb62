"""The account PostgreSQL runs as, and how a program is started as that account.

PostgreSQL refuses to run as root. Root therefore runs it as ``nobody``; anybody else, as they are.
"""

import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

from eventmanager.core.embedded import programs
from eventmanager.core.embedded.programs import EmbeddedUnavailable

if sys.platform != "win32":
    import pwd

_TOOL_SECONDS: Final = 120.0


@dataclass(frozen=True)
class Account:
    """An account of the system, by its numbers."""

    uid: int
    gid: int

    def give(self, path: Path) -> None:
        """Make the account the owner of ``path``; nothing to do unless we are root."""
        if os.geteuid() == 0:
            os.chown(path, self.uid, self.gid)


def account_for(cluster: Path) -> Account:
    """Return who shall own the cluster: who does already, else we, or ``nobody`` if we are root."""
    ours = os.geteuid()
    if cluster.exists():
        status = cluster.stat()
        if ours not in (0, status.st_uid):
            raise EmbeddedUnavailable(
                f"{cluster} belongs to the account with uid {status.st_uid}, and yours is {ours}; "
                "run as that account, or set DATA_DIR to another directory."
            )
        if status.st_uid != 0:
            return Account(status.st_uid, status.st_gid)
    if ours != 0:
        return Account(ours, os.getegid())
    try:
        nobody = pwd.getpwnam("nobody")
    except KeyError:
        raise EmbeddedUnavailable(
            "PostgreSQL does not run as root, and there is no account 'nobody' to run it as; "
            "run eventmanager as an ordinary user, or set DATABASE_URL."
        ) from None
    return Account(nobody.pw_uid, nobody.pw_gid)


@dataclass(frozen=True)
class Launcher:
    """How to start a program as the account: a command put before it, or a switch by Python."""

    prefix: tuple[str, ...] = ()
    switch_to: Account | None = None

    def popen(
        self, command: Sequence[str | Path], *, stdin: int, output: IO[bytes] | int
    ) -> subprocess.Popen[bytes]:
        """Start ``command`` in a session of its own, so that Ctrl-C in a terminal passes it by."""
        # PGPORT, PGDATA and their like are meant for somebody else's server.
        environment = {name: v for name, v in os.environ.items() if not name.startswith("PG")}
        return subprocess.Popen(  # noqa: S603 - our own binaries, and no shell reads a path
            [*self.prefix, *command],
            stdin=stdin,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=environment | {"LC_ALL": "C"},
            cwd="/",
            start_new_session=True,
            user=self.switch_to.uid if self.switch_to else None,
            group=self.switch_to.gid if self.switch_to else None,
            extra_groups=[] if self.switch_to else None,
        )

    def run(
        self, command: Sequence[str | Path], *, text: str = "", output: IO[bytes] | int
    ) -> tuple[int, bytes]:
        """Run ``command`` to its end, ``text`` on its stdin; return its status and its output."""
        process = self.popen(command, stdin=subprocess.PIPE, output=output)
        try:
            written, _ = process.communicate(text.encode(), timeout=_TOOL_SECONDS)
        except BaseException:
            # The whole group, because initdb has a child that writes the cluster for it.
            # It may just have ended by itself, which must not hide why we are here.
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            raise
        return process.returncode, written or b""


# Enters every directory it is told of and runs two of the programs; pg_config looks for itself as
# initdb and postgres will.
_PROBE: Final = (
    'bin=$1; shift; for place; do cd -- "$place" || exit 1; done; '
    '"$bin/postgres" --version && "$bin/pg_config" --bindir'
)


def find_launcher(account: Account, places: Sequence[Path]) -> Launcher:
    """Return the first launcher under which PostgreSQL runs and reaches ``places``."""
    answer = b""
    for launcher in _launchers(account):
        with suppress(OSError, subprocess.SubprocessError):
            status, answer = launcher.run(
                ["/bin/sh", "-c", _PROBE, "sh", programs.binaries(), *places],
                output=subprocess.PIPE,
            )
            if status == 0:
                return launcher
    reason = " ".join(answer.decode(errors="replace").split()) or "the kernel refuses the change"
    raise EmbeddedUnavailable(
        f"The embedded PostgreSQL cannot run as uid {account.uid} ({reason}); put the program and "
        "DATA_DIR where that account can reach them, run as an ordinary user, or set DATABASE_URL."
    )


def _launchers(account: Account) -> Iterator[Launcher]:
    """Yield the ways to start PostgreSQL, the one with the fewest rights first."""
    setpriv = shutil.which("setpriv")
    # The kernel's parent death signal makes PostgreSQL shut down when we are killed. It is bound to
    # the thread that forked: after a passing thread it would come at that thread's end.
    lasting = threading.current_thread() is threading.main_thread()
    dying = ["--pdeathsig=INT"] if lasting else []
    if os.geteuid() != 0:
        if setpriv and lasting:
            yield Launcher((setpriv, *dying))
        yield Launcher()
        return
    if setpriv:
        drop = [setpriv, f"--reuid={account.uid}", f"--regid={account.gid}", "--clear-groups"]
        yield Launcher((*drop, *dying))
        # The program or the data may lie below a directory of mode 0700, as a rule /root. To open
        # that to everybody is not ours to do, and a copy elsewhere would have to be kept in step:
        # so PostgreSQL gets the one capability that lets it pass. Containers withhold the narrow
        # one and have the wide one; either is less than what we, being root, have ourselves.
        # no_setuid_fixup is for access(2), which PostgreSQL asks about its own programs, and which
        # otherwise judges by the real uid alone, whatever the capabilities.
        for capability in ("dac_read_search", "dac_override"):
            pass_through = [f"--inh-caps=+{capability}", f"--ambient-caps=+{capability}"]
            yield Launcher((*drop, *pass_through, "--securebits=+no_setuid_fixup", *dying))
    yield Launcher(switch_to=account)
