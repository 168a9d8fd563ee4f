"""Plain Sanic, hurt as the other tests hurt it: here each promise of the Reaper's must be broken.

Without these a test could pass because its subject never did what it is meant to survive. Where
Sanic mends one of these, the control fails, and the code that we have for it can go.
"""

from __future__ import annotations

from signal import SIGCONT, SIGHUP, SIGINT, SIGKILL, SIGQUIT, SIGTERM

import pytest
from support.box import container
from support.census import holds, wait_until
from support.daemon import Daemon, needs_daemon
from support.http import can_bind
from support.marks import signals
from support.server import CONTAINER_SCRIPT, PLAIN, SHELL_SCRIPT, START, Server

STAYS = 1.5
"""Seconds that a leak is watched for. With the Reaper each of them is gone in a third of that."""

STUCK = {"before_server_start": "block"}


def leaks(server: Server, count: int) -> bool:
    """Whether main has ended and at least `count` living processes stay without it."""

    def left() -> int:
        return sum(row.state != "Z" for row in server.box.rows())

    server.exit_code(START)
    return holds(lambda: left() >= count, STAYS)


@pytest.mark.parametrize("method", ["spawn", "fork"])
@signals(SIGKILL, SIGHUP, SIGQUIT)
def test_workers_and_manager_outlive_main_and_hold_the_port(launch, method, signum):
    server = launch(PLAIN.with_(method=method))
    server.wait_serving()
    server.send(signum)
    assert leaks(server, 3), "two workers and a SyncManager"
    assert not can_bind(server.port)


def test_workers_in_start_up_outlive_main(launch):
    server = launch(PLAIN.with_(listeners=STUCK))
    server.wait_for("holding", 2)
    server.send(SIGKILL)
    assert leaks(server, 3)


def test_sigterm_in_start_up_makes_main_spin_for_ever(launch):
    server = launch(PLAIN.with_(listeners=STUCK))
    server.wait_for("holding", 2)
    server.send(SIGTERM)
    server.wait_for_output("Received signal SIGTERM")
    before = server.main.runnable_seconds
    assert holds(lambda: not server.command.ended, STAYS)
    assert server.main.runnable_seconds - before > STAYS / 10


def test_sigterm_in_main_process_start_leaves_the_sync_manager(launch):
    server = launch(PLAIN.with_(listeners={"main_process_start": "block:1"}))
    server.wait_for("holding")
    server.send(SIGTERM)
    assert server.exit_code() == -SIGTERM
    assert leaks(server, 1)


def test_sigterm_in_main_process_ready_is_lost(launch):
    server = launch(PLAIN.with_(listeners={"main_process_ready": "block:1"}))
    server.wait_for("holding")
    server.send(SIGTERM)
    server.wait_for("after_server_start", 2)
    assert holds(lambda: not server.command.ended, STAYS)


def test_a_blocked_worker_holds_up_the_stop(launch):
    server = launch(PLAIN.with_(workers=1))
    server.wait_serving()
    server.request("/do/block")
    server.send(SIGTERM)
    assert holds(lambda: not server.command.ended, 7)


@signals(SIGTERM, SIGKILL)
def test_what_workers_have_started_outlives_them(launch, signum):
    server = launch(PLAIN.with_(children=["plain", "setsid", "daemon", "cleaned"]))
    server.wait_serving()
    assert len(server.children) == 8
    server.send(signum)
    server.exit_code()
    assert holds(lambda: len(server.children) == 8, STAYS)


def test_the_other_sync_managers_outlive_main(launch):
    """sanic-ext's HealthMonitor and background Logger each start one."""
    helpers = {"HEALTH": True, "HEALTH_MONITOR": True, "LOGGING": True}
    server = launch(PLAIN.with_(workers=1, method="fork", config=helpers))
    server.wait_serving()
    server.send(SIGKILL)
    assert leaks(server, 6), "3 SyncManagers, HealthMonitor, Logger, worker"


def test_helpers_outlive_main(launch, ports):
    """The Inspector, the Reloader, and what the user has main manage."""
    subject = PLAIN.with_(workers=1, manage=True, run={"auto_reload": True})
    server = launch(subject.with_config(INSPECTOR=True, INSPECTOR_PORT=ports.take()))
    server.wait_serving()
    names = {"Sanic-Inspector-0", "Sanic-Reloader-0", "Sanic-Custom-0"}
    helpers = [process for name, process in server.family.items() if name in names]
    assert len(helpers) == len(names)
    server.send(SIGKILL)
    server.exit_code()
    assert holds(lambda: all(helper.alive for helper in helpers), STAYS)


def test_what_workers_have_started_by_other_means_outlives_main(launch):
    server = launch(PLAIN.with_(workers=1, children=["process", "pool", "cleaned-daemon"]))
    server.wait_serving()
    wait_until(lambda: len(server.children) == 3, 10, server.describe)
    server.send(SIGKILL)
    server.exit_code()
    assert holds(lambda: len(server.children) == 3, STAYS)


