"""Code of the user's in main closes descriptors that it has not opened, and opens files of its own:
these have the numbers then, and are neither written to nor closed.
"""

from __future__ import annotations

import multiprocessing.resource_tracker
import os
import signal
import subprocess
from collections.abc import Iterator
from multiprocessing import Pipe

import pytest
from support.census import wait_until

from sanic_reaper.compat import services
from sanic_reaper.main.control import Control
from sanic_reaper.main.own_stack import OwnStack
from sanic_reaper.main.worker_link import WorkerLink
from sanic_reaper.model.questions import REQUEST
from sanic_reaper.tree.process import start_of

TEXT = b"the user's"


class Takers:
    """Files of the user's that have got the numbers of other descriptors."""

    def __init__(self, folder) -> None:
        self._folder = folder
        self._fds: list[int] = []

    def take(self, fd: int) -> None:
        path = self._folder / f"file {fd}"
        path.write_bytes(TEXT)
        own = os.open(path, os.O_RDWR)
        os.dup2(own, fd)  # closes what was there
        os.close(own)
        self._fds.append(fd)

    def assert_untouched(self) -> None:
        for fd in self._fds:
            assert os.pread(fd, 100, 0) == TEXT

    def close(self) -> None:
        for fd in self._fds:
            os.close(fd)


@pytest.fixture
def takers(tmp_path) -> Iterator[Takers]:
    takers = Takers(tmp_path)
    yield takers
    takers.close()


@pytest.fixture
def directory(tmp_path):
    path = tmp_path / "state"
    path.mkdir(0o700)
    return path


def test_of_the_file_of_mains_stack(takers, directory):
    stack = OwnStack("run")
    stack.open(str(directory))
    takers.take(stack._fd)
    stack.turn(1e9)
    os.kill(os.getpid(), REQUEST)
    [file] = directory.iterdir()
    wait_until(lambda: "test_of_the_file_of_mains_stack" in file.read_text(), 5, "the stack")
    takers.assert_untouched()
    takers.take(stack._fd)
    stack.close()
    takers.assert_untouched()
    assert signal.getsignal(REQUEST) is signal.SIG_DFL


def test_of_the_socket_of_commands(takers, directory):
    control = Control("run", [])
    control.open(str(directory))
    assert control._listener is not None
    takers.take(control._listener.fileno())
    control.close()
    takers.assert_untouched()


@pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="there are no pidfds here")
def test_of_the_handle_on_a_worker(takers):
    """The one who is asked where it is is the worker all the same, known by its creation time."""
    with subprocess.Popen(["sleep", "60"]) as process:
        reports, report = Pipe(duplex=False)
        contact = WorkerLink((process.pid, start_of(process.pid)), reports, "W-0")
        assert contact._handle is not None
        assert contact._handle.fd is not None
        takers.take(contact._handle.fd)
        contact.ask(lambda frames, how: None)
        assert process.wait(10) == -REQUEST
        contact.close()
        report.close()
    takers.assert_untouched()


def test_of_the_pipe_of_the_resource_tracker(takers):
    """CPython would close it, and wait for the exit of a tracker that has another user."""
    tracker = multiprocessing.resource_tracker._resource_tracker
    services.ensure_resource_tracker()
    before, pid = tracker._fd, tracker._pid
    user = os.dup(before)
    takers.take(before)
    services.ensure_resource_tracker()
    try:
        assert tracker._pid not in (None, pid)
        assert tracker._fd != before
        takers.assert_untouched()
    finally:
        os.close(user)
        os.waitpid(pid, 0)
