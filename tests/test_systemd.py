"""`Type=notify`: what a real server tells, what a real systemd makes of it, the guide's unit."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import struct
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.census import Process, holds, wait_until
from support.http import Exchange, Ports, can_bind
from support.server import PLAIN, SHUTDOWN_TIMEOUT, SLACK, START, SUPERVISED, Server, Subject
from support.systemd import NOBODY, UNIT, Service, Systemd, open_to_all, why_not

PROMPT = 8.0
"""Seconds within which a stop is over on a busy machine; systemd would wait for 30."""


FORKED = SUPERVISED.with_(method="fork")
"""Less to wait for: little here depends on the start method."""


# -- a server and a socket ------------------------------------------------------------------------


class Listener:
    """In place of systemd: what was told, and by which process."""

    def __init__(self, path: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        self._socket.bind(str(path))
        self._socket.setblocking(False)
        self.lines: list[str] = []
        self.senders: set[int] = set()

    def listen(self) -> list[str]:
        while True:
            try:
                message, [(_, _, credentials)], *_ = self._socket.recvmsg(4096, 256)
            except BlockingIOError:
                return self.lines
            self.senders.add(struct.unpack("3i", credentials)[0])
            self.lines += message.decode().split("\n")

    def wait_for(self, line: str, count: int = 1, within: float = START) -> None:
        wait_until(
            lambda: self.listen().count(line) >= count, within, lambda: f"{line}: {self.lines}"
        )

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def listener(tmp_path: Path) -> Iterator[Listener]:
    path = Path(os.environ.get("TMPDIR", "/tmp")) / f"notify-{os.getpid()}"
    found = Listener(path)
    yield found
    found.close()
    path.unlink()


def notifying(listener: Listener, **more: str) -> dict[str, str]:
    return {"NOTIFY_SOCKET": listener._socket.getsockname(), **more}


def microseconds(lines: list[str]) -> list[float]:
    """The extensions that were asked for, in seconds."""
    return [int(line.partition("=")[2]) / 1e6 for line in lines if line.startswith("EXTEND_")]


@pytest.mark.smoke
def test_a_server_tells_its_life(launch, listener):
    """READY waits for background work; a loss and a restart are for STATUS; main alone speaks."""
    subject = SUPERVISED.with_(
        decorate={"background": ([], {})}, listeners={"before_server_start": "async:1.5"}
    )
    server = launch(subject, env=notifying(listener))
    server.wait_serving()
    assert "READY=1" not in listener.listen()
    assert microseconds(listener.lines)[0] > subject.config.get("REAPER_STARTUP_TIMEOUT", 60.0)
    listener.wait_for("READY=1")
    assert listener.lines.index("STATUS=0/2 workers serve") < listener.lines.index("READY=1")
    assert "STATUS=2/2 workers serve" in listener.lines
    before = listener.lines.count("STATUS=2/2 workers serve")
    server.workers[0].send(signal.SIGKILL)
    listener.wait_for("STATUS=1/2 workers serve")
    listener.wait_for("STATUS=2/2 workers serve", before + 1)
    assert server.get("/scale/3") == (200, "done")
    listener.wait_for("STATUS=3/3 workers serve")
    assert server.get("/restart") == (200, "done")
    listener.wait_for("STATUS=0/3 workers serve")
    listener.wait_for("STATUS=3/3 workers serve", 2)
    main = server.main.pid
    assert server.stop() == 0
    told = listener.listen()
    stop = told[told.index("STOPPING=1") :]
    assert stop[1] == "STATUS=stopping"
    [seconds] = microseconds(stop)
    assert seconds > SHUTDOWN_TIMEOUT
    assert told.count("READY=1") == told.count("STOPPING=1") == 1
    assert not [line for line in told if line.startswith("WATCHDOG")]
    assert listener.senders == {main}


def test_a_worker_that_is_stopped_does_not_serve(launch, listener):
    server = launch(FORKED, env=notifying(listener))
    both, one = "STATUS=2/2 workers serve", "STATUS=1/2 workers serve"
    listener.wait_for(both)
    already = listener.lines.count(one)  # in the start one worker may be before the other
    server.workers[0].freeze()
    listener.wait_for(one, already + 1)
    before = listener.lines.count(both)
    server.workers[0].send(signal.SIGCONT)
    listener.wait_for(both, before + 1)
    assert server.stop() == 0


def test_a_restart_without_downtime_is_no_news(launch, listener):
    server = launch(FORKED, env=notifying(listener))
    listener.wait_for("READY=1")
    told = list(listener.listen())
    assert server.get("/restart-without-downtime") == (200, "done")
    server.wait_for("after_server_start", 4)
    server.wait_for("after_server_stop done", 2)
    assert listener.listen() == told
    server.stop()


def test_signs_of_life_come_from_a_loop_that_turns_and_a_worker_whose_loop_turns(launch, listener):
    subject = FORKED.with_(workers=1).with_config(REAPER_BLOCKED_WARNING=0)
    server = launch(subject, env=notifying(listener, WATCHDOG_USEC="400000"))
    ping, [worker] = "WATCHDOG=1", server.wait_serving()
    listener.wait_for(ping, 3)

    def silent(seconds: float) -> bool:
        listener.listen()
        listener.lines.clear()
        return holds(lambda: ping not in listener.listen(), seconds)

    assert not silent(2), "they go on by themselves"
    blocked = Exchange(server.port, "/do/block:5")
    # What was heard of it last counts for a moment.
    wait_until(lambda: silent(1.5), 5, "silence, as nobody answers")
    assert blocked.answer() == (200, "done")
    listener.wait_for(ping)
    worker.freeze()
    wait_until(lambda: silent(1.5), 5, "silence, as the worker is stopped")
    worker.send(signal.SIGCONT)
    listener.wait_for(ping)
    server.main.freeze()
    assert silent(1.5)
    server.main.send(signal.SIGCONT)
    listener.wait_for(ping)
    server.stop()


def test_signs_of_life_are_not_for_who_is_not_meant(launch, listener):
    """A script around the server is what the service manager watches: WATCHDOG_PID names it."""
    env = notifying(listener, WATCHDOG_USEC="200000", WATCHDOG_PID="1")
    server = launch(FORKED, env=env)
    listener.wait_for("READY=1")
    server.get()
    assert holds(lambda: "WATCHDOG=1" not in listener.listen(), 1)
    server.stop()


def test_nobody_who_listens_is_no_harm(launch, tmp_path):
    server = launch(FORKED, env={"NOTIFY_SOCKET": str(tmp_path / "nobody")})
    server.wait_serving()
    assert "the service manager can't be notified" in server.wait_for_output("can't be notified")
    assert server.stop() == 0


# -- systemd --------------------------------------------------------------------------------------


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="needs systemd (apt-get install)")
def test_the_unit_is_one(tmp_path):
    """With our paths: `verify` looks whether there is such a program and such a user."""
    for changes, words in [
        ({"/srv/app/.venv/bin/python": shutil.which("env"), "/srv/app": "/"}, ""),
        ({"/srv/app/.venv/bin/python": shutil.which("env"), "WatchdogSec": "WatchdogSek"}, "Sek"),
    ]:
        text = UNIT.read_text()
        for old, new in changes.items():
            assert old in text
            text = text.replace(old, str(new))
        unit = tmp_path / UNIT.name
        unit.write_text(text)
        verified = subprocess.run(
            ["systemd-analyze", "verify", "--man=no", str(unit)],
            capture_output=True,
            text=True,
            check=False,
        )
        about_it = [line for line in verified.stderr.splitlines() if UNIT.name in line]
        assert bool(about_it) == bool(words), about_it
        assert words in "".join(about_it)


class Launch:
    """Starts the guide's unit, with a subject in it, under a systemd of our own."""

    def __init__(self, systemd: Systemd, ports: Ports, folder: Path) -> None:
        self.systemd = systemd
        self._ports, self._folder = ports, folder

    def __call__(self, subject: Subject, *overrides: str, user: str = "root") -> Server:
        self.systemd.overrides, self.systemd.user = overrides, user
        folder = self.systemd.folder / self._folder.name
        folder.mkdir()
        folder.chmod(0o777)
        return Server(self.systemd, subject, folder, self._ports.take())  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def one_systemd() -> Iterator[Systemd]:
    if reason := why_not():
        pytest.skip(reason)
    systemd = Systemd()
    yield systemd
    systemd.close()


