"""Who watches the watchdog: main does, and where both are gone the kernel."""

from __future__ import annotations

from signal import SIGHUP, SIGINT, SIGKILL, SIGQUIT, SIGSTOP, SIGTERM

import pytest
from support.census import holds, wait_until
from support.marks import methods, signals, smoke_of
from support.server import (
    ORPHAN_GRACE,
    SLACK,
    START,
    STARTUP_TIMEOUT,
    SUPERVISED,
    Server,
    holding_its_sync_manager,
    holding_its_workers,
)

NOTICED = 1.5
"""Seconds until main says that it is gone: it looks twice a second, and the machine is busy."""
REPLACED = 2.0
"""Seconds until there is another: it has to be started, too."""


def wait_noticed(server: Server, count: int = 1, within: float = NOTICED) -> None:
    """Wait until main has said for the `count`-th time that its watchdog is dead."""
    said = "the watchdog has died"
    wait_until(lambda: server.output().count(said) == count, within, server.describe)


@methods
def test_there_is_one_and_it_keeps_apart(launch, method):
    server = launch(SUPERVISED.with_(method=method))
    server.wait_serving()
    [watchdog] = server.named("reaper-watchdog")
    row, main = watchdog.look(), server.main.look()
    assert row is not None
    assert main is not None
    assert row.ppid == main.pid
    assert row.session == row.pid, "neither the terminal nor a kill of main's group reaches it"
    assert server.stop() == 0


@signals(SIGTERM, SIGINT, SIGHUP, SIGQUIT)
def test_it_is_deaf_to_what_stops_a_service(launch, signum):
    server = launch(SUPERVISED.with_(method="fork"))
    server.wait_serving()
    watchdog = server.watchdog
    watchdog.send(signum)
    assert holds(lambda: watchdog.alive, 1)
    assert server.get()[0] == 200
    assert server.stop() == 0


@pytest.mark.smoke
@methods
def test_a_dead_one_is_replaced_and_the_new_one_knows_everything(launch, method):
    children = ["plain", "cleaned", "cleaned-daemon", "deaf"]
    server = launch(SUPERVISED.with_(method=method, children=children, manage=True))
    server.wait_serving()
    for count in (1, 2):
        watchdog = server.watchdog
        watchdog.send(SIGKILL)
        wait_noticed(server, count)
        server.wait_watchdog_replaced(watchdog, REPLACED)
    assert server.get()[0] == 200
    # The promise is a second; a main that dies before that is the test of `both die together`.
    assert holds(lambda: server.watchdog.alive, 1)
    server.send(SIGKILL)
    server.wait_gone(ORPHAN_GRACE + SLACK)


@pytest.mark.parametrize("event", ["main_process_start", "main_process_ready"])
def test_it_dies_while_main_is_in_a_listener(launch, event):
    """Main can't notice then. There is nothing yet that it would have to end."""
    server = launch(SUPERVISED.with_(method="fork", listeners={event: "block:2"}))
    server.wait_for("holding")
    watchdog = server.watchdog
    watchdog.send(SIGKILL)
    server.wait_for(f"{event} done")
    wait_noticed(server)
    server.wait_serving()
    server.wait_watchdog_replaced(watchdog, REPLACED)
    assert holds(lambda: server.watchdog.alive, 1)
    server.send(SIGKILL)
    server.wait_gone(ORPHAN_GRACE + SLACK)


def test_it_dies_during_the_start(launch):
    """The new one has to know the deadlines too."""
    subject = SUPERVISED.with_(listeners={"before_server_start": "hold_gil"})
    server = launch(subject.with_config(REAPER_STARTUP_TIMEOUT=STARTUP_TIMEOUT))
    server.wait_for("holding", 2)
    server.watchdog.send(SIGKILL)
    assert server.exit_code(START) == 1
    server.wait_gone()
    assert "in hold_gil" in server.output()


@methods
def test_it_dies_during_the_stop(launch, method):
    server = launch(SUPERVISED.with_(method=method, listeners={"before_server_stop": "block"}))
    server.wait_serving()
    watchdog = server.watchdog
    server.send(SIGTERM)
    server.wait_for("holding", 2)
    watchdog.send(SIGKILL)
    server.wait_gone()
    assert server.exit_code() == 0


