"""Workers that die while the server goes on: noticed, explained, cleaned up after, replaced."""

from __future__ import annotations

import json
import resource
import time
from signal import SIGABRT, SIGKILL, SIGSEGV, SIGTERM
from typing import Any

import pytest
from support.census import Process, holds, wait_until
from support.load import Load
from support.marks import methods, signals
from support.server import PLAIN, START, SUPERVISED, Event, Server

NOTED = SUPERVISED.with_(on_event="note")
NO_WORKER_LIVES = 75


def kill(server: Server, worker: Process, signum: int = SIGKILL) -> float:
    """Kill a worker, so that it is dead; return when it was signalled."""
    worker.send(signum)
    at = time.monotonic()
    wait_until(lambda: not worker.alive, 10, server.describe)
    return at


def victim_of(server: Server) -> tuple[Process, Process]:
    """The first of two workers, and the other."""
    events = server.wait_for("after_server_start", 2)
    names = {server.process_of(event): event.name for event in events}
    server.wait_serving()
    first, second = sorted(server.workers, key=lambda worker: names[worker])
    return first, second


def wait_serving_again(server: Server, count: int = 2) -> list[Process]:
    wait_until(lambda: len(server.workers) == count, START, server.describe)
    return server.workers


def states(server: Server) -> dict[str, Any]:
    status, text = server.get("/workers")
    assert status == 200
    found: dict[str, Any] = json.loads(text)
    return {name: info for name, info in found.items() if "Server" in name}


@pytest.mark.smoke
@methods
def test_a_worker_that_was_killed_is_replaced(launch, method):
    server = launch(NOTED.with_(method=method))
    victim, other = victim_of(server)
    killed = [kill(server, victim)]
    [death] = server.wait_for("worker.died")
    new = wait_serving_again(server)
    assert victim not in new
    assert other in new
    wait_until(lambda: victim.look() is None, 5, server.describe)
    assert not server.zombies
    assert "killed by SIGKILL, perhaps by the kernel's OOM killer" in death.more["reason"]
    assert "a replacement starts now" in server.output()
    assert server.wait_for("worker.replaced")
    wait_until(
        lambda: all(s["serving"] and s["state"] == "ACKED" for s in states(server).values()),
        5,
        lambda: str(states(server)),
    )
    assert death.time - killed[0] < 1, "on a busy machine; the next test asks for more"
    assert server.stop() == 0


def test_a_death_is_noticed_by_event(launch):
    """Not by looking now and then: the best of three is far quicker than any look."""
    server = launch(NOTED.with_(method="fork").with_config(REAPER_RESPAWN_LIMIT=100))
    server.wait_serving()
    delays = []
    for number in range(1, 4):
        before = kill(server, wait_serving_again(server)[0])
        delays.append(server.wait_for("worker.died", number)[-1].time - before)
    assert min(delays) < 0.1, delays
    assert server.stop() == 0


@pytest.mark.parametrize(
    ("signum", "words"),
    [
        (SIGSEGV, "killed by SIGSEGV: a crash in C code"),
        (SIGABRT, "killed by SIGABRT"),
        (SIGTERM, "exit code 0"),
    ],
)
def test_other_signals(launch, signum, words):
    server = launch(NOTED.with_(method="fork"))
    victim, other = victim_of(server)
    kill(server, victim, signum)
    [death] = server.wait_for("worker.died")
    assert words in death.more["reason"]
    assert other in wait_serving_again(server)
    assert server.stop() == 0


def test_an_exit_code(launch):
    server = launch(NOTED.with_(method="fork"))
    server.wait_serving()
    server.request("/do/os._exit")
    [death] = server.wait_for("worker.died")
    assert "exit code 0" in death.more["reason"]
    assert death.more["cause"] == "exit"
    wait_serving_again(server)
    assert server.stop() == 0


@methods
def test_its_own_descendants_end_and_no_others(launch, method):
    server = launch(NOTED.with_(method=method, children=["setsid", "daemon", "process"]))
    server.wait_serving()
    wait_until(lambda: len(server.children) == 6, 10, server.describe)
    assert holds(lambda: len(server.children) == 6, 1.5), "the watchdog has looked"
    before = set(server.children)
    victim, _ = victim_of(server)
    kill(server, victim)
    wait_until(lambda: sum(child.alive for child in before) == 3, 2, server.describe)
    wait_serving_again(server)
    wait_until(lambda: len(server.children) == 6, 10, server.describe)
    assert sum(child.alive for child in before) == 3
    assert server.stop() == 0


