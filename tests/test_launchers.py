"""Every way to launch a server, with every start method."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from signal import SIGCONT, SIGHUP, SIGINT, SIGKILL, SIGTERM

import pytest
from support.box import container
from support.census import Process, Row, holds, wait_until
from support.daemon import SANIC, Daemon, command_line, needs_daemon
from support.http import Exchange, get
from support.marks import methods, signals, smoke_of
from support.server import (
    CONTAINER_SCRIPT,
    SLACK,
    START,
    STARTUP_TIMEOUT,
    SUBJECTS,
    SUPERVISED,
    Server,
    Subject,
)

LAUNCHERS = {
    "sanic": [*SANIC, "app:app"],
    "factory": [*SANIC, "factory:create_app", "--factory"],
    "module": [sys.executable, "-m", "sanic", "app:app"],
}
"""`python app.py` is what all the other tests use."""

EVENTS = {"stop": SIGTERM, "kill": SIGKILL}
STATES = {"serving": {}, "starting": {"before_server_start": "block"}}


@pytest.mark.parametrize("event", EVENTS)
@pytest.mark.parametrize("state", STATES)
@methods
@pytest.mark.parametrize("launcher", smoke_of(LAUNCHERS, "sanic"))
def test_launcher(launch, ports, launcher, method, state, event):
    if (launcher, method) == ("factory", "fork"):
        pytest.skip("Sanic itself can't: a forked worker would register the app a second time")
    port = ports.take()
    subject = SUPERVISED.with_(method=method, listeners=STATES[state])
    server = launch(subject, port=port, argv=command_line(LAUNCHERS[launcher], port))
    if state == "serving":
        server.wait_serving()
        assert server.get()[0] == 200
    else:
        server.wait_for("holding", 2)
    server.send(EVENTS[event])
    server.wait_gone()
    assert server.exit_code() == (-SIGKILL if event == "kill" else 0)
    assert "Traceback" not in server.output()


@methods
@signals(SIGTERM, SIGKILL)
def test_a_unix_socket(launch, new_box, method, signum):
    """As behind a proxy on the same machine. Sanic takes its file away, in the last worker too."""
    box = new_box()
    path = box.folder / "socket"
    server = launch(SUPERVISED.with_(method=method, run={"unix": str(path)}), box=box)
    server.wait_serving()
    assert get(path)[0] == 200
    assert f"unix:{path}" in server.ask("ps").text
    pending = Exchange(path, "/do/async:1")
    server.wait_for("holding")
    server.send(signum)
    assert pending.answer() == (200, "done")
    server.wait_gone()
    assert not path.exists()


@pytest.mark.parametrize("how", ["class", "instance", "register"])
@signals(SIGTERM, SIGKILL)
def test_each_way_to_extend_the_app(launch, how, signum):
    server = launch(SUPERVISED.with_(reaper=how))
    server.wait_serving()
    assert server.watchdog.alive
    server.send(signum)
    server.wait_gone()


@pytest.mark.parametrize("options", [["-O"], ["-I"], ["-X", "dev"]], ids=" ".join)
def test_options_of_the_interpreter(launch, ports, options):
    """`-I` leaves out the script's folder and the environment: the watchdog must not need them."""
    code = f"import sys; sys.path.insert(0, {str(SUBJECTS)!r}); {SANIC[-1]}"
    port = ports.take()
    argv = command_line([sys.executable, *options, "-c", code, "app:app"], port)
    server = launch(SUPERVISED.with_(method="fork"), port=port, argv=argv)
    server.wait_serving()
    assert server.watchdog.alive
    server.send(SIGKILL)
    server.wait_gone()


# -- the daemon -----------------------------------------------------------------------------------


def serve_daemon(launch, ports, folder: Path, subject: Subject, **options) -> Daemon:
    daemon = Daemon(launch, ports.take(), folder, subject, **options)
    assert daemon.launcher_code == 0, "the launcher ends at once"
    return daemon


@needs_daemon
@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("way", smoke_of(["stop", "kill"], "kill"))
@methods
def test_daemon(launch, ports, tmp_path, method, way, state):
    subject = SUPERVISED.with_(method=method, listeners=STATES[state])
    daemon = serve_daemon(launch, ports, tmp_path, subject)
    if state == "serving":
        daemon.server.wait_serving()
    else:
        daemon.server.wait_for("holding", 2)
    assert daemon.is_running
    if way == "kill":
        assert daemon.kill() == 0
    else:
        daemon.server.send(SIGTERM)  # what `sanic APP stop` sends; its pidfile has a fixed place
    daemon.server.wait_gone()
    assert not daemon.is_running
    assert "Traceback" not in daemon.log()
    if way == "stop":
        assert "[reaper] stopped" in daemon.log()


