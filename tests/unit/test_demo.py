"""The demo without Sanic: what it sees of processes, and how it treats a program and a signal."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from threading import Timer
from uuid import uuid4

import psutil
import pytest
from support.census import identify, wait_until
from support.http import Ports
from support.programs import burning, program, said_by

from sanic_reaper import demo
from sanic_reaper.demo import Screen, servers
from sanic_reaper.demo import patience as demo_patience
from sanic_reaper.demo.family import (
    MARKER,
    SPINS,
    WANTS,
    Family,
    command_of,
    cpu_seconds,
    describe,
    is_alive,
    role_of,
    state_of_main,
)
from sanic_reaper.demo.patience import LONGEST, Patience, to_answer, to_settle
from sanic_reaper.demo.results import ROWS, Leftover, Outcome, Result, Row
from sanic_reaper.demo.servers import Server, Stage, did_not_start, wait_until_ready

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")

SLEEP = "import time; print(flush=True); time.sleep(60)"

# -- what is printed, and who interrupts ----------------------------------------------------------


def test_in_a_log_the_table_comes_whole_at_the_end(capsys):
    clean = Outcome(started=True, gone_after=0.1, exit_code=0)
    screen = Screen(2, "fork", table=True)
    for row in ROWS[:2]:
        screen.begin(row)("hurting it")
        screen.add(Result(row, plain=clean, reaper=clean))
    out, error = capsys.readouterr()
    assert out == ""
    assert error.splitlines() == ["[1/2] SIGTERM in start-up", "[2/2] Ctrl+C in start-up"]
    screen.end()
    out, error = capsys.readouterr()
    assert error == ""
    lines = out.splitlines()
    head = next(at for at, line in enumerate(lines) if line.startswith("main gets"))
    assert [line.split()[0] for line in lines[head + 1 : head + 3]] == ["SIGTERM", "Ctrl+C"]
    assert lines[-1].startswith("The Reaper left nothing")


def test_the_first_signal_interrupts_and_none_disturbs_what_comes_then():
    """One that was ignored when the demo began does not, and is not ignored by the servers."""
    code = """
import signal, subprocess, sys
from signal import SIG_DFL, SIG_IGN, SIGHUP, SIGINT, SIGTERM, getsignal, raise_signal
from sanic_reaper.demo import one_interrupt
signal.signal(SIGHUP, SIG_IGN)
signal.signal(SIGTERM, SIG_DFL)
with one_interrupt():
    raise_signal(SIGHUP)
    ask = "import signal; print(signal.getsignal(signal.SIGHUP) == signal.SIG_DFL)"
    print("not yet", subprocess.check_output([sys.executable, "-c", ask], text=True).strip())
    try:
        raise_signal(SIGTERM)
    except KeyboardInterrupt:
        for signum in (SIGTERM, SIGINT, SIGHUP):
            raise_signal(signum)
        print("cleaned up")