@methods
def test_without_respawn_it_stays_down_and_the_last_one_ends_the_server(launch, method):
    server = launch(NOTED.with_(method=method).with_config(REAPER_RESPAWN=False))
    victim, other = victim_of(server)
    kill(server, victim)
    server.wait_for("worker.died")
    assert "it is not replaced (REAPER_RESPAWN = False)" in server.output()
    assert server.get()[0] == 200
    dead = [info for info in states(server).values() if info["state"] == "FAILED"]
    assert [info["serving"] for info in dead] == [False]
    kill(server, other)
    server.wait_gone()
    assert server.exit_code() == NO_WORKER_LIVES


@pytest.mark.smoke
@methods
def test_a_crash_loop_ends_the_server(launch, method):
    """Instead of holding a port that nobody answers."""
    subject = NOTED.with_(method=method, workers=1)
    server = launch(subject.with_config(REAPER_RESPAWN_LIMIT=2))
    server.wait_serving()
    for number in range(3):
        [worker] = wait_serving_again(server, 1)
        last = kill(server, worker)
        server.wait_for("worker.died", number + 1)
    server.wait_gone(3)
    assert time.monotonic() - last < 3
    assert server.exit_code() == NO_WORKER_LIVES
    [loop] = server.events("worker.crashloop")
    assert "it was replaced 2 times within 60 s" in loop.more["reason"]
    assert "Traceback" not in server.output()
    assert "Experienced exception" not in server.output()
    [pauses] = [
        [
            line.split()[-2]
            for line in server.output().splitlines()
            if "replacement starts in" in line
        ]
    ]
    assert pauses == ["0.5"], "at once first, then later and later"


def test_a_crash_loop_of_one_worker_leaves_the_others_alone(launch):
    server = launch(NOTED.with_(method="fork").with_config(REAPER_RESPAWN_LIMIT=0))
    victim, other = victim_of(server)
    kill(server, victim)
    server.wait_for("worker.crashloop")
    assert holds(lambda: server.get()[0] == 200, 1)
    assert server.workers == [other]
    assert server.stop() == 0


@methods
def test_a_replacement_that_does_not_start_counts_as_one_more_death(launch, method):
    server = launch(
        NOTED.with_(method=method, workers=1, successor="raise").with_config(REAPER_RESPAWN_LIMIT=2)
    )
    [victim] = server.wait_serving()
    kill(server, victim)
    server.wait_gone(START)
    assert server.exit_code() == NO_WORKER_LIVES
    assert len(server.events("successor")) == 2
    assert len(server.events("worker.died")) == 3
    assert server.output().count("the database is not there") >= 2


def test_a_worker_that_dies_while_others_still_start(launch):
    subject = NOTED.with_(
        method="fork", listeners={"before_server_start": "async-in:Sanic-Server-1"}
    )
    server = launch(subject)
    server.wait_for("holding")
    [ready] = server.wait_for("worker.ready")
    first = server.process_of(server.wait_for("after_server_start")[0])
    kill(server, first)
    assert server.wait_for("worker.died")[0].more["of"] == ready.more["of"]
    server.wait_for("all acked")
    assert first not in wait_serving_again(server)
    assert server.stop() == 0


@methods
def test_a_replacement_that_the_system_does_not_start_is_tried_again(launch, method):
    """Main has used up its descriptors, for a while."""
    server = launch(NOTED.with_(method=method, workers=1))
    [victim] = server.wait_serving()
    pid, (soft, hard) = server.main.pid, resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (3, hard))
    kill(server, victim)
    server.wait_for_output("can't be started")
    assert server.main.alive
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (soft, hard))
    wait_serving_again(server, 1)
    assert server.get()[0] == 200
    assert server.stop() == 0


@signals(SIGTERM, SIGKILL)
def test_main_ends_while_a_worker_waits_for_its_replacement(launch, signum):
    server = launch(NOTED.with_(method="fork", workers=1))
    for number in range(4):
        server.wait_for("worker.ready", number + 1)
        kill(server, wait_serving_again(server, 1)[0])
    server.wait_for_output("a replacement starts in 2 s")
    server.send(signum)
    server.wait_gone()
    assert server.exit_code() == (0 if signum == SIGTERM else -SIGKILL)


def in_flight(began: float, ended: float, kills: list[float]) -> bool:
    return any(began <= moment + 0.1 and moment <= ended for moment in kills)


