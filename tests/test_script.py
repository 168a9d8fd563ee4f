"""What a script does before, beside and after its server is the script's own business."""

from __future__ import annotations

import sys
from signal import SIGHUP, SIGKILL, SIGTERM

import pytest
from support.census import Process, descendants, holds, wait_until
from support.http import get
from support.load import Load
from support.marks import methods, signals
from support.server import BOUND, SHUTDOWN_TIMEOUT, SUPERVISED, Server, Subject

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


@methods
def test_what_a_script_has_forked_before_its_server_is_no_leftover_of_it(launch, new_box, method):
    """The server has stopped in order, and its script has exited: no later start, and no
    `sanic-reaper sweep`, may end the child."""
    box, subject = new_box(), SUPERVISED.with_(method=method)
    first = run_script(launch, "child before", subject, box=box)
    first.wait_serving()
    kin = box.folder / "sanic-reaper"
    wait_until(lambda: any(kin.glob("*.kin")), 10, first.describe)
    child = box.find(first.wait_for("child")[0].more["child"])
    assert child is not None
    stop_and_wait(first, "after")
    assert first.exit_code() == 0
    assert "no leftover processes" in first.ask("sweep", "--yes", "--all-apps").text
    second = run_script(launch, "stuck at its end", subject, box=box)
    second.wait_serving()
    assert child.alive, second.describe()
    second.send(SIGTERM)
    child.send(SIGKILL)


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


# -- children of main's own, and orphans that main adopts -----------------------------------------


@methods
def test_orphans_are_reaped_and_no_exit_status_is_stolen(launch, method):
    """Each of 60 requests leaves an orphan that soon ends; main waits late for its own children."""
    server = run_script(launch, "own children", SUPERVISED.with_(method=method))
    server.wait_serving()
    server.wait_for("own children")
    wait_until(lambda: len(server.zombies) == 4, 10, server.describe)
    own = {row.process for row in server.zombies}
    for _ in range(60):
        assert server.get("/start/brief-daemon")[0] == 200
    wait_until(lambda: not server.children, 20, server.describe)
    wait_until(lambda: {row.process for row in server.zombies} == own, 20, server.describe)
    server.send(SIGTERM)
    assert server.wait_for("collected")[0].more["codes"] == [7, 8, 9, 10]
    server.wait_gone()
    assert server.exit_code() == 0


# -- what it does afterwards ----------------------------------------------------------------------


def stop_and_wait(server: Server, event: str, signum: int = SIGTERM):
    server.wait_serving()
    server.send(signum)
    return server.wait_for(event)[0]


@methods
def test_what_the_script_starts_afterwards_outlives_it(launch, method):
    subject = SUPERVISED.with_(method=method, children=["plain", "daemon"])
    server = run_script(launch, "job afterwards", subject)
    server.wait_serving()
    wait_until(lambda: len(server.children) == 2, 10, server.describe)
    before = server.children
    event = stop_and_wait(server, "after")
    assert event.more["marks"] == []
    assert server.exit_code() == 0
    wait_until(lambda: len(server.children) == 2, 10, server.describe)
    left = server.children
    assert not set(left) & set(before)
    wait_until(lambda: len(server.box.rows()) == 2, BOUND, server.describe)
    assert holds(lambda: all(one.alive for one in left), 2)


@methods
def test_the_last_thread_of_the_script_has_the_time_that_it_takes(launch, method):
    """Longer than the server had for its stop; and one line says what the exit waits for."""
    server = run_script(
        launch, "thread afterwards", SUPERVISED.with_(method=method), env={"SECONDS": "8"}
    )
    stop_and_wait(server, "after")
    assert server.exit_code(30) == 0
    assert server.events("work done")
    assert server.output().count("the exit of the interpreter waits for the thread last work") == 1
    server.wait_gone()


def test_the_thread_of_a_listener_that_a_stop_has_cut_short(launch):
    """It is not waited for; that of the script is, and what it has to do at its exit is done."""
    server = run_script(launch, "thread of a listener", env={"SECONDS": "4"})
    server.wait_for("holding")
    server.send(SIGTERM)
    assert server.exit_code(30) == 0
    assert server.events("work done")
    assert server.events("at exit")
    assert "does not wait for the thread " in server.output()


