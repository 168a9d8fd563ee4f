"""Reports the exits of processes that are no workers: those of `app.manager.manage`.

Sanic's own rules decide whether such a process is started again.
"""

from __future__ import annotations

from collections.abc import Iterable

from sanic.worker.process import WorkerProcess

from ..events import Hooks
from ..log import log
from .fields import extra_of
from .postmortem import Postmortem
from .worker import SupervisedProcess, Worker


class UserProcesses:
    """The processes of one server that are no workers.

    Args:
        hooks: are told of each exit with another code than 0.
        postmortem: finds out why a process has exited.
    """

    def __init__(self, hooks: Hooks, postmortem: Postmortem) -> None:
        self._hooks = hooks
        self._postmortem = postmortem
        self._latest: dict[str, SupervisedProcess] = {}
        """By name, the process that was started last."""

    def on_start(self, process: SupervisedProcess) -> None:
        """Note a process that main has started. A worker is ignored."""
        if not isinstance(process, Worker):
            self._latest[process.name] = process

    def report_exits(self, processes: Iterable[WorkerProcess]) -> None:
        """Report each process that has exited, once."""
        for process in processes:
            latest = self._latest.get(process.name)
            if latest is not None and not latest.death_is_reported and latest.exitcode is not None:
                latest.death_is_reported = True
                self._report(latest, bool(process.restartable))

    def _report(self, process: SupervisedProcess, is_restartable: bool) -> None:
        why, cause = self._postmortem.of(process)
        if process.exitcode == 0:
            log.debug("%s has exited: %s", process, why)
            return
        words = f"{process} has died: {why}"
        died = self._hooks.emit(
            "worker.died", process.name, process.pid, words, process.status, cause=cause
        )
        rest = "; it can be restarted" if is_restartable else ""
        log.warning("%s%s", words, rest, extra=extra_of(died))
