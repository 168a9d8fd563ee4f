"""Hostile and unlucky surroundings. Whatever they are: no stop hangs, nothing is left, and somebody
who has nothing to do with the server lives on.
"""

from __future__ import annotations

import contextlib
import os
import platform
import sys
from collections.abc import Callable
from pathlib import Path
from signal import SIGKILL, SIGTERM

import pytest
from support.box import Box, container
from support.census import Process, wait_until
from support.marks import methods, signals
from support.server import BOUND, CONTAINER_SCRIPT, START, SUPERVISED, Server
from support.strangers import sleeper

WITHIN = 3 * BOUND
"""Seconds until nothing is left. Longer than any limit of the server's, on a machine that is busy
with three more of these."""


class Neighbour:
    """Somebody else in the same box, of the same user, who must live."""

    def __init__(self, box: Box, folder: Path) -> None:
        self.box = box
        self.process: Process = sleeper(box, folder / "neighbour")

    def wait_alone(self, server: Server, within: float = WITHIN) -> None:
        """Wait until nothing else is left in the box, not even a zombie."""

        def others() -> list[str]:
            return [str(row) for row in self.box.rows() if row.process != self.process]

        wait_until(lambda: not others() and not others(), within, server.describe)
        assert self.process.alive


@pytest.fixture
def neighbour(new_box: Callable[[], Box], tmp_path: Path) -> Neighbour:
    return Neighbour(new_box(), tmp_path)


# -- what workers start ---------------------------------------------------------------------------


@signals(SIGTERM, SIGKILL)
@pytest.mark.parametrize("method", ["spawn", "fork"])
def test_children_that_fork_another_one_when_they_are_asked_to_end(
    launch, neighbour, method, signum
):
    subject = SUPERVISED.with_(method=method, children=["phoenix"] * 4)
    server = launch(subject, box=neighbour.box)
    server.wait_serving()
    wait_until(lambda: len(server.children) == 8 + 1, 10, server.describe)
    server.send(signum)
    neighbour.wait_alone(server)
    assert server.exit_code() == (0 if signum == SIGTERM else -SIGKILL)


@pytest.mark.alone
@signals(SIGTERM, SIGKILL)
@pytest.mark.timeout(300)
def test_two_thousand_children(launch, neighbour, signum):
    subject = SUPERVISED.with_(method="fork", children=["forked"] * 1000)
    server = launch(subject.with_config(REAPER_SHUTDOWN_TIMEOUT=60.0), box=neighbour.box)
    server.wait_for("all acked", within=90)
    server.send(signum)
    neighbour.wait_alone(server, 90)
    assert server.exit_code() == (0 if signum == SIGTERM else -SIGKILL)


@pytest.mark.alone
@signals(SIGTERM, SIGKILL)
@pytest.mark.timeout(300)
def test_a_hundred_workers(launch, neighbour, signum):
    subject = SUPERVISED.with_(method="fork", workers=100)
    limits = {"REAPER_STARTUP_TIMEOUT": 100.0, "REAPER_SHUTDOWN_TIMEOUT": 60.0}
    server = launch(subject.with_config(**limits), box=neighbour.box)
    server.wait_for("all acked", within=100)
    assert server.get(timeout=30)[0] == 200
    server.send(signum)
    neighbour.wait_alone(server, 90)
    assert server.exit_code() == (0 if signum == SIGTERM else -SIGKILL)


# -- where it writes to ---------------------------------------------------------------------------

STREAMS = {
    "full": 'exec "$0" app.py >/dev/full 2>&1',
    "closed": 'exec "$0" app.py <&- >&- 2>&-',
}


@pytest.mark.parametrize("streams", STREAMS)
@methods
def test_a_server_whose_output_goes_nowhere(launch, neighbour, method, streams):
    command = ["sh", "-c", STREAMS[streams], sys.executable]
    # Not on uvloop: libuv aborts when it closes a descriptor below 3, with plain Sanic as well.
    subject = SUPERVISED.with_(method=method).with_config(USE_UVLOOP=False)
    server = launch(subject, box=neighbour.box, argv=command)
    victim, _ = server.wait_serving()
    assert server.get()[0] == 200
    victim.send(SIGKILL)
    server.wait_for("after_server_start", 3)
    server.send(SIGTERM)
    neighbour.wait_alone(server)
    # Sanic's goodbye asks for the encoding of a standard output that is not there.
    assert server.exit_code() == (0 if streams == "full" else 1)


