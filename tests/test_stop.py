"""A stop is a stop: what is asked for it, when, how often, and what happens until it is over."""

from __future__ import annotations

import os
import shutil
import sys
import time
from pathlib import Path
from signal import SIGCONT, SIGHUP, SIGINT, SIGKILL, SIGQUIT, SIGTERM

import pytest
from support.census import holds, wait_until
from support.http import can_bind
from support.marks import is_musl, methods, signals, smoke_of
from support.server import (
    BOUND,
    ORPHAN_GRACE,
    SHELL_SCRIPT,
    SHUTDOWN_TIMEOUT,
    SLACK,
    SUBJECTS,
    SUPERVISED,
    Server,
    Subject,
)

STOP_SIGNALS = [SIGTERM, SIGINT, SIGHUP, SIGQUIT]
SLOW_STOP = SUPERVISED.with_(
    listeners={"before_server_stop": "async:0.7", "after_server_stop": "block:0.2"}
)


def wait_clean(server: Server, code: int = 0, within: float = SHUTDOWN_TIMEOUT + SLACK) -> None:
    server.wait_gone(within)
    assert server.exit_code() == code
    assert "Traceback" not in server.output()
    assert can_bind(server.port)


# -- requests in flight ---------------------------------------------------------------------------


@pytest.mark.smoke
@signals(SIGTERM, SIGINT, SIGKILL)
@methods
def test_a_request_in_flight_is_answered(launch, method, signum):
    server = launch(SUPERVISED.with_(method=method))
    server.wait_serving()
    exchange = server.request("/do/async:1.2")
    server.send(signum)
    assert exchange.answer() == (200, "done")
    server.wait_gone()
    assert server.exit_code() == (-SIGKILL if signum == SIGKILL else 0)


def test_a_request_that_outlasts_the_grace_is_cut_off(launch):
    server = launch(SUPERVISED.with_(workers=1))
    server.wait_serving()
    exchange = server.request("/do/async:60")
    server.send(SIGKILL)
    assert exchange.answer() == (0, "")
    server.wait_gone(ORPHAN_GRACE + SLACK)


# -- listeners ------------------------------------------------------------------------------------


def ctrl_c(server: Server) -> None:
    server.send_group(SIGINT)


def slow_ctrl_c(server: Server) -> None:
    """Main gets its SIGINT when the workers are already busy with theirs."""
    for worker in server.workers:
        worker.send(SIGINT)
    server.send(SIGINT)


def service_manager(server: Server) -> None:
    """systemd's default: SIGTERM to every process of the service, the watchdog included."""
    for row in server.box.rows():
        row.process.send(SIGTERM)


def service_manager_without_main(server: Server) -> None:
    """Main comes last, when all the others already act on theirs."""
    for row in reversed(server.box.rows()):
        if row.process != server.main:
            row.process.send(SIGTERM)
    server.send(SIGTERM)


def hang_up(server: Server) -> None:
    server.send_group(SIGHUP)


WAYS = {
    "SIGTERM": lambda server: server.send(SIGTERM),
    "SIGINT": lambda server: server.send(SIGINT),
    "Ctrl+C": ctrl_c,
    "slow Ctrl+C": slow_ctrl_c,
    "hang-up": hang_up,
    "quit": lambda server: server.send_group(SIGQUIT),
    "service manager": service_manager,
    "service manager, main last": service_manager_without_main,
    "request": lambda server: server.get("/terminate"),
}


@pytest.mark.parametrize("way", smoke_of(WAYS, "Ctrl+C", "service manager"))
@methods
def test_stop_listeners_run_once_and_to_their_end(launch, method, way):
    server = launch(SLOW_STOP.with_(method=method))
    server.wait_serving()
    WAYS[way](server)
    wait_clean(server)
    for event, count in [
        ("before_server_stop", 2),
        ("after_server_stop", 2),
        ("main_process_stop", 1),
    ]:
        assert len(server.events(event)) == count
        assert len(server.events(f"{event} done")) == count


@methods
def test_a_listener_of_mains_stop_raises(launch, method):
    """Sanic calls none after it, the Reaper's neither. The stop is complete all the same, and the
    user's error is the only one that is told."""
    server = launch(SUPERVISED.with_(method=method, listeners={"main_process_stop": "raise"}))
    server.wait_serving()
    assert server.stop() == 1
    server.wait_gone()
    assert "[reaper] stopped cleanly in" in server.output()
    assert "the stop continues" not in server.output()
    assert server.output().count("Traceback") == 1


