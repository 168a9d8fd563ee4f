"""Workers come and go while main stays: restart, scaling, reload, and a worker that dies."""

from __future__ import annotations

import shutil
from pathlib import Path
from signal import SIGKILL, SIGTERM

import pytest
from support.census import Process, holds, wait_until
from support.marks import methods, signals
from support.server import (
    ORPHAN_GRACE,
    SHUTDOWN_TIMEOUT,
    SLACK,
    START,
    SUBJECTS,
    SUPERVISED,
    Event,
    Server,
)


def wait_replaced(server: Server, old: list[Process], within: float = 15) -> list[Process]:
    """Wait until all of `old` are gone, zombies included, and as many new ones serve."""

    def replaced() -> bool:
        return not any(one.look() for one in old) and len(server.workers) == len(old)

    wait_until(replaced, within, server.describe)
    return server.workers


@signals(SIGTERM, SIGKILL)
@methods
def test_a_restart_leaves_neither_a_process_nor_a_zombie(launch, method, signum):
    server = launch(SUPERVISED.with_(method=method))
    old = server.wait_serving()
    server.get("/restart")
    new = wait_replaced(server, old)
    assert not set(old) & set(new)
    assert not server.zombies
    server.send(signum)
    server.wait_gone()


@methods
def test_a_worker_that_does_not_make_way_is_killed(launch, method):
    """Plain Sanic keeps it, and one more of its kind at each restart."""
    server = launch(SUPERVISED.with_(method=method))
    old = server.wait_serving()
    server.request("/do/block")
    server.get("/restart")
    wait_replaced(server, old, SHUTDOWN_TIMEOUT + SLACK + 5)
    assert server.stop() == 0


@signals(SIGTERM, SIGKILL)
def test_main_ends_while_an_old_worker_still_blocks(launch, signum):
    server = launch(SUPERVISED.with_(method="fork"))
    server.wait_serving()
    server.request("/do/block")
    server.get("/restart")
    server.wait_for("after_server_start", 3)
    server.send(signum)
    server.wait_gone()


@methods
def test_scaling_up_and_down(launch, method):
    server = launch(SUPERVISED.with_(method=method, workers=1))
    server.wait_serving()
    server.get("/scale/3")
    wait_until(lambda: len(server.workers) == 3, 15, server.describe)
    server.get("/scale/1")
    wait_until(lambda: len(server.workers) == 1 and not server.zombies, 15, server.describe)
    assert server.get()[0] == 200
    assert server.stop() == 0


@signals(SIGTERM, SIGKILL)
@methods
def test_workers_that_were_added_later_are_guarded_too(launch, method, signum):
    server = launch(SUPERVISED.with_(method=method, workers=1))
    server.wait_serving()
    server.get("/scale/3")
    wait_until(lambda: len(server.workers) == 3, 15, server.describe)
    server.send(signum)
    server.wait_gone()


def test_main_is_killed_while_workers_are_added(launch):
    server = launch(SUPERVISED.with_(method="spawn", workers=1))
    server.wait_serving()
    server.get("/scale/3")
    server.wait_for("importing", 2)
    server.send(SIGKILL)
    server.wait_gone()


@methods
def test_a_dead_worker_leaves_no_zombie(launch, method):
    server = launch(SUPERVISED.with_(method=method))
    victim, survivor = server.wait_serving()
    victim.send(SIGKILL)
    wait_until(lambda: victim.look() is None, 5, server.describe)
    assert survivor.alive
    assert server.get()[0] == 200
    assert server.stop() == 0


@signals(SIGTERM, SIGKILL)
@pytest.mark.parametrize("method", ["spawn", "fork"])
def test_a_reload(launch, tmp_path, method, signum):
    """A file changes, the Reloader has all workers replaced; then main ends."""
    program: Path = tmp_path / "program"
    shutil.copytree(SUBJECTS, program, ignore=shutil.ignore_patterns("__pycache__"))
    subject = SUPERVISED.with_(method=method, run={"auto_reload": True})
    server = launch(subject, cwd=program)
    old = server.wait_serving()
    (program / "app.py").touch()
    wait_replaced(server, old, 20)
    server.send(signum)
    server.wait_gone()


