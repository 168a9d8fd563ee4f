"""The log of `run`, on standard error: lines of text or of JSON."""

from __future__ import annotations

import os
import signal
import time

from ..model import kills
from ..stderr import log, write

SCHEMA = 1
"""Version of the JSON lines. It changes when a key is removed or its meaning changes."""


class Report:
    """Writes the lines of the log.

    Args:
        as_json: whether each line is a JSON object (docs/run.md).
    """

    def __init__(self, as_json: bool) -> None:
        self._as_json = as_json

    def say(self, level: str, text: str) -> None:
        """Write a message."""
        if self._as_json:
            self._write("message", level, {"message": text})
        else:
            log(level, text)

    def signal(
        self,
        level: str,
        signum: int,
        name: str,
        pid: int,
        evidence: str,
        why: str,
        seconds: float,
        since: str,
    ) -> None:
        """Report a signal that was sent, or could not be sent. (Arguments: `kills.sentence`.)"""
        if not self._as_json:
            log(level, kills.sentence(signum, "", name, pid, evidence, why, seconds, since))
            return
        fields = {
            "signal": kills.name_of(signum) if signum else None,
            "name": name,
            "pid": pid,
            "evidence": f"{evidence}, {why}" if why else evidence,
        }
        self._write("signal", level, {**fields, "seconds": round(seconds, 3)})

    def end(
        self, command: str, pid: int, status: int, ended: int, left: int, seconds: float
    ) -> None:
        """Write the last line. As text, it is written only if the command left processes behind.

        Args:
            command: name of the command.
            pid: its pid.
            status: its status, as `os.waitstatus_to_exitcode` gives it.
            ended: number of processes that it left behind and that have exited.
            left: number of processes that could not be killed.
            seconds: seconds since the command has exited.
        """
        if self._as_json:
            by_signal = signal.Signals(-status).name if status < 0 else None
            fields = {"name": command, "pid": pid, "code": exit_code(status), "signal": by_signal}
            more = {"ended": ended, "left": left, "seconds": round(seconds, 3)}
            self._write("end", "INFO", {**fields, **more})
        elif ended or left:
            what = "1 process" if ended + left == 1 else f"{ended + left} processes"
            rest = f"{left} could not be killed" if left else "none is left"
            log("INFO", f"{command} [{pid}] left {what} behind; {seconds:.2f} s later {rest}")

    def _write(self, event: str, level: str, fields: dict[str, object]) -> None:
        import json  # not above: it takes 1 MB

        moment = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        head = {"schema": SCHEMA, "time": moment, "run": os.getpid(), "level": level}
        write(json.dumps({**head, "event": event, **fields}))


def exit_code(status: int) -> int:
    """The exit code for a status of `os.waitstatus_to_exitcode`: 128 + N after signal N."""
    return status if status >= 0 else 128 - status
