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
from . import log_format, preflight
from .children import AdoptedZombies
from .control import Control
from .fleet import Fleet
from .helpers import Helpers
from .journal import Journal
from .last_requests import LastRequests
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
"""Seconds between two checks that the watchdog lives."""


class Supervisor:
    """What the Reaper does in the main process of one server.

    Args:
        settings: the settings of the primary app.
        run: the id of this run.
        earlier: children of main that do not belong to the server.
        hooks: the users' hooks, which receive events.
        journal: writes the state file.
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
        self._last_requests = LastRequests(self.fleet.living, self.stop, journal)
        self.fleet.on_kill.append(self._last_requests.on_killed)
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
        """Handle the stop signals, and start the watchdog. From here on nothing is left behind.

        Called before Sanic starts its first process, the SyncManager.
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
        # Main can hang in a listener before its first turn: `ps` and `dump` must work even then.
        if self.journal.path:
            self.journal.write(time.monotonic())
        if self.notifier is not None:
            self.notifier.begin(self.settings.startup_timeout)

    def _use_directory(self, path: str) -> None:
        """Create the socket and the stack file in the directory of the state file."""
        self.control.open(path)
        self.own_stack.open(path)
        self._send(wire.STATE, path)

    def adopt(self, app: App) -> None:
        """Take over the manager of the workers, and the listeners of the main process."""
        # Only now: the watchdog starts while the SyncManager does, which takes longer.
        self.watchdog.confirm()
        self.takeover.substitute()
        if app.config.INSPECTOR:
            # Here, for its size: most servers have no Inspector.
            from ..worker.inspector import add_commands

            add_commands(app, self.journal.path, self._run)
        self.listeners.make_interruptible(app)
        preflight.refuse_taken_ports(self.settings.orphan_grace)

    def confirm(self, app: App) -> None:
        """See whether Sanic has made our manager. If not, guard the server without one."""
        self._send(wire.FORMAT, log_format.of_log())  # a listener can have changed it
        self.helpers.register()
        self.takeover.confirm(app)

    # -- what the manager and the launcher report -------------------------------------------------

    def _identify(self, pid: int) -> int:
        """The creation time of a child of main. `UNKNOWN` is warned about once."""
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

    def note_workers(self, workers: int, has_started: bool) -> None:
        """Note how many workers are configured, and whether all of them have started once."""
        self.journal.wanted = workers
        if has_started and not self.stop.has_begun:
            self.journal.enter("serving")

    def on_ack(self, worker: Worker) -> None:
        """Note that a worker has acked. By then its helpers have been started."""
        if not worker.startup.has_acked:
            worker.on_ack()
            self.helpers.register()

    def _on_first_signal(self, signum: int) -> None:
        self.stop.begin()

    def _on_second_signal(self, signum: int) -> None:
        self.stop.force()

    # -- the watchdog -----------------------------------------------------------------------------

    def turn(self, wait: float = 0.0) -> None:
        """One turn of main's loop: read messages, check each process, write the state.

        Args:
            wait: seconds to wait for a message at most.
        """
        if wait:
            connection.wait(self.news, wait)
        self.receive()
        now = time.monotonic()
        self.fleet.turn(now)
        self._last_requests.turn(now)
        if now >= self._next_check:
            self._next_check = now + CHECK_EVERY
            self.handle_exits()
            self._zombies.reap()
            self.watchdog.check(now)
        self.journal.turn(now)
        self.control.turn()
        self.own_stack.turn(now)
        if self.notifier is not None:
            # A stop is notified here too, and not in the signal handler, which makes only one
            # write, to the watchdog. The handler would be earlier by a moment, or would speak for
            # a main that is stuck. And mostly the service manager itself has ordered the stop.
            self.notifier.turn(self.stop.deadline if self.stop.has_begun else None)

    def receive(self) -> None:
        """Act on the messages of the watchdog that have arrived."""
        self.watchdog.receive()

    def _send(self, *words: object) -> None:
        self.watchdog.send(*words)

    def _on_watchdog(self, identity: Identity) -> None:
        self._note_blindness(identity[1])
        self.journal.registered(identity, WATCHDOG, WATCHDOG)

    def _introduce_everything(self) -> None:
        """Tell a watchdog that has just been started of every process."""
        self._send(wire.STATE, self.journal.path)
        self._send(wire.FORMAT, log_format.of_log())
        for process in self.fleet.living:
            self.fleet.register(process)
        self.helpers.register()

    @property
    def news(self) -> list[int]:
        """Descriptors that become readable when the watchdog has sent a message."""
        fd = self.watchdog.fileno()
        return [fd] if fd >= 0 else []

    @property
    def questions(self) -> list[int]:
        """Descriptors that become readable when a client of the control socket needs main, or when
        a worker goes on with a long answer."""
        return [
            *self.control.news,
            *(fd for one in self.fleet.living if one.link is not None for fd in one.link.news),
        ]

    @property
    def is_sending(self) -> bool:
        """Whether a client of the control socket has not read all of its answer yet."""
        return self.control.is_sending

    def handle_exits(self) -> None:
        """Reap the processes that have exited. In a stop, count those that were killed."""
        for process in self.fleet.handle_exits(self.receive):
            if self.stop.has_begun:
                self.kills.count(process)


def _notifier() -> Notifier | None:
    """The link to the service manager. `None`: main was not started by one that asks for it."""
    if not os.environ.get("NOTIFY_SOCKET"):
        return None
    from .notify import Notifier  # here, for its size: most servers have no use for it

    return Notifier.of(os.environ)
