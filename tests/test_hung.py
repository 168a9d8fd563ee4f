"""Workers that live and do not serve: a loop that stands still is seen from outside."""

from __future__ import annotations

import re
from signal import SIGCONT, SIGKILL, SIGRTMAX, SIGSTOP

import pytest
from support.census import holds, wait_until
from support.marks import methods
from support.server import PLAIN, START, SUPERVISED, Server, Subject

BLOCKED = ["block", "hold_gil", "spin"]
"""What a request handler does; see ACTIONS in `subjects/subject.py`."""

WARNED = SUPERVISED.with_(on_event="note", workers=1).with_config(REAPER_BLOCKED_WARNING=1.0)
TIMED = WARNED.with_config(REAPER_HEARTBEAT_TIMEOUT=2.0)


def report_of(server: Server, words: str) -> str:
    """The line with these words, and the lines that belong to it."""
    server.wait_for_output(words)
    lines = server.output().splitlines()
    at = next(number for number, line in enumerate(lines) if words in line)
    end = next((n for n in range(at + 1, len(lines)) if not lines[n].startswith("  ")), len(lines))
    return "\n".join(lines[at:end])


@pytest.mark.parametrize("uvloop", [True, False])
@pytest.mark.parametrize("action", BLOCKED)
@methods
def test_a_loop_that_stands_still_is_reported_once_with_its_line(launch, method, action, uvloop):
    server = launch(WARNED.with_(method=method).with_config(USE_UVLOOP=uvloop))
    server.wait_serving()
    server.request(f"/do/{action}")
    server.wait_for("worker.blocked")
    report = report_of(server, "has been blocked for")
    assert "event loop of Sanic-Server-0-0" in report
    assert "sits in" in report
    assert re.search(r'File ".*subject.py", line \d+ in perform', report), "and who has called it"
    if action != "block":
        assert "in C code that holds the GIL" in report
    assert holds(lambda: len(server.events("worker.blocked")) == 1, 2), "once"
    assert len(server.workers) == 1, "and nothing is done about it"
    server.send(SIGKILL)
    server.wait_gone()


@pytest.mark.parametrize("where", ["import", "before_server_start", "after_server_start"])
@methods
def test_a_signal_that_the_app_handles_is_not_used_to_ask_where_it_is(launch, method, where):
    """SIGRTMAX-3 is asked for, unless the user's code handles it: then it is another one."""
    if where == "import" and method == "fork":
        where = "main_process_start"  # what main handles, its forked children handle
    if where == "import":
        how = {"importing": "take-signal"}
    else:
        how = {"listeners": {where: "take-signal"}}
    server = launch(WARNED.with_(method=method, **how))
    [worker] = server.wait_serving()
    server.request("/do/block:3")
    assert "sits in" in report_of(server, "has been blocked for")
    wait_until(lambda: server.get()[0] == 200, 10, "the end of the block")
    assert not server.events("their signal")
    worker.send(SIGRTMAX - 3)
    server.wait_for("their signal")
    assert server.stop() == 0


def test_a_loop_that_turns_again(launch):
    server = launch(WARNED.with_(method="fork"))
    server.wait_serving()
    for number in (1, 2):
        exchange = server.request("/do/block:2.5")
        server.wait_for("worker.blocked", number)
        assert exchange.answer()[0] == 200
        wait_until(
            lambda n=number: server.output().count("its event loop turns again") == n,
            5,
            server.describe,
        )
    assert server.stop() == 0


@pytest.mark.smoke
@pytest.mark.parametrize("action", BLOCKED)
@methods
def test_a_hung_worker_is_ended_and_replaced(launch, method, action):
    server = launch(TIMED.with_(method=method))
    [victim] = server.wait_serving()
    server.request(f"/do/{action}")
    report = report_of(server, "will be killed: its event loop has been blocked")
    assert "subject.py" in report
    assert "REAPER_HEARTBEAT_TIMEOUT = 2" in report
    wait_until(lambda: not victim.alive, 5, server.describe)
    wait_until(lambda: len(server.workers) == 1, START, server.describe)
    assert server.get()[0] == 200
    [death] = server.wait_for("worker.died")  # told of by main, not by the process table
    assert "its event loop was blocked" in death.more["reason"]
    [kill] = server.events("worker.killed")
    assert death.more["cause"] == kill.more["cause"] == "hung"
    assert server.stop() == 0


def test_a_hung_worker_that_cannot_be_asked_is_ended_all_the_same(launch):
    """It has blocked every signal: there is no stack, and only SIGKILL is heard."""
    server = launch(TIMED)
    [victim] = server.wait_serving()
    server.request("/do/mask-all")
    report = report_of(server, "will be killed: its event loop has been blocked")
    assert "does not answer" in report
    wait_until(lambda: not victim.alive, 10, server.describe)
    wait_until(lambda: len(server.workers) == 1, START, server.describe)
    [death] = server.wait_for("worker.died")  # told of by main, not by the process table
    assert death.more["cause"] == "hung"
    assert server.stop() == 0


