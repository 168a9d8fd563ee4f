"""Starts the processes of one server, with their signal mask, environment and configuration.

Guarantees that the watchdog knows a process before main can be interrupted again.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from multiprocessing import Pipe
from typing import TYPE_CHECKING

from ..config import Settings
from ..events import Hooks
from ..platform.base import Identity
from ..worker.entry import ProcessConfig
from ..worker.guard import TERMINAL_SIGNALS
from ..worker.startup import now
from . import inheritance
from .fleet import Fleet, Pipes
from .processes import WatchedProcess
from .signals import StopSignals

if TYPE_CHECKING:
    from .journal import Journal


class Launcher:
    """Starts processes, and adds them to the fleet.

    Args:
        main: pid and creation time of the main process.
        run: the id of this run.
        identify: returns the creation time of a child of main, by its pid.
        beat_every: returns the seconds between two heartbeats of a worker. 0: none.
    """

    def __init__(
        self,
        main: Identity,
        run: str,
        settings: Settings,
        signals: StopSignals,
        hooks: Hooks,
        journal: Journal,
        fleet: Fleet,
        identify: Callable[[int], int],
        beat_every: Callable[[], float],
    ) -> None:
        self._main = main
        self._run = run
        self._settings = settings
        self._signals = signals
        self._hooks = hooks
        self._journal = journal
        self._fleet = fleet
        self._identify = identify
        self._beat_every = beat_every

    @contextmanager
    def starting(self, handle: WatchedProcess) -> Iterator[ProcessConfig]:
        """The context in which a process is started, which yields the process's configuration."""
        began = now()
        ours, theirs = _pipes() if handle.is_server else (None, None)
        is_added = False
        try:
            with self._without_hooks(handle), self._signals.held_back():
                config = self._process_config(handle, theirs, began)
                with inheritance.quiet_start(handle.method, config.pdeathsig != 0):
                    yield config
                assert handle.pid is not None
                identity = handle.pid, self._identify(handle.pid)
                self._fleet.add(handle, identity, began, ours, config.heartbeat_interval)
                is_added = True
        finally:
            for end in (*((not is_added and ours) or ()), *(theirs or ())):
                end.close()

    def on_terminate(self, handle: WatchedProcess, was_asked: bool) -> None:
        """Note that a process was told to stop, and whether main could signal it."""
        self._fleet.on_terminate(handle, was_asked)

    def _without_hooks(self, handle: WatchedProcess) -> AbstractContextManager[None]:
        """A context in which no hook runs, under fork.

        A forked worker inherits each lock that a hook holds at that moment, locked for ever. The
        other start methods do not have this problem, and do not wait.
        """
        return self._hooks.parked() if handle.method == "fork" else nullcontext()

    def _process_config(
        self, handle: WatchedProcess, pipes: Pipes | None, began: float
    ) -> ProcessConfig:
        return ProcessConfig(
            role=handle.reaper_role,
            main_pid=self._main[0],
            main_start=self._main[1],
            pdeathsig=self._settings.pdeathsig if inheritance.is_main_thread() else 0,
            orphan_grace=self._settings.orphan_grace,
            ignored_signals=tuple(s for s in self._signals.handled if s in TERMINAL_SIGNALS),
            import_variables=tuple(
                name for name in inheritance.IMPORT_VARIABLES if name not in os.environ
            ),
            report_pipe=None if pipes is None else pipes.reports,
            handler_timeout=self._settings.handler_timeout,
            heartbeat_interval=self._beat_every(),
            started_at=began,
            environment=inheritance.child_environment(),
            endpoint=self._settings.endpoint if handle.is_server else "",
            state_directory=self._journal.path,
            run_id=self._run,
            shows_paths=self._settings.request_paths,
            slow_request=self._settings.slow_request,
            question_pipe=None if pipes is None else pipes.questions,
        )


def _pipes() -> tuple[Pipes, Pipes]:
    """The ends of a worker's two pipes: those of the main process, and those of the worker."""
    (reports, its_reports), (its_questions, questions) = Pipe(duplex=False), Pipe(duplex=False)
    return Pipes(reports, questions), Pipes(its_reports, its_questions)
