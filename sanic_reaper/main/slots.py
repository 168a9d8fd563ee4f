"""Keeps the configured number of workers running. Replaces workers that died, hang, or reached a
recycling limit; at most one healthy worker is recycled at a time.

The policy is elsewhere, and pure: `model/backoff`, `recycling`, `heartbeat`.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from sanic.worker.constants import ProcessState, RestartOrder
from sanic.worker.process import WorkerProcess

from .. import marks, platform
from ..compat import sanic_main
from ..log import log
from ..model import lifecycle
from ..model.recycling import Usage
from .postmortem import Postmortem
from .processes import WatchedProcess
from .slot import Reason, Slot
from .worker_state import state_of

if TYPE_CHECKING:
    from .interfaces import Supervision
    from .notify import Situation
    from .startup import Launch

RECYCLE_EVERY = 1.0
"""Seconds between two looks at what the workers have used."""

RECYCLE_AGAIN = 30.0
"""Seconds until a worker is recycled after one whose successor did not start."""

START_AGAIN = 1.0
"""Seconds until a process is tried again that the system would not start."""


class StartFailed(Exception):
    """A worker did not come up, and the server can't start without it."""


class NobodyLives(Exception):
    """Every worker has died once too often."""


class Slots:
    """The worker names of one server, from their first start to the stop.

    Args:
        supervisor: whom to ask and to tell.
    """

    def __init__(self, supervisor: Supervision) -> None:
        self.has_started = False
        """Whether every worker has acked once. From then on one that fails is a loss, not an end,
        unless it has never been ready."""
        self._is_through = False
        """Whether the start of every worker has been over once: background work may go on."""
        self._supervisor = supervisor
        self._settings = supervisor.settings
        self._tell = supervisor.hooks.tell
        self._postmortem = Postmortem(supervisor.hear)
        self._slots: dict[str, Slot] = {}
        self.all_serving = False
        """Whether every worker serves, and none is to be replaced."""
        self.has_been_ready = False
        """Whether `all_serving` has been true once: the server's start is over."""
        self._draining: WatchedProcess | None = None
        """The worker that was replaced last. It may still finish its requests."""
        self._next_recycling = 0.0
        self._ended: set[WatchedProcess] = set()

    def of(self, process: WorkerProcess) -> Slot:
        """The slot of one of Sanic's workers. A new worker gets a new slot."""
        slot = self._slots.get(process.name)
        if slot is None:
            slot = self._slots[process.name] = Slot(process, self._settings)
        return slot

    def supervise(self, servers: Iterable[WorkerProcess]) -> None:
        """Replace the workers that died, failed, hang, or reached a recycling limit.

        Raises:
            StartFailed: the server can't start.
            NobodyLives: it can't go on.
        """
        slots = [self.of(process) for process in servers]
        self._is_through = self._is_through or (
            self.has_started and all(_has_been_up(slot.current) for slot in slots)
        )
        self._supervisor.wants(len(slots), self._is_through)
        for slot in slots:
            if not self.has_started:
                slot.is_initial = not _has_been_ready(slot.current)
            self._supervise(slot)
        for slot in slots:
            self._check_outgoing(slot)
        if slots and all(slot.is_lost for slot in slots) and not sanic_main.reloads():
            raise NobodyLives
        self.all_serving = self.has_started and all(map(_is_settled, slots))
        self.has_been_ready = self.has_been_ready or self.all_serving
        self._recycle(slots)

    def _supervise(self, slot: Slot) -> None:
        launch = slot.current.launch
        if slot.restart_at is not None:
            self._start_if_due(slot)
        elif launch is None or slot.is_quarantined:
            return
        elif not launch.is_ready:
            if why := self._why_it_failed(slot.current, launch):
                self._on_failed_start(slot, why)
            elif launch.must_turn:
                _look_at_pulse(slot.current)
        elif slot.current.exitcode is None:
            if not launch.is_settled:
                launch.is_settled = True
                self._on_ready(slot, launch)
            _look_at_pulse(slot.current)
        else:
            self._on_exit(slot)

    def _on_ready(self, slot: Slot, launch: Launch) -> None:
        """The current worker serves. The one that it replaces may go now."""
        pid, ready = slot.current.pid, launch.ready
        assert pid is not None
        assert ready is not None
        slot.retries.reset()
        slot.is_initial = False
        self._tell("worker.ready", slot.name, pid, seconds=ready - launch.began)
        outgoing = slot.take_outgoing()
        if outgoing is not None:
            outgoing.terminate()
            self._draining = outgoing
        reason, slot.pending = slot.pending, None
        if reason is not None:
            self._tell(reason.event, slot.name, pid, reason.words, cause=reason.cause)

    # -- who has failed, or died ------------------------------------------------------------------

    def _why_it_failed(self, worker: WatchedProcess, launch: Launch) -> str | None:
        has_exited = worker.exitcode is not None
        if has_exited and worker.contact is not None:
            worker.contact.hear()
        if launch.failure is not None:
            over = has_exited or launch.has_acked or launch.lingers
            return launch.failure if over else None
        if not has_exited or launch.is_ready:
            return None
        if launch.has_expired:
            return launch.late
        cause = self._postmortem.of(worker)[0]
        has_begun = worker.contact is None or not worker.contact.imports
        if not has_begun and worker.exitcode == 1:  # of Python's, after a traceback
            return f"it has ended in the import of the main module: {cause}; its traceback is above"
        return f"it has ended before it was ready: {cause}"

    def _on_failed_start(self, slot: Slot, why: str) -> None:
        worker = slot.current
        failure = f"{slot.name} [{worker.pid}] did not start: {why}"
        outgoing = slot.take_outgoing()
        if outgoing is not None and outgoing.exitcode is None:
            self._roll_back(slot, outgoing, failure)
            return
        pause, reloads = slot.retries.on_failure(), sanic_main.reloads()
        if pause is None and not reloads and (slot.is_initial or not self.has_started):
            raise StartFailed(failure)
        if pause is None and reloads:
            self._quarantine(slot, failure)
        elif pause is None:
            self._on_death(slot, failure, "startup")
        else:
            log.error("%s", failure)
            log.warning("%s is started again in %g s", slot.name, pause)
            slot.restart_at = time.monotonic() + pause
        if worker.exitcode is None:
            worker.terminate()

    def _roll_back(self, slot: Slot, outgoing: WatchedProcess, failure: str) -> None:
        """The worker that was to be replaced is still there, and goes on."""
        log.error("%s\n    [%s] goes on in its place", failure, outgoing.pid)
        slot.pending = None
        self._next_recycling = time.monotonic() + RECYCLE_AGAIN
        if slot.current.exitcode is None:
            slot.current.terminate()
        slot.process._current_process = outgoing
        slot.publish(ProcessState.ACKED, pid=outgoing.pid, serving=True)

    def _on_exit(self, slot: Slot) -> None:
        """A worker has ended that has been ready."""
        why, cause = self._postmortem.of(slot.current)
        self._on_death(slot, f"{slot.name} [{slot.current.pid}] has died: {why}", cause)

    def _on_death(self, slot: Slot, words: str, cause: str) -> None:
        """The current worker is lost: say so, and replace it, unless that is a crash loop."""
        worker, now = slot.current, time.monotonic()
        has_completed = worker.exitcode == 0
        slot.publish(
            ProcessState.COMPLETED if has_completed else ProcessState.FAILED, serving=False
        )
        worker.death_is_told = worker.exitcode is not None
        assert worker.pid is not None
        self._tell("worker.died", slot.name, worker.pid, words, worker.status, cause=cause)
        pause = slot.respawns.on_death(now) if self._settings.respawn else None
        if pause is None:
            self._quarantine(slot, words)
            return
        log.error("%s\n    it is replaced %s", words, f"in {pause:g} s" if pause else "now")
        slot.pending = Reason("worker.replaced", words, cause)
        slot.restart_at = now + pause
        self._start_if_due(slot)

    def _quarantine(self, slot: Slot, words: str) -> None:
        """Leave the slot without a worker: a crash loop, or nothing is to be replaced."""
        slot.is_quarantined = True
        if sanic_main.reloads():
            log.error("%s; the next change of a file starts it again", words)
            return
        if not self._settings.respawn:
            log.error("%s\n    it stays down (REAPER_RESPAWN = False)", words)
            return
        reason = (
            f"it stays down: it has been replaced {self._settings.respawn_limit} times within "
            f"{self._settings.respawn_window:g} s (REAPER_RESPAWN_LIMIT, REAPER_RESPAWN_WINDOW)"
        )
        log.error("%s\n    %s", words, reason)
        assert slot.current.pid is not None
        self._tell("worker.crashloop", slot.name, slot.current.pid, reason, slot.current.status)

    # -- who is started again ---------------------------------------------------------------------

    def _start_if_due(self, slot: Slot) -> None:
        worker = slot.current
        has_ended = worker.pid is None or worker.exitcode is not None
        if has_ended and slot.restart_at is not None and time.monotonic() >= slot.restart_at:
            slot.restart_at = None
            self._start(slot, RestartOrder.SHUTDOWN_FIRST)

    def _start(self, slot: Slot, order: RestartOrder, **more: Any) -> None:
        slot.is_quarantined = False
        slot.process.set_state(ProcessState.RESTARTING, force=True)
        try:
            slot.process.restart(order, **more)  # type: ignore[no-untyped-call]
        except OSError as error:
            # No more processes, descriptors, memory: for now. Sanic has not tidied up after itself.
            for name in marks.WORKER_MARKS[:2]:
                os.environ.pop(name, None)
            log.error("%s can't be started: %s; again in %g s", slot.name, error, START_AGAIN)
            slot.restart_at = time.monotonic() + START_AGAIN

    def restart(self, process: WorkerProcess, order: RestartOrder, **more: Any) -> None:
        """Restart a worker on somebody's order: a restart, a reload, the Inspector."""
        reason = Reason("worker.replaced", "a restart was ordered", "ordered")
        self._replace(self.of(process), reason, order, **more)

    def _replace(self, slot: Slot, reason: Reason, order: RestartOrder, **more: Any) -> None:
        current, outgoing = slot.current, slot.take_outgoing()
        slot.restart_at = None
        slot.respawns.reset()
        slot.retries.reset()
        slot.pending = reason
        if not hasattr(slot.process, "_terminate_soon"):  # Sanic would stop the old one in its way
            order = RestartOrder.SHUTDOWN_FIRST
        if outgoing is None and order is RestartOrder.STARTUP_FIRST and _is_ready(current):
            outgoing = current
        elif order is RestartOrder.STARTUP_FIRST and outgoing is not None:
            current.terminate()
        else:
            order = RestartOrder.SHUTDOWN_FIRST
            if outgoing is not None:
                outgoing.terminate()
                outgoing = None
        if outgoing is not None:
            slot.outgoing = outgoing
            # Sanic's own way is a thread, which gives up after a while and leaves both.
            slot.process._terminate_soon = _nothing  # type: ignore[method-assign]
        self._start(slot, order, **more)

    def remove(self, process: WorkerProcess) -> None:
        """Forget a slot: the server is scaled down. The caller stops its current worker."""
        slot = self._slots.pop(process.name, None)
        outgoing = slot.take_outgoing() if slot is not None else None
        if outgoing is not None:
            outgoing.terminate()

    def _check_outgoing(self, slot: Slot) -> None:
        if slot.outgoing is not None and slot.outgoing.exitcode is not None:
            outgoing, slot.outgoing = slot.outgoing, None
            outgoing.death_is_told = True
            log.error(
                "%s [%s] has died: %s", slot.name, outgoing.pid, self._postmortem.of(outgoing)[0]
            )

    def _recycle(self, slots: Sequence[Slot]) -> None:
        """Recycle at most one worker: not before all others serve, and the last one has exited."""
        now = time.monotonic()
        if now < self._next_recycling:
            return
        self._next_recycling = now + RECYCLE_EVERY
        if not self.all_serving:
            return
        if self._draining is not None and self._draining.exitcode is None:
            return
        # The oldest first: with a limit that a fresh worker passes too, each has its turn.
        for slot in sorted(slots, key=lambda slot: _began(slot.current)):
            worker = slot.current
            assert worker.limits is not None
            if exceeded := worker.limits.exceeded(_usage(worker, now)):
                cause, words = exceeded
                log.info("%s [%s] is recycled: %s", slot.name, worker.pid, words)
                reason = Reason("worker.recycled", words, cause)
                self._replace(slot, reason, RestartOrder.STARTUP_FIRST)
                return

    # -- what others want to know -----------------------------------------------------------------

    def is_waiting(self, process: WorkerProcess) -> bool:
        """Whether the next worker of this name is still to be started."""
        return self.of(process).restart_at is not None

    def situation(self, servers: Sequence[WorkerProcess]) -> Situation:
        """What a service manager wants to know of the server."""
        from .notify import STARTING, UP, Situation  # here: asked only if there is somebody to tell

        now = time.monotonic()
        slots = [self.of(process) for process in servers]
        serving = [worker for slot in slots if (worker := _who_serves(slot, now))]
        turns = any(worker.pulse and worker.pulse.turns(now) for worker in serving)
        if self.has_been_ready:
            return Situation(UP, len(slots), len(serving), turns)
        due = max(map(self._start_due, slots), default=0.0)
        launches = [slot.current.launch for slot in slots]
        finishing = sum(launch is not None and launch.finishes for launch in launches)
        return Situation(STARTING, len(slots), len(serving), turns, due, finishing)

    def _start_due(self, slot: Slot) -> float:
        """By when the slot's start is over, or that of the next try. 0: there is no limit."""
        if slot.restart_at is not None:
            return slot.restart_at + (self._settings.startup_timeout or 0.0)
        launch = slot.current.launch
        return 0.0 if launch is None or launch.is_ready else launch.due

    def is_younger(self, servers: Iterable[WorkerProcess], name: str, seconds: float) -> bool:
        """Whether the worker of that name serves for less than `seconds`, or not yet."""
        now = time.monotonic()
        for process in servers:
            launch = self.of(process).current.launch
            if process.name == name and launch is not None:
                return launch.ready is None or now - launch.ready < seconds
        return False

    # -- the processes that are no workers --------------------------------------------------------

    def report_exits(self, others: Iterable[WorkerProcess]) -> None:
        """Report those that have ended, once. Sanic's rules say whether they are started again."""
        for process in others:
            watched: WatchedProcess = process._current_process
            if watched.pid is None or watched.exitcode is None or watched in self._ended:
                continue
            self._ended.add(watched)
            why, cause = self._postmortem.of(watched)
            words = f"{process.name} [{watched.pid}] has ended: {why}"
            if watched.exitcode == 0:
                log.debug("%s", words)
                continue
            log.warning("%s%s", words, "; it can be restarted" if process.restartable else "")
            self._tell("worker.died", process.name, watched.pid, words, watched.status, cause=cause)


