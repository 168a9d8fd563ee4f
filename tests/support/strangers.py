"""Processes that have nothing to do with any server, however much they look like it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from .box import Box
from .census import Process, wait_until


def sleeper(
    box: Box, output: Path, env: Mapping[str, str] | None = None, uid: int | None = None
) -> Process:
    command = box.start(["sleep", "600"], output=output, env=env, uid=uid, cwd=Path("/"))
    wait_until(lambda: command.process.command == ["sleep", "600"], 5, "the exec of sleep")
    return command.process


def take_pid(box: Box, output: Path, pid: int, within: float = 10) -> Process:
    """Start a process that gets this pid. Needs root in a PID namespace."""
    script = f"echo {pid - 1} >/proc/sys/kernel/ns_last_pid; sleep 700 & wait"

    def attempt() -> Process | None:
        shell = box.start(["sh", "-c", script], output=output)
        wait_until(lambda: _has_child(box, shell.process), 5, "the sleep to start")
        found = box.find(pid)
        if found is None or found.command != ["sleep", "700"]:
            return None  # somebody else forked in between
        return found

    found = wait_until(attempt, within, f"a process with pid {pid}")
    assert found is not None
    return found


def _has_child(box: Box, parent: Process) -> bool:
    return any(row.ppid == parent.pid and row.name == "sleep" for row in box.rows())


def that_took_pids(box: Box) -> list[Process]:
    """All the shells that have tried, and what those got that came too late."""
    rows = box.rows()
    shells = {row.pid for row in rows if "ns_last_pid" in " ".join(row.process.command)}
    return [row.process for row in rows if row.pid in shells or row.ppid in shells]
