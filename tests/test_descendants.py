"""What workers and main have started ends with the server; what is meant to outlive it does not."""

from __future__ import annotations

from signal import SIGINT, SIGKILL, SIGTERM

import pytest
from support.census import holds, wait_until
from support.http import can_bind
from support.marks import signals
from support.server import BOUND, PLAIN, SUPERVISED, Server

KINDS = [
    "plain",
    "setsid",
    "daemon",
    "cleaned",
    "cleaned-daemon",
    "deaf",
    "stopped",
    "forked",
    "process",
    "pool",
]
"""See `subjects/children.py`. Each ends up as one `sleep`."""

DETACHED = {"detached": 1, "detached-block": 1, "detached-daemon": 1, "detached-family": 2}
"""The kinds that were started with `detached_env()`, and how many sleeps each is."""


LOOK = 1.5
"""Seconds within which the watchdog has looked at the process tree: it does so once a second."""


def wait_children(server: Server, count: int) -> None:
    wait_until(lambda: len(server.children) == count, 10, server.describe)


def let_watchdog_look(server: Server) -> None:
    """Nothing outside shows that it has. What is asked for is that the children still live then."""
    count = len(server.children)
    assert holds(lambda: len(server.children) == count, LOOK)


@signals(SIGTERM, SIGKILL)
@pytest.mark.parametrize("kind", KINDS)
def test_a_child_of_a_worker(launch, kind, signum):
    server = launch(SUPERVISED.with_(method="fork", workers=1, children=[kind]))
    server.wait_serving()
    wait_children(server, 1)
    let_watchdog_look(server)
    server.send(signum)
    server.wait_gone()


@signals(SIGTERM, SIGKILL)
def test_a_child_whose_first_thread_has_ended(launch, signum):
    """The process table shows it as a zombie, but it runs on, and nobody can reap it."""
    server = launch(SUPERVISED.with_(method="fork", workers=1, children=["headless"]))
    server.wait_serving()
    wait_until(lambda: [row for row in server.zombies if row.name == "sleep"], 5, server.describe)
    assert holds(lambda: server.zombies, LOOK), "it is none"
    server.send(signum)
    server.wait_gone()


@signals(SIGTERM, SIGKILL)
@pytest.mark.parametrize("kind", ["plain", "setsid", "daemon", "cleaned", "deaf"])
def test_a_child_of_main(launch, kind, signum):
    server = launch(SUPERVISED.with_(method="fork", workers=1, main_children=[kind]))
    server.wait_serving()
    wait_children(server, 1)
    let_watchdog_look(server)
    server.send(signum)
    server.wait_gone()


@pytest.mark.smoke
@signals(SIGTERM, SIGKILL)
@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_all_kinds_at_once(launch, method, signum):
    server = launch(SUPERVISED.with_(method=method, children=KINDS))
    server.wait_serving()
    wait_children(server, 2 * len(KINDS))
    let_watchdog_look(server)
    server.send(signum)
    server.wait_gone()


@signals(SIGTERM, SIGKILL)
def test_children_of_workers_that_died_before(launch, signum):
    """Their parent is another one by then, and nothing in their environment tells of it."""
    server = launch(SUPERVISED.with_(method="fork", children=KINDS))
    workers = server.wait_serving()
    wait_children(server, 2 * len(KINDS))
    let_watchdog_look(server)
    for worker in workers:
        worker.send(SIGKILL)
    wait_until(lambda: not any(worker.alive for worker in workers), 5, "the workers to die")
    server.send(signum)
    server.wait_gone()