@methods
def test_a_stopped_worker_is_reported_as_stopped_and_spared(launch, method):
    """Somebody debugs it."""
    server = launch(WARNED.with_(method=method))
    [worker] = server.wait_serving()
    worker.freeze()
    server.wait_for("worker.blocked")
    assert "is stopped, by SIGSTOP or by a debugger" in server.output()
    assert holds(lambda: worker.stopped, 2), "and is not made to go on either"
    worker.send(SIGCONT)
    wait_until(lambda: server.get()[0] == 200, 5, server.describe)
    assert not server.events("worker.died")
    assert server.stop() == 0


def test_with_the_timeout_set_a_stopped_worker_is_ended(launch):
    server = launch(TIMED.with_(method="fork"))
    [worker] = server.wait_serving()
    worker.freeze()
    wait_until(lambda: not worker.alive, 10, server.describe)
    wait_until(lambda: len(server.workers) == 1, START, server.describe)
    assert server.stop() == 0


# A look after a long time counts for a second. The rest is what a busy machine has until it beats.
SUSPENDED = TIMED.with_(workers=2, method="fork").with_config(REAPER_BLOCKED_WARNING=1.9)


@pytest.mark.parametrize("subject", [SUSPENDED], ids=["fork"])
def test_a_machine_that_was_suspended_kills_nobody(launch, subject: Subject):
    """Everything stands still for longer than the limit, and goes on, in whatever order."""
    server = launch(subject)
    workers = server.wait_serving()
    main, watchdog = server.main, server.watchdog
    everybody = [watchdog, main, *workers]
    for order in (everybody, everybody[::-1]):
        for process in everybody:
            process.send(SIGSTOP)
        assert holds(lambda: not any(process.look() is None for process in everybody), 4)
        for process in order:
            process.send(SIGCONT)
        assert holds(lambda: all(worker.alive for worker in workers), 2)
    assert not server.events("worker.died")
    assert not server.events("worker.blocked")
    assert server.stop() == 0


def test_a_worker_that_awaits_is_not_hung(launch):
    server = launch(TIMED.with_(method="fork"))
    server.wait_serving()
    exchange = server.request("/do/async:4")
    assert exchange.answer()[0] == 200
    assert not server.events("worker.blocked")
    assert server.stop() == 0


def test_no_beats_where_nobody_listens(launch):
    """With both limits off a worker's loop is left alone."""
    server = launch(WARNED.with_(method="fork").with_config(REAPER_BLOCKED_WARNING=0))
    [worker] = server.wait_serving()
    assert server.get()[0] == 200
    before = worker.switches
    assert holds(lambda: worker.switches <= before + 1, 3)
    assert server.stop() == 0


@pytest.mark.parametrize("action", ["block", "hold_gil"])
def test_control_plain_sanic_says_nothing(launch, action):
    server = launch(PLAIN.with_(method="fork", workers=1))
    [worker] = server.wait_serving()
    server.request(f"/do/{action}")
    assert holds(lambda: worker.alive, 4)
    assert "subject.py" not in server.output()
    assert server.get(timeout=1)[0] == 0


# -- sanic-ext's HealthMonitor --------------------------------------------------------------------

HEALTH = {
    "HEALTH": True,
    "HEALTH_MONITOR": True,
    "HEALTH_MAX_MISSES": 1,
    "HEALTH_REPORT_INTERVAL": 1,
    "HEALTH_MISSED_THRESHHOLD": 3,
}
"""It asks for a restart when it has not heard from a worker for three seconds."""


def test_the_health_monitor_and_we_replace_a_hung_worker_once(launch):
    """Its successor takes so long to start that the HealthMonitor complains about that as well."""
    subject = TIMED.with_(method="fork", successor="async:5").with_config(**HEALTH)
    server = launch(subject)
    server.wait_serving()
    server.request("/do/block")
    server.wait_for("worker.died")
    server.wait_for("successor")
    server.wait_for_output("an older request to restart it is ignored")
    wait_until(lambda: len(server.events("after_server_start")) == 2, START, server.describe)
    assert holds(lambda: len(server.events("before_server_start")) == 2, 5), "once"
    assert server.get()[0] == 200
    assert server.stop() == 0


def test_the_health_monitor_alone_still_restarts_a_worker(launch):
    """Where we only warn it is left to it; the worker that it lets go is ended in time."""
    server = launch(WARNED.with_(method="fork").with_config(**HEALTH))
    [worker] = server.wait_serving()
    # It must be old enough to be complained about.
    wait_until(lambda: server.events("worker.ready"), 5, server.describe)
    assert holds(lambda: server.get()[0] == 200, 5)
    server.request("/do/block")
    wait_until(lambda: len(server.events("after_server_start")) == 2, START, server.describe)
    wait_until(lambda: worker.look() is None, 15, server.describe)
    assert server.stop() == 0