def handles(process: Process, signum: int) -> bool:
    """Whether a process has a handler of its own for a signal."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    return bool(int(status.partition("SigCgt:")[2].split()[0], 16) >> signum - 1 & 1)


@pytest.mark.parametrize("method", ["spawn", "fork"])
def test_a_server_whose_output_nobody_reads(launch, neighbour, method):
    """The pipe is full after 64 KiB, and whoever writes to it then hangs: main, in its own log.

    A stop ends all the same, if not with 0.
    """
    pipe = neighbour.box.folder / "pipe"
    os.mkfifo(pipe)
    descriptor = os.open(pipe, os.O_RDWR | os.O_NONBLOCK)
    try:
        with contextlib.suppress(BlockingIOError):
            while os.write(descriptor, b"x" * 4096):
                pass
        server = launch(SUPERVISED.with_(method=method), box=neighbour.box, output=pipe)
        main = server.command.process
        wait_until(lambda: handles(main, SIGTERM), START, server.describe)
        main.send(SIGTERM)
        neighbour.wait_alone(server)
    finally:
        os.close(descriptor)


@pytest.mark.parametrize("how", ["blocks", "raises", "waits"])
@pytest.mark.parametrize("method", ["spawn", "fork"])
def test_a_log_handler_that_fails_in_a_stop(launch, neighbour, method, how):
    subject = SUPERVISED.with_(method=method, listeners={"main_process_stop": f"log:{how}"})
    server = launch(subject, box=neighbour.box)
    server.wait_serving()
    server.send(SIGTERM)
    neighbour.wait_alone(server)
    server.exit_code()  # 1 or a signal: main itself says what it has to say through this handler


# -- what listeners do to their process -----------------------------------------------------------


@pytest.mark.parametrize("action", ["setsid", "chdir", "lose-directory", "setrlimit"])
@pytest.mark.parametrize("event", ["main_process_ready", "before_server_start"])
@methods
def test_a_listener_that_changes_its_process(launch, neighbour, method, event, action):
    if (event, action) == ("main_process_ready", "lose-directory") and method != "fork":
        pytest.skip("multiprocessing itself asks for the directory when it starts a process")
    subject = SUPERVISED.with_(method=method, listeners={event: action}, children=["setsid"])
    server = launch(subject, box=neighbour.box)
    victim, _ = server.wait_serving()
    assert server.get()[0] == 200
    if event != "main_process_ready" or action != "lose-directory":
        victim.send(SIGKILL)
        server.wait_for("after_server_start", 3)
    server.send(SIGTERM)
    neighbour.wait_alone(server)
    assert server.exit_code() == 0


# -- time, pids, cgroups --------------------------------------------------------------------------


def faketime() -> Path:
    found = next(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"), None)
    if found is None:
        pytest.skip("no libfaketime: apt-get install faketime")
    return found


@pytest.mark.parametrize("method", ["spawn", "fork"])
def test_a_clock_that_is_set_back_and_forth(launch, neighbour, method):
    """By a month and by a year: no worker is taken for late or hung, and no stop for over."""
    clock = neighbour.box.folder / "clock"
    clock.write_text("+0\n")
    env = {
        "LD_PRELOAD": str(faketime()),
        "FAKETIME_TIMESTAMP_FILE": str(clock),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "DONT_FAKE_MONOTONIC": "1",
    }
    subject = SUPERVISED.with_(method=method).with_config(REAPER_HEARTBEAT_TIMEOUT=10.0)
    server = launch(subject, box=neighbour.box, env=env)
    workers = server.wait_serving()
    for count, shift in enumerate(("-30d", "+365d", "-1d"), 3):
        clock.write_text(f"{shift}\n")
        assert server.get()[0] == 200
        assert all(worker.alive for worker in workers[1:])
        workers[0].send(SIGKILL)
        server.wait_for("after_server_start", count)
        workers = server.workers
    assert "will be killed" not in server.output()
    server.send(SIGTERM)
    clock.write_text("-700d\n")
    neighbour.wait_alone(server)
    assert server.exit_code() == 0


def needs_a_pid_max_of_its_own() -> None:
    release = tuple(map(int, platform.release().split("-")[0].split(".")[:2]))
    if release < (6, 14):
        pytest.skip("before Linux 6.14 all PID namespaces have one pid_max")


@pytest.mark.alone
@signals(SIGTERM, SIGKILL)
@pytest.mark.parametrize("method", ["spawn", "fork"])
def test_pids_that_come_round_again(launch, method, signum):
    """In a container with 320 pids, each of which has had an owner before."""
    needs_a_pid_max_of_its_own()
    *setsid, script, python = CONTAINER_SCRIPT
    few = f"echo 320 >/proc/sys/kernel/pid_max || exit 99; {script}"
    subject = SUPERVISED.with_(
        method=method, listeners={"before_server_start": "use-up-pids:250"}, children=["plain"]
    ).with_config(REAPER_STARTUP_TIMEOUT=60.0)
    server = launch(subject, argv=[*container(), *setsid, few, python])
    server.wait_for("all acked", within=60)
    server.workers[0].send(SIGKILL)
    server.wait_for("after_server_start", 3, within=60)
    server.send(signum)
    server.wait_gone(WITHIN)
    assert "the other lived" in server.output()


FREEZER = Path("/sys/fs/cgroup/freezer")


class Freezer:
    """A control group whose processes do not run, and do not die either."""

    def __init__(self, name: str) -> None:
        self.folder = FREEZER / name
        try:
            self.folder.mkdir()
        except OSError as error:
            pytest.skip(f"no freezer to write to: {error}")

    def freeze(self, process: Process) -> None:
        (self.folder / "cgroup.procs").write_text(str(process.pid))
        (self.folder / "freezer.state").write_text("FROZEN")
        state = self.folder / "freezer.state"
        wait_until(lambda: state.read_text().strip() == "FROZEN", 10, "the freezer")

    def thaw(self) -> None:
        (self.folder / "freezer.state").write_text("THAWED")

    def close(self) -> None:
        self.thaw()
        wait_until(lambda: not (self.folder / "cgroup.procs").read_text(), 10, "the freezer")
        self.folder.rmdir()


@signals(SIGTERM, SIGKILL)
def test_a_child_in_a_frozen_control_group(launch, neighbour, signum):
    """SIGKILL reaches it when it thaws. Main does not wait for that longer than it may."""
    freezer = Freezer(f"reaper-test-{os.getpid()}")
    try:
        subject = SUPERVISED.with_(method="fork", workers=1, children=["setsid"])
        server = launch(subject, box=neighbour.box)
        server.wait_serving()
        [child] = [one for one in server.children if one != neighbour.process]
        freezer.freeze(child)
        server.send(signum)
        server.exit_code(WITHIN)
        freezer.thaw()
        neighbour.wait_alone(server)
    finally:
        freezer.close()


# -- the watchdog ---------------------------------------------------------------------------------


@pytest.mark.alone
@pytest.mark.timeout(300)
def test_a_watchdog_that_is_killed_eighty_times(launch, neighbour):
    """Each time there is another one that knows everything, and main keeps nothing of the dead."""
    subject = SUPERVISED.with_(method="fork", children=["cleaned-daemon"])
    server = launch(subject, box=neighbour.box)
    server.wait_serving()
    descriptors = Path(f"/proc/{server.main.pid}/fd")
    before = len(list(descriptors.iterdir()))
    for _ in range(80):
        watchdog = server.watchdog
        watchdog.send(SIGKILL)
        server.wait_watchdog_replaced(watchdog, 20)
    assert len(list(descriptors.iterdir())) <= before + 1
    assert server.get()[0] == 200
    server.send(SIGKILL)
    neighbour.wait_alone(server)
