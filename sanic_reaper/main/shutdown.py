"""The end of a server in the main process, from the exit of its workers to its own exit.

Assumes that the stop has begun. Guarantees that each step is tried, even if an earlier one fails;
that leftovers are killed by the stop's deadline; and that a script that goes on after `app.run()`
finds its process as it was before the server.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from multiprocessing import connection
from typing import TYPE_CHECKING

from .. import environment, platform
from ..compat import sanic_app, services
from ..log import log
from ..model.kills import KILLS, STOP
from ..protocol import watchdog as wire
from . import aftermath
from .goodbye import goodbye
from .outcome import outcome_of
from .steps import Steps

if TYPE_CHECKING:
    from .interfaces import ServerParts
    from .worker import SupervisedProcess

HANDOVER_TIMEOUT = 1.0
"""Seconds that the watchdog may take for its scan at the handover, before main goes on."""


class Shutdown:
    """The end of one server in the main process.

    Args:
        parts: the parts of the server, which are closed one by one.
    """

    def __init__(self, parts: ServerParts) -> None:
        self._parts = parts
        self._stop = parts.stop
        self._watchdog = parts.watchdog
        self._steps = Steps()
        self._is_finished = False
        self._exit_code = 0

    def prepare(self) -> None:
        """Have the exit of the interpreter end the server, whatever happens until then.

        Called before anything is started, so that a start that fails has a deadline for its exit.
        """
        for earlier in _served:
            if earlier._parts.main == self._parts.main:
                earlier.release()
        _served[:] = [self]
        services.at_exit(self._at_exit)
        services.at_exit(services.do_not_wait_for_tracker)

    def conclude(self, code: int, words: str) -> None:
        """Note the exit code of the server, and the reason for it in words."""
        self._exit_code = code
        self._parts.journal.conclude(code, words)

    # -- while Sanic's manager ends ---------------------------------------------------------------

    def wait_for_processes(self) -> None:
        """Wait until each process that main has started has exited, or was killed."""
        killed: set[SupervisedProcess] = set()
        fleet, kills = self._parts.fleet, self._parts.kills
        while alive := [process for process in fleet.living if process.exitcode is None]:
            self._take_turn(0.0)
            self._parts.hooks.turn()
            connection.wait([process.handle.sentinel for process in alive], 0.05)
            if time.monotonic() > self._stop.deadline:
                # The watchdog should have killed them a second ago. It lives, or it would have
                # been replaced: a debugger has stopped it.
                for process in set(alive) - killed:
                    killed.add(process)
                    who = process.identity, process.role, process.name
                    kills.kill(*who, KILLS[STOP], cause=STOP)
        self._take_turn(0.0)

    def hand_over(self) -> None:
        """Leave what main starts from now on, even in its own stop, to the script.

        Called when the workers have exited. The watchdog scans first, and so knows what main has
        started before.
        """
        environment.end_run()
        self._watchdog.hand_over()
        by = time.monotonic() + HANDOVER_TIMEOUT
        while self._watchdog.is_handing_over and time.monotonic() < by:
            self._take_turn(0.02)

    def _take_turn(self, wait: float) -> None:
        """Turn main's loop. If a turn fails, the next one may succeed."""
        if not self._steps.attempt("take a turn of its loop", lambda: self._parts.turn(wait)):
            time.sleep(max(wait, 0.02))

    # -- in the last listener of `main_process_stop` ----------------------------------------------

    def finish(self) -> None:
        """Have leftovers killed, log how the stop went, and close all parts of the server."""
        if not self._watchdog.is_open:
            return
        parts = self._parts
        for purpose, step in (
            ("turn the loop in the main thread again", parts.takeover.stop_guard),
            ("restore the environment", environment.end_run),
            ("note how the server ends", self._note_failure),
            ("tell the watchdog of the stop", self._stop.begin),
            ("tell the watchdog of the helpers", parts.helpers.register),
            ("have leftover processes killed", self._clear_leftovers),
            ("wake the helpers", parts.helpers.wake),
            ("shut the SyncManagers down", lambda: parts.helpers.shut_down(self._stop.deadline)),
            ("log how the stop went", self._say_goodbye),
            ("write down that the server has stopped", self._write_last),
            ("close its socket", parts.control.close),
            ("close the file of its stack", parts.own_stack.close),
            ("restore the listeners", parts.listeners.restore),
            ("let the hooks end", parts.hooks.finish),
            ("restore the WorkerManager", parts.takeover.restore),
            ("drop late signals", parts.signals.drop_further),
        ):
            self._steps.attempt(purpose, step)
        self._is_finished = True
        if not sanic_app.in_serve():  # `serve` was called by another name: no hook follows
            self.end()

    def _note_failure(self) -> None:
        """Note the exception that ends main, if it has failed before its loop began."""
        error = sys.exc_info()[1]
        if error is not None and not self._parts.journal.is_concluded:
            self.conclude(*outcome_of(error))

    def _clear_leftovers(self) -> None:
        self._watchdog.finish()
        while self._watchdog.left_behind is None and time.monotonic() < self._stop.clean_up_by:
            self._take_turn(0.02)

    def _say_goodbye(self) -> None:
        self._parts.handle_exits()
        kills = self._parts.kills
        words = goodbye(
            self._stop.seconds,
            self._exit_code,
            kills.by_us,
            self._watchdog.left_behind or 0,
            self._watchdog.survivors,
            kills.by_others,
        )
        log.info("%s", words)

    def _write_last(self) -> None:
        self._parts.journal.enter("stopped")
        self._parts.journal.write(time.monotonic())

    # -- when `serve` is over ---------------------------------------------------------------------

    def end(self) -> None:
        """Give the process back to the script, which continues as if there had been no server."""
        if os.getpid() != self._parts.main[0] or not self._watchdog.is_open:
            return  # a child that main has forked, or all of this was done before
        if not self._is_finished:  # a listener of the user's has raised, so Sanic did not call ours
            self.finish()
        for purpose, step in (
            # Again: a SyncManager may have taken seconds to shut down.
            ("wake the helpers", self._parts.helpers.wake),
            ("dismiss the watchdog", self._let_watchdog_go),
            ("restore the signals", self._parts.signals.restore),
            ("adopt no more orphans", platform.become_no_subreaper),
        ):
            self._steps.attempt(purpose, step)

    def _let_watchdog_go(self) -> None:
        """Dismiss the watchdog, unless it still has something to kill or to wait for.

        It stays if the stop's deadline has passed before all leftovers had exited, and for a
        SyncManager of the user's, which exits after main.
        """
        if not self._watchdog.is_open:
            return  # `finish` has called `end` already
        if self._watchdog.left_behind is None or services.managers():
            self._watchdog.send(wire.OVER)
        else:
            self.release()

    def release(self) -> None:
        """Dismiss the watchdog, because nothing is left to guard."""
        self._watchdog.dismiss()

    def _at_exit(self) -> None:
        """End the server when the interpreter exits. It joins every thread after this."""
        if os.getpid() != self._parts.main[0] or _served[-1:] != [self]:
            return  # a child that main has forked, or another server has begun here
        self.end()
        left_threads = self._parts.listeners.left_threads
        if threading.current_thread() is threading.main_thread():
            self._parts.signals.drop_at_exit()
            aftermath.leave_threads(left_threads)
        aftermath.name_threads_that_are_waited_for(left_threads)


_served: list[Shutdown] = []
"""The last server of this process. It can have stopped, while the script continues."""


def end_of_serve() -> None:
    """End the server of this process. Called when `Sanic.serve` returns or raises."""
    for shutdown in _served:
        shutdown.end()