print(getsignal(SIGHUP) == SIG_IGN, getsignal(SIGTERM) == SIG_DFL)
"""
    assert said_by(code) == ["not yet True", "cleaned up", "True True"]


CLEAN = Outcome(started=True, gone_after=0.1, exit_code=0)
LEFT = Outcome(started=True, left=1, main="idle")
BUSY = Outcome(started=False)


@pytest.mark.parametrize("as_json", [True, False])
@pytest.mark.parametrize(
    ("outcomes", "code"),
    [
        ([CLEAN, CLEAN], 0),
        ([CLEAN, LEFT], 1),
        ([LEFT, BUSY], 1),
        ([CLEAN, BUSY], 2),
    ],
    ids=["nothing was left", "something was", "before what was not measured", "not measured"],
)
def test_the_exit_code_tells_what_the_reaper_has_left(monkeypatch, capsys, outcomes, code, as_json):
    results = iter(outcomes)
    monkeypatch.setattr(demo, "play", lambda row, stage, say: Result(row, LEFT, next(results)))
    assert demo.run(ROWS[:2], "fork", as_json=as_json) == code
    out, _ = capsys.readouterr()
    assert (len(json.loads(out)["rows"]) == 2) if as_json else out.count("SIGTERM") > 0


# -- what is seen of processes --------------------------------------------------------------------


def leftover(role: str, cpu: float, starved: float = 0.0) -> Leftover:
    return Leftover(10, 1, "S", cpu, role, "python slow_start.py", starved)


@pytest.mark.parametrize(
    ("left", "state"),
    [
        ([], "gone"),
        ([leftover("Server-0-0", 90.0)], "gone"),
        ([leftover("Server-0-0", 90.0), leftover("main", SPINS)], "idle"),
        ([leftover("main", SPINS + 1), leftover("Server-0-0", 0.0)], "spins"),
        ([leftover("main", SPINS, starved=WANTS - SPINS)], "idle"),
        ([leftover("main", SPINS, starved=WANTS - SPINS + 1)], "spins"),
    ],
)
def test_what_main_is_at(left, state):
    assert state_of_main(left) == state


@pytest.mark.parametrize(
    ("code", "worker", "role"),
    [
        ("open('/proc/self/comm', 'w').write('reaper-watchdog')", "", "watchdog"),
        ("# from multiprocessing.resource_tracker import main", "", "resource tracker"),
        ("# from multiprocessing.spawn import spawn_main", "Sanic-Server-0-0", "Server-0-0"),
        ("# from multiprocessing.spawn import spawn_main", "", "SyncManager"),
        ("# a child of a worker", "", ""),
    ],
    ids=["watchdog", "tracker", "worker", "manager", "child"],
)
def test_what_a_process_is_to_its_server(monkeypatch, code, worker, role):
    monkeypatch.setenv("SANIC_WORKER_NAME", worker)
    with program(f"{code}\n{SLEEP}") as process:
        assert role_of(psutil.Process(process.pid)) == role


class Dying:
    """A process that the kernel is taking apart: it is no zombie yet, and has no memory left."""

    def cmdline(self) -> list[str]:
        return []

    def name(self) -> str:
        return "true"


def test_of_a_process_that_has_ended_the_name_is_shown():
    with subprocess.Popen(["true"]) as process:
        zombie = psutil.Process(process.pid)
        wait_until(lambda: not identify(process.pid).alive, 5, "it to end")
        for one in (zombie, Dying()):
            assert command_of(one) == "[true] <defunct>"
    assert role_of(zombie) == ""


def test_of_one_that_is_reaped_before_it_is_looked_at_nothing_is_known():
    with program(SLEEP) as process:
        gone = psutil.Process(process.pid)
        assert is_alive(gone)
        assert describe(gone, "main", 50.0).command != "<gone>"
    assert not is_alive(gone)
    assert cpu_seconds(gone) == 0.0
    left = describe(gone, "main", 50.0)
    assert (left.pid, left.state, left.role, left.command) == (gone.pid, "Z", "main", "<gone>")


def test_who_was_born_while_the_others_died_is_waited_for(monkeypatch):
    family = Family(uuid4().hex)
    monkeypatch.setenv(MARKER, family.marker)
    with program(SLEEP) as first:
        family.look()
        assert {process.pid for process in family.members} == {first.pid}
        with program(SLEEP) as second:
            first.kill()
            first.wait()
            assert family.wait_until_gone(Patience(0.1, [])) is None
            assert second.pid in {process.pid for process in family.living()}
            patience = Patience(20, [])
            Timer(0.05, second.kill).start()
            gone = family.wait_until_gone(patience)
            assert 0 < gone <= patience.elapsed


# -- how long is waited ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("start", "reaper", "settle", "answer"),
    [
        (1.2, 0.5, 2.0, 10.0),
        (6.0, 0.5, 9.0, 18.0),  # the machine is slow
        (1.2, 4.0, 12.0, 12.0),  # it has become slow since
        (100.0, 1.0, LONGEST, LONGEST),
    ],
)
def test_who_is_waited_for_and_how_long(start, reaper, settle, answer):
    assert to_settle(start, reaper) == settle
    assert to_answer(start, reaper) == answer


def test_who_sleeps_uses_up_his_time():
    with program(SLEEP) as process:
        patience = Patience(0.2, [process.pid])
        assert not patience.is_over
        wait_until(lambda: patience.is_over, 30, "the end of its time")
        assert patience.elapsed < 30


def test_who_is_kept_waiting_for_a_cpu_does_not(monkeypatch):
    """What the kernel counts, here for a process that gets none at all."""
    waited = iter(range(1000))
    monkeypatch.setattr(demo_patience, "seconds_without_cpu", lambda pid: float(next(waited)))
    patience = Patience(0.05, [1])
    patience.began -= 40.0
    assert patience.elapsed > 40
    assert patience.is_over, "it could run for 39 s of them"
    waited = iter([0.0, *[100.0] * 1000])
    patience = Patience(0.05, [1])
    patience.began -= 40.0
    assert not patience.is_over
    patience.began -= LONGEST
    assert patience.is_over, "but not for ever"


def test_the_kernel_is_not_asked_all_the_time(monkeypatch):
    """Whoever waits asks 500 times a second, of each process."""
    asked = []
    monkeypatch.setattr(demo_patience, "seconds_without_cpu", lambda pid: asked.append(pid) or 0.0)
    patience = Patience(0.05, [1])
    patience.began -= 1.0
    asked.clear()
    assert [patience.is_over for _ in range(3)] == [True] * 3
    assert asked == [1], "who was there at the beginning, once"
    patience.began -= 1.0
    assert patience.is_over
    assert asked == [1, 1]


def test_the_kernel_counts_who_is_kept_waiting():
    with burning(2 * (os.cpu_count() or 1)), program("print(flush=True)\nwhile True: pass") as busy:
        before = demo_patience.seconds_without_cpu(busy.pid)
        wait_until(
            lambda: demo_patience.seconds_without_cpu(busy.pid) > before + 0.1, 60, "some waiting"
        )
    assert demo_patience.seconds_without_cpu(busy.pid) == 0.0, "and nothing of who is gone"


# -- how a program is started, and hurt -----------------------------------------------------------

START = """
import os, signal, subprocess, time
signal.signal(signal.SIGINT, signal.SIG_DFL)
subprocess.Popen(["sleep", "60"])
print("limit", os.environ.get("SANIC_REAPER_HANDLER_TIMEOUT"))
print("Loading for 60 s")
print("Loading for 60 s", flush=True)
time.sleep(60)
"""
FAIL = "print('no such module', flush=True); raise SystemExit(3)"


@pytest.fixture
def serve(tmp_path):
    """Start a program in the place of the example. It is ended with the test."""
    ports, started = Ports(), []

    def start(row: Row, code: str = START) -> Server:
        place = tmp_path / f"{len(started)}.py"
        place.write_text(code)
        stage = Stage(place, "fork", marker=uuid4().hex)
        started.append(Server(row, stage, reaper=True, port=ports.take()))
        return started[-1]

    yield start
    for server in started:
        server.__exit__()


@pytest.mark.parametrize(
    ("row", "settle", "left", "main", "roles"),
    [
        (Row("", "Ctrl+C", "", signal.SIGINT, to_group=True), 20.0, 0, "gone", set()),
        (Row("", "SIGINT", "", signal.SIGINT), 0.5, 1, "gone", {""}),
        (Row("", "nothing", "", None, limit=0.1), 0.1, 2, "idle", {"main", ""}),
    ],
    ids=["the group", "main", "nobody"],
)
def test_who_gets_the_signal_of_a_row(serve, monkeypatch, row, settle, left, main, roles):
    monkeypatch.setattr(servers, "END_LIMIT", settle)
    server = serve(row)
    assert wait_until_ready([server]) == []
    outcome = server.hurt()
    assert (outcome.started, outcome.left, outcome.main) == (True, left, main)
    assert {process.role for process in outcome.processes if process.state != "Z"} == roles
    assert (outcome.gone_after is None) == (left > 0)
    assert outcome.exit_code == (-signal.SIGINT if main == "gone" else None)


def test_who_exits_while_the_others_are_counted_is_not_left(serve, monkeypatch):
    server = serve(Row("", "nothing", "", None, limit=0.1))
    assert wait_until_ready([server]) == []
    assert server.turns() > 0

    def exit_too_late(patience):
        server.family.kill()

    monkeypatch.setattr(server.family, "wait_until_gone", exit_too_late)
    outcome = server.hurt()
    assert (outcome.left, outcome.main, outcome.gone_after) == (0, "gone", outcome.waited)
    assert outcome.exit_code == -signal.SIGKILL
    assert server.turns() == 0, "and nothing is known of who is gone"


def test_only_a_row_with_a_limit_sets_one(serve, monkeypatch):
    monkeypatch.setenv("SANIC_REAPER_HANDLER_TIMEOUT", "7")  # the user's, for another server
    limited = [serve(Row("", "nothing", "", None, limit=limit)) for limit in (1.5, 0.0)]
    assert wait_until_ready(limited) == []
    assert [server.said().splitlines()[0] for server in limited] == ["limit 1.5", "limit None"]


def test_a_server_that_fails_is_not_waited_for(serve):
    good, bad = serve(ROWS[0]), serve(ROWS[0], FAIL)
    assert wait_until_ready([good, bad]) == [bad], "the other one was"
    began = time.monotonic()
    assert wait_until_ready([bad]) == [bad]
    assert time.monotonic() - began < servers.START_LIMIT / 2
    failed = did_not_start(bad)
    assert failed.measured
    assert (failed.started, failed.exit_code, failed.output) == (False, 3, "no such module\n")


def test_a_server_that_is_too_slow_is_given_up(serve, monkeypatch):
    monkeypatch.setattr(servers, "START_LIMIT", 0.1)
    slow = serve(ROWS[0], SLEEP)
    assert wait_until_ready([slow]) == [slow]
    late = did_not_start(slow)
    assert (late.started, late.measured, late.exit_code) == (False, False, None)
