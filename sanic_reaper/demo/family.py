"""The processes of one server of the demo: which ones live, and what each is."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import psutil

from .patience import Patience
from .results import Leftover

MARKER = "DEMO_SERVER"
"""Environment variable with the server that a process belongs to."""

SPINS = 20.0
"""Per cent of a core above which a main process that has nothing to do counts as spinning."""

WANTS = 60.0
"""The limit of `SPINS` for used and denied time together: a process on a busy machine gets less."""


class Family:
    """The processes of one server, each from the first scan that has seen it.

    A `psutil.Process` is a pid *and* a creation time. So a stranger with the pid of a dead member
    is neither counted nor killed.

    Args:
        marker: value of the environment variable `MARKER` in each of its processes.
    """

    def __init__(self, marker: str) -> None:
        self.marker = marker
        self.members: set[psutil.Process] = set()

    def look(self) -> None:
        """Scan for new members: processes with the marker, or with a living parent in the family.

        An orphan is found by the marker, a child without the environment variable by its parent.
        """
        parents = {process.pid for process in self.living()}
        for pid in psutil.pids():
            with suppress(psutil.Error, OSError):
                process = psutil.Process(pid)
                if process.ppid() in parents or self.is_marked(process):
                    self.members.add(process)

    def is_marked(self, process: psutil.Process) -> bool:
        return process.environ().get(MARKER, "").startswith(self.marker)

    def living(self) -> list[psutil.Process]:
        return [process for process in self.members if is_alive(process)]

    def wait_until_gone(self, patience: Patience) -> float | None:
        """Wait until no process lives.

        Returns:
            Seconds until then. `None`: `patience` was over before.
        """
        while not patience.is_over:
            if not self.living():
                elapsed = patience.elapsed
                self.look()  # one can have been started while the others exited
                if not self.living():
                    return elapsed
            time.sleep(0.002)
        return None

    def kill(self) -> None:
        """Kill all members, and scan again until none is left: a process can fork while it dies."""
        deadline = time.monotonic() + 30
        self.look()
        while (living := self.living()) and time.monotonic() < deadline:
            for process in living:
                with suppress(psutil.Error):
                    process.kill()
            time.sleep(0.01)
            self.look()


def is_alive(process: psutil.Process) -> bool:
    """Whether a process lives. A zombie does not: all it has is an unread exit status."""
    try:
        return process.is_running() and process.status() not in DEFUNCT
    except psutil.NoSuchProcess:
        return False


DEFUNCT = (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD)
LETTERS = {psutil.STATUS_RUNNING: "R", psutil.STATUS_STOPPED: "T"} | dict.fromkeys(DEFUNCT, "Z")


def state_of_main(left: Sequence[Leftover]) -> str:
    """The state of the main process among leftovers: `gone`, `idle` or `spins`."""
    for process in left:
        if process.role == "main":
            spins = process.cpu > SPINS or process.cpu + process.starved > WANTS
            return "spins" if spins else "idle"
    return "gone"


def describe(process: psutil.Process, role: str, cpu: float, starved: float = 0.0) -> Leftover:
    """A process as a row of the list of leftovers."""
    try:
        state, command = LETTERS.get(process.status(), "S"), command_of(process)
        return Leftover(process.pid, process.ppid(), state, cpu, role, command, starved)
    except psutil.NoSuchProcess:  # it has exited since the scan
        return Leftover(process.pid, 0, "Z", cpu, role, "<gone>")


def command_of(process: psutil.Process) -> str:
    """The command line, with file names in the place of paths, so that it fits on a line."""
    with suppress(psutil.Error):
        words = [Path(word).name if os.path.isabs(word) else word for word in process.cmdline()]
        if words:
            return " ".join(words)
    return f"[{process.name()}] <defunct>"


def role_of(process: psutil.Process) -> str:
    """The role of a process, as far as it can be seen from outside. `""`: not known."""
    with suppress(psutil.Error):
        command = " ".join(process.cmdline())
        if process.name() == "reaper-watchdog":
            return "watchdog"
        if "resource_tracker" in command:
            return "resource tracker"
        if worker := process.environ().get("SANIC_WORKER_NAME"):
            return worker.removeprefix("Sanic-")
        if "spawn_main" in command:
            return "SyncManager"
    return ""


def cpu_seconds(process: psutil.Process) -> float:
    """Seconds of processor time of a process. 0: it has exited."""
    try:
        times = process.cpu_times()
    except psutil.Error:
        return 0.0
    return float(times.user + times.system)