@methods
def test_it_dies_while_main_waits_for_what_workers_left_behind(launch, method):
    """The workers are gone, their deaf children are not: the new one has to find them by itself."""
    server = launch(SUPERVISED.with_(method=method, children=["deaf"]))
    server.wait_serving()
    watchdog = server.watchdog
    server.send(SIGTERM)
    # The last of the user's own listeners has run: from here on main waits for nothing else.
    server.wait_for("main_process_stop done")
    watchdog.send(SIGKILL)
    server.wait_gone()
    assert server.exit_code() == 0
    assert server.output().count("the watchdog has died") == 1, "it was still needed"
    assert "Traceback" not in server.output()


@signals(SIGTERM, SIGKILL)
def test_they_die_one_after_the_other_during_the_stop(launch, signum):
    """First the watchdog, then, when there is another, main: asked once more, or killed."""
    subject = SUPERVISED.with_(method="fork", listeners={"before_server_stop": "block"})
    subject = subject.with_(children=["cleaned-daemon"]).with_config(REAPER_SHUTDOWN_TIMEOUT=60.0)
    server = launch(subject)
    server.wait_serving()
    watchdog = server.watchdog
    server.send(SIGTERM)
    server.wait_for("holding", 2)
    watchdog.send(SIGKILL)
    server.wait_watchdog_replaced(watchdog, REPLACED)
    assert holds(lambda: server.watchdog.alive, 1), "by now it has been told everything"
    server.send(signum)
    server.wait_gone(SLACK if signum == SIGTERM else ORPHAN_GRACE + SLACK)
    assert server.exit_code() == (1 if signum == SIGTERM else -SIGKILL)


@methods
def test_it_dies_together_with_main_during_the_stop(launch, method):
    """The workers have had their SIGTERM, and that is all that the kernel can send once more."""
    subject = SUPERVISED.with_(method=method, listeners={"before_server_stop": "block"})
    server = launch(subject.with_config(REAPER_SHUTDOWN_TIMEOUT=60.0))
    server.wait_serving()
    server.send(SIGTERM)
    server.wait_for("holding", 2)
    for victim in (server.watchdog, server.main):
        victim.send(SIGKILL)
    server.wait_gone(ORPHAN_GRACE + SLACK)


STATES = {
    "serving": SUPERVISED,
    "blocking start": SUPERVISED.with_(listeners={"before_server_start": "block"}),
    "async start": SUPERVISED.with_(listeners={"before_server_start": "async"}),
    "start that holds the GIL": SUPERVISED.with_(listeners={"before_server_start": "hold_gil"}),
    "deaf start": SUPERVISED.with_(listeners={"before_server_start": "deaf"}),
    "start with SIGTERM blocked": SUPERVISED.with_(listeners={"before_server_start": "mask"}),
    "blocked in a request": SUPERVISED,
}


@pytest.mark.parametrize("state", smoke_of(STATES, "serving"))
@methods
def test_it_dies_together_with_main(launch, method, state):
    server = launch(STATES[state].with_(method=method))
    reach(server, state)
    for victim in (server.watchdog, server.main):
        victim.send(SIGKILL)
    server.wait_gone(ORPHAN_GRACE + SLACK)


def test_it_dies_together_with_main_during_an_import(launch):
    server = launch(SUPERVISED.with_(importing="block"))
    server.wait_for("holding", 2)
    for victim in (server.watchdog, server.command.process):
        victim.send(SIGKILL)
    server.wait_gone(ORPHAN_GRACE + SLACK)


LATE = {
    "spawned": (SUPERVISED.with_(importing="block"), holding_its_workers()),
    "forked": (SUPERVISED.with_(method="fork", late=True), {}),
}


@pytest.mark.parametrize("how", LATE)
def test_it_dies_together_with_main_before_a_worker_asks_for_a_signal(launch, how):
    """The kernel tells of a death that is to come, and of none that has been (prctl(2))."""
    subject, env = LATE[how]
    server = launch(subject, env=env)
    server.wait_for("holding", 2)
    for victim in (server.watchdog, server.command.process):
        victim.send(SIGKILL)
    server.wait_gone(ORPHAN_GRACE + SLACK)
    assert len(server.events("holding")) == 2, "they end before they come to the import"
    assert not server.events("before_server_start")


def test_it_dies_together_with_main_while_the_sync_manager_starts(launch):
    """Main waits for it before it starts anything else."""
    server = launch(SUPERVISED, env=holding_its_sync_manager("block"))
    server.wait_for("holding")
    for victim in (server.watchdog, server.command.process):
        victim.send(SIGKILL)
    server.wait_gone(ORPHAN_GRACE + SLACK)


