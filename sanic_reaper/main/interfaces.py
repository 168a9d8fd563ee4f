"""What one module asks of another, for the type checker alone.

Nobody imports this at run time: a Protocol is not free, and a worker would pay for it too.
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
    """Who wants to know of the processes that main starts: the launcher."""

    def starting(self, handle: WatchedProcess) -> AbstractContextManager[ProcessConfig]:
        """What to start it in, and what to tell it."""

    def on_terminate(self, handle: WatchedProcess, was_asked: bool) -> None:
        """It is to end, while the server goes on; and whether main could tell it so."""


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
        """What starts processes, and hears of their end."""

    @property
    def news(self) -> list[int]:
        """Descriptors that turn readable when `turn` has something to hear."""

    @property
    def questions(self) -> list[int]:
        """The same for somebody who asks where a worker is."""

    def turn(self) -> None:
        """Hear the watchdog, act on what it says, and do what is due."""

    def hear(self) -> None:
        """The first of these alone."""

    def wants(self, workers: int, has_started: bool) -> None:
        """So many workers are to serve; and whether the start of all of them has been over once."""

    def on_ack(self, worker: Worker) -> None:
        """A worker has acked."""


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
        """The same, after waiting for news, for `wait` seconds at most."""

    def handle_exits(self) -> None:
        """Reap the processes that have exited, and note how."""


class WatchdogEndpoint(Protocol):
    """Whoever keeps the list of processes and deadlines: a watchdog, or a watch in main itself."""

    def send(self, *words: object) -> bool:
        """Tell it one message; returns whether that is on its way."""

    def receive(self) -> list[list[str]]:
        """What it has said since."""

    def alive(self) -> bool:
        """Whether it guards the server."""

    def fileno(self) -> int:
        """A descriptor that turns readable when it has said something; -1: there is none."""

    def dismiss(self) -> None:
        """Have it exit: nothing is left to guard."""

    def close(self) -> None:
        """Let it go: it has died, or does its work without us."""