@needs_daemon
@pytest.mark.parametrize("force", [[], ["-f"]], ids=["stop", "stop -f"])
def test_daemon_stopped_by_the_name_of_its_app(launch, ports, tmp_path, force):
    daemon = serve_daemon(launch, ports, tmp_path, SUPERVISED, by_name=True)
    daemon.server.wait_serving()
    assert daemon.stop_by_name(*force) == 0
    daemon.server.wait_gone()


@needs_daemon
def test_daemon_ignores_a_hang_up(launch, ports, tmp_path):
    """Sanic's daemon has a handler of its own for SIGHUP, and keeps it."""
    server = serve_daemon(launch, ports, tmp_path, SUPERVISED).server
    server.wait_serving()
    server.send(SIGHUP)
    assert holds(lambda: server.main.alive, 1)
    assert server.get()[0] == 200
    server.send(SIGTERM)
    server.wait_gone()


FAILURES: dict[str, tuple[Subject, str]] = {
    "failed start": (
        SUPERVISED.with_(listeners={"before_server_start": "raise"}),
        "did not start: its before_server_start handler",
    ),
    "startup timeout": (
        SUPERVISED.with_(listeners={"before_server_start": "block"}).with_config(
            REAPER_STARTUP_TIMEOUT=STARTUP_TIMEOUT
        ),
        "did not start",
    ),
    "bad setting": (SUPERVISED.with_config(REAPER_ORPHAN_GRACE="soon"), "REAPER_ORPHAN_GRACE"),
}


@needs_daemon
@pytest.mark.parametrize("failure", FAILURES)
@methods
def test_daemon_that_does_not_start(launch, ports, tmp_path, method, failure):
    """Its launcher has ended by then, with 0: what is wrong is in its log, and nothing is left."""
    subject, words = FAILURES[failure]
    daemon = serve_daemon(launch, ports, tmp_path, subject.with_(method=method))
    daemon.server.wait_gone(START)
    [error] = [line for line in daemon.log().splitlines() if "ERROR" in line]
    assert words in error
    assert not daemon.is_running


@needs_daemon
@methods
def test_daemon_whose_watchdog_dies_and_that_is_stopped_twice(launch, ports, tmp_path, method):
    subject = SUPERVISED.with_(method=method, listeners={"before_server_start": "deaf"})
    subject = subject.with_config(REAPER_SHUTDOWN_TIMEOUT=60.0)
    server = serve_daemon(launch, ports, tmp_path, subject).server
    server.wait_for("holding", 2)
    watchdog = server.watchdog
    watchdog.send(SIGKILL)
    server.wait_watchdog_replaced(watchdog, 3)
    server.send(SIGTERM)
    server.wait_for("swallowed", 2)
    assert holds(lambda: server.main.alive, 0.5), "the first one waits"
    server.send(SIGTERM)
    server.wait_gone(SLACK)


# -- a container ----------------------------------------------------------------------------------


@signals(SIGTERM, SIGINT)
@methods
def test_main_is_pid_1(launch, method, signum):
    subject = SUPERVISED.with_(method=method, children=["daemon", "cleaned-daemon", "setsid"])
    server = launch(subject, argv=[*container(), sys.executable, "app.py"])
    server.wait_serving()
    assert server.main.inner_pid == 1
    server.send(signum)
    server.wait_gone()
    assert server.exit_code() == 0
    assert len(server.events("after_server_stop done")) == 2


def test_as_pid_1_main_lets_no_zombie_pile_up(launch):
    """Every orphan of the container is its child; nobody else is there to reap them."""
    subject = SUPERVISED.with_(method="fork", children=["brief-daemon"] * 3)
    server = launch(subject, argv=[*container(), sys.executable, "app.py"])
    server.wait_serving()
    wait_until(lambda: not server.children and not server.zombies, 10, server.describe)
    assert server.stop() == 0


def importing_as_pid_1(launch, module: str) -> tuple[Server, Process]:
    argv = [*container(), sys.executable, "importing.py"]
    server = launch(SUPERVISED, argv=argv, env={"IMPORTING": module})
    main = server.process_of(server.wait_for("imported")[0])
    assert main is not None
    assert main.inner_pid == 1
    return server, main


def test_as_pid_1_sigterm_works_from_the_first_import_on(launch):
    server, main = importing_as_pid_1(launch, "sanic_reaper")
    main.send(SIGTERM)
    server.wait_gone()
    assert server.exit_code() == 0
    assert "Traceback" not in server.output()


def test_control_as_pid_1_sigterm_does_nothing(launch):
    _, main = importing_as_pid_1(launch, "sanic")
    main.send(SIGTERM)
    assert holds(lambda: main.alive, 1)