@pytest.mark.every_method
@methods
def test_a_key_that_dumps_core_dumps_none(launch, tmp_path, method):
    """Ctrl+\\ reaches everybody in the terminal's group, Python's own helpers as well."""
    if not Path("/proc/sys/kernel/core_pattern").read_text().startswith("core"):
        pytest.skip("core dumps do not go to the working directory here")
    program = tmp_path / "program"
    shutil.copytree(SUBJECTS, program, ignore=shutil.ignore_patterns("__pycache__"))
    script = ["sh", "-c", 'ulimit -S -c unlimited && exec "$0" app.py', sys.executable]
    server = launch(SUPERVISED.with_(method=method), argv=script, cwd=program)
    server.wait_serving()
    server.send_group(SIGQUIT)
    wait_clean(server)
    assert not list(program.glob("core*"))


@methods
def test_workers_run_their_stop_listeners_when_main_is_killed(launch, method):
    server = launch(SLOW_STOP.with_(method=method))
    server.wait_serving()
    server.send(SIGKILL)
    server.wait_gone(ORPHAN_GRACE + SLACK)
    assert len(server.events("after_server_stop done")) == 2


@methods
@pytest.mark.parametrize("round_", range(3))
def test_an_orphaned_worker_hears_the_watchdog_at_once(launch, method, round_):
    """Its SIGTERM comes when the kernel's own is still pending, or is just being handled."""
    server = launch(SUPERVISED.with_(method=method, only_the_watchdog=True, workers=4))
    server.wait_serving()
    server.send(SIGKILL)
    server.wait_gone(ORPHAN_GRACE + SLACK)
    assert "SIGKILL" not in server.output()


def test_a_stop_listener_that_never_ends_is_killed(launch):
    server = launch(SUPERVISED.with_(listeners={"before_server_stop": "block"}))
    server.wait_serving()
    server.send(SIGTERM)
    wait_clean(server)


def test_main_that_hangs_in_its_own_stop_is_killed(launch):
    """It can't tell its exit code any more; that it is gone is what counts."""
    server = launch(SUPERVISED.with_(workers=1, listeners={"main_process_stop": "block"}))
    server.wait_serving()
    server.send(SIGTERM)
    server.wait_gone()
    assert server.exit_code() == -SIGKILL


def test_what_hangs_when_the_server_is_over_is_the_scripts(launch):
    """An exit handler of its own, say: it is not limited, and can be ended as ever."""
    server = launch(SUPERVISED.with_(workers=1, at_exit="block"))
    server.wait_serving()
    server.send(SIGTERM)
    server.wait_for("holding")
    assert not server.watchdogs
    assert holds(lambda: server.main.alive, SHUTDOWN_TIMEOUT + 2)
    server.send(SIGTERM)
    server.wait_gone()
    assert server.exit_code() == -SIGTERM


# -- the second signal ----------------------------------------------------------------------------

STUCK = {
    "start": SUPERVISED.with_(listeners={"before_server_start": "deaf"}),
    "stop": SUPERVISED.with_(listeners={"before_server_stop": "block"}),
}


@signals(SIGTERM, SIGINT)
@pytest.mark.parametrize("state", smoke_of(STUCK, "start"))
@methods
def test_a_second_signal_kills_at_once_and_not_the_shell(launch, method, state, signum):
    subject = STUCK[state].with_(method=method).with_config(REAPER_SHUTDOWN_TIMEOUT=60.0)
    server = launch(subject, argv=SHELL_SCRIPT)
    if state == "start":
        server.wait_for("holding", 2)
        server.send(signum)
        server.wait_for("swallowed", 2)
    else:
        server.wait_serving()
        server.send(signum)
        server.wait_for("holding", 2)
    assert holds(lambda: not server.command.ended, 0.5), "the first one waits"
    server.send(signum)
    server.wait_gone(SLACK)
    assert server.exit_code() == 0
    assert "next line, after 1" in server.output()


def test_ctrl_c_twice_kills_at_once(launch):
    subject = STUCK["stop"].with_config(REAPER_SHUTDOWN_TIMEOUT=60.0)
    server = launch(subject)
    server.wait_serving()
    server.send_group(SIGINT)
    server.wait_for("holding", 2)
    assert holds(lambda: not server.command.ended, 0.5), "nobody presses it twice in no time"
    server.send_group(SIGINT)
    server.wait_gone(SLACK)
    assert server.exit_code() == 1


def test_a_second_hang_up_changes_nothing(launch):
    """A terminal that closes may hang up more than once; only SIGINT and SIGTERM force a stop."""
    server = launch(SLOW_STOP)
    server.wait_serving()
    server.send(SIGHUP)
    server.wait_for("before_server_stop", 2)
    server.send(SIGHUP)
    wait_clean(server)
    assert len(server.events("before_server_stop done")) == 2


# -- signals that somebody else has taken ---------------------------------------------------------