def test_children_of_workers_that_die_together_with_main(launch):
    server = launch(SUPERVISED.with_(method="fork", children=KINDS))
    workers = server.wait_serving()
    wait_children(server, 2 * len(KINDS))
    let_watchdog_look(server)
    for process in [*workers, server.main]:
        process.send(SIGKILL)
    server.wait_gone()


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "cleaned-daemon"])
def test_a_child_that_is_only_just_born_when_main_is_killed(launch, kind):
    """The watchdog has had no time to look around: it must find them when main is gone.

    Of a daemon with a cleaned environment nothing tells whose it is once main, which had adopted
    it, is gone: that one needs a look before (docs/ownership.md, Known limits).
    """
    server = launch(SUPERVISED.with_(method="fork", workers=1))
    server.wait_serving()
    assert server.get(f"/start/{kind}") == (200, "done")
    server.send(SIGKILL)
    server.wait_gone()


def test_children_of_a_worker_that_has_to_be_killed(launch):
    """The worker blocks until its SIGKILL: its children must still be known after that."""
    server = launch(SUPERVISED.with_(method="fork", workers=1, children=KINDS))
    server.wait_serving()
    wait_children(server, len(KINDS))
    server.request("/do/block")
    server.send(SIGTERM)
    server.wait_gone()
    assert server.exit_code() == 0


def test_children_of_a_start_that_was_ended(launch):
    subject = SUPERVISED.with_(method="spawn", listeners={"before_server_start": "block"})
    server = launch(subject.with_(children=["daemon"], main_children=["daemon"]))
    server.wait_for("holding", 2)
    wait_children(server, 1)
    server.send(SIGINT)
    server.wait_gone()


# -- what is spared -------------------------------------------------------------------------------


@signals(SIGTERM, SIGKILL)
@pytest.mark.parametrize("method", ["spawn", "fork", "forkserver"])
def test_a_detached_child_outlives_the_server(launch, method, signum):
    kinds = [*DETACHED, "plain", "daemon"]
    server = launch(SUPERVISED.with_(method=method, workers=1, children=kinds))
    server.wait_serving()
    wait_children(server, 2 + sum(DETACHED.values()))
    spared = {p for p in server.children if "sanic_reaper_detached" in p.environ}
    assert len(spared) == sum(DETACHED.values())
    assert not any("sanic_reaper_run" in process.environ for process in spared)

    server.send(signum)
    server.exit_code()

    def others() -> set[object]:
        """All that is left in the box, but the shell of the detached family."""
        return {row.process for row in server.box.rows() if row.name != "sh"} - spared

    wait_until(lambda: not others(), BOUND, server.describe)
    assert holds(lambda: all(process.alive for process in spared), 1)
    assert can_bind(server.port), "a detached child must not hold the port"


@pytest.mark.parametrize("doomed", ["worker", "main and worker", "watchdog"])
def test_a_detached_child_is_spared_whoever_dies(launch, doomed):
    server = launch(SUPERVISED.with_(method="fork", workers=1, children=["detached-daemon"]))
    [worker] = server.wait_serving()
    wait_children(server, 1)
    [child] = server.children
    victims = {
        "worker": [worker],
        "main and worker": [server.main, worker],
        "watchdog": [server.watchdog],
    }
    for victim in victims[doomed]:
        victim.send(SIGKILL)
    wait_until(lambda: not any(v.alive for v in victims[doomed]), 5, "the victims to die")
    server.send(SIGTERM)
    wait_until(lambda: len(server.box.rows()) == 1, BOUND, server.describe)
    assert holds(lambda: child.alive, 1)


# -- main as the one who adopts -------------------------------------------------------------------


@pytest.mark.parametrize("method", ["spawn", "fork", "forkserver"])
def test_orphans_that_main_adopts_leave_no_zombie(launch, method):
    server = launch(SUPERVISED.with_(method=method, children=["brief-daemon"] * 3))
    server.wait_serving()
    wait_until(lambda: not server.children, 10, server.describe)
    # Two looks, and a rest between two reapings: where the CPU is slow, looks are further apart.
    wait_until(lambda: not server.zombies, 10, server.describe)
    assert server.stop() == 0


