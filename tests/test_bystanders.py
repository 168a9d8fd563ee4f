"""Nobody else is touched, however much they look like ours."""

from __future__ import annotations

import os
import re
import shutil
import sys
import time
from collections.abc import Callable
from signal import SIGINT, SIGKILL, SIGTERM

import pytest
from support.box import isolation
from support.census import Process, holds, wait_until
from support.marks import methods, signals, smoke_of
from support.server import (
    BOUND,
    SHUTDOWN_TIMEOUT,
    START,
    STARTUP_TIMEOUT,
    SUPERVISED,
    Server,
    Subject,
)
from support.strangers import sleeper, take_pid, that_took_pids

NOBODY = 65534
READS_ALL = "+dac_override,+dac_read_search"
AS_NOBODY = [
    "setpriv",
    f"--reuid={NOBODY}",
    f"--regid={NOBODY}",
    "--clear-groups",
    f"--inh-caps={READS_ALL}",
    f"--ambient-caps={READS_ALL}",
]
"""As an ordinary user who may read this Python wherever it lies."""

needs_root = pytest.mark.skipif(os.getuid() != 0, reason="needs root, for a second user")


def wait_only(server: Server, *left: Process) -> None:
    """Wait until nothing but these is in the box, and see that they stay."""

    def others() -> list[object]:
        return [row for row in server.box.rows() if row.process not in left]

    wait_until(lambda: not others(), BOUND, server.describe)
    assert holds(lambda: all(process.alive for process in left), 0.5)


# -- the same group, the same session -------------------------------------------------------------

GROUP = ["sh", "-c", 'sleep 600 & "$0" app.py; echo "next line, after $?"; wait', sys.executable]
"""A script with a job in the background: all three are in one process group and one session."""

ENDS: dict[str, tuple[Subject, Callable[[Server], object]]] = {
    "SIGKILL": (SUPERVISED, lambda server: server.send(SIGKILL)),
    "SIGTERM": (SUPERVISED, lambda server: server.send(SIGTERM)),
    "failed start": (
        SUPERVISED.with_(listeners={"before_server_start": "raise"}),
        lambda server: None,
    ),
    "startup timeout": (
        SUPERVISED.with_(listeners={"before_server_start": "deaf"}).with_config(
            REAPER_STARTUP_TIMEOUT=STARTUP_TIMEOUT
        ),
        lambda server: None,
    ),
    "forced stop": (
        SUPERVISED.with_(listeners={"before_server_start": "deaf"}),
        lambda server: (
            server.wait_for("holding", 2),
            server.send(SIGTERM),
            server.wait_for("swallowed", 2),
            holds(lambda: server.main.alive, 0.3),
            server.send(SIGINT),
        ),
    ),
    "dead SyncManager": (SUPERVISED, lambda server: server.sync_manager.send(SIGKILL)),
}


@pytest.mark.parametrize("end", smoke_of(ENDS, "SIGKILL", "failed start"))
@pytest.mark.parametrize("method", ["spawn", "fork"])
def test_the_job_that_launched_it(launch, method, end):
    subject, hurt = ENDS[end]
    server = launch(subject.with_(method=method), argv=GROUP)
    shell = server.command.process
    server.wait_for("main_process_start")
    [job] = server.children
    assert job.look().group == shell.look().group  # and main's, which may have failed by now
    if not subject.listeners:
        assert job.look().group == server.main.look().group
        server.wait_serving()
    hurt(server)
    server.wait_for_output("next line", START)
    wait_only(server, shell, job)


@signals(SIGTERM, SIGKILL)
def test_a_job_of_the_script_that_became_the_server(launch, signum):
    """`helper & exec python app.py`, as in many a container: the helper is main's child, and yet
    not the server that started it."""
    argv = ["sh", "-c", 'sleep 600 & exec "$0" app.py', sys.executable]
    server = launch(SUPERVISED, argv=argv)
    server.wait_serving()
    [job] = server.children
    assert job.look().ppid == server.main.pid
    server.send(signum)
    wait_only(server, job)


# -- the same program -----------------------------------------------------------------------------


@pytest.mark.smoke
@signals(SIGTERM, SIGKILL)
@methods
def test_a_second_server_of_the_same_app(launch, new_box, method, signum):
    """Same user, same command line, same environment but for the port."""
    box = new_box()
    first = launch(SUPERVISED.with_(method=method), box=box)
    second = launch(SUPERVISED.with_(method=method), box=box)
    first.wait_serving()
    workers = second.wait_serving()
    mine = {row.process for row in second.box.rows()} - family(first)
    first.send(signum)
    wait_only(first, *mine)
    assert second.workers == workers
    assert second.get()[0] == 200
    assert second.stop() == 0


