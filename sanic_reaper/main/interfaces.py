"""What one module of this package asks of another, as types.

It is imported for type checking only. At run time a Protocol costs memory, in each worker too.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Protocol

from ..config import Settings
from ..events import Hooks
from ..platform.base import Identity
from ..worker.entry import ProcessConfig
from .control import Control
from .fleet import Fleet
from .helpers import Helpers
from .journal import Journal
from .listeners import MainListeners
from .notify import Notifier
from .own_kills import OwnKills
from .own_stack import OwnStack
from .processes import WatchedProcess
from .shutdown import Shutdown
from .signals import StopSignals
from .stop import Stop
from .takeover import ManagerTakeover
from .watchdog_link import WatchdogLink
from .worker import Worker


class Watcher(Protocol):
    """What a process asks of the launcher when it starts and when it is told to stop."""

    def starting(self, handle: WatchedProcess) -> AbstractContextManager[ProcessConfig]:
        """The context in which the process is started, which yields its configuration."""

    def on_terminate(self, handle: WatchedProcess, was_asked: bool) -> None:
        """Note that a process was told to stop, and whether main could signal it."""


class Supervision(Protocol):
    """What the manager asks of the supervisor."""

    signals: StopSignals
    settings: Settings
    hooks: Hooks
    notifier: Notifier | None
    fleet: Fleet
    stop: Stop
    shutdown: Shutdown

    @property
    def launcher(self) -> Watcher:
        """What starts processes."""

    @property
    def news(self) -> list[int]:
        """Descriptors that become readable when the watchdog has sent a message."""

    @property
    def questions(self) -> list[int]:
        """The same for clients of the control socket."""

    @property
    def is_sending(self) -> bool:
        """Whether a client of the control socket has not read all of its answer yet."""

    def turn(self) -> None:
        """One turn of main's loop."""

    def receive(self) -> None:
        """Act on the messages of the watchdog that have arrived."""

    def note_workers(self, workers: int, has_started: bool) -> None:
        """Note how many workers are configured, and whether all of them have started once."""

    def on_ack(self, worker: Worker) -> None:
        """Note that a worker has acked."""


class ServerParts(Supervision, Protocol):
    """The parts of one server, for those who end it (`shutdown`) or replace its manager."""

    main: Identity
    watchdog: WatchdogLink
    helpers: Helpers
    kills: OwnKills
    journal: Journal
    control: Control
    own_stack: OwnStack
    listeners: MainListeners
    takeover: ManagerTakeover

    def turn(self, wait: float = 0.0) -> None:
        """One turn of main's loop, after waiting for a message for `wait` seconds at most."""

    def handle_exits(self) -> None:
        """Reap the processes that have exited, and note how."""


class WatchdogEndpoint(Protocol):
    """The other end of main's link: a watchdog, or the watch in main itself."""

    def send(self, *words: object) -> bool:
        """Send one message. Returns whether it was sent or queued."""

    def receive(self) -> list[list[str]]:
        """The messages that have arrived since the last call."""

    def alive(self) -> bool:
        """Whether it works. If not, it must be replaced."""

    def fileno(self) -> int:
        """A descriptor that becomes readable when there is a message. -1: there is none."""

    def dismiss(self) -> None:
        """Have it exit, because nothing is left to guard."""

    def close(self) -> None:
        """Close main's end, because it has died or works on without main."""
