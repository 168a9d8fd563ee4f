"""The socket on which main says where a worker is: what it answers when it can't ask that one."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.census import wait_until
from support.programs import said_by

from sanic_reaper import platform
from sanic_reaper.main import control as control_module
from sanic_reaper.main import control_client
from sanic_reaper.main.control import MAX_CLIENTS, Control
from sanic_reaper.main.control_client import MAX_QUESTION, Client
from sanic_reaper.model.requests import InFlight
from sanic_reaper.state import control as asking
from sanic_reaper.state.control import ask_for_stack
from sanic_reaper.worker.explanations import EXITED

NAME = "Sanic-Server-0-0"


class Link:
    """Of a worker that says in which line it is as soon as it is asked."""

    imports = False
    can_be_asked = True
    stack = "Thread 1\n"
    in_flight = InFlight()
    tasks = ()

    def ask(self, answer, want):
        answer([("shop.py", 7, "report")], "it sits")


@pytest.fixture
def worker():
    process = subprocess.Popen(["sleep", "60"])
    yield SimpleNamespace(name=NAME, pid=process.pid, link=Link(), heartbeat=None)
    process.kill()
    process.wait()


@pytest.fixture
def control(tmp_path, worker):
    control = Control("run", [worker])
    control.open(str(tmp_path))
    yield control
    control.close()


@pytest.fixture
def ask(tmp_path, control):
    """Ask as a command does, while main turns."""
    with ThreadPoolExecutor() as pool:

        def ask(wanted=NAME, then=control.turn):
            told = pool.submit(ask_for_stack, str(tmp_path), "run", wanted)
            wait_until(lambda: then() or told.done(), 5, "an answer")
            return told.result()

        tmp_path.chmod(0o700)
        yield ask


def test_it_says_where_a_worker_is(ask, worker):
    text = ask()
    assert text.splitlines()[0] == f"{NAME} [{worker.pid}]: it sits"
    assert '  File "shop.py", line 7 in report' in text
    assert ask(str(worker.pid)) == text


def test_one_that_sits_in_no_line_of_python(ask, worker, monkeypatch):
    monkeypatch.setattr(worker.link, "ask", lambda tell, want: tell([], "it says nothing"))
    assert ask().splitlines() == [f"{NAME} [{worker.pid}]: it says nothing", "", "Thread 1"]


def test_nobody_of_this_name(ask):
    with pytest.raises(LookupError, match="no worker of this server is called nobody"):
        ask("nobody")


def test_one_that_is_stopped(ask, worker):
    os.kill(worker.pid, signal.SIGSTOP)
    wait_until(lambda: platform.row(worker.pid).halted, 5, "it to stop")
    with pytest.raises(OSError, match="it is stopped, by SIGSTOP or by a debugger"):
        ask()


def test_one_that_still_imports(ask, worker):
    worker.link.imports, worker.link.can_be_asked = True, False
    with pytest.raises(OSError, match="still imports the app"):
        ask()


def test_one_whose_code_handles_all_signals_for_it(ask, worker):
    worker.link.can_be_asked = False
    with pytest.raises(OSError, match="its code handles each signal by which it could be asked"):
        ask()


def test_a_worker_that_exits_meanwhile(ask, worker, monkeypatch):
    monkeypatch.setattr(worker.link, "ask", lambda tell, want: tell([], EXITED))
    with pytest.raises(OSError, match="it has exited"):
        ask()


def test_a_server_that_stops_meanwhile(ask, control, worker, monkeypatch):
    asked = []
    monkeypatch.setattr(worker.link, "ask", lambda tell, want: asked.append(tell))

    def stop():
        control.turn()
        if asked:  # it has come
            control.close()

    with pytest.raises(OSError, match="the server has stopped"):
        ask(then=stop)
    assert control.news == []
    asked[0]([], "it sits")  # and who has been asked may still answer


def test_who_has_asked_wakes_nobody_any_more_whatever_he_does(tmp_path, control, worker):
    """He may hang up: his socket is readable for good then, and main would spin."""
    asked = []
    worker.link.ask = lambda tell, want: asked.append(tell)
    [connection] = connected(tmp_path, 1)
    connection.sendall(f"{NAME}\n".encode())
    control.turn()
    assert len(asked) == 1
    connection.close()
    assert len(control.news) == 1, "the listening socket alone"
    control.turn()
    asked[0]([], "it sits")
    control.turn()
    assert not control._clients


def test_a_worker_that_never_answers(ask, worker, monkeypatch):
    monkeypatch.setattr(control_client, "WORKER_TIMEOUT", 0.1)
    monkeypatch.setattr(worker.link, "ask", lambda tell, want: None)
    with pytest.raises(OSError, match="the worker has not answered within"):
        ask()


def test_an_answer_that_fits_into_no_buffer(ask, worker, monkeypatch):
    """Main sends it piece by piece, and never waits."""
    worker.link.stack = "x" * 2_000_000 + "\n"
    assert len(ask()) > 2_000_000


def test_who_does_not_take_the_answer_is_given_up(tmp_path, control, worker, monkeypatch):
    monkeypatch.setattr(control_client, "SEND_TIMEOUT", 0.1)
    worker.link.stack = "x" * 2_000_000 + "\n"
    [connection] = connected(tmp_path, 1)
    with connection:
        connection.sendall(f"{NAME}\n".encode())
        control.turn()
        assert len(control._clients) == 1, "nobody has waited for it"
        assert control.is_sending, "so main turns again soon"
        wait_until(lambda: control.turn() or not control._clients, 5, "an end")
        assert not control.is_sending


def test_who_says_nothing_is_told_so_and_the_next_ones_are_heard(tmp_path, control, monkeypatch):
    monkeypatch.setattr(control_client, "QUESTION_TIMEOUT", 0.1)
    silent = connected(tmp_path, MAX_CLIENTS)
    control.turn()
    assert len(control.news) == MAX_CLIENTS, "not the listening socket: nobody would be heard"
    [late] = connected(tmp_path, 1)
    late.settimeout(5)
    late.sendall(b"nobody\n")
    wait_until(lambda: control.turn() or not control._clients, 5, "an end")
    control.turn()
    assert late.recv(100).startswith(b"unknown")
    for connection in silent:
        assert connection.recv(100).startswith(b"error\nno question within")
        connection.close()
    late.close()


@pytest.fixture
def full(tmp_path):
    """A socket on which somebody listens and accepts nobody, with no place left in its queue."""
    if sys.platform != "linux":
        pytest.skip("another kernel refuses with another error")
    tmp_path.chmod(0o700)
    path = f"{tmp_path}/run.socket"
    with socket.socket(socket.AF_UNIX) as listener, socket.socket(socket.AF_UNIX) as first:
        listener.bind(path)
        listener.listen(0)
        first.connect(path)
        yield listener


def test_a_queue_that_stays_full_is_given_up(tmp_path, full, monkeypatch):
    monkeypatch.setattr(asking, "PATIENCE", 0.2)
    began = time.monotonic()
    with pytest.raises(TimeoutError, match=r"main has not answered within 0\.2 s"):
        ask_for_stack(str(tmp_path), "run", NAME)
    assert time.monotonic() - began >= 0.2, "it was tried until then"


def test_who_finds_the_queue_full_is_heard_as_soon_as_there_is_a_place(tmp_path, full):
    """The kernel refuses at once, and does not say when it would not."""
    with ThreadPoolExecutor() as pool, socket.socket(socket.AF_UNIX) as probe:
        probe.setblocking(False)
        with pytest.raises(BlockingIOError):
            probe.connect(f"{tmp_path}/run.socket")
        told = pool.submit(ask_for_stack, str(tmp_path), "run", NAME)
        time.sleep(0.2)
        full.settimeout(10)
        full.accept()[0].close()
        connection, _ = full.accept()
        with connection:
            assert connection.recv(100) == f"{NAME}\n".encode()
            connection.sendall(b"ok\nit sits")
        assert told.result() == "it sits"


def test_an_answer_that_comes_in_drops_is_not_waited_for_for_ever():
    """Each one comes in time, and the end does not."""
    mine, its = socket.socketpair()
    with mine, its:
        mine.settimeout(10)
        its.sendall(b"ok\n")
        with pytest.raises(TimeoutError):
            asking._answer(mine, time.monotonic() - 0.001)
        its.sendall(b"ok\nit sits")
        its.close()
        assert asking._answer(mine, time.monotonic() + 10) == b"ok\nit sits"


def connected(tmp_path, number):
    connections = []
    for _ in range(number):
        connections.append(socket.socket(socket.AF_UNIX))
        connections[-1].connect(f"{tmp_path}/run.socket")
    return connections


def test_more_than_it_hears_at_the_same_time_wait(tmp_path, control):
    connections = connected(tmp_path, MAX_CLIENTS + 1)
    for connection in connections:
        connection.sendall(b"nobody\n")
    control.turn()
    *first, last = connections
    assert all(connection.recv(100).startswith(b"unknown") for connection in first)
    last.setblocking(False)
    with pytest.raises(BlockingIOError):
        last.recv(100)
    control.turn()
    assert last.recv(100).startswith(b"unknown")
    for connection in connections:
        connection.close()


A_MAIN = """
import os, socket
from sanic_reaper.main.control import Control

