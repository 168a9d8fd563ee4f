"""The main process: it knows every process that it has started, and edits the watchdog's list."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable, Set
from multiprocessing import connection
from typing import TYPE_CHECKING, Any

from .. import environment, platform
from ..compat import contracts, sanic_app, sanic_main, services
from ..compat.sanic_app import App
from ..config import Settings
from ..events import Hooks
from ..log import log
from ..model.kills import KILLS
from ..model.roles import WATCHDOG, WORKER
from ..platform.base import Identity
from ..protocol import watchdog as wire
from ..tree import birthmark
from ..tree.process import UNKNOWN, children_of, start_of
from . import aftermath, preflight
from .children import reap_adopted
from .control import Control
from .fleet import Fleet
from .goodbye import goodbye
from .guarding import Guard
from .helpers import Helpers
from .journal import Journal
from .launcher import Launcher
from .listeners import MainListeners
from .outcome import outcome_of
from .own_kills import OwnKills
from .own_stack import OwnStack
from .signals import StopSignals
from .steps import Steps
from .watchdog_link import WatchdogLink
from .worker import Child, Worker

if TYPE_CHECKING:
    from .notify import Notifier

CHECK_EVERY = 0.5
"""Seconds between two looks at whether the watchdog lives."""

HANDOVER = 1.0
"""Seconds that the watchdog may take to look what there is before main goes on."""

LAST_WORDS = 0.25
"""Seconds before the end of the stop's time in which main waits for leftovers no more."""