def test_a_script_that_waits_for_a_thread_can_be_ended(launch):
    server = run_script(launch, "thread afterwards", env={"SECONDS": "600"})
    stop_and_wait(server, "after")
    server.wait_for_output("waits for the thread")
    server.send(SIGTERM)
    assert server.exit_code() == -SIGTERM
    server.wait_gone()


def test_no_child_of_the_servers_is_left_for_the_script_to_wait_for(launch):
    server = run_script(launch, "wait afterwards", SUPERVISED.with_(method="fork"))
    assert stop_and_wait(server, "after").more["pid_waited_for"] == 0
    assert server.exit_code() == 0


@pytest.mark.parametrize("mode", ["again in its stop", "again afterwards"])
@methods
def test_a_server_that_starts_itself_again(launch, method, mode):
    """By `Popen`, after its own end or in its stop: workers are gone by then, so it is none's."""
    server = run_script(launch, mode, SUPERVISED.with_(method=method, children=["daemon"]))
    first = server.wait_serving()
    stop_and_wait(server, "started again")
    server.wait_for("all acked", 2)
    wait_until(lambda: not any(one.alive for one in first), BOUND, server.describe)
    wait_until(lambda: not server.command.process.alive, BOUND, server.describe)
    assert holds(lambda: server.get()[0] == 200, 2), server.describe()
    wait_until(lambda: len(server.children) == 1, 5, server.describe)
    server.processes_of(server.events("main_process_start"))[-1].send(SIGTERM)
    server.wait_gone()


@signals(SIGTERM, SIGHUP)
@methods
def test_signals_are_handled_as_before(launch, method, signum):
    """And a handler that calls the one before it does not die of that."""
    server = run_script(launch, "handlers afterwards", SUPERVISED.with_(method=method))
    event = stop_and_wait(server, "handlers", signum)
    assert event.more["after"] == event.more["before"]
    server.wait_for("handled")
    assert server.main.alive


def test_a_signal_right_after_the_server_ends_the_script(launch):
    server = run_script(launch, "signalled afterwards")
    server.wait_serving()
    server.send(SIGTERM)
    assert server.exit_code() == -SIGHUP
    assert not server.events("not ended")


def test_a_signal_that_is_sent_again_and_again_does_not(launch):
    server = run_script(launch, "signalled once more")
    server.wait_serving()
    server.send(SIGHUP)
    assert server.exit_code() == 0
    assert server.events("not ended")


def test_children_are_ignored_again(launch):
    """A launcher that ignores SIGCHLD passes that on by exec."""
    careless = (
        "import os, signal, sys; signal.signal(signal.SIGCHLD, signal.SIG_IGN);"
        "os.execv(sys.executable, [sys.executable, 'script.py', 'handlers afterwards'])"
    )
    server = launch(SUPERVISED.with_(method="fork"), argv=[sys.executable, "-c", careless])
    event = stop_and_wait(server, "handlers")
    assert event.more["before"]["SIGCHLD"] == "<Handlers.SIG_IGN: 1>"
    assert event.more["after"] == event.more["before"]


def test_what_hangs_in_the_end_of_the_server_is_still_limited(launch):
    server = run_script(launch, "stuck at its end")
    stop_and_wait(server, "cleaning up")
    assert server.exit_code(BOUND + 5) == -SIGKILL
    server.wait_gone()


def test_a_stop_that_fails_leaves_the_script_free(launch):
    """Sanic calls no more listeners then: the server is cleared away when `serve` has ended."""
    server = run_script(
        launch, "failing stop", SUPERVISED.with_(method="fork", children=["daemon"])
    )
    server.wait_serving()
    wait_until(lambda: len(server.children) == 1, 10, server.describe)
    before = server.children
    stop_and_wait(server, "after")
    wait_until(lambda: not any(one.alive for one in before), BOUND, server.describe)
    wait_until(lambda: len(server.children) == 1, 5, server.describe)
    assert holds(lambda: server.main.alive and len(server.children) == 1, SHUTDOWN_TIMEOUT + 2)
