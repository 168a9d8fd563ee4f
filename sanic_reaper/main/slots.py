"""Keeps the configured number of workers running. Replaces workers that died, hang, or reached a
recycling limit; at most one healthy worker is recycled at a time.

The policy is elsewhere, and pure: `retries`, `respawns`, `recycling`, `heartbeat`.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from functools import partial
from typing import TYPE_CHECKING, Any

from sanic.worker.constants import ProcessState, RestartOrder
from sanic.worker.process import WorkerProcess

from .. import marks, platform
from ..compat import sanic_main
from ..log import log
from ..model import lifecycle
from ..tree import causes, deaths
from .processes import WatchedProcess
from .recycling import Usage
from .respawns import Respawns
from .retries import Retries
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


class Keeper:
    """The workers of one server, from their first start to its stop.

    Args:
        supervisor: whom to ask and to tell.
        worker_state: what Sanic says of each process, shared through the SyncManager.
    """

    def __init__(self, supervisor: Supervision, worker_state: Any) -> None:
        self.has_started = False
        """Whether every worker has acked once. From then on one that fails is a loss, not an end,
        unless it has never been ready."""
        self._is_through = False
        """Whether the start of every worker has been over once: background work may go on."""
        self._supervisor = supervisor
        settings = supervisor.settings
        self._settings = settings
        self._worker_state = worker_state
        self._tell = supervisor.hooks.tell
        self._retries = Retries(settings.startup_retries)
        self._respawns = Respawns(settings.respawn_limit, settings.respawn_window)
        self._initial: set[str] = set()
        """Those of the first workers that have never been ready. An ack is not all: background work
        begins after it. What such a one fails at is the start of the server."""
        self.is_content = False
        """Whether every worker serves, and none is to be replaced."""
        self.is_up = False
        """Whether that has been so once: the server's start is over."""
        self._due: dict[str, float] = {}
        """When a worker is started again that does not live now."""
        self._predecessors: dict[str, WatchedProcess] = {}
        """Those that serve until their successor does."""
        self._recycled: WatchedProcess | None = None
        """The last one, which may still drain."""
        self._why: dict[str, tuple[str, str, str]] = {}
        """What is to be told when a successor serves: the event, the reason, and its one word."""
        self._next_recycling = 0.0
        self._ended: set[WatchedProcess] = set()
        self._oom_kills = platform.oom_kills()

    def is_waiting(self, name: str) -> bool:
        """Whether a worker of this name is still to be started."""
        return name in self._due

    def tend(self, servers: Iterable[WorkerProcess]) -> None:
        """Replace the workers that died, failed, hang, or reached a recycling limit.

        Raises:
            StartFailed: the server can't start.
            NobodyLives: it can't go on.
        """
        servers = list(servers)
        self._is_through = self._is_through or (
            self.has_started and all(map(_is_up, map(_watched, servers)))
        )
        self._supervisor.wants(len(servers), self._is_through)
        if not self.has_started:
            self._initial = {one.name for one in servers if not _has_been_ready(_watched(one))}
        for process in servers:
            launch = _watched(process).launch
            if process.name in self._due:
                self._try_again(process)
            elif launch is None or launch.is_given_up:
                continue
            elif not launch.is_ready:
                if why := self._why_it_failed(process, launch):
                    self._failed(process, launch, why)
                elif launch.must_turn:
                    _look_at_pulse(_watched(process))
            elif process.exitcode is None:
                self._look_after(process, launch)
            else:
                self._died(process)
        self._bury_predecessors()
        if servers and all(map(self._is_lost, servers)) and not sanic_main.reloads():
            raise NobodyLives
        self.is_content = (
            self.has_started
            and not self._predecessors
            and not self._due
            and all(map(_is_ready, map(_watched, servers)))
        )
        self.is_up = self.is_up or self.is_content
        self._recycle(servers)

    def _look_after(self, process: WorkerProcess, launch: Launch) -> None:
        if not launch.is_settled:
            launch.is_settled = True
            assert launch.ready is not None
            self._settle(process, launch.ready - launch.began)
        _look_at_pulse(_watched(process))

    def _settle(self, process: WorkerProcess, seconds: float) -> None:
        """It serves. Now the one that it replaces may go."""
        name, watched = process.name, _watched(process)
        assert watched.pid is not None
        self._retries.forget(name)
        self._initial.discard(name)
        self._tell("worker.ready", name, watched.pid, seconds=seconds)
        event, reason, cause = self._why.pop(name, (None, "", ""))
        old = self._predecessors.pop(name, None)
        if old is not None:
            old.terminate()
            self._recycled = old
        if event is not None:
            self._tell(event, name, watched.pid, reason, cause=cause)

    # -- who has failed, or died ------------------------------------------------------------------

    def _why_it_failed(self, process: WorkerProcess, launch: Launch) -> str | None:
        watched = _watched(process)
        ended = process.exitcode is not None
        if ended and watched.contact is not None:
            watched.contact.hear()
        if launch.failure is not None:
            return launch.failure if ended or launch.has_acked or launch.lingers else None
        if not ended or launch.is_ready:
            return None
        if launch.has_expired:
            return launch.late
        cause = self._cause(watched)[0]
        has_begun = watched.contact is None or not watched.contact.imports
        if not has_begun and watched.exitcode == 1:  # of Python's, after a traceback
            return f"it has ended in the import of the main module: {cause}; its traceback is above"
        return f"it has ended before it was ready: {cause}"

    def _failed(self, process: WorkerProcess, launch: Launch, why: str) -> None:
        watched = _watched(process)
        failure = f"{process.name} [{watched.pid}] did not start: {why}"
        old = self._predecessors.pop(process.name, None)
        if old is not None and old.exitcode is None:
            self._restore(process, old, failure)
            return
        pause = self._retries.pause(process.name)
        is_initial = process.name in self._initial and not sanic_main.reloads()
        if pause is None and (is_initial or not self.has_started):
            raise StartFailed(failure)
        if pause is None and sanic_main.reloads():
            self._give_up(process, launch, failure)
        elif pause is None:
            self._lose(process, launch, failure, "startup")
        else:
            log.error("%s", failure)
            log.warning("%s is started again in %g s", process.name, pause)
            self._due[process.name] = time.monotonic() + pause
        if watched.exitcode is None:
            watched.terminate()

    def _restore(self, process: WorkerProcess, old: WatchedProcess, failure: str) -> None:
        """The one that it was to replace is still there, and goes on."""
        log.error("%s\n    [%s] goes on in its place", failure, old.pid)
        self._why.pop(process.name, None)
        self._next_recycling = time.monotonic() + RECYCLE_AGAIN
        if process.exitcode is None:
            _watched(process).terminate()
        process._current_process = old
        self._set(process, state=ProcessState.ACKED, pid=old.pid, serving=True)

    def _died(self, process: WorkerProcess) -> None:
        launch = _watched(process).launch
        assert launch is not None
        why, cause = self._cause(_watched(process))
        self._lose(process, launch, f"{process.name} [{process.pid}] has died: {why}", cause)

    def _lose(self, process: WorkerProcess, launch: Launch, words: str, cause: str) -> None:
        """It is dead: say so, and replace it, unless that has been done too often."""
        self._set(process, state=_end_of(process), serving=False)
        _watched(process).death_is_told = _watched(process).exitcode is not None
        assert process.pid is not None
        status = _watched(process).status
        self._tell("worker.died", process.name, process.pid, words, status, cause=cause)
        now = time.monotonic()
        pause = self._respawns.died(process.name, now) if self._settings.respawn else None
        if pause is None:
            self._give_up(process, launch, words)
            return
        log.error("%s\n    it is replaced %s", words, f"in {pause:g} s" if pause else "now")
        self._why[process.name] = ("worker.replaced", words, cause)
        self._due[process.name] = now + pause
        self._try_again(process)

    def _give_up(self, process: WorkerProcess, launch: Launch, words: str) -> None:
        launch.is_given_up = True
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
        assert process.pid is not None
        status = _watched(process).status
        self._tell("worker.crashloop", process.name, process.pid, reason, status)

    def _is_lost(self, process: WorkerProcess) -> bool:
        launch = _watched(process).launch
        return launch is not None and launch.is_given_up and process.name not in self._due

    def _cause(self, watched: WatchedProcess) -> tuple[str, str]:
        """What has ended it: in the words of the log, and in one."""
        assert watched.exitcode is not None
        # The watchdog says whom it kills before it does; it may have done both since it was heard.
        self._supervisor.hear()
        before, self._oom_kills = self._oom_kills, platform.oom_kills()
        more = None
        if before is not None and self._oom_kills is not None:
            more = self._oom_kills - before
        known = watched.status, more, watched.killed_for
        return deaths.cause(*known), causes.of_death(*known)

    def _set(self, process: WorkerProcess, state: ProcessState, **more: Any) -> None:
        """What Sanic, its Inspector and the workers are to know of it."""
        process.set_state(state, force=True)
        self._worker_state[process.name] = {**self._worker_state[process.name], **more}

    # -- who is started again ---------------------------------------------------------------------

    def _try_again(self, process: WorkerProcess) -> None:
        watched = _watched(process)
        has_ended = watched.pid is None or watched.exitcode is not None
        if has_ended and time.monotonic() >= self._due[process.name]:
            del self._due[process.name]
            self._start_anew(process, RestartOrder.SHUTDOWN_FIRST)

    def _start_anew(self, process: WorkerProcess, order: RestartOrder, **more: Any) -> None:
        process.set_state(ProcessState.RESTARTING, force=True)
        try:
            process.restart(order, **more)  # type: ignore[no-untyped-call]
        except OSError as error:
            # No more processes, descriptors, memory: for now. Sanic has not tidied up after itself.
            for name in marks.WORKER_MARKS[:2]:
                os.environ.pop(name, None)
            log.error("%s can't be started: %s; again in %g s", process.name, error, START_AGAIN)
            self._due[process.name] = time.monotonic() + START_AGAIN

    def restart(self, process: WorkerProcess, order: RestartOrder, **more: Any) -> None:
        """On somebody's order: a restart, a reload, the Inspector."""
        name, current = process.name, _watched(process)
        self._due.pop(name, None)
        self._respawns.forget(name)
        self._retries.forget(name)
        self._why[name] = ("worker.replaced", "a restart was ordered", "ordered")
        old = self._predecessors.pop(name, None)
        if old is None and order is RestartOrder.STARTUP_FIRST and _is_ready(current):
            old = current
        elif order is RestartOrder.STARTUP_FIRST and old is not None:
            current.terminate()
        else:
            order = RestartOrder.SHUTDOWN_FIRST
            if old is not None:
                old.terminate()
                old = None
        if old is not None:
            self._predecessors[name] = old
            # Sanic's own way is a thread, which gives up after a while and leaves both.
            process._terminate_soon = _nothing  # type: ignore[method-assign]
        self._start_anew(process, order, **more)

    def dismiss(self, process: WorkerProcess) -> None:
        """It is wanted no more: scaling down."""
        self._due.pop(process.name, None)
        old = self._predecessors.pop(process.name, None)
        if old is not None:
            old.terminate()

    def _bury_predecessors(self) -> None:
        for name, old in list(self._predecessors.items()):
            if old.exitcode is not None:
                del self._predecessors[name]
                old.death_is_told = True
                log.error("%s [%s] has died: %s", name, old.pid, self._cause(old)[0])

    # -- recycling --------------------------------------------------------------------------------

    def _recycle(self, servers: list[WorkerProcess]) -> None:
        """One at a time: not before all others serve, and the last one is gone."""
        now = time.monotonic()
        if now < self._next_recycling:
            return
        self._next_recycling = now + RECYCLE_EVERY
        if not self.is_content:
            return
        if self._recycled is not None and self._recycled.exitcode is None:
            return
        # The oldest first: with a limit that a fresh worker passes too, each has its turn.
        for process in sorted(servers, key=lambda process: _began(_watched(process))):
            watched = _watched(process)
            assert watched.limits is not None
            if exceeded := watched.limits.exceeded(_usage(watched, now)):
                cause, reason = exceeded
                log.info("%s [%s] is recycled: %s", process.name, watched.pid, reason)
                self.restart(process, RestartOrder.STARTUP_FIRST)
                self._why[process.name] = ("worker.recycled", reason, cause)
                return

    # -- what others want to know -----------------------------------------------------------------

    def situation(self, servers: list[WorkerProcess]) -> Situation:
        from .notify import STARTING, UP, Situation  # here: asked only if there is somebody to tell

        now = time.monotonic()
        serving = [watched for process in servers if (watched := self._who_serves(process, now))]
        turns = any(watched.pulse and watched.pulse.turns(now) for watched in serving)
        if self.is_up:
            return Situation(UP, len(servers), len(serving), turns)
        due = max(map(self._start_due, servers), default=0.0)
        launches = [_watched(process).launch for process in servers]
        finishing = sum(launch is not None and launch.finishes for launch in launches)
        return Situation(STARTING, len(servers), len(serving), turns, due, finishing)

    def _who_serves(self, process: WorkerProcess, now: float) -> WatchedProcess | None:
        candidates = _watched(process), self._predecessors.get(process.name)
        return next((one for one in candidates if one is not None and _serves(one, now)), None)

    def _start_due(self, process: WorkerProcess) -> float:
        """When its start is over at the latest, or that of the next try. 0: it has no limit."""
        if process.name in self._due:
            return self._due[process.name] + (self._settings.startup_timeout or 0.0)
        launch = _watched(process).launch
        return 0.0 if launch is None or launch.is_ready else launch.due

    # -- the processes that are no workers --------------------------------------------------------

    def note_ends(self, others: Iterable[WorkerProcess]) -> None:
        """Report those that have ended, once. Sanic's rules say whether they are started again."""
        for process in others:
            watched = _watched(process)
            if watched.pid is None or watched.exitcode is None or watched in self._ended:
                continue
            self._ended.add(watched)
            why, cause = self._cause(watched)
            words = f"{process.name} [{watched.pid}] has ended: {why}"
            if watched.exitcode == 0:
                log.debug("%s", words)
                continue
            log.warning("%s%s", words, "; it can be restarted" if process.restartable else "")
            self._tell("worker.died", process.name, watched.pid, words, watched.status, cause=cause)

    def is_younger(self, servers: Iterable[WorkerProcess], name: str, seconds: float) -> bool:
        """Whether the worker of that name serves for less than `seconds`, or not yet."""
        now = time.monotonic()
        for process in servers:
            launch = _watched(process).launch
            if process.name == name and launch is not None:
                return launch.ready is None or now - launch.ready < seconds
        return False


def _watched(process: WorkerProcess) -> WatchedProcess:
    current: WatchedProcess = process._current_process
    return current


def _is_ready(watched: WatchedProcess) -> bool:
    """Whether its start is over and it lives. It may be blocked, and go on later."""
    return watched.launch is not None and watched.launch.is_ready and watched.exitcode is None


def _serves(watched: WatchedProcess, now: float) -> bool:
    if watched.pid is None or watched.exitcode is not None:
        return False
    state, _ = state_of(watched, now)
    # Who has just been heard is not stopped: this is asked ten times a second, of each worker.
    heard = watched.pulse is not None and watched.pulse.turns(now)
    halted = not heard and _is_halted(watched.pid)
    return lifecycle.observed(state, alive=True, halted=halted) in lifecycle.SERVES


def _is_up(watched: WatchedProcess) -> bool:
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


def _end_of(process: WorkerProcess) -> ProcessState:
    return ProcessState.COMPLETED if process.exitcode == 0 else ProcessState.FAILED


def _nothing() -> None:
    pass
