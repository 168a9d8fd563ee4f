"""A server on each future (`table.py`): it starts, serves, is restarted, stops, leaves nothing.

A copy of the installed packages, in which one thing has another name, takes their place. That costs
what `table.py` says, and one line of the log.
"""

from __future__ import annotations

import json
import os
import re
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import sanic
from support.census import wait_until
from support.marks import METHODS
from support.server import (
    LIMITS,
    START,
    STARTUP_TIMEOUT,
    SUBJECTS,
    SUPERVISED,
    Event,
    Server,
)

from futures.copies import NothingToRename, make
from futures.future import SANIC, Future, edit
from futures.table import FUTURES, NOW

APP = Path(__file__).with_name("app.py")
PATIENT = 20.0
"""Seconds that a stop may take where nothing hangs. One that hangs all the same ends by SIGKILL
then, which the log tells."""
COMPLAINT = r"(WARNING|ERROR): \[reaper\]"
GUARDS = r"ERROR: \[reaper\] .*Sanic runs"

Begin = Callable[..., Server]


@pytest.fixture
def begin(launch: Callable[..., Server], tmp_path: Path) -> Begin:
    """Start the server on a future. `how`: what `app.py` reads."""

    def start(future: Future, method: str, **how: Any) -> Server:
        folder = tmp_path / "future"
        folder.mkdir()
        path = [str(copy_of(future, folder)), str(SUBJECTS), os.environ.get("PYTHONPATH")]
        said = {"method": method, "plain": False, "hangs": "", **how}
        said["config"] = {**LIMITS, "GRACEFUL_SHUTDOWN_TIMEOUT": 2, **future.config}
        if not said["hangs"]:
            said["config"]["REAPER_SHUTDOWN_TIMEOUT"] = PATIENT
        elif said["hangs"] == "start":
            said["config"]["REAPER_STARTUP_TIMEOUT"] = STARTUP_TIMEOUT
        env = {"PYTHONPATH": os.pathsep.join(filter(None, path)), "FUTURE": json.dumps(said)}
        return launch(SUPERVISED, argv=[sys.executable, str(APP)], env=env)

    return start


def copy_of(future: Future, folder: Path) -> Path:
    try:
        return make(future, folder)
    except NothingToRename as nothing:
        if set(future.packages) & set(SANIC) or sys.version_info[:2] == (3, 11):
            raise
        pytest.skip(f"the futures are those of CPython 3.11: {nothing}")


def cases(is_first: bool, is_plain: bool) -> Iterator[Any]:
    """Each future with each start method; with some of them it is a test for `--exhaustive`."""
    for number, future in enumerate(FUTURES):
        methods = [future.method] if future.method else [*METHODS]
        if is_plain or future.is_vital:  # no Sanic starts under forkserver but with the Reaper
            methods = [method for method in methods if method != "forkserver"]
        turn = METHODS[number % 3] if future.always and is_first else "fork"
        chosen = turn if turn in methods else "fork"
        for method in methods:
            is_run = method in (chosen, future.method) and (is_first or future.always)
            marks = [] if is_run and not is_plain else [pytest.mark.exhaustive]
            if not future.applies_to(sanic.__version__):
                marks.append(pytest.mark.skip(f"no future of Sanic {sanic.__version__}"))
            yield pytest.param(future, method, marks=marks, id=f"{future}-{method}")


def each(*, is_first: bool = False, is_plain: bool = False) -> Any:
    """A test that is run with each future.

    Args:
        is_first: whether it is always run once with each of them.
        is_plain: whether it is about Sanic alone.
    """
    # Not called `method`: the methods of that name take turns.
    return pytest.mark.parametrize(("future", "way"), list(cases(is_first, is_plain)))


def meet(server: Server, event: str, count: int) -> list[Event]:
    """Wait for so many events of this name. A server that has ended has no more of them."""

    def enough() -> bool:
        return len(server.events(event)) >= count or server.command.ended

    wait_until(enough, START, lambda: f"{count} x {event!r}\n{server.describe()}")
    found = server.events(event)
    assert len(found) >= count, server.describe()
    return found


