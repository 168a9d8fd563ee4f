"""The rows of the comparison: where a server stands, and what happens to it then."""

from __future__ import annotations

import signal
from dataclasses import dataclass


@dataclass(frozen=True)
class State:
    """Where the workers are.

    Attributes:
        start: what their start does (`apps/behaviour.py`); empty: they serve.
        request: what each of them is asked for, if they serve.
        children: how often each of them starts one child of each kind.
        stopped: whether they are stopped (SIGSTOP) then.
    """

    name: str
    start: str = ""
    request: str = ""
    children: int = 0
    stopped: bool = False


@dataclass(frozen=True)
class Event:
    """What happens: to main, to the whole foreground group, or to one worker."""

    name: str
    signum: signal.Signals
    whom: str = "main"


SERVING = State("serving")
STATES = [
    State("importing", start="import"),
    State("start awaits", start="async"),
    State("start blocks", start="block"),
    State("start holds the GIL", start="gil"),
    SERVING,
    State("requests block", request="/block"),
    State("workers are stopped", stopped=True),
    State("workers have children", children=1),
]
EVENTS = [
    Event("SIGTERM", signal.SIGTERM, "init"),
    Event("Ctrl+C", signal.SIGINT, "group"),
    Event("hang-up", signal.SIGHUP, "group"),
    Event("SIGKILL", signal.SIGKILL),
]


@dataclass(frozen=True)
class Scenario:
    """A row: what is done, and what is expected in the end, which is nothing at all.

    Attributes:
        ends: whether the server is to end. Otherwise it is to have two workers again.
    """

    state: State
    event: Event | None = None
    ends: bool = True

    @property
    def name(self) -> str:
        return f"{self.state.name}: {self.event.name}" if self.event else self.state.name


SCENARIOS = [
    *(Scenario(state, event) for state in STATES for event in EVENTS),
    Scenario(State("start raises", start="raise")),
    Scenario(State("workers end again and again", start="exit")),
    Scenario(SERVING, Event("a worker is killed", signal.SIGKILL, "worker"), ends=False),
    Scenario(State("a request hangs", request="one /block"), ends=False),
]