class Supervisor:
    """What the Reaper does in the main process of one server.

    Args:
        settings: those of the primary app.
        run: the id of this run.
        earlier: children of main's that are not the server's.
        hooks: what is told of what happens.
        journal: where it is written down.
        guards_only: whether a vital contract is broken (`compat.contracts`), so that Sanic's own
            manager runs the workers.
    """

    def __init__(
        self,
        settings: Settings,
        run: str,
        earlier: Set[Identity],
        hooks: Hooks,
        journal: Journal,
        guards_only: bool = False,
    ) -> None:
        self.settings = settings
        self._journal = journal
        hooks.recorder = journal.heard
        self.hooks = hooks
        self.signals = StopSignals(self._on_first_signal, self._on_second_signal)
        self.forced = False
        self._kills = OwnKills(self._send, journal, self._stop_began)
        self._main = (os.getpid(), start_of(os.getpid()))
        self._run = run
        self._earlier = set(earlier)
        self.fleet = Fleet(settings, hooks, journal, self._send)
        self._control = Control(run, self.fleet.living)
        self._own_stack = OwnStack(run)
        self.launcher = self._make_launcher()
        self._watchdog = self._make_watchdog_link()
        self.helpers = Helpers(
            self._main, settings.orphan_grace, self.signals, journal, self._kills, self._send
        )
        self._is_blind = False
        self._is_finished = False
        self._steps = Steps()
        self._exit_code = 0
        self._stopping_since: float | None = None
        self._next_check = 0.0
        self._zombies: set[Identity] = set()
        self._replaced_manager: Callable[..., Any] | None = None
        self._guards_only = guards_only
        self._has_manager = False
        """Whether Sanic has made our manager."""
        self._guard: Guard | None = None
        self._listeners = MainListeners(self.signals, settings.slow_handler)
        self.notifier = _notifier()

    def _make_launcher(self) -> Launcher:
        return Launcher(
            self._main,
            self._run,
            self.settings,
            self.signals,
            self.hooks,
            self._journal,
            self.fleet,
            self._identify,
            self._beat_every,
        )

    def _make_watchdog_link(self) -> WatchdogLink:
        return WatchdogLink(
            self._main,
            self._run,
            self.settings.orphan_grace,
            handlers={
                wire.EXPIRED: self.fleet.on_expired,
                wire.KILLED: self.fleet.on_killed,
                wire.EXITED: self.fleet.on_exited,
                wire.ZOMBIE: self._on_zombie,
            },
            on_start=self._on_watchdog,
            introduce=self._introduce_everything,
        )

    # -- the life of a server ---------------------------------------------------------------------

    def begin(self) -> None:
        """Stop signals are caught, the watchdog is up: from here on nothing is left behind.

        This is done before Sanic starts its first process, the SyncManager.
        """
        for served in _served:
            if served._main == self._main:
                served.release()
        _served[:] = [self]
        # First, so that whatever fails from here on, main has a deadline for its exit.
        services.at_exit(self._exit)
        services.at_exit(services.do_not_wait_for_tracker)
        self.signals.install()
        self._journal.open()
        self._use_directory(self._journal.path)
        self._journal.place.moved = self._use_directory
        self.signals.keep_exit_codes()
        preflight.ask_the_kernel()
        birthmark.shed()
        children = children_of(self._main[0])
        known = services.multiprocessing_children()
        preexisting = {child for child in children if child[0] not in known}
        self._watchdog.start(self._earlier & children, preexisting)
        # Main may hang in a listener before its loop has turned once: it can be seen, and dumped.
        if self._journal.path:
            self._journal.write(time.monotonic())
        if self.notifier is not None:
            self.notifier.begin(self.settings.startup_timeout)

    def _use_directory(self, path: str) -> None:
        """The directory in which others leave word too, and look for it."""
        self._control.open(path)
        self._own_stack.open(path)
        self._send(wire.STATE, path)

    def adopt(self, app: App) -> None:
        """Take over what Sanic would start and stop workers with."""
        # Only now: it has started while the SyncManager did, which takes longer.
        self._watchdog.confirm()
        if not self._guards_only:
            self._replaced_manager = sanic_main.substitute_worker_manager(self._make_manager)
        if app.config.INSPECTOR:
            from ..worker.inspector import add_commands  # most servers have none

            add_commands(app, self._journal.path, self._run)
        self._listeners.make_interruptible(app)
        preflight.refuse_taken_ports(self.settings.orphan_grace)

    def _make_manager(self, *args: Any, **kwargs: Any) -> Any:
        """A process that was forked from main may serve an app that does not have the Reaper."""
        if os.getpid() != self._main[0]:
            assert self._replaced_manager is not None
            return self._replaced_manager(*args, **kwargs)
        from .manager import SupervisedManager  # here: it does not import where Sanic has changed

        try:
            manager = SupervisedManager(*args, supervisor=self, **kwargs)
        except (AttributeError, KeyError, TypeError) as error:
            log.error("%s (%r)", contracts.NOT_OURS, error)
            self._guards_only = True
            assert self._replaced_manager is not None
            return self._replaced_manager(*args, **kwargs)
        self._has_manager = True
        return manager

    def confirm(self, app: App) -> None:
        """Sanic has made its manager. If it is not ours, guard the server without one."""
        self.helpers.register()
        if self._has_manager:
            return
        if not self._guards_only:
            log.error("%s", contracts.NOT_OURS)
        if self.signals.received is not None:  # Sanic's manager has not heard of it
            sanic_main.leave_serve(0)
        self._journal.guards_only = True
        self._journal.enter("serving")
        if self.notifier is not None:
            self.notifier.guard()
        sanic_main.soften_kill(app, self.kill)
        self.signals.accompany()
        self.helpers.are_known = False
        self._guard = Guard(self._main[0], self._turn_beside, self._kill_unsupervised)

    def _turn_beside(self) -> None:
        """One turn where Sanic's own manager has the main thread."""
        self.turn(0.25)
        self.hooks.turn()

    def _kill_unsupervised(self) -> Callable[[Identity], object] | None:
        """What kills a worker that Sanic's own manager waits for. `None`: its time is not up."""
        if self._stopping_since is None:
            return None
        if not self.forced and time.monotonic() < self._drain_by:
            return None
        why = KILLS["forced" if self.forced else "stop"]

        def kill(identity: Identity) -> None:
            if self._kills.kill(identity, WORKER, "of Sanic's manager", why):
                self._kills.by_us.append(WORKER)

        return kill

    def finish(self) -> None:
        """Main has nothing more to do: have what workers left behind ended, and say how it went."""
        if not self._watchdog.is_open:
            return
        for purpose, step in (
            ("turn the loop in the main thread again", self._leave_guard),
            ("give the environment back", environment.end_run),
            ("note how the server ends", self._note_failure),
            ("tell the watchdog of the stop", self.stop),
            ("tell the watchdog of the helpers", self.helpers.register),
            ("have leftover processes killed", self._clear_leftovers),
            ("shut the SyncManagers down", lambda: self.helpers.shut_down(self._deadline)),
            ("say how the stop went", self._say_goodbye),
            ("write down that the server has stopped", self._write_last),
            ("close its socket", self._control.close),
            ("close the file of its stack", self._own_stack.close),
            ("give the listeners back", self._listeners.restore),
            ("let the hooks end", self.hooks.finish),
            ("give the WorkerManager back", self._restore_manager),
            ("drop signals that are late", self.signals.drop_further),
        ):
            self._steps.attempt(purpose, step)
        self._is_finished = True
        if not sanic_app.in_serve():  # somebody has called it by another name
            self.end()

    def _leave_guard(self) -> None:
        if self._guard is not None:
            self._guard.stop()

    def _note_failure(self) -> None:
        """Where main has failed before its loop began, the exception is just passing by."""
        error = sys.exc_info()[1]
        if error is not None and not self._journal.is_concluded:
            self.conclude(*outcome_of(error))

    def _clear_leftovers(self) -> None:
        self._watchdog.finish()
        # Not to the last moment, which is when the watchdog kills a main that is late.
        by = self._deadline - min(LAST_WORDS, self.settings.shutdown_timeout / 8)
        while self._watchdog.left_behind is None and time.monotonic() < by:
            self._take_turn(0.02)

    def _take_turn(self, wait: float) -> None:
        """In a stop: if a turn fails, the next one may not."""
        if not self._steps.attempt("look after its processes", lambda: self.turn(wait)):
            time.sleep(max(wait, 0.02))

    def _write_last(self) -> None:
        self._journal.enter("stopped")
        self._journal.write(time.monotonic())

    def _restore_manager(self) -> None:
        if self._replaced_manager is not None:
            sanic_main.substitute_worker_manager(self._replaced_manager)

    def hand_over(self) -> None:
        """The workers have ended: what main starts from now on, in its own stop too, is the
        script's. The watchdog knows by then what main has started before."""
        environment.end_run()
        self._watchdog.hand_over()
        by = time.monotonic() + HANDOVER
        while self._watchdog.is_handing_over and time.monotonic() < by:
            self._take_turn(0.02)

    def end(self) -> None:
        """`serve` is over. The script goes on as if there had been no server."""
        if os.getpid() != self._main[0] or not self._watchdog.is_open:
            return  # a child that main has forked; or all of this is done
        if not self._is_finished:  # a listener of the user's has raised, and ours was never called
            self.finish()
        for purpose, step in (
            ("let the watchdog go", self._let_go),
            ("give the signals back", self.signals.restore),
            ("adopt no more orphans", platform.become_no_subreaper),
        ):
            self._steps.attempt(purpose, step)

    def _let_go(self) -> None:
        """The watchdog stays if the time of the stop was up before all leftovers had ended, and for
        a SyncManager of the user's, which is to end after main."""
        if not self._watchdog.is_open:
            return  # `finish` comes after `serve` where a listener has raised: it has done this
        if self._watchdog.left_behind is None or services.managers():
            self._send(wire.OVER)
        else:
            self.release()

    def _exit(self) -> None:
        """The interpreter exits. It joins every thread first."""
        if os.getpid() != self._main[0] or _served[-1:] != [self]:
            return  # a child that main has forked; or another server has begun here
        self.end()
        if threading.current_thread() is threading.main_thread():
            self.signals.drop_at_exit()
            aftermath.leave_threads(self._listeners.left_threads)
        aftermath.name_threads_that_are_waited_for(self._listeners.left_threads)

    def release(self) -> None:
        """There is nothing that the watchdog would have to guard any more."""
        self._watchdog.dismiss()

    def _say_goodbye(self) -> None:
        self._handle_exits()
        elapsed = time.monotonic() - self._stop_began()
        left_behind = self._watchdog.left_behind or 0
        words = goodbye(
            elapsed,
            self._exit_code,
            self._kills.by_us,
            left_behind,
            self._watchdog.survivors,
            self._kills.by_others,
        )
        log.info("%s", words)

    # -- what the manager reports (interfaces.Supervision) -----------------------------------------

    def _identify(self, pid: int) -> int:
        """The creation time of a child of main's, or `UNKNOWN`: which is said once."""
        start = start_of(pid)
        self._note_blindness(start)
        return start

    def _note_blindness(self, start: int) -> None:
        if start == UNKNOWN and not self._is_blind:
            self._is_blind = True
            log.warning(
                "the process table can't be read: what workers have started can't be found, and "
                "processes are known by their pid alone"
            )

    def _beat_every(self) -> float:
        wanted = self.settings.beat_every
        return wanted if self.notifier is None else self.notifier.heartbeat_interval(wanted)

    def wants(self, workers: int, has_started: bool) -> None:
        self._journal.wanted = workers
        if has_started and self._stopping_since is None:
            self._journal.enter("serving")

    def conclude(self, code: int, words: str) -> None:
        self._exit_code = code
        self._journal.conclude(code, words)

    def on_ack(self, worker: Worker) -> None:
        """A worker has acked. By then its helpers have been started."""
        if not worker.startup.has_acked:
            worker.on_ack()
            self.helpers.register()

    # -- stopping ---------------------------------------------------------------------------------

    def _stop_began(self) -> float:
        assert self._stopping_since is not None
        return self._stopping_since

    @property
    def _deadline(self) -> float:
        return self._stop_began() + self.settings.shutdown_timeout

    @property
    def _drain_by(self) -> float:
        """When workers must have exited: main still has to end after them, and what they leave."""
        return self._deadline - min(1.0, self.settings.shutdown_timeout / 4)

    def stop(self) -> None:
        """Begin to stop, unless that has begun. Safe in a signal handler: it makes one write."""
        if self._stopping_since is None:
            self._stopping_since = time.monotonic()
            self.fleet.stopping = True
            self._watchdog.stop(self._drain_by, max(self._deadline, self._drain_by + 1.0))
            self._journal.enter("stopping")

    def kill(self) -> None:
        """End all our processes at once; never a process group, which is not ours alone."""
        self.forced = True
        self.stop()
        self._watchdog.kill()

    def _on_first_signal(self, signum: int) -> None:
        self.stop()

    def _on_second_signal(self, signum: int) -> None:
        self.kill()

    def wait_for_end(self) -> None:
        killed: set[Child] = set()
        while alive := [child for child in self.fleet.living if child.exitcode is None]:
            self._take_turn(0.0)
            self.hooks.turn()
            connection.wait([child.handle.sentinel for child in alive], 0.05)
            if time.monotonic() > self._deadline:
                # The watchdog should have done this a second ago. It lives, or there would be
                # another one: a debugger holds it.
                for child in set(alive) - killed:
                    killed.add(child)
                    self._kills.kill(child.identity, child.role, child.name, KILLS["stop"])
        self._take_turn(0.0)

    # -- the watchdog -----------------------------------------------------------------------------

    def turn(self, wait: float = 0.0) -> None:
        """Hear what the watchdog has to say; see that there is one; look after each process."""
        if wait:
            connection.wait(self.news, wait)
        self.hear()
        now = time.monotonic()
        self.fleet.turn(now)
        if now >= self._next_check:
            self._next_check = now + CHECK_EVERY
            self._handle_exits()
            self._reap_adopted()
            self._watchdog.check(now)
        self._journal.turn(now)
        self._control.turn()
        self._own_stack.turn(now)
        if self.notifier is not None:
            # Of a stop too, and not in the signal's handler: that makes one write, the watchdog's.
            # The handler would gain the moment until main's loop goes on, or speak for a main that
            # is stuck: and mostly it is the service manager itself that has asked for the stop.
            self.notifier.turn(None if self._stopping_since is None else self._deadline)

    def hear(self) -> None:
        """Act on what the watchdog has said by now."""
        self._watchdog.receive()

    def _send(self, *words: object) -> None:
        self._watchdog.send(*words)

    def _on_watchdog(self, identity: Identity) -> None:
        self._note_blindness(identity[1])
        self._journal.registered(identity, WATCHDOG, WATCHDOG)

    def _introduce_everything(self) -> None:
        """To a watchdog that has just been started."""
        self._send(wire.STATE, self._journal.path)
        for child in self.fleet.living:
            self.fleet.register(child)
        self.helpers.register()

    def _on_zombie(self, pid: int, start: int) -> None:
        self._zombies.add((pid, start))

    @property
    def news(self) -> list[int]:
        fd = self._watchdog.fileno()
        return [fd] if fd >= 0 else []

    @property
    def questions(self) -> list[int]:
        return self._control.news

    def _reap_adopted(self) -> None:
        if self._zombies:
            zombies, self._zombies = self._zombies, set()
            reap_adopted({pid for pid, start in zombies if start_of(pid) == start})

    def _handle_exits(self) -> None:
        for child in self.fleet.handle_exits(self.hear):
            if self._stopping_since is not None:
                self._kills.count(child)


def _notifier() -> Notifier | None:
    """The line to the service manager, if one has started main and wants to be told."""
    if not os.environ.get("NOTIFY_SOCKET"):
        return None
    from .notify import Notifier  # here, for its size: most servers have no use for it

    return Notifier.of(os.environ)


_served: list[Supervisor] = []
"""The last server of this process: it runs, or it is over and the script goes on."""


def end_of_serve() -> None:
    """Called when `Sanic.serve` ends, in whatever way."""
    for supervisor in _served:
        supervisor.end()
