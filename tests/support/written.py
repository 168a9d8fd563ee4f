"""A server as its main has written of it, without the server."""

from __future__ import annotations

import os

from sanic_reaper import state
from sanic_reaper.state.server import Server
from sanic_reaper.tree.process import start_of

NOW = 1000.0


def a_server(*workers: str, wanted: int = 2, age: float | None = 0.5, **more: object) -> Server:
    """A server with these workers, whose main is this process, which lives.

    Args:
        workers: of each its number and its state, and what it does: `0 serving`,
            `0 finishing-start warm_up`.
        age: of main's last beat.
        more: other fields of the `server` record.
    """
    fields = {
        "version": state.VERSION,
        "run": "run",
        "app": "Shop",
        "pid": os.getpid(),
        "start": start_of(os.getpid()),
        "boot": state.boot(),
        "namespace": state.namespace(),
        "began": NOW - 60,
        "clock": 1_700_000_000.0,
        "phase": "serving",
        "wanted": wanted,
        **more,
    }
    lines = [state.line("server", **fields)]
    for pid, worker in enumerate(workers, 100):
        number, current, *doing = worker.split(maxsplit=2)
        lines.append(
            state.line(
                "process",
                pid=pid,
                start=1,
                role="worker",
                name=f"Sanic-Server-{number}-0",
                state=current.replace("-", " "),
                began=NOW - 50,
                doing=doing[0] if doing else None,
            )
        )
    records = state.parse(state.encode("".join(lines)))
    return Server(os.getuid(), "/nowhere", records, beat=None if age is None else NOW - age)
