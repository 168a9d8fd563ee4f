"""Where the system lacks something, one warning says so, and the other layers hold.

Each mechanism is taken away by force (`SANIC_REAPER_WITHOUT`), so that this runs on any machine.
"""

from __future__ import annotations

import os
import sys
from signal import SIGINT, SIGKILL, SIGTERM

import pytest
from support.census import holds, wait_until
from support.marks import methods, signals, smoke_of
from support.server import (
    BOUND,
    START,
    STARTUP_TIMEOUT,
    SUPERVISED,
    Server,
)

ALL_BUT_WATCHDOG = "pidfd,prctl,children,proc"

WARNED_OF = {
    "pidfd": 0,
    "children": 0,
    "proc": 1,
    "prctl": 1,
    "watchdog": 1,
    "denied": 1,
    "pidfd,prctl,proc,denied": 2,
    ALL_BUT_WATCHDOG: 1,
    "prctl,watchdog": 2,
}
"""How many warnings: where the fallback is as good as the thing itself, none. (A system without
/proc is taken for another one than Linux, which has no prctl either.)"""


UNSEEN = {"watchdog", "denied"}
"""Without these nobody can find what workers have started."""


def serve(launch, without: str, method: str = "spawn", **changes) -> Server:
    subject = SUPERVISED.with_(method=method, **changes)
    return launch(subject, env={"SANIC_REAPER_WITHOUT": without})


def warnings(server: Server) -> list[str]:
    return [
        line
        for line in server.output().splitlines()
        if "[reaper]" in line and ("WARNING" in line or "ERROR" in line)
        # The limits of these tests, which are short.
        if "REAPER_SHUTDOWN_TIMEOUT = " not in line
    ]


@pytest.mark.parametrize("without", smoke_of(WARNED_OF, "prctl", "watchdog", ALL_BUT_WATCHDOG))
@methods
def test_it_serves_and_stops(launch, method, without):
    server = serve(launch, without, method)
    server.wait_serving()
    assert server.get()[0] == 200
    assert server.stop() == 0
    assert len(warnings(server)) == WARNED_OF[without], warnings(server)
    assert "Traceback" not in server.output()


@pytest.mark.parametrize("without", WARNED_OF)
def test_a_worker_that_does_not_stop_is_killed(launch, without):
    server = serve(launch, without, "fork", listeners={"before_server_stop": "block"})
    server.wait_serving()
    server.send(SIGTERM)
    server.wait_gone()
    assert server.exit_code() == 0


@pytest.mark.parametrize("without", WARNED_OF)
def test_ctrl_c_during_the_start(launch, without):
    server = serve(launch, without, listeners={"before_server_start": "hold_gil"})
    server.wait_for("holding", 2)
    server.send_group(SIGINT)
    server.wait_gone()
    assert server.exit_code() == 0
    assert "Traceback" not in server.output()


@pytest.mark.parametrize("without", WARNED_OF)
def test_a_start_that_takes_too_long(launch, without):
    # fork: an import alone can take as long on a busy machine.
    subject = SUPERVISED.with_(method="fork", listeners={"before_server_start": "hold_gil"})
    server = launch(
        subject.with_config(REAPER_STARTUP_TIMEOUT=STARTUP_TIMEOUT),
        env={"SANIC_REAPER_WITHOUT": without},
    )
    assert server.exit_code(START) == 1
    server.wait_gone()
    assert "in hold_gil" in server.output()


@pytest.mark.parametrize("without", [one for one in WARNED_OF if one != "prctl,watchdog"])
@pytest.mark.parametrize(
    ("method", "state"),
    [("spawn", "serving"), ("fork", "serving"), ("forkserver", "serving"), ("spawn", "start")],
)
def test_main_is_killed(launch, method, state, without):
    """Without prctl and watchdog nobody is left who could act, save under forkserver."""
    listeners = {"before_server_start": "block"} if state == "start" else {}
    server = serve(launch, without, method, listeners=listeners)
    if state == "start":
        server.wait_for("holding", 2)
    else:
        server.wait_serving()
    server.send(SIGKILL)
    server.wait_gone()