@pytest.fixture
def start(one_systemd: Systemd, ports: Ports, tmp_path: Path) -> Iterator[Launch]:
    yield Launch(one_systemd, ports, tmp_path)
    for name in one_systemd.units():
        one_systemd.run("systemctl", "kill", "--signal=KILL", name, check=False)
        one_systemd.run("systemctl", "stop", name, check=False)
    one_systemd.wait_empty(10)


DEAF = ["Type=exec", "WatchdogSec=0"]
"""Overrides after which systemd does not listen."""


def service(server: Server) -> Service:
    command = server.command
    assert isinstance(command, Service)
    return command


def family(server: Server) -> list[Process]:
    """Everybody who is in the service's cgroup now."""
    found = service(server).processes
    assert server.main in found
    assert server.watchdog in found
    assert {*server.workers} <= {*found}
    return found


def gone(processes: list[Process]) -> Callable[[], bool]:
    return lambda: not any(process.look() for process in processes)


SLOW = SUPERVISED.with_(listeners={"before_server_start": "async:1.5"})


@pytest.mark.smoke
def test_start_returns_when_all_serve(start):
    server = start(SLOW, *open_to_all(), user=NOBODY)
    assert start.systemd.start_code == 0
    assert start.systemd.started_in > 1.5
    assert len(server.workers) == 2
    assert server.get()[0] == 200
    assert service(server).show("StatusText", "ActiveState", "NotifyAccess") == [
        "2/2 workers serve",
        "active",
        "main",
    ]
    family(server)
    server.workers[0].send(signal.SIGKILL)
    service(server).wait_for(START, StatusText="1/2 workers serve")
    service(server).wait_for(START, StatusText="2/2 workers serve")
    assert service(server).ctl("stop") == 0