def test_under_load_only_what_was_in_flight_in_a_killed_worker_fails(launch):
    seconds, kills = 10, []
    subject = NOTED.with_(method="fork", workers=3)
    server = launch(subject.with_config(REAPER_RESPAWN_LIMIT=100, REAPER_RESPAWN_WINDOW=0.5))
    server.wait_serving()
    with Load(server.port, clients=6) as load:
        for _ in range(seconds):
            wait_until(lambda: len(server.workers) == 3, START, server.describe)
            kills.append(kill(server, server.workers[-1]))
            time.sleep(1)
        wait_until(lambda: len(server.workers) == 3, START, server.describe)
    assert sum(load.answers.values()) > 500
    stray = [failure for failure in load.failures if not in_flight(*failure[:2], kills)]
    assert not stray
    assert len(load.failures) <= 6 * seconds
    assert server.stop() == 0


def test_control_plain_sanic_does_not_notice(launch):
    server = launch(PLAIN.with_(method="fork"))
    victim, other = victim_of(server)
    kill(server, victim)
    wait_until(lambda: not victim.alive, 5, server.describe)
    assert holds(lambda: len(server.events("after_server_start")) == 2, 3), "it is not replaced"
    assert "SIGKILL" not in server.output()
    kill(server, other)
    wait_until(lambda: not other.alive, 5, server.describe)
    assert holds(lambda: server.main.alive, 3), "it holds a port that nobody answers"
    assert server.get(timeout=1)[0] == 0


# -- hooks ----------------------------------------------------------------------------------------


RAISING = {
    "raise": "the database is not there",
    "sys.exit": "SystemExit",
    "raise-interrupt": "KeyboardInterrupt",
}


@pytest.mark.parametrize("action", [*RAISING, "block"])
@methods
def test_a_hook_that_raises_or_blocks_harms_nobody(launch, method, action):
    server = launch(SUPERVISED.with_(method=method, on_event=action))
    victim, other = victim_of(server)
    kill(server, victim)
    assert other in wait_serving_again(server)
    if action in RAISING:
        server.wait_for("worker.died")  # a stop gives hooks no more than a second
    assert server.stop() == 0
    if action in RAISING:
        assert len(server.events("worker.died")) == 1, "and after the first event others are told"
        assert RAISING[action] in server.output()
    else:
        assert ("forked beside it" in server.output()) == (method == "fork")


@pytest.mark.parametrize("workers", [1, 3])
def test_no_worker_is_forked_while_a_hook_holds_a_lock(launch, workers):
    """It would have the lock as well, and nobody who releases it."""
    subject = SUPERVISED.with_(
        method="fork",
        workers=workers,
        on_event="hold-shared:0.7",
        listeners={"before_server_start": "take-shared"},
    )
    server = launch(subject.with_config(REAPER_STARTUP_TIMEOUT=2 * START))
    victims = server.wait_serving()
    server.wait_for("worker.ready", workers)
    for victim in victims[:2]:
        kill(server, victim)
    wait_serving_again(server, workers)
    server.wait_for("worker.died", len(victims[:2]))
    assert "forked beside it" not in server.output()
    assert server.stop() == 0


def test_the_decorator_hears_what_it_asked_for_and_in_main(launch):
    server = launch(NOTED.with_(method="fork"))
    victim, _ = victim_of(server)
    kill(server, victim)
    [noted] = server.wait_for("death noted")
    assert noted.pid == server.main.inner_pid
    assert noted.more["of"] == victim_pid(server, victim)
    wait_serving_again(server)
    assert server.stop() == 0


def victim_pid(server: Server, victim: Process) -> int:
    events: list[Event] = server.events("worker.died")
    return int(events[0].more["of"])


# -- processes of the user's ----------------------------------------------------------------------


def test_a_process_of_the_users_that_dies_is_reported(launch):
    server = launch(NOTED.with_(method="fork", manage=True))
    server.wait_serving()
    custom = server.process_of(server.wait_for("custom process")[0])
    custom.send(SIGKILL)
    line = server.wait_for_output("Sanic-Custom-0")
    assert "has died: killed by SIGKILL" in line
    wait_until(lambda: custom.look() is None, 5, server.describe)
    assert holds(lambda: len(server.events("custom process")) == 1, 1), "Sanic's rules: not again"
    assert server.output().count("has died: killed by SIGKILL") == 1
    assert server.stop() == 0