@pytest.mark.smoke
@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_a_reload_serves_the_new_code(launch, tmp_path, method):
    """Not under fork: there a worker is a copy of main, which has imported the program before."""
    program: Path = tmp_path / "program"
    shutil.copytree(SUBJECTS, program, ignore=shutil.ignore_patterns("__pycache__"))
    server = launch(SUPERVISED.with_(method=method, run={"auto_reload": True}), cwd=program)
    old = server.wait_serving()
    source = program / "app.py"
    route = "@app.get('/new')\nasync def new(request):\n    return sanic.text('new')"
    text = source.read_text().replace("app = build()", f"app = build()\n\n\n{route}")
    source.write_text(text.replace("import os", "import os\n\nimport sanic"))
    wait_replaced(server, old, 20)
    wait_until(lambda: server.get("/new") == (200, "new"), 20, server.describe)
    assert server.stop() == 0


HALF_WAY = {"error": "raise RuntimeError('half-way')", "syntax error": "def half_way(:"}


@pytest.mark.parametrize("text", HALF_WAY)
@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_a_reload_of_a_program_that_cannot_start(launch, tmp_path, method, text):
    """A file was saved half-way. The server waits for the next change, and is stopped as ever.

    Not under fork: there a worker is a copy of main, which has imported the program before.
    """
    program: Path = tmp_path / "program"
    shutil.copytree(SUBJECTS, program, ignore=shutil.ignore_patterns("__pycache__"))
    source = program / "app.py"
    whole = source.read_text()
    server = launch(SUPERVISED.with_(method=method, run={"auto_reload": True}), cwd=program)
    old = server.wait_serving()
    source.write_text(f"{HALF_WAY[text]}\n{whole}")
    said = server.wait_for_output("the next change of a file starts it again")
    assert "in the import of the main module: exit code 1; its traceback is above" in said
    wait_until(lambda: not any(one.look() for one in old), 20, server.describe)
    source.write_text(whole)
    wait_until(lambda: len(server.wait_serving()) == len(old), 20, server.describe)
    assert server.get()[0] == 200
    assert server.stop() == 0


STATES = ["blocked", "deaf", "stopped", "starting"]
"""Of a worker that is to make way. The last one sits in the start that a restart has caused."""

ORDERS = {
    "restart": ("__ALL_PROCESSES__:", {"Sanic-Server-0-0", "Sanic-Server-1-0"}),
    "restart of one": ("Sanic-Server-0-0:", {"Sanic-Server-0-0"}),
    "without downtime": (
        "__ALL_PROCESSES__::STARTUP_FIRST",
        {"Sanic-Server-0-0", "Sanic-Server-1-0"},
    ),
    "scale down": ("__SCALE__:1", {"Sanic-Server-1-0"}),
}
"""What the manager is told, and whom it is about."""


def get_stuck(launch, state: str, method: str) -> tuple[Server, dict[str, Process]]:
    """A server whose two workers are both in that state, and the workers by name."""
    successor = "block-first:2" if state == "starting" else ""
    server = launch(SUPERVISED.with_(method=method, successor=successor))
    server.wait_serving()
    events = server.wait_for("after_server_start", 2)
    if state == "starting":
        server.order("__ALL_PROCESSES__:")
        events = server.wait_for("holding", 2)
    elif state == "stopped":
        for worker in server.workers:
            worker.freeze()
    else:
        for _ in range(2):
            server.request("/do/block" if state == "blocked" else "/do/deaf")
    return server, {event.name: process_of(server, event) for event in events}


def process_of(server: Server, event: Event) -> Process:
    process = server.process_of(event)
    assert process is not None
    return process


@pytest.mark.parametrize(
    ("state", "order"),
    [
        *((state, order) for state in STATES for order in ("restart", "without downtime")),
        ("blocked", "restart of one"),
        ("stopped", "scale down"),
    ],
)
@methods
def test_a_stuck_worker_makes_way(launch, method, state, order):
    """Whatever it is stuck in: it is gone in time and joined, and main does not wait for it."""
    server, stuck = get_stuck(launch, state, method)
    message, names = ORDERS[order]
    serving = len(server.events("after_server_start"))
    server.order(message)
    if order != "scale down":
        wait_until(
            lambda: len(server.events("after_server_start")) >= serving + len(names),
            START,
            server.describe,
        )
        assert server.get()[0] == 200, "while the old ones still hang about"
    wait_until(
        lambda: not any(stuck[name].look() for name in names),
        SHUTDOWN_TIMEOUT + SLACK,
        server.describe,
    )
    assert not server.zombies
    assert server.stop() == 0


def test_a_complaint_about_the_worker_before_this_one(launch):
    """As sanic-ext's HealthMonitor sends it, who has not heard of that one for half a minute."""
    server = launch(SUPERVISED.with_(method="fork"))
    workers = server.wait_serving()
    server.order("Sanic-Server-1-0")
    server.wait_for_output("Sanic-Server-1-0 has just started: an older request")
    assert holds(lambda: server.workers == workers, 0.5)
    assert server.stop() == 0