control = Control("run", [])
control.open(".")
asking = socket.socket(socket.AF_UNIX)
asking.settimeout(5)

def come():
    asking.connect("./run.socket")
    control.turn()
"""


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to come as another user")
@pytest.mark.parametrize(
    ("uid", "open_to", "answer"),
    [(65534, 0, "b''"), (65534, 65534, "b'unknown'"), (0, 65534, "b'unknown'")],
    ids=["another user", "the server's own", "root"],
)
def test_who_may_ask_though_the_directory_is_open_to_everybody(tmp_path, uid, open_to, answer):
    tmp_path.chmod(0o755)
    code = f"""
os.chmod("run.socket", 0o666)
os.seteuid({uid})
asking.connect("./run.socket")
os.seteuid(0)
asking.sendall(b"anybody\\n")
os.seteuid({open_to})
control.turn()
try:
    print(asking.recv(7))
except ConnectionResetError:
    print(b"")
os.seteuid(0)
control.close()
"""
    assert said_by(A_MAIN + code, cwd=tmp_path) == [answer]


def test_where_the_system_does_not_tell_who_asks_the_directory_decides(ask, monkeypatch):
    monkeypatch.delattr(control_module.socket, "SO_PEERCRED", raising=False)
    assert "it sits" in ask()


def test_a_worker_that_was_forked_meanwhile_lets_nobody_wait(tmp_path):
    """It would hold the other end of the question: whoever asks a main that dies then would get
    neither an answer nor the end."""
    code = """
