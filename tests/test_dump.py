"""Where is it? Everybody who asks is answered, and main waits for nobody."""

from __future__ import annotations

import re
import socket
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from signal import SIGCONT, SIGKILL

import pytest
from support.census import Process, holds, wait_until
from support.marks import methods
from support.server import START, SUPERVISED, Server

WINDOW = 3.0
"""Seconds for which main's use of the processor is watched."""

IDLE = 0.15
"""Share of a core that main may take while nothing happens. It takes 0.02; spinning, 0.3 and more.
"""


@contextmanager
def sleeping(server: Server):
    """Main does what is done here without spinning."""
    before = server.main.cpu_seconds
    yield
    assert holds(lambda: server.main.alive, WINDOW)
    assert server.main.cpu_seconds - before < IDLE * WINDOW


def has_pending_signals(process: Process) -> bool:
    """Whether a signal to a process waits to be delivered (`ShdPnd` of proc(5))."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    return int(status.partition("ShdPnd:")[2].split()[0], 16) != 0


def control_socket(server: Server) -> Path:
    def found() -> Path | None:
        return next((server.box.folder / "sanic-reaper").glob("*.socket"), None)

    return wait_until(found, 5, "the control socket")


def connect(server: Server) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(20)
    connection.connect(str(control_socket(server)))
    return connection


def test_a_directory_whose_path_is_too_long_for_a_socket(launch, new_box):
    box = new_box()
    long = box.folder / ("long" * 40)
    long.mkdir(mode=0o700)
    server = launch(
        SUPERVISED.with_(workers=1, method="fork"), box=box, env={"XDG_RUNTIME_DIR": str(long)}
    )
    server.wait_serving()
    said = server.ask("dump", "Sanic-Server-0-0")
    assert said.code == 0, said.text
    assert server.stop() == 0
    assert "can't ask" not in server.output()


# -- several ask the same worker ------------------------------------------------------------------


@methods
def test_a_verdict_is_not_lost_to_a_warning_of_the_same_moment(launch, method):
    """The handler's own limit (and a second) has passed when the warning is due."""
    subject = SUPERVISED.with_(
        method=method, workers=1, listeners={"before_server_start": "hold_gil"}
    )
    server = launch(
        subject.with_config(
            REAPER_STARTUP_TIMEOUT=60.0, REAPER_HANDLER_TIMEOUT=1.0, REAPER_SLOW_HANDLER=2.0
        )
    )
    assert server.exit_code(START) == 1
    assert re.search(r"handler listen_blocking took longer than 1 s", server.output())
    assert "has not started within" not in server.output()
    assert "REAPER_STARTUP_TIMEOUT" not in server.output()


@pytest.mark.parametrize("uvloop", [False, True], ids=["asyncio", "uvloop"])
@pytest.mark.parametrize("warning", [0, 10.0], ids=["without beats", "with beats"])
def test_a_loop_that_waits_for_requests_is_not_said_to_be_blocked(launch, warning, uvloop):
    subject = SUPERVISED.with_(method="fork", workers=1)
    server = launch(subject.with_config(REAPER_BLOCKED_WARNING=warning, USE_UVLOOP=uvloop))
    server.wait_serving()
    server.wait_for_output("is up after")
    said = server.ask("dump", "Sanic-Server-0-0").text
    assert "its event loop turns" in said
    assert "blocking" not in said
    server.request("/do/block")
    wait_until(  # the last beat may have come a moment ago
        lambda: "blocking the event loop" in server.ask("dump", "Sanic-Server-0-0").text,
        START,
        server.describe,
    )
    assert server.stop() == 0


def test_connections_that_say_nothing_cost_nothing_and_keep_nobody_out(launch):
    server = launch(SUPERVISED)
    server.wait_serving()
    silent = [connect(server) for _ in range(9)]
    with sleeping(server):
        assert server.ask("dump", "Sanic-Server-0-0").code == 0
    for connection in silent:
        with closing(connection):
            assert connection.recv(100).startswith(b"error")
    assert server.stop() == 0