def check_log(server: Server, future: Future) -> None:
    """One line says what is lost, if anything is, and nobody is shown a traceback."""
    output = server.output()
    assert "Traceback" not in output
    found = [line for line in output.splitlines() if re.search(COMPLAINT, line)]
    found = [line for line in found if not re.search(future.tolerated, line)]
    assert len(found) == bool(future.line), found
    for line in found:
        assert re.search(future.line, line)
        assert bool(re.search(GUARDS, line)) == future.is_vital


@each(is_first=True)
def test_it_serves_is_restarted_and_stops(begin, future, way):
    server = begin(future, way)
    first = meet(server, "after_server_start", 2)
    meet(server, "background", 2)
    # Each of the two answers 503 until its background work is done.
    wait_until(lambda: server.get("/restart")[0] == 200, 10, server.describe)
    meet(server, "after_server_start", 4)
    # Sanic's own manager leaves zombies behind until its server ends.
    gone = lambda: not any(one.alive for one in server.processes_of(first))  # noqa: E731
    wait_until(gone, START, server.describe)
    meet(server, "background", 4)
    wait_until(lambda: server.get()[0] == 200, 10, server.describe)
    server.send(signal.SIGTERM)
    assert server.exit_code(START) == 0
    server.wait_gone()
    assert len(server.events("stopped")) == 4
    check_log(server, future)


@each()
def test_it_dies_with_main(begin, future, way):
    server = begin(future, way)
    meet(server, "after_server_start", 2)
    server.send(signal.SIGKILL)
    assert server.exit_code() == -signal.SIGKILL
    server.wait_gone()


@each()
def test_a_start_that_hangs_has_a_limit(begin, future, way):
    server = begin(future, way, hangs=future.limit)
    meet(server, "connecting", 1)
    assert server.exit_code(2 * START) == 1
    server.wait_gone()
    if future.limit != "Sanic":
        assert "connect" in server.output()
    # Sanic's own manager knows of a start that has failed, and its worker shows why.
    assert future.is_vital or "Traceback" not in server.output()


@each()
def test_a_stop_ends_a_start(begin, future, way):
    server = begin(future, way, hangs="start")
    meet(server, "connecting", 2)
    server.send(signal.SIGTERM)
    server.exit_code()
    server.wait_gone()
    shown = server.output().count("Traceback")
    if future.is_vital and way == "spawn":
        # Sanic's own manager stops workers by SIGINT (`WorkerProcess.terminate`). A spawned worker
        # that is still starting has Python's handler for it, which ends in a traceback.
        assert shown == server.output().count("KeyboardInterrupt")
    else:
        assert not shown


@each(is_plain=True)
def test_plain_sanic(begin, future, way):
    """A negative control: what is renamed is renamed wherever Sanic itself uses it."""
    server = begin(future, way, plain=True)
    meet(server, "after_server_start", 2)
    wait_until(lambda: server.get()[0] == 200, 10, server.describe)
    # Not by a signal: Sanic loses one that comes before main has seen both workers.
    assert server.get("/stop")[0] == 200
    assert server.exit_code(START) == 0
    assert "Traceback" not in server.output()


@pytest.mark.parametrize(
    ("since", "until", "release", "applies"),
    [
        ("", "", "24.12.1", True),
        ("25.12", "", "24.12.1", False),
        ("25.12", "", "25.12.0", True),
        ("25.12", "", "26.3", True),
        ("", "24.12", "24.12.1", True),
        ("", "24.12", "25.12.1", False),
    ],
)
def test_which_releases_a_future_applies_to(since, until, release, applies):
    assert Future("a name", since=since, until=until).applies_to(release) == applies


@pytest.mark.parametrize(
    "future",
    [
        Future("a name", renames={"nobody_has_this_name": "x"}),
        Future("a file", edits=[edit("nobody_has_this_name", "x", "sanic/app.py")]),
        Future("another file", edits=[edit("WorkerManager", "x", "sanic/nowhere.py")]),
    ],
    ids=str,
)
def test_a_rename_that_finds_nothing_is_told(tmp_path, future):
    with pytest.raises(NothingToRename):
        make(future, tmp_path)


def test_what_is_not_renamed_is_linked(tmp_path):
    make(NOW, tmp_path)
    assert all(path.is_dir() or path.is_symlink() for path in tmp_path.rglob("*"))
