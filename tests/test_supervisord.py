"""A real supervisord runs the program section of the guide, with our paths in it."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from support.census import Process, descendants, wait_until
from support.http import can_bind
from support.server import PLAIN, SLACK, START, SUBJECTS, SUPERVISED, Server

pytestmark = pytest.mark.skipif(
    not shutil.which("supervisord"), reason="needs supervisord (apt-get install supervisor)"
)

SECTION = Path(__file__).parents[1] / "docs" / "deployment" / "sanic-app.supervisor.conf"
ENTRYPOINT = SECTION.with_name("entrypoint.sh")
FRAME = """\
[unix_http_server]
file={folder}/control
[supervisord]
logfile={folder}/supervisord.log
pidfile={folder}/supervisord.pid
childlogdir={folder}
nodaemon=true
[rpcinterface:supervisor]
supervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface
[supervisorctl]
serverurl=unix://{folder}/control
[include]
files={folder}/conf.d/*.conf
"""


PATIENCE = 15.0
"""Seconds within which a stop is over, `supervisorctl` included, on a busy machine. At 25 comes
supervisord's SIGKILL."""


RUNS = "entered RUNNING state"


FORKED = SUPERVISED.with_(method="fork")
"""Less to wait for: nothing here depends on the start method."""


def user() -> str:
    """Who runs the tests, and shall run the program: supervisord wants to know the name."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        pytest.skip(f"uid {os.getuid()} has no name here, which supervisord wants")


class Supervisord:
    """One supervisord in a box; its `server` is what it runs."""

    def __init__(self, launch: Callable[..., Server], box, subject, **changes: str) -> None:
        self._conf = box.folder / "supervisord.conf"
        self._conf.write_text(FRAME.format(folder=box.folder))
        (box.folder / "conf.d").mkdir()
        (box.folder / "conf.d" / SECTION.name).write_text(self._section(box.folder, changes))
        self.server = launch(subject, box=box, argv=["supervisord", "-c", str(self._conf)])

    @staticmethod
    def _section(folder: Path, changes: dict[str, str]) -> str:
        ours = {
            "directory": str(SUBJECTS),
            "command": f"{sys.executable} app.py",
            "user": user(),
            "stdout_logfile": str(folder / "app.log"),
            **changes,
        }
        lines = SECTION.read_text().splitlines()
        for key, value in ours.items():
            [at] = [n for n, line in enumerate(lines) if line.startswith(f"{key}=")]
            lines[at] = f"{key}={value}"
        return "\n".join(lines) + "\n"

    def ctl(self, *words: str) -> str:
        command = ["supervisorctl", "-c", str(self._conf), *words]
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout

    def wait_for(self, words: str, count: int = 1, within: float = START) -> None:
        """Wait for what supervisord logs. `supervisorctl` is too large to be asked ever again."""
        wait_until(
            lambda: self.server.output().count(words) >= count,
            within,
            lambda: f"{count} x {words!r}\n{self.server.describe()}",
        )

    def family(self) -> list[Process]:
        """Main and all that is below it."""
        main = self.server.main
        return [main, *(row.process for row in descendants(main))]

    def wait_gone(self, processes: list[Process], within: float) -> None:
        wait_until(
            lambda: not any(process.look() for process in processes), within, self.server.describe
        )

    def app_log(self) -> str:
        return self._conf.with_name("app.log").read_text()


@pytest.fixture
def supervisord(launch, new_box):
    return lambda subject, **changes: Supervisord(launch, new_box(), subject, **changes)


def test_its_life(supervisord):
    """Started; main killed, and started again; stopped at once; started; and supervisord ends."""
    it = supervisord(FORKED.with_(children=["daemon"]), startsecs="1")
    server = it.server
    server.wait_serving()
    it.wait_for(RUNS)
    everybody = it.family()
    assert len(everybody) > 5
    server.send(signal.SIGKILL)
    server.wait_for("all acked", 2)
    it.wait_gone(everybody, SLACK)
    assert server.get()[0] == 200
    it.wait_for(RUNS, 2)
    began = time.monotonic()
    assert "stopped" in it.ctl("stop", "sanic-app")
    assert time.monotonic() - began < PATIENCE
    wait_until(lambda: len(server.box.rows()) == 1, 1.0, server.describe)  # supervisord
    assert can_bind(server.port)
    assert "stopped: sanic-app (exit status 0)" in server.output()

    it.ctl("start", "sanic-app")
    server.wait_for("all acked", 3)
    server.command.process.send(signal.SIGTERM)
    assert server.exit_code() == 0
    server.wait_gone()


def test_a_stop_while_a_worker_blocks(supervisord):
    """Behind the entrypoint of the guide to containers, which ends with `exec`."""
    command = f"{ENTRYPOINT} {sys.executable} app.py"
    it = supervisord(FORKED.with_(workers=1), startsecs="1", command=command)
    it.server.wait_serving()
    it.wait_for(RUNS)
    exchange = it.server.request("/do/block:60")
    began = time.monotonic()
    assert "stopped" in it.ctl("stop", "sanic-app")
    assert time.monotonic() - began < PATIENCE
    exchange.close()
    wait_until(lambda: len(it.server.box.rows()) == 1, 1.0, it.server.describe)
    assert "SIGKILL to worker" in it.app_log()


def test_control_a_shell_that_stays_takes_the_stop_upon_itself(supervisord):
    command = f"sh -c '{sys.executable} app.py; echo next line'"
    it = supervisord(FORKED.with_(workers=1), startsecs="1", command=command)
    it.server.wait_serving()
    it.wait_for(RUNS)
    assert "stopped" in it.ctl("stop", "sanic-app")
    assert it.server.main.alive
    assert it.server.get()[0] == 200


def test_a_bad_value_is_not_tried_again_and_a_failed_start_is(supervisord):
    it = supervisord(FORKED.with_config(REAPER_SHUTDOWN_TIMEOUT="soon"), startsecs="0")
    it.wait_for("exited: sanic-app (exit status 78; expected)")
    assert it.app_log().count("is not allowed") == 1
    failing = FORKED.with_(workers=1, listeners={"before_server_start": "raise"})
    it = supervisord(failing, startsecs="60", startretries="1")
    it.wait_for("entered FATAL state")
    assert it.app_log().count("the server ends with exit code 1") == 2
    assert len(it.server.box.rows()) == 1


def test_control_plain_sanic_leaves_its_workers_when_main_is_killed(supervisord):
    it = supervisord(PLAIN.with_(method="fork"), startsecs="1")
    workers = it.server.wait_serving()
    it.wait_for(RUNS)
    it.server.send(signal.SIGKILL)
    it.server.wait_for("main_process_start", 2)
    assert all(worker.alive for worker in workers)
