"""The log: one line for each kill, with all that one asks afterwards; one line for the stop."""

from __future__ import annotations

import re
from signal import SIGINT, SIGKILL, SIGTERM

import pytest
from support.census import wait_until
from support.marks import methods, signals
from support.server import SHUTDOWN_TIMEOUT, SUPERVISED, Server

KILL = re.compile(
    r"\[reaper\] SIG(?P<signal>KILL|TERM) to (?P<who>.+) \[(?P<pid>\d+)\]: "
    r"(?P<evidence>.+); (?P<elapsed>\d+\.\d+) s after (?P<cause>.+)$"
)
"""Signal, role and name, pid, why it is ours, how long after what."""


def lines_of(server: Server) -> list[str]:
    """Without those of the start: of the limits that hold, and of each worker."""
    lines = server.output().splitlines()
    of_the_start = ("is up after", "[reaper] sanic-reaper ", "[reaper] REAPER_SHUTDOWN_TIMEOUT = ")
    return [
        line
        for line in lines
        if "[reaper]" in line and not any(words in line for words in of_the_start)
    ]


def kills(server: Server, signal: str = "KILL") -> list[re.Match[str]]:
    """The lines that report this signal. Every line that seems to must have the whole form."""
    found = []
    for line in lines_of(server):
        if f"SIG{signal} to" in line:
            match = KILL.search(line)
            assert match, line
            found.append(match)
    return found


def summaries(server: Server) -> list[str]:
    return [line for line in lines_of(server) if "[reaper] stopped" in line]


@pytest.mark.smoke
@methods
def test_a_clean_stop_is_two_lines(launch, method):
    server = launch(SUPERVISED.with_(method=method))
    server.wait_serving()
    assert not lines_of(server), "while nothing happens nothing is said"
    assert server.stop() == 0
    begin, end = lines_of(server)
    assert "SIGTERM" in begin
    assert end in summaries(server)
    assert re.search(r"stopped cleanly in \d+\.\d s$", end)


def test_the_summary_is_the_last_word(launch):
    server = launch(SUPERVISED)
    server.wait_serving()
    assert server.stop() == 0
    assert "[reaper] stopped" in server.output().splitlines()[-1]


@methods
def test_each_kill_of_a_worker(launch, method):
    server = launch(SUPERVISED.with_(method=method, listeners={"before_server_stop": "block"}))
    workers = server.wait_serving()
    pids = {process.inner_pid for process in workers}
    server.send(SIGTERM)
    server.wait_gone()
    found = kills(server)
    assert {int(kill["pid"]) for kill in found} == pids
    assert len(found) == 2
    assert {kill["who"] for kill in found} == {"worker Sanic-Server-0-0", "worker Sanic-Server-1-0"}
    for kill in found:
        assert "main" in kill["evidence"]
        assert SHUTDOWN_TIMEOUT - 2 < float(kill["elapsed"]) < SHUTDOWN_TIMEOUT + 1
    [summary] = summaries(server)
    assert summary.endswith(" s: 2 workers had to be killed")


@methods
def test_a_worker_that_somebody_else_kills_in_a_stop(launch, method):
    """It is no kill of the Reaper's, and no clean stop."""
    server = launch(SUPERVISED.with_(method=method, listeners={"before_server_stop": "block"}))
    workers = server.wait_serving()
    server.send(SIGTERM)
    server.wait_for("before_server_stop", 2)
    for worker in workers:
        worker.send(SIGKILL)
    assert server.exit_code() == 0
    assert not kills(server)
    [summary] = summaries(server)
    assert summary.endswith(" s: 2 workers got SIGKILL from elsewhere")


@methods
def test_a_death_that_is_told_is_not_counted_by_a_stop_that_follows_at_once(launch, method):
    server = launch(SUPERVISED.with_(method=method))
    [worker, _] = server.wait_serving()
    worker.send(SIGKILL)
    wait_until(lambda: "] has died: " in server.output(), 30, server.describe)
    assert server.stop() == 0
    [summary] = summaries(server)
    assert re.search(r"stopped cleanly in \d+\.\d s$", summary)


