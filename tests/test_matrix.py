"""The promise itself: whatever hits main, in whatever state its workers are, nothing is left.

Every state, every event, every start method, two workers each; counted in a box that no process can
leave, down to the last zombie. `test_controls.py` shows what plain Sanic makes of the same.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import pytest
from support.http import can_bind
from support.marks import METHODS
from support.server import ORPHAN_GRACE, SHUTDOWN_TIMEOUT, SLACK, SUPERVISED, Server

OS_EXIT_CODE = 9
"""Of main, where it ends without any clean-up (`subjects/subject.py`)."""


# -- states ---------------------------------------------------------------------------------------


def workers_hold(server: Server) -> None:
    server.wait_for("holding", 2)


def workers_serve(server: Server) -> None:
    server.wait_serving()


def workers_block(server: Server) -> None:
    """One after the other: a worker that is blocked accepts no connection."""
    server.wait_serving()
    server.request("/do/block")
    server.request("/do/block")


def workers_are_stopped(server: Server) -> None:
    for worker in server.wait_serving():
        worker.freeze()


def main_is_stuck(server: Server) -> None:
    server.wait_serving()
    server.sync_manager.freeze()
    server.wait_main_stuck()


def manager_is_dead(server: Server) -> None:
    """Main learns of it together with the event: alone it would be a reason to stop."""
    server.wait_serving()
    manager = server.sync_manager
    server.main.freeze()
    manager.send(signal.SIGKILL)


@dataclass(frozen=True)
class State:
    """Where a server is when it is hit."""

    name: str
    reach: Callable[[Server], None]
    polite: bool = True
    """Whether workers end when they are asked to, so that none has to be killed."""
    importing: str = ""
    starting: str = ""
    methods: Sequence[str] = METHODS
    codes_of_stop: tuple[int, ...] = (0,)
    release: Callable[[Server], None] = field(default=lambda server: None)
    """What lets it go on after it was hit."""


STATES = [
    # Under fork there is nothing to import: a worker has what main has.
    State("importing", workers_hold, importing="block", methods=("spawn", "forkserver")),
    State("async start", workers_hold, starting="async"),
    State("blocking start", workers_hold, starting="block"),
    State("start that holds the GIL", workers_hold, starting="hold_gil"),
    State("start that swallows exceptions", workers_hold, starting="swallow"),
    State("start that is deaf", workers_hold, starting="deaf", polite=False),
    State("serving", workers_serve),
    State("blocked in a request", workers_block, polite=False),
    State("workers stopped", workers_are_stopped),
    State("SyncManager stopped", main_is_stuck),
    State(
        "SyncManager killed",
        manager_is_dead,
        # Main has two reasons to end; which of them it meets first is up to chance.
        codes_of_stop=(0, 1),
        release=lambda server: server.main.send(signal.SIGCONT),
    ),
]


# -- events ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Event:
    """What hits it: a signal to main or to main's whole process group."""

    name: str
    signum: int
    code: int
    """Main's exit code; 0 is that of a stop."""
    to_group: bool = False

    @property
    def is_stop(self) -> bool:
        return self.code == 0

    def hit(self, server: Server) -> None:
        (server.send_group if self.to_group else server.send)(self.signum)


EVENTS = [
    Event("SIGKILL", signal.SIGKILL, -signal.SIGKILL),
    Event("SIGABRT", signal.SIGABRT, -signal.SIGABRT),
    Event("os._exit", signal.SIGUSR1, OS_EXIT_CODE),
    Event("SIGTERM", signal.SIGTERM, 0),
    Event("SIGINT", signal.SIGINT, 0),
    Event("Ctrl+C", signal.SIGINT, 0, to_group=True),
    Event("SIGHUP", signal.SIGHUP, 0),
    Event("SIGQUIT", signal.SIGQUIT, 0),
]

SMOKE = {
    ("spawn", "serving", "SIGKILL"),
    ("spawn", "serving", "SIGTERM"),
    ("spawn", "importing", "Ctrl+C"),
    ("spawn", "start that holds the GIL", "SIGTERM"),
    ("fork", "blocking start", "Ctrl+C"),
    ("fork", "blocked in a request", "SIGKILL"),
    ("fork", "SyncManager stopped", "SIGHUP"),
    ("forkserver", "serving", "SIGKILL"),
    ("forkserver", "start that is deaf", "SIGQUIT"),
}


def marks(method: str, state: State, event: Event) -> list[pytest.MarkDecorator]:
    return [pytest.mark.smoke] * ((method, state.name, event.name) in SMOKE)


def scenarios() -> list[object]:
    return [
        pytest.param(
            method,
            state,
            event,
            id=f"{method}-{state.name}-{event.name}",
            marks=marks(method, state, event),
        )
        for state in STATES
        for event in EVENTS
        for method in state.methods
    ]


@pytest.mark.parametrize(("method", "state", "event"), scenarios())
def test_nothing_is_left(launch, method: str, state: State, event: Event):
    subject = SUPERVISED.with_(
        method=method,
        importing=state.importing,
        listeners={"before_server_start": state.starting} if state.starting else {},
    )
    server = launch(subject)
    state.reach(server)
    event.hit(server)
    state.release(server)

    limit = SHUTDOWN_TIMEOUT if event.is_stop else ORPHAN_GRACE
    server.wait_gone(limit + SLACK)
    assert can_bind(server.port)
    assert server.exit_code() in (state.codes_of_stop if event.is_stop else (event.code,))
    if event.is_stop:
        assert "Traceback" not in server.output()
    if state.polite:
        assert "SIGKILL to worker" not in server.output()