def family(server: Server) -> set[Process]:
    """Main and all below it."""
    rows = server.box.rows()
    found = {server.main.pid}
    while more := {row.pid for row in rows if row.ppid in found} - found:
        found |= more
    return {row.process for row in rows if row.pid in found}


@signals(SIGTERM, SIGKILL)
def test_a_server_that_has_inherited_the_mark_of_another(launch, new_box, signum):
    """Both were started from a shell of a third server's: neither takes the other for its own."""
    box, env = new_box(), {"sanic_reaper_run": "0123456789abcdef"}
    first = launch(SUPERVISED, box=box, env=env)
    second = launch(SUPERVISED, box=box, env=env)
    first.wait_serving()
    second.wait_serving()
    mine = {row.process for row in box.rows()} - family(first)
    first.send(signum)
    wait_only(first, *mine)
    assert second.get()[0] == 200
    assert second.stop() == 0


TAKES_THE_MARK = """
import ctypes, sys, time
from pathlib import Path
mark = Path(sys.argv[1])
while not mark.exists():
    time.sleep(0.02)
getenv = ctypes.CDLL(None).getenv
getenv.restype = ctypes.c_void_p
ctypes.memmove(getenv(b"sanic_reaper_run"), mark.read_bytes(), 16)
time.sleep(600)
"""
"""Writes over its own environment, as the kernel shows it to others."""


def ticks_since_boot() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME) * os.sysconf("SC_CLK_TCK")


@pytest.mark.every_method  # only after SIGKILL nothing but the mark's age protects it
@signals(SIGTERM, SIGKILL)
def test_somebody_who_was_there_before_and_bears_the_mark(launch, new_box, tmp_path, signum):
    """The mark proves nothing for a process that is older than the server."""
    box, mark = new_box(), tmp_path / "mark"
    argv = [sys.executable, "-c", TAKES_THE_MARK, str(mark)]
    env = {**os.environ, "sanic_reaper_run": "-" * 16}
    older = box.start(argv, output=tmp_path / "older", env=env).process
    # By a tick of the clock that creation times are told in, or nobody can tell.
    wait_until(lambda: ticks_since_boot() > older.start + 1, 5, "the clock to tick")
    server = launch(SUPERVISED.with_(method="fork"), box=box)
    server.wait_serving()
    run = run_id(server, older)
    mark.with_suffix(".new").write_text(run)
    mark.with_suffix(".new").rename(mark)
    wait_until(lambda: older.environ["sanic_reaper_run"] == run, 5, "it to take the mark")
    server.send(signum)
    wait_only(server, older)


@signals(SIGTERM, SIGKILL)
def test_the_mark_of_another_run(launch, new_box, tmp_path, signum):
    box = new_box()
    server = launch(SUPERVISED.with_(method="fork"), box=box)
    server.wait_serving()
    other = sleeper(box, tmp_path / "sleeper", {**os.environ, "sanic_reaper_run": "f" * 16})
    server.send(signum)
    wait_only(server, other)


def test_what_a_script_starts_after_its_server(launch, tmp_path):
    """Main lives on when `app.run` has returned. What it does then is not the server's business."""
    script = tmp_path / "script.py"
    script.write_text(
        "import runpy, subprocess, sys, time\n"
        "sys.path.insert(0, '')\n"
        "if __name__ == '__main__':\n"
        "    runpy.run_path('app.py', run_name='__main__')\n"
        "    from events import emit\n"
        "    subprocess.Popen(['sleep', '600'])\n"
        "    emit('after')\n"
        "    time.sleep(600)\n"
    )
    server = launch(SUPERVISED.with_(method="fork"), argv=[sys.executable, str(script)])
    server.wait_serving()
    server.send(SIGTERM)
    server.wait_for("after")
    wait_until(lambda: server.children, 5, "the sleep")
    [child] = server.children
    assert holds(lambda: server.main.alive and child.alive, SHUTDOWN_TIMEOUT + 1)


# -- another user ---------------------------------------------------------------------------------


@needs_root
@pytest.mark.root
@signals(SIGTERM, SIGKILL)
def test_another_users_process_with_our_mark(launch, new_box, tmp_path, signum):
    """Anybody may write our mark into his own environment."""
    box = new_box()
    server = launch(SUPERVISED.with_(method="fork"), box=box)
    worker = server.wait_serving()[0]
    mark = run_id(server)
    stranger = sleeper(
        box, tmp_path / "sleeper", {**os.environ, "sanic_reaper_run": mark}, uid=NOBODY
    )
    assert worker.alive
    server.send(signum)
    wait_only(server, stranger)


