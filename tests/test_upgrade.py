"""The package is upgraded while a server runs: the next worker has the code of another release."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from signal import SIGKILL

import pytest
from support.census import holds, wait_until
from support.server import START, SUPERVISED, Server

import sanic_reaper

OTHER = "runs another release of sanic-reaper than the main process"
DROPPED = "main: dropped a message that is not understood (unknown word 'tide')"

VERSION = "VERSION = 2\n"
BEAT = 'self.send("beat", served.get("requests_count", 0), in_flight, oldest)\n'
LATER = f'{BEAT.rstrip()[:-1]}, "a field of a later release")\n        self.send("tide", 1)\n'


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A copy of the package that can be upgraded."""
    copy = tmp_path / "packages" / "sanic_reaper"
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(Path(sanic_reaper.__file__).parent, copy, ignore=ignored)
    return copy


def replace(file: Path, old: str, new: str) -> None:
    text = file.read_text()
    assert text.count(old) == 1, f"{file} has no {old!r}"
    file.write_text(text.replace(old, new))


def replaced(server: Server, count: int) -> None:
    """Kill a worker, and wait until so many in place of one have served."""
    server.workers[0].send(SIGKILL)
    wait_until(lambda: server.output().count("] is up after") >= count, START, server.describe)


@pytest.mark.parametrize("way", ["spawn", "forkserver"])
def test_workers_of_a_later_release_serve_and_one_line_asks_for_a_restart(
    launch: Callable[..., Server], package: Path, way: str
) -> None:
    path = filter(None, [str(package.parent), os.environ.get("PYTHONPATH")])
    subject = SUPERVISED.with_(method=way).with_config(REAPER_BLOCKED_WARNING=20.0)
    server = launch(subject, env={"PYTHONPATH": os.pathsep.join(path)})
    server.wait_serving()
    replace(package / "model" / "questions.py", VERSION, "VERSION = 3\n")
    replace(package / "worker" / "reports.py", BEAT, LATER)
    for count in (3, 4):
        replaced(server, count)
        server.wait_for_output(OTHER)
    wait_until(lambda: server.output().count(DROPPED) == 2, START, server.describe)
    assert holds(lambda: server.get()[0] == 200, 1)
    [line] = [line for line in server.output().splitlines() if OTHER in line]
    assert "version 3 of the protocol, the main process reads version 2" in line
    assert "WARNING: [reaper] Sanic-Server-" in line
    assert server.stop() == 0
    assert "Traceback" not in server.output()
