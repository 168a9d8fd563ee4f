"""The process table, read from /proc: who exists, since when, and who is whose child."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple, TypeVar

T = TypeVar("T")

NO_PID = 2**22
"""The kernel's limit, which no pid reaches. (Where tests run as PID 1 that is no stranger's.)"""


class Process(NamedTuple):
    """A process for good: its pid, and its creation time in ticks since the machine's start."""

    pid: int
    start: int

    def look(self) -> Row | None:
        """What the table says of it now; `None` once the pid is free or somebody else's."""
        found = row(self.pid)
        return found if found is not None and found.start == self.start else None

    @property
    def alive(self) -> bool:
        found = self.look()
        return found is not None and found.state not in "ZX"

    @property
    def stopped(self) -> bool:
        found = self.look()
        return found is not None and found.state in "Tt"

    @property
    def sleeping(self) -> bool:
        found = self.look()
        return found is not None and found.state == "S"

    def send(self, signum: int) -> None:
        """Signal this process or nobody: the descriptor is opened first, the identity read then."""
        with suppress(ProcessLookupError):
            fd = os.pidfd_open(self.pid)
            try:
                if self.look() is not None:
                    signal.pidfd_send_signal(fd, signum)
            finally:
                os.close(fd)

    def freeze(self) -> None:
        """SIGSTOP, and wait for it to have worked: the kernel takes a moment."""
        self.send(signal.SIGSTOP)
        wait_until(lambda: self.stopped, 5, f"{self} to stop")

    @property
    def environ(self) -> dict[str, str]:
        """The environment that it was executed with."""
        content = _read(f"/proc/{self.pid}/environ").decode(errors="replace")
        return dict(entry.split("=", 1) for entry in content.split("\0") if "=" in entry)

    @property
    def command(self) -> list[str]:
        return _read(f"/proc/{self.pid}/cmdline").decode(errors="replace").split("\0")[:-1]

    @property
    def inner_pid(self) -> int:
        """Its pid as it sees it itself, in its own PID namespace."""
        for line in _read(f"/proc/{self.pid}/status").splitlines():
            if line.startswith(b"NSpid:"):
                return int(line.split()[-1])
        return self.pid

    @property
    def switches(self) -> int:
        """How often its main thread has gone to sleep. Unchanged: it sleeps, or it spins."""
        for line in _read(f"/proc/{self.pid}/status").splitlines():
            if line.startswith(b"voluntary_ctxt_switches:"):
                return int(line.split()[1])
        return 0

    @property
    def cpu_seconds(self) -> float:
        fields = _read(f"/proc/{self.pid}/stat").rpartition(b")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    @property
    def runnable_seconds(self) -> float:
        """Seconds for which it has run, or has waited for a CPU that others have.

        Of its first thread (schedstat of proc(5)). Where the kernel does not count: CPU time.
        """
        fields = _read(f"/proc/{self.pid}/schedstat").split()
        return (int(fields[0]) + int(fields[1])) / 1e9 if fields else self.cpu_seconds


class Row(NamedTuple):
    """One line of the process table."""

    pid: int
    start: int
    ppid: int
    group: int
    session: int
    state: str
    name: str

    @property
    def process(self) -> Process:
        return Process(self.pid, self.start)

    def __str__(self) -> str:
        command = " ".join(self.process.command) or f"[{self.name}]"
        return f"{self.pid} (child of {self.ppid}) {self.state} {self.name}: {command[:100]}"


def row(pid: int) -> Row | None:
    stat = _read(f"/proc/{pid}/stat")
    if not stat:
        return None
    # The name may hold blanks and parentheses itself: the last one closes it (proc(5)).
    head, _, tail = stat.rpartition(b")")
    field = tail.split()
    name = head.partition(b"(")[2].decode(errors="replace")
    state, ppid, group, session, start = field[0], field[1], field[2], field[3], field[19]
    return Row(pid, int(start), int(ppid), int(group), int(session), state.decode(), name)


def table() -> dict[int, Row]:
    found = (row(int(entry)) for entry in os.listdir("/proc") if entry.isdigit())
    return {entry.pid: entry for entry in found if entry is not None}


def identify(pid: int) -> Process:
    """The identity of a process that is known to exist."""
    found = row(pid)
    if found is None:
        raise ProcessLookupError(pid)
    return found.process


def descendants(root: Process) -> list[Row]:
    """Everything below `root`, zombies included, parents first."""
    rows = table()
    if root.pid not in rows or rows[root.pid].start != root.start:
        return []
    children: dict[int, list[Row]] = {}
    for entry in rows.values():
        children.setdefault(entry.ppid, []).append(entry)
    found: list[Row] = []
    pending = [root.pid]
    while pending:
        offspring = children.get(pending.pop(), [])
        found.extend(offspring)
        pending.extend(child.pid for child in offspring)
    return found


def wait_until(
    condition: Callable[[], T],
    within: float,
    expected: str | Callable[[], str],
) -> T:
    """Return the first true value of `condition`.

    Looks often at first and ever more rarely, up to 20 times a second: a suite of many tests that
    wait side by side must not be the load that slows down what they wait for.

    Raises:
        AssertionError: `within` seconds have passed; `expected` says what was waited for.
    """
    deadline = time.monotonic() + within
    pause = 0.002
    while True:
        late = time.monotonic() >= deadline
        if value := condition():
            return value
        if late:
            text = expected() if callable(expected) else expected
            raise AssertionError(f"not within {within:g} s: {text}")
        time.sleep(pause)
        pause = min(pause * 1.3, 0.05)


def holds(condition: Callable[[], object], seconds: float) -> bool:
    """Whether `condition` stays true: for what must *not* happen, where there is no event to await.

    Also returns as soon as it is false.
    """
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if not condition():
            return False
        time.sleep(0.02)
    return bool(condition())


def _read(path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError:  # it has ended, or it is another user's
        return b""
