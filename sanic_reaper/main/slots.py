"""Keeps the configured number of workers running. Replaces workers that died, hang, or reached a
recycling limit; at most one healthy worker is recycled at a time.

The policy is elsewhere: `recycler` says who is recycled, `model/backoff` when a worker is started
again, `model/stalls` which one hangs.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from sanic.worker.constants import ProcessState, RestartOrder
from sanic.worker.process import WorkerProcess

from .. import marks
from ..compat import sanic_main
from ..log import log
from .fields import extra_of, note
from .recycler import Recycler
from .slot import Reason, Slot
from .worker import SupervisedProcess, Worker

if TYPE_CHECKING:
    from ..events import Event
    from .interfaces import Supervision
    from .notify import Situation
    from .postmortem import Postmortem

START_AGAIN = 1.0
"""Seconds until the next try, after the system has refused to start a process."""


class StartFailed(Exception):
    """The start of a worker has failed, and so has the start of the server."""


class NobodyLives(Exception):
    """No worker lives, and none is started again (crash loop)."""


class Slots:
    """The worker names of one server, from their first start to the stop.

    Args:
        supervisor: the supervisor of the server.
        postmortem: finds out why a worker has exited.
    """

    def __init__(self, supervisor: Supervision, postmortem: Postmortem) -> None:
        self.has_started = False
        """Whether every worker has acked once.

        From then on a start that fails does not end the server, unless it is that of an initial
        worker (`Slot.is_initial`)."""
        self._has_been_up = False
        """Whether the `after_server_start` handlers of every worker have returned once."""
        self._supervisor = supervisor
        self._settings = supervisor.settings
        self._emit = supervisor.hooks.emit
        self._postmortem = postmortem
        self._slots: dict[str, Slot] = {}
        self.all_serving = False
        """Whether every worker is ready, and none is being replaced.

        A blocked worker counts too, because it can recover."""
        self.has_been_ready = False
        """Whether `all_serving` has been true once, which ends the start of the server."""
        self._recycler = Recycler()
        supervisor.fleet.on_start.append(self._on_start)

    def of(self, process: WorkerProcess) -> Slot:
        """The slot of one of Sanic's workers. A new worker gets a new slot."""
        slot = self._slot(process.name)
        slot.process = process
        return slot

    def _slot(self, name: str) -> Slot:
        slot = self._slots.get(name)
        if slot is None:
            slot = self._slots[name] = Slot(name, self._settings)
        return slot

    def _on_start(self, process: SupervisedProcess) -> None:
        if isinstance(process, Worker):
            self._slot(process.name).current = process

    def supervise(self, servers: Iterable[WorkerProcess]) -> None:
        """Replace the workers that died, failed, hang, or reached a recycling limit.

        Raises:
            StartFailed: the server can't start.
            NobodyLives: no worker lives, and none is started again.
        """
        slots = [self.of(process) for process in servers]
        self._has_been_up = self._has_been_up or (
            self.has_started and all(map(_has_been_up, slots))
        )
        self._supervisor.note_workers(len(slots), self._has_been_up)
        for slot in slots:
            if not self.has_started:
                slot.is_initial = not (slot.current and slot.current.ready_is_handled)
            self._supervise(slot)
        for slot in slots:
            self._check_outgoing(slot)
        if slots and all(slot.is_lost for slot in slots) and not sanic_main.reloads():
            raise NobodyLives
        self.all_serving = self.has_started and all(slot.is_settled for slot in slots)
        self.has_been_ready = self.has_been_ready or self.all_serving
        self._recycle(slots)

    def _supervise(self, slot: Slot) -> None:
        worker = slot.current
        if slot.restart_at is not None:
            self._start_if_due(slot)
        elif worker is None or slot.is_quarantined:
            return
        elif worker.startup.ready is None:
            if why := self._why_it_failed(worker):
                self._on_failed_start(slot, worker, why)
        else:
            if not worker.ready_is_handled:
                worker.ready_is_handled = True
                self._on_ready(slot, worker, worker.startup.ready)
            if worker.exitcode is not None:
                self._on_exit(slot, worker)

    def _on_ready(self, slot: Slot, worker: Worker, ready: float) -> None:
        """The current worker was ready. If it still is, the worker that it replaces can stop."""
        slot.retries.reset()
        slot.is_initial = False
        note(self._emit("worker.ready", slot.name, worker.pid, seconds=ready - worker.began))
        if worker.exitcode is not None:
            return
        outgoing = slot.take_outgoing()
        if outgoing is not None:
            outgoing.terminate()
            self._recycler.on_replaced(outgoing)
        reason, slot.pending = slot.pending, None
        if reason is not None:
            note(self._emit(reason.event, slot.name, worker.pid, reason.words, cause=reason.cause))

    # -- failed starts, and deaths ----------------------------------------------------------------

    def _why_it_failed(self, worker: Worker) -> str | None:
        has_exited, startup = worker.exitcode is not None, worker.startup
        if has_exited:
            worker.link.hear()
        if startup.failure is not None:
            over = has_exited or startup.has_acked or startup.lingers
            return startup.failure if over else None
        if not has_exited or startup.ready is not None:
            return None
        if startup.has_expired:
            return startup.late
        cause = self._postmortem.of(worker)[0]
        if worker.link.imports and worker.exitcode == 1:  # Python's own, after a traceback
            return f"it died in the import of the main module: {cause}; its traceback is above"
        return f"it died before it was ready: {cause}"

    def _on_failed_start(self, slot: Slot, worker: Worker, why: str) -> None:
        failure = f"{worker} did not start: {why}"
        outgoing = slot.take_outgoing()
        if outgoing is not None and outgoing.exitcode is None:
            self._roll_back(slot, worker, outgoing, failure)
            return
        pause, reloads = slot.retries.on_failure(), sanic_main.reloads()
        if pause is None and not reloads and (slot.is_initial or not self.has_started):
            raise StartFailed(failure)
        if pause is None and reloads:
            self._quarantine(slot, worker, failure)
        elif pause is None:
            self._on_death(slot, worker, failure, "startup")
        else:
            log.error("%s", failure)
            log.warning("%s is started again in %g s", slot.name, pause)
            slot.restart_at = time.monotonic() + pause
        if worker.exitcode is None:
            worker.terminate()

    def _roll_back(self, slot: Slot, failed: Worker, outgoing: Worker, failure: str) -> None:
        """Keep the outgoing worker, because its replacement did not start."""
        log.error("%s\n    it was to replace [%s], which keeps serving", failure, outgoing.pid)
        slot.pending = None
        self._recycler.on_failure()
        if failed.exitcode is None:
            failed.terminate()
        slot.process._current_process = outgoing.handle
        slot.current = outgoing
        slot.publish(ProcessState.ACKED, pid=outgoing.pid, serving=True)

    def _on_exit(self, slot: Slot, worker: Worker) -> None:
        """A worker has exited that was ready before."""
        why, cause = self._postmortem.of(worker)
        self._on_death(slot, worker, f"{worker} has died: {why}", cause)

    def _on_death(self, slot: Slot, worker: Worker, words: str, cause: str) -> None:
        """Report the death of the current worker, and replace it unless that is a crash loop."""
        now, has_completed = time.monotonic(), worker.exitcode == 0
        state = ProcessState.COMPLETED if has_completed else ProcessState.FAILED
        slot.publish(state, serving=False)
        worker.death_is_reported = worker.exitcode is not None
        died = self._emit("worker.died", slot.name, worker.pid, words, worker.status, cause=cause)
        pause = slot.respawns.on_death(now) if self._settings.respawn else None
        if pause is None:
            self._quarantine(slot, worker, words, died)
            return
        when = f"in {pause:g} s" if pause else "now"
        log.error("%s\n    a replacement starts %s", words, when, extra=extra_of(died))
        slot.pending = Reason("worker.replaced", words, cause)
        slot.restart_at = now + pause
        self._start_if_due(slot)

    def _quarantine(
        self, slot: Slot, worker: Worker, words: str, died: Event | None = None
    ) -> None:
        """Leave the slot without a worker: it is in a crash loop, or respawning is off."""
        slot.is_quarantined = True
        if sanic_main.reloads():
            rest = "the next change of a file starts it again"
            log.error("%s; %s", words, rest, extra=extra_of(died))
            return
        if not self._settings.respawn:
            rest = "it is not replaced (REAPER_RESPAWN = False)"
            log.error("%s\n    %s", words, rest, extra=extra_of(died))
            return
        reason = (
            f"it is not replaced again: it was replaced {self._settings.respawn_limit} times "
            f"within {self._settings.respawn_window:g} s "
            "(REAPER_RESPAWN_LIMIT, REAPER_RESPAWN_WINDOW)"
        )
        if died is not None:
            note(died, logging.ERROR)
        loops = self._emit("worker.crashloop", slot.name, worker.pid, reason, worker.status)
        log.error("%s\n    %s", words, reason, extra=extra_of(loops))

    # -- restarts ---------------------------------------------------------------------------------

    def _start_if_due(self, slot: Slot) -> None:
        has_exited = slot.current is None or slot.current.exitcode is not None
        if has_exited and slot.restart_at is not None and time.monotonic() >= slot.restart_at:
            slot.restart_at = None
            self._start(slot, RestartOrder.SHUTDOWN_FIRST)

    def _start(self, slot: Slot, order: RestartOrder, **more: Any) -> None:
        slot.is_quarantined, slot.current = False, None
        slot.process.set_state(ProcessState.RESTARTING, force=True)
        try:
            slot.process.restart(order, **more)  # type: ignore[no-untyped-call]
        except OSError as error:
            # Processes, descriptors or memory are short for now. Sanic leaves its variables set.
            for name in marks.WORKER_MARKS[:2]:
                os.environ.pop(name, None)
            log.error(
                "%s can't be started: %s; the next try is in %g s",
                *(slot.name, error, START_AGAIN),
            )
            slot.restart_at = time.monotonic() + START_AGAIN

    def restart(self, process: WorkerProcess, order: RestartOrder, **more: Any) -> None:
        """Restart a worker as `app.m.restart`, a reload or the Inspector orders."""
        reason = Reason("worker.replaced", "a restart was ordered", "ordered")
        self._replace(self.of(process), reason, order, **more)

    def _replace(self, slot: Slot, reason: Reason, order: RestartOrder, **more: Any) -> None:
        current, outgoing = slot.current, slot.take_outgoing()
        slot.restart_at = None
        slot.respawns.reset()
        slot.retries.reset()
        slot.pending = reason
        if not hasattr(slot.process, "_terminate_soon"):  # Sanic would stop the old worker itself
            order = RestartOrder.SHUTDOWN_FIRST
        is_ready = current is not None and current.is_ready
        if outgoing is None and order is RestartOrder.STARTUP_FIRST and is_ready:
            outgoing = current
        elif order is RestartOrder.STARTUP_FIRST and outgoing is not None:
            if current is not None:
                current.terminate()
        else:
            order = RestartOrder.SHUTDOWN_FIRST
            if outgoing is not None:
                outgoing.terminate()
                outgoing = None
        if outgoing is not None:
            slot.outgoing = outgoing
            # Sanic's own method starts a thread, which gives up after a while: both workers stay.
            slot.process._terminate_soon = _nothing  # type: ignore[method-assign]
        self._start(slot, order, **more)

    def remove(self, process: WorkerProcess) -> None:
        """Remove a slot, because the server is scaled down. The caller stops its current worker."""
        slot = self._slots.pop(process.name, None)
        outgoing = slot.take_outgoing() if slot is not None else None
        if outgoing is not None:
            outgoing.terminate()

    def _check_outgoing(self, slot: Slot) -> None:
        if slot.outgoing is not None and slot.outgoing.exitcode is not None:
            outgoing, slot.outgoing = slot.outgoing, None
            outgoing.death_is_reported = True
            log.error("%s has died: %s", outgoing, self._postmortem.of(outgoing)[0])

    def _recycle(self, slots: Sequence[Slot]) -> None:
        if picked := self._recycler.pick(slots, self.all_serving):
            slot, worker, reason = picked
            log.info("%s is recycled: %s", worker, reason.words)
            self._replace(slot, reason, RestartOrder.STARTUP_FIRST)

    # -- questions --------------------------------------------------------------------------------

    def worker(self, process: WorkerProcess) -> Worker | None:
        """The current worker of one of Sanic's processes. `None`: the process is no worker."""
        slot = self._slots.get(process.name)
        return slot.current if slot is not None else None

    def is_waiting(self, process: WorkerProcess) -> bool:
        """Whether the next worker of this name has not been started yet."""
        return self.of(process).restart_at is not None

    def situation(self, servers: Sequence[WorkerProcess]) -> Situation:
        """The state of the server, as far as it concerns a service manager."""
        from .situation import situation_of  # here: needed only under a service manager

        slots = [self.of(process) for process in servers]
        return situation_of(slots, self.has_been_ready, self._settings.startup_timeout or 0.0)

    def is_younger(self, name: str, seconds: float) -> bool:
        """Whether the worker of that name has been ready for less than `seconds`, or not at all."""
        slot = self._slots.get(name)
        if slot is None or slot.current is None:
            return False
        ready = slot.current.startup.ready
        return ready is None or time.monotonic() - ready < seconds


def _has_been_up(slot: Slot) -> bool:
    return slot.current is not None and slot.current.startup.up is not None


def _nothing() -> None:
    pass