def test_control_without_notify_start_returns_before_anybody_serves(start):
    server = start(SLOW, *DEAF)
    assert start.systemd.started_in < 1.5
    assert not server.events("after_server_start")


def test_control_plain_sanic_does_not_notify(start):
    start(PLAIN, "TimeoutStartSec=3", "Restart=no")
    assert start.systemd.start_code != 0


@pytest.mark.parametrize("mode", ["control-group", "mixed", "process"])
def test_each_kill_mode(start, mode):
    """A main that is killed is restarted; a stop leaves an empty cgroup, and nobody is waited for.

    The watchdog ends after main, in a session of its own, and is deaf to SIGTERM.
    """
    subject = FORKED.with_(children=["daemon"])
    server = start(subject, f"KillMode={mode}", "TimeoutStopSec=30")
    everybody = family(server)
    service(server).ctl("kill", "--signal=KILL", "--kill-whom=main")
    service(server).wait_for(START, NRestarts="1", ActiveState="active")
    wait_until(gone(everybody), SLACK, server.describe)
    assert server.get()[0] == 200
    everybody = service(server).processes
    assert len(everybody) > 5
    began = time.monotonic()
    assert service(server).ctl("stop") == 0
    took = time.monotonic() - began
    # With `process` systemd waits for main alone.
    wait_until(gone(everybody), 1.0 if mode == "process" else 0.1, server.describe)
    assert not service(server).processes
    assert took < PROMPT
    assert service(server).show("Result", "ExecMainStatus") == ["success", "0"]
    assert can_bind(server.port)


def test_a_main_that_is_stopped_is_restarted(start):
    server = start(FORKED, "WatchdogSec=3", "LimitCORE=0")
    everybody = family(server)
    assert holds(lambda: server.main.alive, 3.5), "a healthy one is left alone"
    server.main.freeze()
    service(server).wait_for(START, Result="watchdog")
    service(server).wait_for(START, NRestarts="1", ActiveState="active")
    wait_until(gone(everybody), SLACK, server.describe)
    assert server.get()[0] == 200