def test_who_asks_a_worker_that_dies_hears_of_that(launch):
    server = launch(SUPERVISED.with_(workers=1))
    [victim] = server.wait_serving()
    server.request("/do/mask-all")
    with closing(connect(server)) as connection:
        connection.sendall(f"{victim.inner_pid}\n".encode())
        wait_until(lambda: has_pending_signals(victim), 10, "main to ask the worker")
        victim.send(SIGKILL)
        assert connection.recv(1000) == b"error\nit has exited"
    wait_until(lambda: server.workers not in ([], [victim]), START, server.describe)
    with sleeping(server):
        assert server.ask("dump", "Sanic-Server-0-0").code == 0
    assert server.stop() == 0


def test_who_hangs_up_before_the_answer_is_forgotten(launch):
    """As a `dump` that is killed: a socket that is readable for good."""
    server = launch(SUPERVISED.with_(workers=1))
    server.wait_serving()
    server.request("/do/mask-all")
    for _ in range(10):
        with closing(connect(server)) as connection:
            connection.sendall(b"Sanic-Server-0-0\n")
    with sleeping(server):
        pass
    assert "does not answer" in server.ask("dump", "Sanic-Server-0-0").text
    server.send(SIGKILL)
    server.wait_gone()


def test_many_at_once_are_all_answered(launch):
    server = launch(SUPERVISED.with_(workers=1))
    server.wait_serving()

    def ask(_: int) -> bytes:
        with closing(connect(server)) as connection:
            connection.sendall(b"Sanic-Server-0-0\n")
            return connection.recv(100)

    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(ask, range(20)))
    assert all(answer.startswith(b"ok\nSanic-Server-0-0 [") for answer in answers)
    assert server.stop() == 0


# -- what it shows --------------------------------------------------------------------------------


@methods
def test_each_stack_stands_there_once(launch, method):
    server = launch(SUPERVISED.with_(method=method, workers=1))
    server.wait_serving()
    server.request("/do/hold_gil")
    said = server.ask("dump", "Sanic-Server-0-0")
    assert said.code == 0
    lines = [line for line in said.text.splitlines() if " in hold_gil" in line]
    assert len(lines) == 1, said.text
    server.send(SIGKILL)
    server.wait_gone()


@methods
def test_main_shows_itself_and_workers_do_so_as_before(launch, method):
    server = launch(SUPERVISED.with_(method=method, workers=1))
    server.wait_serving()
    main = server.ask("dump", "main")
    assert main.code == 0
    assert re.match(rf"main \[{server.main.inner_pid}\]: its loop runs\n  File ", main.text)
    assert "in _wait_for_message" in main.text
    assert server.ask("dump", str(server.main.inner_pid)).code == 0
    worker = server.ask("dump", "Sanic-Server-0-0").text
    assert worker.startswith("Sanic-Server-0-0 [")
    assert "in _wait_for_message" not in worker
    assert "main, Sanic-Server-0-0" in server.ask("dump").text
    assert server.stop() == 0
    assert not list((server.box.folder / "sanic-reaper").glob("*.stack"))


@pytest.mark.parametrize("action", ["block", "hold_gil", "spin"])
@pytest.mark.parametrize("event", ["main_process_start", "main_process_ready"])
def test_main_shows_itself_though_its_loop_does_not_turn(launch, event, action):
    """Above all then: that is when one needs it."""
    server = launch(SUPERVISED.with_(listeners={event: action}))
    server.wait_for("holding")
    said = server.ask("dump", "main")
    assert said.code == 0, said.text
    assert f"in {action}" in said.text
    assert "in listen_blocking" in said.text
    server.send(SIGKILL)
    server.wait_gone()


def test_a_main_that_is_stopped_is_not_woken(launch):
    server = launch(SUPERVISED.with_(workers=1))
    server.wait_serving()
    server.main.freeze()
    said = server.ask("dump", "main")
    assert said.code == 1
    assert "main is stopped, by SIGSTOP or by a debugger" in said.text
    assert server.main.stopped
    server.main.send(SIGCONT)
    assert server.stop() == 0


def test_the_file_for_it_is_made_again(launch):
    server = launch(SUPERVISED.with_(workers=1))
    server.wait_serving()
    [file] = (server.box.folder / "sanic-reaper").glob("*.stack")
    file.unlink()
    wait_until(file.exists, 10, server.describe)
    assert server.ask("dump", "main").code == 0
    assert server.stop() == 0