come()
reading, writing = os.pipe()
if not (pid := os.fork()):
    os.close(writing)
    os.read(reading, 1)
    os._exit(0)
control.close()
parts = []
while part := asking.recv(100):
    parts.append(part)
assert os.waitpid(pid, os.WNOHANG) == (0, 0), "it lives"
print(b"".join(parts))
os.close(writing)
os.waitpid(pid, 0)
"""
    assert said_by(A_MAIN + code, cwd=tmp_path) == [r"b'error\nthe server has stopped'"]


@pytest.mark.parametrize("words", [b"", b"x" * (MAX_QUESTION + 1)], ids=["nothing", "too much"])
def test_who_does_not_ask_is_hung_up_on(tmp_path, control, words):
    [connection] = connected(tmp_path, 1)
    with connection:
        connection.sendall(words)
        connection.shutdown(socket.SHUT_WR)
        for _ in range(3):
            control.turn()
        assert connection.recv(100) == b""
    assert len(control.news) == 1


def test_a_path_that_is_too_long_for_a_socket(tmp_path, worker):
    deep = tmp_path / ("x" * 120)
    deep.mkdir(mode=0o700)
    control = Control("run", [worker])
    control.open(str(deep))
    control.turn()
    with ThreadPoolExecutor() as pool:
        told = pool.submit(ask_for_stack, str(deep), "run", NAME)
        wait_until(lambda: control.turn() or told.done(), 20, "an answer")
    assert "it sits" in told.result()
    assert mode_of(deep / "run.socket") == 0o600
    control.close()
    assert list(deep.iterdir()) == []


def mode_of(path):
    return path.lstat().st_mode & 0o777


def test_no_place_for_a_socket_is_one_warning(tmp_path, worker, caplog):
    control = Control("run", [worker])
    for name in ("first", "second"):
        control.open(str(tmp_path / name))
        control.turn()
        assert control.news == []
    [record] = caplog.records
    assert record.levelname == "WARNING"
    assert f"no socket can be created in {tmp_path}/first" in record.getMessage()
    control.close()


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(st.binary(max_size=MAX_QUESTION + 50), min_size=1, max_size=3))
def test_whatever_somebody_asks(tmp_path, control, chunks):
    """Main answers with a word of ours, or hangs up, and goes on."""
    [connection] = connected(tmp_path, 1)
    with connection:
        for chunk in chunks:
            try:
                connection.sendall(chunk)
            except OSError:  # it has hung up
                break
            control.turn()
        try:
            connection.shutdown(socket.SHUT_WR)
        except OSError:
            pass
        control.turn()
        control.turn()
        connection.settimeout(5)
        try:
            answer = connection.recv(4096)
        except ConnectionResetError:
            answer = b""
    assert answer.partition(b"\n")[0] in (b"", b"unknown", b"error", b"ok")
    assert len(control.news) == 1, "nobody is left waiting"


def test_a_client_that_goes_away_before_it_has_asked_is_over():
    """With unread data in its socket, which the kernel reports as a reset and not as an end."""
    ours, theirs = socket.socketpair()
    client = Client(ours, [])
    ours.send(b"unread")
    theirs.close()
    client.turn(time.monotonic())
    assert client.is_over
    assert ours.fileno() == -1