def test_a_server_that_nobody_could_get_an_answer_from_is_restarted(start):
    """Main's loop turns, and the only worker blocks."""
    server = start(FORKED.with_(workers=1), "WatchdogSec=3", "LimitCORE=0")
    everybody = family(server)
    blocked = server.request("/do/block:60")
    service(server).wait_for(START, NRestarts="1", ActiveState="active")
    blocked.close()
    wait_until(gone(everybody), SLACK, server.describe)
    assert server.get()[0] == 200


def test_control_without_a_limit_it_stays_like_that(start):
    server = start(FORKED.with_(workers=1), "WatchdogSec=0")
    blocked = server.request("/do/block:60")
    assert holds(lambda: server.main.alive, 6)
    blocked.close()


LONG = FORKED.with_(workers=1, listeners={"before_server_start": "async:7"})


def test_a_long_start_has_the_time_that_the_server_gives_it(start):
    start(LONG, "TimeoutStartSec=5")
    assert start.systemd.start_code == 0
    assert start.systemd.started_in > 7


def test_control_a_start_without_a_limit_of_its_own_has_systemds(start):
    server = start(LONG.with_config(REAPER_STARTUP_TIMEOUT=None), "TimeoutStartSec=5", "Restart=no")
    assert start.systemd.start_code != 0
    assert service(server).show("Result") == ["timeout"]
    wait_until(lambda: not service(server).processes, 1, server.describe)


DRAINING = FORKED.with_config(GRACEFUL_SHUTDOWN_TIMEOUT=6, REAPER_SHUTDOWN_TIMEOUT=9)


def drain(server: Server) -> tuple[float, tuple[int, str]]:
    """Stop it while it answers a request that takes 4 s."""
    exchange = server.request("/do/async:4")
    began = time.monotonic()
    service(server).ctl("stop")
    return time.monotonic() - began, exchange.answer()


def test_a_long_stop_has_the_time_that_the_server_gives_it(start):
    server = start(DRAINING, "TimeoutStopSec=1")
    took, answer = drain(server)
    assert answer == (200, "done")
    assert 3 < took < 4 + PROMPT
    assert service(server).show("Result") == ["success"]


def test_control_a_long_stop_that_systemd_is_not_told_of(start):
    server = start(DRAINING, "TimeoutStopSec=1", *DEAF)
    server.wait_serving()
    took, answer = drain(server)
    assert answer == (0, "")
    assert took < 3
    assert service(server).show("Result") == ["timeout"]


def test_a_start_that_fails_is_a_unit_that_fails(start):
    failing = FORKED.with_(workers=1, listeners={"before_server_start": "raise"})
    server = start(failing, "Restart=no")
    assert start.systemd.start_code == 1
    assert service(server).show("Result", "ExecMainStatus") == ["exit-code", "1"]
    wait_until(lambda: not service(server).processes, 1, server.describe)


def test_a_bad_value_is_not_tried_again(start):
    server = start(FORKED.with_config(REAPER_SHUTDOWN_TIMEOUT="soon"))
    assert start.systemd.start_code == 1
    assert holds(lambda: not service(server).processes, 2), "RestartSec is 1"
    assert service(server).show("Result", "ExecMainStatus", "NRestarts") == ["exit-code", "78", "0"]
    assert "REAPER_SHUTDOWN_TIMEOUT = 'soon' is not allowed" in server.output()


def test_a_server_in_which_nobody_lives_is_tried_again(start):
    server = start(FORKED.with_(workers=1).with_config(REAPER_RESPAWN_LIMIT=0))
    before = server.workers
    before[0].send(signal.SIGKILL)
    service(server).wait_for(START, NRestarts="1", ActiveState="active")
    assert re.search("ends with exit code 75", server.output())
    assert server.get()[0] == 200