@signals(SIGHUP, SIGQUIT)
@methods
def test_an_ignored_signal_stays_ignored(launch, method, signum):
    """As `nohup` does it, and a shell without job control for what it runs in the background."""
    ignoring = ["sh", "-c", f"trap '' {signum.name[3:]}; exec \"$0\" app.py", sys.executable]
    server = launch(SUPERVISED.with_(method=method), argv=ignoring)
    workers = server.wait_serving()
    server.send_group(signum)
    assert holds(lambda: not server.command.ended, 1)
    assert server.workers == workers
    assert server.get()[0] == 200
    assert server.stop() == 0


def test_nohup(launch):
    server = launch(SUPERVISED.with_(workers=1), argv=["nohup", sys.executable, "app.py"])
    server.wait_serving()
    server.send_group(SIGHUP)
    assert holds(lambda: server.get()[0] == 200, 1)
    assert server.stop() == 0


@signals(SIGHUP, SIGQUIT)
@pytest.mark.parametrize("where", ["import", "main_process_start", "main_process_ready"])
@methods
def test_a_signal_that_the_user_handles_stays_the_users(launch, method, where, signum):
    """Also where main's own handler was there before."""
    how = (
        {"trap": signum.name}
        if where == "import"
        else {"listeners": {where: f"trap:{signum.name}"}}
    )
    server = launch(SUPERVISED.with_(method=method, workers=1, **how))
    server.wait_serving()
    server.send(signum)
    server.wait_for("trapped")
    assert holds(lambda: server.get()[0] == 200, 1)
    assert server.stop() == 0


# -- signals while main starts --------------------------------------------------------------------


@pytest.mark.parametrize("action", smoke_of(["block", "async"], "async"))
@pytest.mark.parametrize("event", ["main_process_start", "main_process_ready"])
@signals(*STOP_SIGNALS)
def test_a_signal_while_main_starts_is_a_stop(launch, signum, event, action):
    server = launch(SUPERVISED.with_(listeners={event: action}))
    server.wait_for("holding")
    server.send(signum)
    wait_clean(server)
    assert len(server.events("main_process_stop done")) == 1
    assert not server.events("importing"), "no worker is started any more"


@pytest.mark.parametrize("event", ["main_process_start", "main_process_ready"])
@signals(SIGTERM, SIGINT)
@methods
def test_the_thread_that_main_awaits_is_not_waited_for(launch, method, signum, event):
    """It can't be cancelled, and the interpreter would join it."""
    subject = SUPERVISED.with_(method=method, listeners={event: "async-thread"})
    server = launch(subject)
    server.wait_for("holding")
    server.send(signum)
    wait_clean(server)
    assert "main exits before its start is complete, and does not wait for the thread " in (
        server.output()
    )
    assert "the exit of the interpreter waits" not in server.output()


@pytest.mark.parametrize("event", ["main_process_start", "main_process_ready"])
@pytest.mark.parametrize("method", ["fork", "forkserver"])
def test_ctrl_c_while_main_starts(launch, method, event):
    server = launch(SUPERVISED.with_(method=method, listeners={event: "block"}))
    server.wait_for("holding")
    server.send_group(SIGINT)
    wait_clean(server)


@pytest.mark.parametrize("event", ["main_process_start", "main_process_ready"])
@methods
def test_main_is_killed_while_it_starts(launch, method, event):
    server = launch(SUPERVISED.with_(method=method, listeners={event: "block"}))
    server.wait_for("holding")
    server.send(SIGKILL)
    server.wait_gone(ORPHAN_GRACE + SLACK)


def test_a_main_that_swallows_the_signal_is_killed_at_the_deadline(launch):
    server = launch(SUPERVISED.with_(listeners={"main_process_ready": "swallow"}))
    server.wait_for("holding")
    server.send(SIGTERM)
    server.wait_for("swallowed")
    server.wait_gone()


MOMENTS = [0.15 * step for step in range(1, 9)]
"""Seconds after the launch; a start of two workers takes about one."""


@signals(SIGTERM, SIGKILL)
@pytest.mark.parametrize("method", ["spawn", "fork"])
@pytest.mark.parametrize("moment", MOMENTS, ids=lambda moment: f"{moment:.2f} s")
def test_a_signal_at_any_moment_of_the_start(launch, method, signum, moment):
    """Blind by intention: these are the moments that nobody has thought of."""
    server = launch(SUPERVISED.with_(method=method))
    time.sleep(moment)
    started = bool(server.events("main_process_start"))
    server.command.process.send(signum)
    server.wait_gone()
    if started and signum != SIGKILL:
        assert server.exit_code() == 0
        assert "Traceback" not in server.output()


