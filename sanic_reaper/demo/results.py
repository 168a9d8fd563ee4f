"""What the demo tries, and what comes of it."""

from __future__ import annotations

import signal
from dataclasses import dataclass

WORKERS = 2  # as in slow_start.py


@dataclass(frozen=True)
class Row:
    """One line of the table: main gets this signal in this state."""

    name: str
    event: str
    state: str
    signal: signal.Signals | None  # None: nothing is done to it
    to_group: bool = False
    to_workers: bool = False  # instead of main; what counts then is whether the port answers again
    serving: bool = False
    limit: float = 0.0  # seconds that the Reaper gives a handler; 0: no limit


STARTING, SERVING = "in start-up", "while serving"
ROWS = (
    Row("sigterm-startup", "SIGTERM", STARTING, signal.SIGTERM),
    Row("ctrl-c-startup", "Ctrl+C", STARTING, signal.SIGINT, to_group=True),
    Row("sigkill-startup", "SIGKILL", STARTING, signal.SIGKILL),
    Row("sighup-startup", "SIGHUP", STARTING, signal.SIGHUP),
    Row("sigkill-serving", "SIGKILL", SERVING, signal.SIGKILL, serving=True),
    Row("sigterm-serving", "SIGTERM", SERVING, signal.SIGTERM, serving=True),
    Row("start-hangs", "nothing", "start hangs", None, limit=1.5),
    Row("workers-killed", "SIGKILL", "to workers *", signal.SIGKILL, to_workers=True, serving=True),
)


@dataclass(frozen=True)
class Leftover:
    """A process that a server left behind, as `ps` shows it."""

    pid: int
    ppid: int
    state: str  # R running, S sleeping, T stopped, Z defunct
    cpu: float  # per cent of a core since the signal
    role: str
    command: str
    starved: float = 0.0  # per cent of that time in which it could have run and had no CPU


@dataclass(frozen=True)
class Outcome:
    """What one server left behind."""

    started: bool  # False: it never came to the state in which its row would hurt it
    start: float = 0.0  # seconds until it came to that state, or was given up
    waited: float = 0.0  # seconds from the signal until its processes were counted
    left: int = 0  # processes that still live
    port_held: bool = False
    main: str = "gone"  # or "spins", "idle"
    cpu: float = 0.0  # per cent of a core that those left use up
    gone_after: float | None = None  # seconds; None: not gone
    is_to_answer: bool = False  # whether the server is not to end, but to go on
    answers_after: float | None = None  # seconds; None: it does not
    exit_code: int | None = None  # of main, negative for a signal; None: main still lives
    processes: tuple[Leftover, ...] = ()  # those left, and the defunct among them
    output: str = ""  # the last words of a server that did not start

    @property
    def measured(self) -> bool:
        """Whether it came to be hurt, or failed by itself. If not, the machine was too busy."""
        return self.started or self.exit_code is not None

    @property
    def clean(self) -> bool:
        if self.is_to_answer:
            return self.started and self.answers_after is not None
        return self.started and not self.left and not self.port_held


@dataclass(frozen=True)
class Result:
    row: Row
    plain: Outcome
    reaper: Outcome
