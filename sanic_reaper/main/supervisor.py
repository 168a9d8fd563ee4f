"""The Reaper in the main process: its parts, their start, and the loop that drives them.

The stop is in `stop`, the end after it in `shutdown`, the manager of the workers in `takeover`.
"""

from __future__ import annotations

import os
import time
from collections.abc import Set
from multiprocessing import connection
from typing import TYPE_CHECKING

from ..compat import services
from ..compat.sanic_app import App
from ..config import Settings
from ..events import Hooks
from ..log import log
from ..model.roles import WATCHDOG
from ..platform.base import Identity
from ..protocol import watchdog as wire
from ..tree import birthmark
from ..tree.process import UNKNOWN, children_of, start_of
from . import preflight
from .children import AdoptedZombies
from .control import Control
from .fleet import Fleet
from .helpers import Helpers
from .journal import Journal
from .launcher import Launcher
from .listeners import MainListeners
from .own_kills import OwnKills
from .own_stack import OwnStack
from .shutdown import Shutdown
from .signals import StopSignals
from .stop import Stop
from .takeover import ManagerTakeover
from .watchdog_link import WatchdogLink
from .worker import Worker

if TYPE_CHECKING:
    from .notify import Notifier

CHECK_EVERY = 0.5
"""Seconds between two looks at whether the watchdog lives."""


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
        self.journal = journal
        hooks.recorder = journal.record
        self.hooks = hooks
        self.main = (os.getpid(), start_of(os.getpid()))
        self._run = run
        self._earlier = set(earlier)
        self._is_blind = False
        self._next_check = 0.0
        self._zombies = AdoptedZombies()
        self.fleet = Fleet(settings, hooks, journal, self._send)
        self.watchdog = self._make_watchdog_link()
        self.stop = Stop(settings.shutdown_timeout, self.fleet, self.watchdog, journal)
        self.signals = StopSignals(self._on_first_signal, self._on_second_signal)
        self.kills = OwnKills(self._send, journal, self.stop)
        self.control = Control(run, self.fleet.living)
        self.own_stack = OwnStack(run)
        self.launcher = self._make_launcher()
        self.helpers = self._make_helpers()
        self.listeners = MainListeners(self.signals, settings.slow_handler)
        self.notifier = _notifier()
        self.takeover = ManagerTakeover(self, guards_only)
        self.shutdown = Shutdown(self)

    def _make_launcher(self) -> Launcher:
        return Launcher(
            self.main,
            self._run,
            self.settings,
            self.signals,
            self.hooks,
            self.journal,
            self.fleet,
            self._identify,
            self._beat_every,
        )

    def _make_helpers(self) -> Helpers:
        grace = self.settings.orphan_grace
        return Helpers(self.main, grace, self.signals, self.journal, self.kills, self._send)

    def _make_watchdog_link(self) -> WatchdogLink:
        return WatchdogLink(
            self.main,
            self._run,
            self.settings.orphan_grace,
            handlers={
                wire.EXPIRED: self.fleet.on_expired,
                wire.KILLED: self.fleet.on_killed,
                wire.EXITED: self.fleet.on_exited,
                wire.ZOMBIE: self._zombies.add,
            },
            on_start=self._on_watchdog,
            introduce=self._introduce_everything,
        )

    # -- the life of a server ---------------------------------------------------------------------

    def begin(self) -> None:
        """Stop signals are caught, the watchdog is up: from here on nothing is left behind.

        This is done before Sanic starts its first process, the SyncManager.
        """
        self.shutdown.prepare()
        self.signals.install()
        self.journal.open()
        self._use_directory(self.journal.path)
        self.journal.place.moved = self._use_directory
        self.signals.keep_exit_codes()
        preflight.ask_the_kernel()
        birthmark.shed()
        children = children_of(self.main[0])
        known = services.multiprocessing_children()
        preexisting = {child for child in children if child[0] not in known}
        self.watchdog.start(self._earlier & children, preexisting)
        # Main may hang in a listener before its loop has turned once: it can be seen, and dumped.
        if self.journal.path:
            self.journal.write(time.monotonic())
        if self.notifier is not None:
            self.notifier.begin(self.settings.startup_timeout)

    def _use_directory(self, path: str) -> None:
        """The directory in which others leave word too, and look for it."""
        self.control.open(path)
        self.own_stack.open(path)
        self._send(wire.STATE, path)

    def adopt(self, app: App) -> None:
        """Take over what Sanic would start and stop workers with."""
        # Only now: it has started while the SyncManager did, which takes longer.
        self.watchdog.confirm()
        self.takeover.substitute()
        if app.config.INSPECTOR:
            from ..worker.inspector import add_commands  # most servers have none

            add_commands(app, self.journal.path, self._run)
        self.listeners.make_interruptible(app)
        preflight.refuse_taken_ports(self.settings.orphan_grace)

    def confirm(self, app: App) -> None:
        """See whether Sanic has made our manager. If not, guard the server without one."""
        self.helpers.register()
        self.takeover.confirm(app)

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
                "the process table can't be read: descendants of workers can't be found, and "
                "processes are identified by their pid alone"
            )

    def _beat_every(self) -> float:
        wanted = self.settings.beat_every
        return wanted if self.notifier is None else self.notifier.heartbeat_interval(wanted)

    def wants(self, workers: int, has_started: bool) -> None:
        self.journal.wanted = workers
        if has_started and not self.stop.has_begun:
            self.journal.enter("serving")

    def on_ack(self, worker: Worker) -> None:
        """A worker has acked. By then its helpers have been started."""
        if not worker.startup.has_acked:
            worker.on_ack()
            self.helpers.register()

    def _on_first_signal(self, signum: int) -> None:
        self.stop.begin()

    def _on_second_signal(self, signum: int) -> None:
        self.stop.force()

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
            self.handle_exits()
            self._zombies.reap()
            self.watchdog.check(now)
        self.journal.turn(now)
        self.control.turn()
        self.own_stack.turn(now)
        if self.notifier is not None:
            # Of a stop too, and not in the signal's handler: that makes one write, the watchdog's.
            # The handler would gain the moment until main's loop goes on, or speak for a main that
            # is stuck: and mostly it is the service manager itself that has asked for the stop.
            self.notifier.turn(self.stop.deadline if self.stop.has_begun else None)

    def hear(self) -> None:
        """Act on what the watchdog has said by now."""
        self.watchdog.receive()

    def _send(self, *words: object) -> None:
        self.watchdog.send(*words)

    def _on_watchdog(self, identity: Identity) -> None:
        self._note_blindness(identity[1])
        self.journal.registered(identity, WATCHDOG, WATCHDOG)

    def _introduce_everything(self) -> None:
        """To a watchdog that has just been started."""
        self._send(wire.STATE, self.journal.path)
        for process in self.fleet.living:
            self.fleet.register(process)
        self.helpers.register()

    @property
    def news(self) -> list[int]:
        fd = self.watchdog.fileno()
        return [fd] if fd >= 0 else []

    @property
    def questions(self) -> list[int]:
        return self.control.news

    def handle_exits(self) -> None:
        for process in self.fleet.handle_exits(self.hear):
            if self.stop.has_begun:
                self.kills.count(process)


def _notifier() -> Notifier | None:
    """The line to the service manager, if one has started main and wants to be told."""
    if not os.environ.get("NOTIFY_SOCKET"):
        return None
    from .notify import Notifier  # here, for its size: most servers have no use for it

    return Notifier.of(os.environ)