@pytest.mark.parametrize("method", ["spawn", "fork"])
def test_the_exit_code_of_mains_own_child_is_left_to_main(launch, method):
    """Reaped by the wrong hands, `Popen` would report 0."""
    server = launch(SUPERVISED.with_(method=method, workers=1, main_children=["awaited"]))
    [collected] = server.wait_for("collected")
    assert collected.more["code"] == 7
    assert server.stop() == 0


def test_a_stopped_child_is_not_woken_while_the_server_runs(launch):
    server = launch(SUPERVISED.with_(method="fork", workers=1, children=["plain"]))
    server.wait_serving()
    wait_children(server, 1)
    [child] = server.children
    child.freeze()
    assert holds(lambda: child.stopped, 2)
    assert server.stop() == 0


# -- while the server goes on ---------------------------------------------------------------------


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "cleaned-daemon"])
def test_what_a_dead_worker_has_started_is_ended_and_nothing_else(launch, kind):
    subject = SUPERVISED.with_(method="fork", children=[kind], main_children=["plain"])
    server = launch(subject.with_config(REAPER_RESPAWN=False))
    victim, other = server.wait_serving()
    wait_children(server, 3)
    let_watchdog_look(server)
    victim.send(SIGKILL)
    wait_until(lambda: len(server.children) == 2, 4, server.describe)
    assert holds(lambda: len(server.children) == 2 and other.alive and server.main.alive, LOOK)
    assert server.stop() == 0


@pytest.mark.parametrize("method", ["spawn", "fork", "forkserver"])
@pytest.mark.parametrize("kind", ["setsid", "daemon"])
def test_what_a_restarted_worker_had_started(launch, kind, method):
    """A restart is no leak: what the old workers had started ends with them."""
    server = launch(SUPERVISED.with_(method=method, children=[kind]))
    server.wait_serving()
    wait_children(server, 2)
    assert server.get("/restart")[0] == 200
    server.wait_for("child started", 4)
    wait_until(lambda: len(server.children) == 2, 10, server.describe)
    assert holds(lambda: len(server.children) == 2, LOOK)
    assert server.stop() == 0


def test_what_is_detached_outlives_its_worker(launch):
    subject = SUPERVISED.with_(method="fork", children=["detached", "daemon"])
    server = launch(subject.with_config(REAPER_RESPAWN=False))
    worker, _ = server.wait_serving()
    wait_children(server, 4)
    let_watchdog_look(server)
    worker.send(SIGKILL)
    wait_children(server, 3)
    assert holds(lambda: len(server.children) == 3, LOOK)


@pytest.mark.parametrize("method", ["spawn", "fork"])
def test_a_managed_process_that_starts_something_and_ends(launch, method):
    """That is what it is for."""
    server = launch(SUPERVISED.with_(method=method, workers=1, manage="daemon"))
    server.wait_serving()
    wait_children(server, 1)
    assert holds(lambda: len(server.children) == 1, 2 * LOOK)
    assert server.stop() == 0


def test_control_plain_sanic_leaves_what_a_dead_worker_has_started(launch):
    server = launch(PLAIN.with_(method="fork", children=["setsid"]))
    victim, _ = server.wait_serving()
    wait_children(server, 2)
    victim.send(SIGKILL)
    assert holds(lambda: len(server.children) == 2, 4)


@pytest.mark.parametrize("kind", ["restless", "restless-deaf"])
@pytest.mark.parametrize("starter", ["children", "main_children"])
@pytest.mark.parametrize("round_", range(3))
def test_a_daemon_that_goes_on_in_a_child_again_and_again(launch, kind, starter, round_):
    """No look at the process table is a snapshot: it may be in none of them, and still be there.
    Nor does it bear a mark where main itself has started it."""
    subject = SUPERVISED.with_(method="fork", workers=1, **{starter: [kind]})
    server = launch(subject.with_config(REAPER_SHUTDOWN_TIMEOUT=20.0))
    server.wait_serving()
    assert holds(lambda: not server.command.ended, 1.0)
    server.send(SIGTERM)
    assert server.exit_code(30) == 0
    assert holds(lambda: not server.box.rows(), 1.5), server.describe()