def test_a_popen_of_mains_own_keeps_its_exit_code_while_zombies_come_and_go(launch):
    """As PID 1 main reaps what it inherits, and nothing that it is going to wait for itself."""
    subject = SUPERVISED.with_(
        method="fork", workers=1, main_children=["awaited"], children=["brief-daemon"] * 100
    )
    server = launch(subject, argv=[*container(), sys.executable, "app.py"])
    server.wait_serving()
    [collected] = server.wait_for("collected")
    assert collected.more["code"] == 7
    wait_until(lambda: not server.children and not server.zombies, 15, server.describe)
    assert server.stop() == 0


@pytest.mark.parametrize("failure", ["raise", "second signal"])
def test_a_shell_is_pid_1(launch, failure):
    """`killpg(1)` is `kill(-1)`: plain Sanic kills whatever runs in the container."""
    action = "raise" if failure == "raise" else "deaf"
    subject = SUPERVISED.with_(listeners={"before_server_start": action})
    server = launch(subject, argv=[*container(), *CONTAINER_SCRIPT])
    if failure == "second signal":
        server.wait_for("holding", 2)
        server.send(SIGTERM)
        server.wait_for("swallowed", 2)
        assert holds(lambda: server.main.alive, 0.5)
        server.send(SIGTERM)
    server.wait_gone(START)
    assert "next line, after 1" in server.output()
    assert "the other lived" in server.output()


# -- a service manager ----------------------------------------------------------------------------

ORDERS: dict[str, Callable[[list[Row]], list[Row]]] = {
    "main first": lambda rows: rows,
    "main last": lambda rows: [*reversed(rows)],
}


@pytest.mark.parametrize("order", smoke_of(ORDERS, "main first"))
@methods
def test_the_stop_of_a_service(launch, method, order):
    """As systemd does it by default: SIGTERM to every process of the service, the SyncManager and
    the watchdog among them, then SIGCONT. What is being answered is answered all the same."""
    server = launch(SUPERVISED.with_(method=method))
    server.wait_serving()
    exchange = server.request("/do/async:1.2")
    service = ORDERS[order](server.box.rows())
    for signum in (SIGTERM, SIGCONT):
        for row in service:
            row.process.send(signum)
    assert exchange.answer() == (200, "done")
    server.wait_gone()
    assert server.exit_code() == 0
    assert "Traceback" not in server.output()


# -- a launcher that does not wait for its children -----------------------------------------------

CARELESS = (
    "import os, signal, sys;"
    "signal.signal(signal.SIGCHLD, signal.SIG_IGN);"
    "os.execv(sys.executable, [sys.executable, 'app.py'])"
)
"""What ignores SIGCHLD passes that on by exec. The kernel then reaps whatever main has started, and
nobody learns any more how it ended."""


@methods
def test_sigchld_is_ignored_by_the_launcher(launch, method):
    server = launch(SUPERVISED.with_(method=method), argv=[sys.executable, "-c", CARELESS])
    server.wait_serving()
    assert server.get()[0] == 200
    server.send(SIGTERM)
    server.wait_gone()
    assert server.exit_code() == 0
    assert "Traceback" not in server.output()
    assert "[reaper] stopped cleanly in " in server.output()


@methods
def test_how_a_worker_has_ended_is_known_although_the_launcher_ignores_sigchld(launch, method):
    subject = SUPERVISED.with_(method=method, listeners={"before_server_start": "block"})
    server = launch(subject, argv=[sys.executable, "-c", CARELESS])
    event = server.wait_for("holding", 2)[0]
    worker = server.process_of(event)
    assert worker is not None
    worker.send(SIGKILL)
    server.wait_gone()
    assert server.exit_code() == 1
    words = f"[{event.pid}] did not start: it died before it was ready: killed by SIGKILL"
    assert words in server.output()


# -- a launcher that blocks signals ---------------------------------------------------------------

BLOCKING = (
    "import os, signal, sys;"
    "signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals());"
    "os.execv(sys.executable, [sys.executable, 'app.py'])"
)
"""What a thread blocks is passed on by exec: a launcher with threads often starts its children from
one that handles no signal."""


@methods
@pytest.mark.parametrize("signum", [SIGTERM, SIGHUP], ids=str)
def test_a_stop_is_heard_although_the_launcher_blocks_all_signals(launch, method, signum):
    server = launch(SUPERVISED.with_(method=method), argv=[sys.executable, "-c", BLOCKING])
    server.wait_serving()
    server.send(signum)
    server.wait_gone()
    assert server.exit_code() == 0
    assert "[reaper] stopped cleanly in " in server.output()