def test_no_signal_is_armed_where_none_is_wanted(launch):
    """Not even before the import. (What has to be done then is the watchdog's, which is gone.)"""
    server = launch(SUPERVISED.with_(importing="block").with_config(REAPER_PDEATHSIG=""))
    workers = server.processes_of(server.wait_for("holding", 2))
    watchdog = server.watchdog
    server.main.freeze()  # or it might replace the watchdog before it dies itself
    for victim in (watchdog, server.main):
        victim.send(SIGKILL)
    assert len(workers) == 2
    assert holds(lambda: all(worker.alive for worker in workers), 1)


@methods
def test_it_dies_right_after_main(launch, method):
    server = launch(SUPERVISED.with_(method=method))
    server.wait_serving()
    for victim in (server.main, server.watchdog):
        victim.send(SIGKILL)
    server.wait_gone(ORPHAN_GRACE + SLACK)


def reach(server: Server, state: str) -> None:
    if "start" in state:
        server.wait_for("holding", 2)
        return
    server.wait_serving()
    if state == "blocked in a request":
        server.request("/do/block")
        server.request("/do/block")


@methods
def test_no_helper_stays_when_it_dies_together_with_main(launch, ports, method):
    server = launch(
        SUPERVISED.with_(method=method, manage=True, run={"auto_reload": True}).with_config(
            INSPECTOR=True,
            INSPECTOR_PORT=ports.take(),
            HEALTH=True,
            HEALTH_MONITOR=True,
            LOGGING=True,
        )
    )
    server.wait_serving()
    for victim in (server.watchdog, server.main):
        victim.send(SIGKILL)
    server.wait_gone(ORPHAN_GRACE + SLACK)


@pytest.mark.parametrize("start", ["", "mask:0"], ids=["", "SIGTERM is blocked by the start"])
@methods
def test_a_request_in_flight_is_answered_although_both_are_gone(launch, method, start):
    subject = SUPERVISED.with_(method=method, listeners={"before_server_start": start})
    server = launch(subject)
    server.wait_serving()
    exchange = server.request("/do/async:1")
    for victim in (server.watchdog, server.main):
        victim.send(SIGKILL)
    assert exchange.answer() == (200, "done")
    server.wait_gone(ORPHAN_GRACE + SLACK)


def test_a_stopped_one_is_woken_up(launch):
    server = launch(SUPERVISED.with_(method="fork", children=["cleaned-daemon"]))
    server.wait_serving()
    watchdog = server.watchdog
    assert holds(lambda: len(server.children) == 2, 1.5), "it looks once a second"
    watchdog.send(SIGSTOP)  # main may look in the same moment
    server.wait_for_output("SIGCONT to watchdog", REPLACED)
    wait_until(lambda: not watchdog.stopped, REPLACED, "it to run on")
    server.send(SIGKILL)
    server.wait_gone(ORPHAN_GRACE + SLACK)


@signals(SIGTERM, SIGKILL)
@methods
def test_a_stopped_one_at_the_moment_when_it_is_needed(launch, method, signum):
    """Main has had no time to notice. Neither may the watchdog itself be left."""
    server = launch(SUPERVISED.with_(method=method))
    server.wait_serving()
    server.watchdog.send(SIGSTOP)
    server.send(signum)
    server.wait_gone()


@methods
def test_a_stopped_one_and_nobody_to_wake_it_up(launch, method):
    """It has taken another one's place, and main and the SyncManager are gone: the kernel does."""
    server = launch(SUPERVISED.with_(method=method, children=["plain"]))
    server.wait_serving()
    first = server.watchdog
    first.send(SIGKILL)
    server.wait_watchdog_replaced(first, within=NOTICED + REPLACED)
    server.main.freeze()
    server.watchdog.freeze()
    server.sync_manager.send(SIGKILL)
    server.send(SIGKILL)
    server.wait_gone()


def test_one_that_is_stopped_before_it_could_ask_for_anything(launch):
    server = launch(SUPERVISED.with_(children=["plain"], successor_stops=True))
    server.wait_serving()
    first = server.watchdog
    first.send(SIGKILL)
    server.wait_watchdog_replaced(first, within=NOTICED + REPLACED)
    wait_until(lambda: server.watchdog.stopped, START, server.describe)
    server.main.freeze()
    server.sync_manager.send(SIGKILL)
    server.send(SIGKILL)
    server.wait_gone()


@methods
def test_all_of_them_are_stopped_and_main_is_killed(launch, method):
    """A machine that was suspended, a debugger, a freezer: then main is gone."""
    server = launch(SUPERVISED.with_(method=method))
    for worker in server.wait_serving():
        worker.freeze()
    server.main.freeze()
    server.send(SIGKILL)
    server.wait_gone(ORPHAN_GRACE + SLACK)