def test_a_storm_of_reloads_ends_with_the_wanted_number(launch):
    """Fifty in ten seconds: most of the processes are told to go before they have come up."""
    server = launch(SUPERVISED.with_(method="fork"))
    server.wait_serving()
    for _ in range(50):
        server.order("__ALL_PROCESSES__:")
        holds(lambda: True, 0.2)

    def is_complete() -> bool:
        """Two workers, main, the SyncManager and the watchdog."""
        return len(server.workers) == 2 and len(server.box.rows()) == 2 + 3

    wait_until(lambda: holds(is_complete, 1), START, server.describe)
    assert server.get()[0] == 200
    assert server.stop() == 0


# -- a restart without downtime -------------------------------------------------------------------


@pytest.mark.parametrize("action", ["async", "block"])
@methods
def test_a_stop_overtakes_a_restart_without_downtime(launch, method, action):
    """Sanic has a thread that waits for the new worker's ack, which now never comes; and a process
    can't exit before its threads."""
    server = launch(SUPERVISED.with_(method=method, successor=action))
    server.wait_serving()
    server.get("/restart-without-downtime")
    server.wait_for("holding")
    assert server.get()[0] == 200, "the old ones serve until the new ones do"
    server.send(SIGTERM)
    server.wait_gone(SHUTDOWN_TIMEOUT + SLACK)
    assert server.exit_code() == 0
    assert "Traceback" not in server.output()


def test_main_is_killed_during_a_restart_without_downtime(launch):
    server = launch(SUPERVISED.with_(successor="block"))
    server.wait_serving()
    server.get("/restart-without-downtime")
    server.wait_for("holding")
    server.send(SIGKILL)
    server.wait_gone(ORPHAN_GRACE + SLACK)


@pytest.mark.parametrize("order", ["restart", "without downtime"])
@methods
def test_a_process_of_the_users_is_restarted_along(launch, method, order):
    """Plain Sanic waits for its ack in the second case, and keeps the old one for good."""
    server = launch(SUPERVISED.with_(method=method, manage=True, transient=True))
    server.wait_serving()
    [event] = server.wait_for("custom process")
    old = process_of(server, event)
    server.order(ORDERS[order][0])
    server.wait_for("custom process", 2)
    wait_until(lambda: old.look() is None, SHUTDOWN_TIMEOUT + SLACK, server.describe)
    assert server.stop() == 0


@pytest.mark.parametrize("second", ["without downtime", "restart", "scale down"])
@methods
def test_a_second_order_while_the_successors_still_start(launch, method, second):
    """Two are of that name by then, the one that serves and the one that is to take its place."""
    server = launch(SUPERVISED.with_(method=method, successor="block-first:2"))
    server.wait_serving()
    serving = server.wait_for("after_server_start", 2)
    server.order(ORDERS["without downtime"][0])
    starting = server.wait_for("holding", 2)
    message, names = ORDERS[second]
    server.order(message)
    to_go = [event for event in serving + starting if event.name in names]
    gone = server.processes_of(to_go)
    if second == "without downtime":
        half_way = server.processes_of(starting)
        wait_until(lambda: not any(one.look() for one in half_way), START, server.describe)
        assert server.get()[0] == 200, "the old ones serve until one has come up"
    wait_until(lambda: not any(one.look() for one in gone), START, server.describe)
    wanted = 1 if second == "scale down" else 2
    wait_until(lambda: len(server.workers) == wanted, START, server.describe)
    assert server.get()[0] == 200
    assert not server.zombies
    assert server.stop() == 0


# -- workers that a thread of main's has started --------------------------------------------------


@signals(SIGTERM, SIGKILL)
@pytest.mark.parametrize("action", ["restart", "scale"])
@methods
def test_workers_outlive_the_thread_that_started_them_and_not_main(launch, method, action, signum):
    """The kernel takes the end of that thread for the death of their parent."""
    server = launch(SUPERVISED.with_(method=method, in_thread=action))
    server.wait_for("thread ends")
    count = 2 if action == "restart" else 4
    wait_until(lambda: len(server.workers) == count, 15, server.describe)
    workers = server.workers
    assert holds(lambda: all(worker.alive for worker in workers), 1)
    assert server.get()[0] == 200
    server.send(signum)
    server.wait_gone(ORPHAN_GRACE + SLACK if signum == SIGKILL else SHUTDOWN_TIMEOUT + SLACK)
    assert server.exit_code() == (-SIGKILL if signum == SIGKILL else 0)
