"""Who belongs to a server of the demo's, who of them still lives, and what each of them is."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import psutil

from .patience import Patience
from .results import Leftover

MARKER = "DEMO_SERVER"  # the environment variable that tells which server a process belongs to
SPINS = 20.0  # per cent of a core above which a main process that only waits is busy for nothing
WANTS = 60.0  # the same of what it used or would have used: on a busy machine it gets less


class Family:
    """The processes of one server, each remembered from the moment it was first seen.

    A `psutil.Process` is a process id *and* a creation time, so a stranger who is given the number
    of a dead member is neither counted nor killed.
    """

    def __init__(self, marker: str) -> None:
        self.marker = marker
        self.members: set[psutil.Process] = set()

    def look(self) -> None:
        """Take in the newcomers: who carries the marker, or has a living parent in the family.

        An orphan is known by the first, a child with a cleaned environment by the second.
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
        """Return after how many seconds nobody lived any more, or None if their time is over."""
        while not patience.is_over:
            if not self.living():
                elapsed = patience.elapsed
                self.look()  # one may have been born while the others died
                if not self.living():
                    return elapsed
            time.sleep(0.002)
        return None

    def kill(self) -> None:
        """Kill everyone, and look again until nobody is left: the dying may still fork."""
        deadline = time.monotonic() + 30
        self.look()
        while (living := self.living()) and time.monotonic() < deadline:
            for process in living:
                with suppress(psutil.Error):
                    process.kill()
            time.sleep(0.01)
            self.look()


def is_alive(process: psutil.Process) -> bool:
    """A zombie does not live: it has no memory, no port and no code, only an unread exit status."""
    try:
        return process.is_running() and process.status() not in DEFUNCT
    except psutil.NoSuchProcess:
        return False


DEFUNCT = (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD)
LETTERS = {psutil.STATUS_RUNNING: "R", psutil.STATUS_STOPPED: "T"} | dict.fromkeys(DEFUNCT, "Z")


def state_of_main(left: Sequence[Leftover]) -> str:
    for process in left:
        if process.role == "main":
            spins = process.cpu > SPINS or process.cpu + process.starved > WANTS
            return "spins" if spins else "idle"
    return "gone"


def describe(process: psutil.Process, role: str, cpu: float, starved: float = 0.0) -> Leftover:
    try:
        state, command = LETTERS.get(process.status(), "S"), command_of(process)
        return Leftover(process.pid, process.ppid(), state, cpu, role, command, starved)
    except psutil.NoSuchProcess:  # it went while we looked
        return Leftover(process.pid, 0, "Z", cpu, role, "<gone>")


def command_of(process: psutil.Process) -> str:
    """The command line, with paths cut to names: what matters must fit on a line."""
    with suppress(psutil.Error):
        words = [Path(word).name if os.path.isabs(word) else word for word in process.cmdline()]
        if words:
            return " ".join(words)
    return f"[{process.name()}] <defunct>"


def role_of(process: psutil.Process) -> str:
    """What a process is to its server, as far as that can be seen from outside."""
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
    try:
        times = process.cpu_times()
    except psutil.Error:
        return 0.0
    return float(times.user + times.system)
