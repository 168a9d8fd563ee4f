"""What `run` says, on standard error: a line each, as text or as JSON."""

from __future__ import annotations

import os
import signal
import time

from ..model import kills
from ..stderr import log, write

SCHEMA = 1
"""The version of the JSON lines. It changes when a key goes or changes its meaning."""


class Report:
    """Args: as_json: whether each line is a JSON object (docs/run.md)."""

    def __init__(self, as_json: bool) -> None:
        self._as_json = as_json

    def say(self, level: str, text: str) -> None:
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
        """A signal that was sent, or was not: see `kills.sentence`."""
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
        """The last line; as text only if the command left something behind."""
        if self._as_json:
            by_signal = signal.Signals(-status).name if status < 0 else None
            fields = {"name": command, "pid": pid, "code": exit_code(status), "signal": by_signal}
            more = {"ended": ended, "left": left, "seconds": round(seconds, 3)}
            self._write("end", "INFO", {**fields, **more})
        elif ended or left:
            text = f"{command} [{pid}] left processes behind: {ended} cleaned up, {left} given up"
            log("INFO", f"{text}; {seconds:.2f} s after its end")

    def _write(self, event: str, level: str, fields: dict[str, object]) -> None:
        import json  # 1 MB that only those pay who want it

        moment = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        head = {"schema": SCHEMA, "time": moment, "run": os.getpid(), "level": level}
        write(json.dumps({**head, "event": event, **fields}))


def exit_code(status: int) -> int:
    """The exit code for a status as `os.waitstatus_to_exitcode` gives it: a shell's 128 + N."""
    return status if status >= 0 else 128 - status
