"""What one module asks of another, for the type checker alone.

Nobody imports this at run time: a Protocol is not free, and a worker would pay for it too.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Protocol

from ..config import Settings
from ..events import Hooks
from ..worker.entry import ProcessConfig
from .fleet import Fleet
from .notify import Notifier
from .processes import WatchedProcess
from .signals import StopSignals
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

    def conclude(self, code: int, words: str) -> None:
        """The server ends, and how."""

    def on_ack(self, worker: Worker) -> None:
        """A worker has acked."""

    def stop(self) -> None:
        """Begin to stop, unless that has begun."""

    def kill(self) -> None:
        """End everything at once."""

    def wait_for_end(self) -> None:
        """Return when every process has ended: by its own, or by the watchdog's doing."""

    def hand_over(self) -> None:
        """The workers have ended: what main starts from now on is the script's."""

    @property
    def forced(self) -> bool:
        """Whether a second signal has cut the stop short."""


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