def _is_settled(slot: Slot) -> bool:
    return slot.restart_at is None and slot.outgoing is None and _is_ready(slot.current)


def _is_ready(watched: WatchedProcess) -> bool:
    """Whether its start is over and it lives. It may be blocked, and go on later."""
    return watched.launch is not None and watched.launch.is_ready and watched.exitcode is None


def _who_serves(slot: Slot, now: float) -> WatchedProcess | None:
    candidates = slot.current, slot.outgoing
    return next((one for one in candidates if one is not None and _serves(one, now)), None)


def _serves(watched: WatchedProcess, now: float) -> bool:
    if watched.pid is None or watched.exitcode is not None:
        return False
    state, _ = state_of(watched, now)
    # Who has just been heard is not stopped: this is asked ten times a second, of each worker.
    heard = watched.pulse is not None and watched.pulse.turns(now)
    halted = not heard and _is_halted(watched.pid)
    return lifecycle.observed(state, alive=True, halted=halted) in lifecycle.SERVES


def _has_been_up(watched: WatchedProcess) -> bool:
    return watched.launch is not None and watched.launch.is_up


def _has_been_ready(watched: WatchedProcess) -> bool:
    return watched.launch is not None and watched.launch.is_settled


def _look_at_pulse(watched: WatchedProcess) -> None:
    assert watched.launch is not None
    # A loop that has never turned has had no chance to say so.
    if watched.pulse is not None and (watched.pulse.beats or watched.launch.is_ready):
        assert watched.pid is not None
        watched.pulse.look(time.monotonic(), partial(_is_halted, watched.pid))


def _began(watched: WatchedProcess) -> float:
    assert watched.launch is not None
    return watched.launch.began


def _usage(watched: WatchedProcess, now: float) -> Usage:
    assert watched.pid is not None
    requests = watched.pulse.requests if watched.pulse is not None else 0
    return Usage(now - _began(watched), requests, platform.resident(watched.pid))


def _is_halted(pid: int) -> bool:
    row = platform.row(pid)
    return row is not None and row.halted


def _nothing() -> None:
    pass