# -- Sanic's own troubles -------------------------------------------------------------------------


@methods
def test_a_signal_in_the_midst_of_a_talk_with_the_sync_manager(launch, method):
    """Sanic's own handler would start another talk there, and corrupt both."""
    server = launch(SUPERVISED.with_(method=method))
    server.wait_serving()
    manager = server.sync_manager
    manager.freeze()
    server.wait_main_stuck()
    server.send(SIGTERM)
    manager.send(SIGCONT)
    wait_clean(server)


@pytest.mark.parametrize("round_", range(5))
def test_a_signal_storm(launch, round_):
    """All sorts at once: main may take it for a forced stop, but not lose its head."""
    server = launch(SUPERVISED.with_(method="fork"))
    server.wait_serving()
    # With musl, `faulthandler` gives handlers a stack that four of them at once overflow.
    kinds = (SIGHUP, SIGTERM, SIGINT) if is_musl() else (SIGHUP, SIGQUIT, SIGTERM, SIGINT)
    for _ in range(20):
        for signum in kinds:
            server.send(signum)
    server.wait_gone()
    assert server.exit_code() in (0, 1)
    assert "Traceback" not in server.output()


# -- where its words go ---------------------------------------------------------------------------


def test_a_reader_that_has_gone_does_not_stop_the_stop(launch):
    """`python app.py | head -n 1`: from the second line on there is nobody to write to."""
    script = ["sh", "-c", '"$0" app.py 2>&1 | head -n 1', sys.executable]
    server = launch(SUPERVISED.with_(method="fork"), argv=script)
    server.wait_serving()
    server.send(SIGTERM)
    server.wait_gone()


@pytest.fixture
def stalled(tmp_path):
    """A pipe whose reader has stalled, once it is full: its path, and its descriptor."""
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    pipe = os.open(fifo, os.O_RDWR | os.O_NONBLOCK)
    yield fifo, pipe
    os.close(pipe)


def test_a_full_pipe_does_not_stop_the_stop(launch, stalled):
    """Main hangs in the middle of its own log line."""
    fifo, pipe = stalled
    server = launch(SUPERVISED.with_(method="fork"), output=fifo)
    server.wait_serving()
    fill(pipe)
    server.send(SIGTERM)
    server.wait_gone()


def test_a_full_pipe_does_not_stop_a_server_that_could_not_start(launch, stalled):
    """Main begins to stop before it says why."""
    fifo, pipe = stalled
    subject = SUPERVISED.with_(workers=1, listeners={"before_server_start": "block-raise:2"})
    server = launch(subject.with_(method="fork"), output=fifo)
    server.wait_for("holding")
    fill(pipe)
    server.wait_gone(2 + BOUND)


def fill(pipe: int) -> None:
    for size in (4096, 1):
        try:
            while True:
                os.write(pipe, b"x" * size)
        except BlockingIOError:
            continue


def test_a_pipeline_ends_with_the_server(launch):
    """Whoever reads its output sees the end of it: the watchdog keeps no pipe open behind it."""
    script = ["sh", "-c", '"$0" app.py 2>&1 | cat; echo "next line"', sys.executable]
    server = launch(SUPERVISED.with_(method="fork"), argv=script)
    server.wait_serving()
    server.send(SIGTERM)
    server.wait_gone()
    assert server.output().endswith("next line\n")


# -- nothing wrong --------------------------------------------------------------------------------


@methods
def test_it_can_be_started_again_on_the_same_port_at_once(launch, method):
    subject: Subject = SUPERVISED.with_(method=method)
    server = launch(subject)
    server.wait_serving()
    server.send(SIGKILL)
    server.wait_gone(ORPHAN_GRACE + SLACK)
    successor = launch(subject, port=server.port)
    successor.wait_serving()
    assert successor.get()[0] == 200
    assert successor.stop() == 0


@signals(SIGTERM, SIGKILL)
@methods
def test_no_temporary_file_is_left(launch, method, signum):
    """`multiprocessing` has a directory for the SyncManager's socket, and removes it in main."""
    server = launch(SUPERVISED.with_(method=method))
    server.wait_serving()
    assert list(server.box.tmp.iterdir())
    server.send(signum)
    server.wait_gone()
    assert not list(server.box.tmp.iterdir())


def test_a_stop_is_prompt(launch):
    """Nothing waits for a deadline. How long it takes is the benchmarks' to say."""
    server = launch(SUPERVISED.with_config(REAPER_SHUTDOWN_TIMEOUT=20))
    server.wait_serving()
    sent = server.send(SIGTERM)
    server.wait_gone()
    assert time.monotonic() - sent < 10
    wait_until(lambda: server.exit_code() == 0, 1, "exit code 0")