@signals(SIGTERM, SIGKILL)
@pytest.mark.parametrize("state", ["holds the GIL", "stopped"])
def test_a_worker_that_no_signal_reaches_stays_or_holds_up_the_stop(launch, state, signum):
    server = launch(PLAIN)
    [worker, _] = server.wait_serving()
    if state == "stopped":
        worker.freeze()
    else:
        server.request("/do/hold_gil")
    server.send(signum)
    if signum == SIGTERM:
        assert holds(lambda: not server.command.ended, 5)
    else:
        assert leaks(server, 1)


@needs_daemon
@pytest.mark.parametrize("way", ["kill", "stop -f"])
def test_a_daemon_that_is_killed_leaves_its_workers(launch, ports, tmp_path, way):
    daemon = Daemon(launch, ports.take(), tmp_path, PLAIN, by_name=way != "kill")
    workers, main = daemon.server.wait_serving(), daemon.server.main
    assert (daemon.kill() if way == "kill" else daemon.stop_by_name("-f")) == 0
    wait_until(lambda: not main.alive, 5, "main to die")
    assert holds(lambda: all(worker.alive for worker in workers), STAYS)


@pytest.mark.parametrize("failure", ["raise", "second signal"])
def test_the_shell_that_launched_it_is_killed(launch, failure):
    """`WorkerManager.kill` sends SIGKILL to the process group, which is not its own.

    It learns the group of each process that it has not reaped yet: of a custom one, at the latest.
    """
    action = "raise" if failure == "raise" else "block"
    subject = PLAIN.with_(listeners={"before_server_start": action}, manage=True)
    server = launch(subject, argv=SHELL_SCRIPT)
    if failure == "second signal":
        server.wait_for("holding", 2)
        server.send(SIGTERM)
        # Not in the midst of its handler: that would be the crash that another control is for.
        wait_until(lambda: len(server.zombies) >= 2, 10, "both workers to end")
        server.send(SIGTERM)
    assert server.exit_code(START) == -SIGKILL
    assert "next line" not in server.output()


def test_whatever_runs_in_a_container_is_killed(launch):
    """There the group's number may be 1, and `killpg(1)` is `kill(-1)`."""
    subject = PLAIN.with_(listeners={"before_server_start": "raise"}, manage=True)
    server = launch(subject, argv=[*container(), *CONTAINER_SCRIPT])
    server.exit_code(START)
    assert "the other lived" not in server.output()


def test_sys_exit_in_start_up_is_waited_for_in_silence(launch):
    server = launch(PLAIN.with_(listeners={"before_server_start": "sys.exit"}))
    server.wait_for("before_server_start", 2)
    assert holds(lambda: not server.command.ended, 3)


def test_ctrl_c_cuts_stop_listeners_short_or_runs_them_twice(launch):
    server = launch(PLAIN.with_(workers=1, listeners={"before_server_stop": "async:1"}))
    [worker] = server.wait_serving()
    # Ctrl+C where main is a little slow: together, the two signals might become one.
    worker.send(SIGINT)
    server.wait_for("before_server_stop")
    server.send(SIGINT)
    server.exit_code()
    begun, ended = (server.events(f"before_server_stop{suffix}") for suffix in ("", " done"))
    assert (len(begun), len(ended)) != (1, 1)


def test_ctrl_c_while_workers_import_prints_tracebacks(launch):
    server = launch(PLAIN.with_(importing="block"))
    server.wait_for("holding", 2)
    server.send_group(SIGINT)
    server.wait_for_output("Traceback")


def test_a_stopped_sync_manager_makes_a_stop_hang(launch):
    server = launch(PLAIN)
    server.wait_serving()
    server.sync_manager.freeze()
    server.send(SIGTERM)
    assert holds(lambda: not server.command.ended, 5)


def test_the_signal_handler_corrupts_the_talk_with_the_sync_manager(launch):
    server = launch(PLAIN)
    server.wait_serving()
    manager = server.sync_manager
    manager.freeze()
    server.wait_main_stuck()
    server.send(SIGTERM)
    server.wait_for_output("Received signal SIGTERM")
    manager.send(SIGCONT)
    server.wait_for_output("Traceback")


def test_forkserver_workers_are_never_seen_to_be_ready(launch):
    server = launch(PLAIN.with_(method="forkserver"))
    server.wait_for("after_server_start", 2)
    assert holds(lambda: not server.events("all acked"), 3)


def test_each_restart_leaves_a_zombie(launch):
    server = launch(PLAIN)
    server.wait_serving()
    server.get("/restart")
    server.wait_for("after_server_start", 4)
    assert holds(lambda: server.zombies, STAYS)
