"""The rows of the demo, and the results of a row."""

from __future__ import annotations

import signal
from dataclasses import dataclass

WORKERS = 2  # as in slow_start.py


@dataclass(frozen=True)
class Row:
    """One row of the table: the main process of a server gets a signal in a state."""

    name: str
    """Its name for `--only`."""
    event: str
    """What is done to the server, for the table."""
    state: str
    """The state in which it is done, for the table."""
    signal: signal.Signals | None
    """The signal. `None`: none is sent."""
    to_group: bool = False
    """Whether the signal goes to the process group of the main process."""
    to_workers: bool = False
    """Whether the signal goes to the workers. Then the demo waits for the next answer."""
    serving: bool = False
    """Whether the server serves by then. If not, it is starting."""
    limit: float = 0.0
    """Limit of a start handler in seconds, for the Reaper. 0: no limit."""


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
    state: str
    """`R`: running. `S`: sleeping. `T`: stopped. `Z`: zombie."""
    cpu: float
    """Per cent of a core that it has used since the signal."""
    role: str
    command: str
    starved: float = 0.0
    """Per cent of that time in which it was ready to run and had no CPU."""


@dataclass(frozen=True)
class Outcome:
    """What one server left behind."""

    started: bool
    """Whether the server has reached the state of its row."""
    start: float = 0.0
    """Seconds until it has reached that state, or until the demo has stopped waiting."""
    waited: float = 0.0
    """Seconds from the signal until its processes were counted."""
    left: int = 0
    """Number of its processes that still live."""
    port_held: bool = False
    """Whether its port is still in use."""
    main: str = "gone"
    """State of the main process: `gone`, `idle` or `spins`."""
    cpu: float = 0.0
    """Per cent of a core that the leftovers use."""
    gone_after: float | None = None
    """Seconds until no process lived. `None`: some still live."""
    is_to_answer: bool = False
    """Whether the server must go on serving in this row."""
    answers_after: float | None = None
    """Seconds until the server answered again. `None`: it did not."""
    exit_code: int | None = None
    """Exit code of the main process, negative for a signal. `None`: the process still lives."""
    processes: tuple[Leftover, ...] = ()
    """The leftovers, with the zombies among them."""
    output: str = ""
    """The end of the output of a server that did not start."""

    @property
    def measured(self) -> bool:
        """Whether it has reached its state or failed by itself. If not, the machine is too busy."""
        return self.started or self.exit_code is not None

    @property
    def clean(self) -> bool:
        """Whether nothing was left, or the server answers again if it must."""
        if self.is_to_answer:
            return self.started and self.answers_after is not None
        return self.started and not self.left and not self.port_held


@dataclass(frozen=True)
class Result:
    """The two outcomes of one row."""

    row: Row
    plain: Outcome
    reaper: Outcome
