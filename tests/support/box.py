"""A box: processes that are started in it, and theirs, stay in it and are counted exactly.

How it holds depends on what the user who runs the tests may do: root makes a PID namespace, an
ordinary user one inside a user namespace, and where the system forbids that a child subreaper
remains. All three count the same way, everything below the box's first process, because in all
three that process inherits the orphans. Only the last one could be left by a kill of its init.
"""

from __future__ import annotations

import json
import os
import select
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from .census import Process, Row, descendants, identify, table, wait_until

INIT = Path(__file__).with_name("init.py")
FORCE_SUBREAPER = "REAPER_TEST_NO_NAMESPACE"
"""Set it to run the whole suite as on a system that has no namespaces."""

_UNSHARE = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child"]


@cache
def isolation() -> tuple[str, list[str]]:
    """How boxes are made here: a word for people, and the command that init is run under."""
    candidates = {
        "PID namespace": _UNSHARE,
        "PID namespace in a user namespace": [*_UNSHARE, "--user", "--map-current-user"],
    }
    if shutil.which("unshare") and FORCE_SUBREAPER not in os.environ:
        for name, command in candidates.items():
            if subprocess.run([*command, "true"], capture_output=True, check=False).returncode == 0:
                return name, command
    return "child subreaper", []


def container() -> list[str]:
    """The command that makes one more PID namespace, for what is to be PID 1 as in a container."""
    name, command = isolation()
    if not command:
        pytest.skip(f"may not make a PID namespace here: boxes are a {name}")
    return command


class Command:
    """Something that was started in a box."""

    def __init__(self, box: Box, inner_pid: int, process: Process | None) -> None:
        self._box = box
        self._inner_pid = inner_pid
        self._process = process

    @property
    def process(self) -> Process:
        assert self._process is not None, "it ended before anybody could look at it"
        return self._process

    def exit_code(self, within: float) -> int:
        """Wait for its end. Negative: the signal that killed it."""
        return wait_until(
            lambda: self._box.ended(self._inner_pid), within, "the command to end"
        ).code

    @property
    def ended(self) -> bool:
        return self._box.ended(self._inner_pid) is not None


class End:
    """How a command ended. An object, as the code 0 would count for false."""

    def __init__(self, code: int) -> None:
        self.code = code


def closed_to_others(path: Path) -> list[Path]:
    """The directories above it that another user may not enter."""
    return [directory for directory in path.parents if not directory.stat().st_mode & 0o001]


class Enclosed:
    """What has a first process that inherits the orphans of all others: they are counted below it.

    Attributes:
        init: that process. `None`: it is not there yet.
    """

    init: Process | None = None

    def rows(self) -> list[Row]:
        """Everything in it but its init, zombies included."""
        return descendants(self.init) if self.init is not None else []

    def find(self, inner_pid: int, start: int | None = None) -> Process | None:
        """The process that has this pid inside, if it still exists."""
        for row in self.rows():
            if start in (None, row.start) and row.process.inner_pid == inner_pid:
                return row.process
        return None

    def wait_empty(self, within: float) -> float:
        """Wait until nothing is left, not even a zombie; return how long that took.

        Two empty looks in a row: one alone may miss what forks while the table is read.
        """
        began = time.monotonic()
        wait_until(lambda: not self.rows() and not self.rows(), within, self._describe)
        return time.monotonic() - began

    def _describe(self) -> str:
        rows = self.rows()
        return f"{len(rows)} processes are left\n" + "\n".join(map(str, rows))


class Box(Enclosed):
    """One box.

    Attributes:
        folder: what any user may write to; it goes with the box. Not pytest's, which only its
            owner may enter, and whose path is too long for the sockets of `multiprocessing`.
        tmp: what everybody in the box has for /tmp.
    """

    def __init__(self) -> None:
        _, command = isolation()
        self.folder = Path(tempfile.mkdtemp(prefix="box-"))
        self.tmp = self.folder / "tmp"
        self.tmp.mkdir()
        for directory in (self.folder, self.tmp):
            directory.chmod(0o777)
        self._ends: dict[int, End] = {}
        self._started: list[int] = []
        self._unread = b""
        self._popen = subprocess.Popen(
            [*command, sys.executable, "-I", "-S", str(INIT)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        try:
            self._wait_ready()
            self.init = self._find_init() if command else identify(self._popen.pid)
        except BaseException:
            self._popen.kill()
            self._popen.wait()
            shutil.rmtree(self.folder)
            raise

    def _wait_ready(self) -> None:
        assert self._popen.stdout is not None
        ready, _, _ = select.select([self._popen.stdout], [], [], 20)
        assert ready, "no init in the box"
        assert os.read(self._popen.stdout.fileno(), 4096)

    def _find_init(self) -> Process:
        return next(row.process for row in table().values() if row.ppid == self._popen.pid)

    # -- commands ---------------------------------------------------------------------------------

    def start(
        self,
        argv: Sequence[str],
        *,
        output: Path,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        session: bool = True,
        uid: int | None = None,
    ) -> Command:
        """Start a command, in a session of its own unless told otherwise."""
        program = shutil.which(argv[0])
        assert program is not None, argv[0]
        order = {
            "program": program,
            "argv": list(argv),
            "env": dict(os.environ if env is None else env),
            "cwd": str(cwd or Path.cwd()),
            "output": str(output),
            "session": session,
            "uid": uid,
        }
        assert self._popen.stdin is not None
        count = len(self._started)
        self._popen.stdin.write(json.dumps(order).encode() + b"\n")
        self._popen.stdin.flush()
        wait_until(lambda: self._listen() or len(self._started) > count, 10, "init to start it")
        pid = self._started[-1]
        return Command(self, pid, self.find(pid))

    def ended(self, inner_pid: int) -> End | None:
        self._listen()
        return self._ends.get(inner_pid)

    def _listen(self) -> None:
        assert self._popen.stdout is not None
        while select.select([self._popen.stdout], [], [], 0)[0]:
            chunk = os.read(self._popen.stdout.fileno(), 65536)
            if not chunk:
                return
            *lines, self._unread = (self._unread + chunk).split(b"\n")
            for line in lines:
                self._note(json.loads(line))

    def _note(self, report: dict[str, Any]) -> None:
        if "started" in report:
            self._started.append(report["started"])
        elif "ended" in report:
            self._ends[report["ended"]] = End(report["code"])

    def close(self) -> None:
        """End everything in the box, and the box."""
        assert self._popen.stdin is not None
        assert self._popen.stdout is not None
        everything = [row.process for row in self.rows()]
        self._popen.stdin.close()
        try:
            self._popen.wait(20)
        except subprocess.TimeoutExpired:
            self._popen.kill()
            self._popen.wait()
        self._popen.stdout.close()
        wait_until(lambda: not any(p.look() for p in everything), 10, "the kernel to end the box")
        shutil.rmtree(self.folder)