def run_id(server: Server, *others: Process) -> str:
    """The id that this server's processes bear, read where anybody could read it."""
    for row in server.box.rows():
        run = row.process.environ.get("sanic_reaper_run")
        if run and row.process not in others:
            return run
    raise AssertionError(f"nobody bears a mark\n{server.describe()}")


@needs_root
@pytest.mark.root
@signals(SIGTERM, SIGKILL)
@pytest.mark.parametrize("kind", ["other-user", "other-user-daemon"])
@pytest.mark.parametrize("parent", ["main_children", "children"], ids=["main", "worker"])
def test_a_child_that_was_started_as_another_user(launch, parent, kind, signum):
    """Ours by descent, main's or a worker's, and root may end it."""
    server = launch(SUPERVISED.with_(method="fork", workers=1, **{parent: [kind]}))
    server.wait_serving()
    wait_until(lambda: len(server.children) == 1, 5, server.describe)
    [child] = server.children
    assert holds(lambda: child.alive, 1.5), "the watchdog looks once a second"
    server.send(signum)
    server.wait_gone()


@needs_root
@pytest.mark.root
@signals(SIGTERM, SIGKILL)
def test_a_child_whom_the_server_may_not_signal(launch, new_box, signum):
    """A program that has become root: ours, but the kernel refuses. It is named, the rest ends."""
    box = new_box()
    setuid = box.folder / "setpriv"
    shutil.copy(shutil.which("setpriv") or pytest.skip("needs setpriv"), setuid)
    setuid.chmod(0o4755)
    server = launch(
        SUPERVISED.with_(method="fork", workers=1, main_children=["root"]),
        box=box,
        env={"SETUID_SETPRIV": str(setuid)},
        argv=[*AS_NOBODY, sys.executable, "app.py"],
    )
    server.wait_serving()
    [child] = server.children
    assert holds(lambda: child.alive, 1.5), "the watchdog looks once a second"
    server.send(signum)
    wait_only(server, child)
    assert server.output().count("may not be signalled") == 1
    if signum == SIGTERM:
        last = server.wait_for_output("[reaper] stopped in")
        assert last.endswith("1 process could not be killed: runs as another user")
        assert "cleaned up" not in last, "it lives"
    assert not re.search(r"SIG(TERM|KILL) to sleep", server.output())


# -- the same pid ---------------------------------------------------------------------------------

needs_pid_choice = pytest.mark.skipif(
    os.getuid() != 0 or isolation()[0] != "PID namespace",
    reason="needs root in a PID namespace, to choose the next pid",
)


@needs_pid_choice
@pytest.mark.root
@signals(SIGTERM, SIGKILL)
def test_a_stranger_with_the_pid_of_a_dead_child(launch, tmp_path, signum):
    """The watchdog has seen the child; then it ends, and its number goes to somebody else."""
    server = launch(SUPERVISED.with_(method="fork", workers=1, children=["cleaned-daemon"]))
    server.wait_serving()
    wait_until(lambda: len(server.children) == 1, 5, server.describe)
    [child] = server.children
    assert holds(lambda: child.alive, 1.5), "the watchdog looks once a second"
    pid = child.inner_pid
    child.send(SIGKILL)
    wait_until(lambda: child.look() is None, 5, "main to reap the child")

    stranger = take_pid(server.box, tmp_path / "stranger", pid)
    server.send(signum)
    wait_only(server, stranger, *that_took_pids(server.box))


REGISTRATIONS = {
    "helper": ["SyncManager-1"],
    "tracker": ["resource tracker"],
    "fork_server": ["fork server"],
    "register": ["worker", "0", "Sanic-Server-0-0"],
}
"""What main tells its watchdog of, and what it says of it besides pid and creation time."""


@pytest.mark.parametrize("age", [-1, 0, 1], ids=["older", "the one that was meant", "younger"])
@pytest.mark.parametrize("word", REGISTRATIONS)
def test_a_stranger_with_the_pid_of_what_main_has_registered(launch, new_box, tmp_path, word, age):
    """It is the creation time that tells it from the one that was meant, which is ended."""
    box = new_box()
    stranger = sleeper(box, tmp_path / "sleeper")
    identity = [stranger.inner_pid, stranger.start - age]
    argv = [sys.executable, "registrar.py", word, *map(str, identity), *REGISTRATIONS[word]]
    server = launch(SUPERVISED, box=box, argv=argv)
    server.wait_for("registered")
    server.command.process.send(SIGKILL)
    wait_only(server, *([stranger] if age else []))
