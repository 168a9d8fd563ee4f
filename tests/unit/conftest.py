"""What unit tests share: a process, and both ends of the pipe between a worker and main."""

from __future__ import annotations

import faulthandler
import os
import signal
import subprocess
from multiprocessing import Pipe

import pytest
from support.programs import program

from sanic_reaper.main.launcher import _pipes
from sanic_reaper.main.worker_link import WorkerLink
from sanic_reaper.model.questions import REQUEST
from sanic_reaper.tree.process import start_of


@pytest.fixture
def pipe():
    before = signal.getsignal(REQUEST)
    receiver, sender = Pipe(duplex=False)
    yield receiver, sender
    faulthandler.unregister(REQUEST)
    signal.signal(REQUEST, before)
    receiver.close()
    sender.close()


@pytest.fixture
def ends():
    """The ends of a worker's two pipes, as the launcher makes them: main's, and the worker's."""
    before = signal.getsignal(REQUEST)
    ours, theirs = _pipes()
    yield ours, theirs
    faulthandler.unregister(REQUEST)
    signal.signal(REQUEST, before)
    for end in (*ours, *theirs):
        end.close()


@pytest.fixture
def asked(pipe):
    """A worker that shows nothing by itself; main's line to it, and what the test writes there."""
    deaf = f"import signal, time; signal.signal({int(REQUEST)}, signal.SIG_IGN); print(flush=True)"
    with program(f"{deaf}; time.sleep(60)") as worker:
        reader, writer = pipe
        link = WorkerLink((worker.pid, start_of(worker.pid)), reader, "Sanic-Server-0-0")
        yield link, lambda text: os.write(writer.fileno(), text.encode()), worker
        link.close()


@pytest.fixture
def sleeper():
    process = subprocess.Popen(["sleep", "60"])
    yield process
    process.kill()
    process.wait()
