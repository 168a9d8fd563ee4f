"""What a script does before, beside and after its server is the script's own business."""

from __future__ import annotations

import sys
from signal import SIGKILL, SIGTERM

import pytest
from support.census import Process, descendants, holds, wait_until
from support.http import get
from support.load import Load
from support.marks import methods, signals
from support.server import BOUND, SUPERVISED, Server, Subject

LOOK = 1.5
"""Seconds within which the watchdog has looked at the process tree: it does so once a second."""


def run_script(launch, mode: str, subject: Subject = SUPERVISED, **options) -> Server:
    return launch(subject, argv=[sys.executable, "script.py", mode], **options)


# -- what others see of the marks -----------------------------------------------------------------


@methods
def test_no_app_takes_a_mark_for_a_setting(launch, method):
    """Sanic makes a key of each `SANIC_*` variable, and sanic-ext a constant of each key."""
    server = run_script(launch, "later apps", SUPERVISED.with_(method=method))
    said = {event.more["where"]: event.more["keys"] for event in server.wait_for("settings", 2)}
    assert said == {"main": [], "worker": []}
    assert server.stop() == 0


# -- what it has started before -------------------------------------------------------------------

JOB = '(while [ ! -e "$EVENTS.order" ]; do sleep 0.1; done; setsid --fork sleep 600) &'
LAUNCHES = {
    "jobs of the shell": ["sh", "-c", JOB * 8 + ' exec "$0" app.py', sys.executable],
    "before the app has the Reaper": [sys.executable, "script.py", "jobs first"],
    "before the server": [sys.executable, "script.py", "jobs second"],
}


def tell_to_go_on(server: Server) -> None:
    server._events.with_name(f"{server._events.name}.order").write_text("go on")


@pytest.mark.parametrize("how", LAUNCHES)
@signals(SIGTERM, SIGKILL)
def test_daemons_of_what_the_script_has_started_before(launch, how, signum):
    """Main is a subreaper, so they come to main when their parent ends, as those of a worker do.

    A worker's is ended, also with a clean environment. The others are left alone.
    """
    subject = SUPERVISED.with_(method="fork", workers=1, children=["cleaned-daemon"])
    server = launch(subject, argv=LAUNCHES[how])
    server.wait_serving()
    wait_until(lambda: len(alike(server)) == 1, 10, server.describe)
    [ours] = alike(server)
    tell_to_go_on(server)
    wait_until(lambda: len(alike(server)) == 9, 20, server.describe)
    strangers = [one for one in alike(server) if one != ours]
    assert {one.look().ppid for one in strangers} == {server.main.pid}, "adopted"
    assert holds(lambda: all(one.alive for one in alike(server)), LOOK), "the watchdog has looked"
    server.send(signum)
    wait_until(lambda: not ours.alive and not server.main.alive, BOUND, server.describe)
    assert holds(lambda: all(one.alive for one in strangers), 2), server.describe()
    wait_until(
        lambda: {row.process for row in server.box.rows()} <= {*strangers}, BOUND, server.describe
    )


def alike(server: Server) -> list[Process]:
    return [one for one in server.children if one.command[1:] == ["600"]]


# -- two servers of one script --------------------------------------------------------------------


def both_serving(launch, ports, method: str) -> tuple[Server, list[Process], int]:
    """The launcher, its two mains, and the port of the second one."""
    port = ports.take()
    subject = SUPERVISED.with_(method=method)
    server = run_script(launch, "two servers", subject, env={"SECOND_PORT": str(port)})
    server.wait_for("all acked", 2)
    mains = server.processes_of(server.wait_for("main_process_start", 2))
    mains.sort(key=lambda main: get(server.port)[1] not in pids(main))
    assert len(mains) == 2
    return server, mains, port


def pids(main: Process) -> list[str]:
    return [str(row.process.inner_pid) for row in descendants(main)]


@signals(SIGTERM, SIGKILL)
@methods
def test_two_servers_that_one_script_has_forked(launch, ports, method, signum):
    """One is stopped or killed: the other answers each request, and the script's own child lives.

    What identifies a run is inherited by fork: each process has to make its own."""
    server, [first, second], port = both_serving(launch, ports, method)
    doomed = [row.process for row in descendants(first)] + [first]
    neighbours = [row.process for row in descendants(second)] + [second]
    tell_to_go_on(server)
    server.wait_for("launcher goes on")
    wait_until(lambda: server.children, 10, server.describe)
    [own] = server.children
    with Load(port, clients=4, pause=0.01) as load:
        first.send(signum)
        wait_until(lambda: not any(one.alive for one in doomed), BOUND, server.describe)
        assert holds(lambda: own.alive and all(one.alive for one in neighbours), 2), (
            server.describe()
        )
    assert not load.failures
    assert load.answers
    second.send(SIGTERM)
    wait_until(lambda: not any(one.alive for one in neighbours), BOUND, server.describe)
    assert holds(lambda: own.alive and server.command.process.alive, 1)