@methods
def test_a_limit_holds_although_the_launcher_blocks_all_signals(launch, method):
    subject = SUPERVISED.with_(method=method, listeners={"before_server_start": "block"})
    subject = subject.with_config(REAPER_HANDLER_TIMEOUT=1.0)
    server = launch(subject, argv=[sys.executable, "-c", BLOCKING])
    server.wait_gone(START)
    assert server.exit_code() == 1
    assert "before_server_start handler listen_blocking took longer than 1 s" in server.output()
    assert "StartupTimeout did not end it" not in server.output()


@pytest.mark.parametrize("event", ["main_process_start", "main_process_ready"])
def test_a_stop_is_heard_although_a_listener_of_main_blocks_all_signals(launch, event):
    server = launch(SUPERVISED.with_(method="fork", listeners={event: "block-signals"}))
    server.wait_serving()
    assert server.stop() == 0


# -- a frozen program -----------------------------------------------------------------------------

FROZEN = """\
#!{python} -B
import os, runpy, sys
sys.path.insert(0, os.getcwd())
sys.frozen = True
sys.executable = os.path.abspath(__file__)
from events import emit
emit("program starts")
runpy.run_path("app.py", run_name="__main__")
"""
"""As PyInstaller makes it: `sys.executable` is the program itself, and whatever it is started with
it runs the server. (Only fork starts no process by way of `sys.executable`.)"""


def frozen(folder: Path) -> list[str]:
    program = folder / "program"
    program.write_text(FROZEN.format(python=sys.executable))
    program.chmod(0o755)
    return [str(program)]


@signals(SIGTERM, SIGKILL)
def test_a_frozen_program(launch, tmp_path, signum):
    """There is no interpreter for a watchdog: one warning, and the other layers hold."""
    server = launch(SUPERVISED.with_(method="fork"), argv=frozen(tmp_path))
    server.wait_serving()
    assert server.get()[0] == 200
    assert not server.watchdogs
    assert holds(lambda: len(server.events("program starts")) == 1, 2), "main looks twice a second"
    server.send(signum)
    server.wait_gone()
    assert server.exit_code() == (-SIGKILL if signum == SIGKILL else 0)
    assert server.output().count("the watchdog cannot be started") == 1
    assert "Traceback" not in server.output()


def test_a_frozen_program_ends_a_worker_that_does_not_stop(launch, tmp_path):
    """Then main keeps the deadlines itself."""
    subject = SUPERVISED.with_(method="fork", listeners={"before_server_stop": "block"})
    server = launch(subject, argv=frozen(tmp_path))
    server.wait_serving()
    server.send(SIGTERM)
    server.wait_gone()
    assert server.exit_code() == 0
    assert len(server.events("program starts")) == 1


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_a_file_that_was_saved_half_way_is_named(launch, ports, tmp_path, method):
    """Sanic prints what the import of the app has raised, and has the worker exit with 0."""
    program = tmp_path / "program"
    shutil.copytree(SUBJECTS, program, ignore=shutil.ignore_patterns("__pycache__"))
    port = ports.take()
    line = [*command_line(LAUNCHERS["sanic"], port), "--reload"]
    server = launch(SUPERVISED.with_(method=method), port=port, argv=line, cwd=program)
    server.wait_serving()
    source = program / "app.py"
    source.write_text(f"def half_way(:\n{source.read_text()}")
    said = server.wait_for_output("did not start")
    assert "did not start: SyntaxError: invalid syntax (app.py, line 1)" in said
    assert "exit code" not in said
    assert server.output().index("Traceback") < server.output().index("did not start")
    assert server.stop() == 0


WAITS = ["sh", "-c", '"$@"; echo "it has ended, $?"', "launcher"]
"""A launcher that starts a program as its child and waits for it, as `uv run` does."""

TIES = {
    "nothing": [],
    "setpriv": ["setpriv", "--pdeathsig", "TERM", "--"],
    "itself": [
        sys.executable,
        "-c",
        "import ctypes, os, signal, sys; ctypes.CDLL(None).prctl(1, signal.SIGTERM); "
        "os.execvp(sys.argv[1], sys.argv[1:])",
    ],
}
"""What ties the server to it."""


@pytest.mark.parametrize("tie", TIES)
def test_a_launcher_that_is_killed(launch, tie):
    """As `docs/deployment/launchers.md` says."""
    if TIES[tie] and not shutil.which(TIES[tie][0]):
        pytest.skip(f"no {TIES[tie][0]}: apt-get install util-linux")
    server = launch(SUPERVISED, argv=[*WAITS, *TIES[tie], sys.executable, "app.py"])
    server.wait_serving()
    launcher, main = server.command.process, server.main
    launcher.send(SIGKILL)
    wait_until(lambda: not launcher.alive, 10, server.describe)
    if tie == "nothing":
        assert holds(lambda: main.alive and server.get()[0] == 200, 2)
        assert server.ask("ps").code == 0
        server.send(SIGTERM)
    server.wait_gone()
    assert "stopped cleanly" in server.output()