@pytest.mark.parametrize("without", [one for one in WARNED_OF if not UNSEEN & set(one.split(","))])
@signals(SIGTERM, SIGKILL)
def test_descendants(launch, signum, without):
    """(Without prctl there is no subreaper: a daemon with a cleaned environment may be missed.)"""
    children = ["plain", "setsid", "daemon", "cleaned", "deaf"]
    server = serve(launch, without, "fork", workers=1, children=children)
    server.wait_serving()
    wait_until(lambda: len(server.children) == len(children), 5, server.describe)
    assert holds(lambda: len(server.children) == len(children), 1.5)
    server.send(signum)
    server.wait_gone()


@pytest.mark.parametrize("without", ["pidfd", "proc", ALL_BUT_WATCHDOG])
def test_a_dead_watchdog_is_replaced(launch, without):
    server = serve(launch, without, "fork")
    server.wait_serving()
    watchdog = server.watchdog
    watchdog.send(SIGKILL)
    server.wait_watchdog_replaced(watchdog, 3)
    assert holds(lambda: server.watchdogs, 1), "main has told it everything"
    server.send(SIGKILL)
    server.wait_gone()


@methods
def test_a_watchdog_that_cannot_be_started_at_first(launch, method):
    """No memory, no more processes: main keeps the deadlines itself until the next try."""
    subject = SUPERVISED.with_(method=method, late_watchdog=True, children=["cleaned"])
    server = launch(subject)
    server.wait_serving()
    assert not server.watchdogs
    assert "the watchdog cannot be started" in server.output()
    server.let_watchdogs_start()
    wait_until(lambda: server.watchdogs and server.main.sleeping, 10, server.describe)
    assert holds(lambda: len(server.watchdogs) == 1, 1), "main has told it everything"
    server.wait_for_output("the watchdog has been started", 2)
    assert "the watchdog has died" not in server.output()
    server.send(SIGKILL)
    server.wait_gone()


@pytest.mark.parametrize("without", ["pidfd", "children", "proc", ALL_BUT_WATCHDOG])
def test_a_detached_child_is_spared(launch, without):
    server = serve(launch, without, "fork", workers=1, children=["detached", "detached-daemon"])
    server.wait_serving()
    wait_until(lambda: len(server.children) == 2, 5, server.describe)
    spared = server.children
    server.send(SIGKILL)
    wait_until(lambda: len(server.box.rows()) == 2, BOUND, server.describe)
    assert holds(lambda: all(child.alive for child in spared), 1)


def test_without_a_parent_death_signal(launch):
    """`REAPER_PDEATHSIG = ""`: not armed, and the watchdog does it all."""
    server = launch(SUPERVISED.with_config(REAPER_PDEATHSIG=""))
    server.wait_serving()
    server.send(SIGKILL)
    server.wait_gone()
    assert len(warnings(server)) == 1, "that main is gone, and nothing else"


NO_PROC = [
    "unshare",
    "-m",
    "sh",
    "-c",
    'mount -t tmpfs none /proc; exec "$0" app.py',
    sys.executable,
]


@pytest.mark.root
@pytest.mark.skipif(os.getuid() != 0, reason="needs root, to mount over /proc")
@signals(SIGTERM, SIGKILL)
@methods
def test_a_proc_with_nothing_in_it(launch, method, signum):
    """Not psutil instead of /proc, which reads it too: nobody knows anything of anybody."""
    server = launch(SUPERVISED.with_(method=method), argv=NO_PROC)
    server.wait_for("after_server_start done", 2)
    assert server.get()[0] == 200
    server.send(signum)
    server.wait_gone()
    assert server.output().count("the process table can't be read") == 1
    assert "Traceback" not in server.output()