def test_the_summary_is_about_the_stop_alone(launch):
    """What has happened before is in the log already: a worker that was killed, its child."""
    server = launch(SUPERVISED.with_(method="fork", workers=1))
    [worker] = server.wait_serving()
    server.get("/start/plain")
    [child] = server.children
    worker.send(SIGKILL)
    wait_until(lambda: not child.alive and server.workers not in ([], [worker]), 30, "another one")
    assert server.stop() == 0
    [summary] = summaries(server)
    assert re.search(r"stopped cleanly in \d+\.\d s$", summary)


def test_the_summary_counts_what_was_left_behind(launch):
    server = launch(SUPERVISED.with_(method="fork", workers=1, children=["plain", "daemon"]))
    server.wait_serving()
    wait_until(lambda: len(server.children) == 2, 30, "two children")
    assert server.stop() == 0
    [summary] = summaries(server)
    assert summary.endswith(" s: 2 leftover processes cleaned up")


@signals(SIGTERM, SIGKILL)
def test_each_descendant_that_is_ended(launch, signum):
    """Each once by SIGTERM, with its evidence; the deaf ones once more, by SIGKILL."""
    kinds = ["plain", "setsid", "daemon", "cleaned", "deaf"]
    server = launch(SUPERVISED.with_(method="fork", workers=1, children=kinds))
    server.wait_serving()
    pids = {process.inner_pid for process in [*server.children, *server.named("sh")]}
    server.send(signum)
    server.wait_gone()
    asked = [kill for kill in kills(server, "TERM") if int(kill["pid"]) in pids]
    assert sorted(int(kill["pid"]) for kill in asked) == sorted(pids)
    assert all("descends from" in kill["evidence"] or "mark" in kill["evidence"] for kill in asked)
    killed = [int(kill["pid"]) for kill in kills(server)]
    assert killed
    assert len(killed) == len(set(killed))


@methods
def test_main_is_killed(launch, method):
    """Main can't log any more: the watchdog writes to the same place, in the same form."""
    server = launch(SUPERVISED.with_(method=method))
    pids = {process.inner_pid for process in server.wait_serving()}
    server.send(SIGKILL)
    server.wait_gone()
    lines = lines_of(server)
    assert len([line for line in lines if "has died; stopping" in line]) == 1
    workers = [kill for kill in kills(server, "TERM") if kill["who"].startswith("worker ")]
    assert {int(kill["pid"]) for kill in workers} <= pids
    assert len(workers) == len({kill["pid"] for kill in workers})
    assert not kills(server)
    assert not summaries(server)


def test_a_forced_stop(launch):
    subject = SUPERVISED.with_(listeners={"before_server_start": "deaf"})
    server = launch(subject.with_config(REAPER_SHUTDOWN_TIMEOUT=60.0))
    server.wait_for("holding", 2)
    server.send(SIGTERM)
    server.wait_for("swallowed", 2)
    server.wait_for_output("stopping on SIGTERM")
    while not server.command.ended:  # again and again, until one of them is not the first any more
        server.send(SIGINT)
    server.wait_gone()
    workers = [kill for kill in kills(server) if kill["who"].startswith("worker ")]
    assert len(workers) == 2
    assert all(float(kill["elapsed"]) < 5 for kill in workers)


@signals(SIGTERM, SIGINT)
def test_the_reason_of_a_stop(launch, signum):
    server = launch(SUPERVISED.with_(method="fork"))
    server.wait_serving()
    assert server.stop(signum) == 0
    assert signum.name in lines_of(server)[0]


def test_every_line_is_one_line_with_the_prefix(launch):
    """Whatever a process is called: a name with a line break must not forge a line."""
    server = launch(SUPERVISED.with_(method="fork", workers=1, children=["odd-name"]))
    server.wait_serving()
    server.send(SIGTERM)
    server.wait_gone()
    assert "forged" in server.output()
    assert not any(line.startswith("forged") for line in server.output().splitlines())
    assert "\x1b" not in server.output(), "nor must it give a terminal orders"
