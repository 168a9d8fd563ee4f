"""In a sandbox that denies a system call: the server starts, stops in time, and leaves nothing."""

from __future__ import annotations

import sys
from pathlib import Path
from signal import SIGKILL, SIGTERM

import pytest
from support import seccomp
from support.marks import is_musl
from support.server import SCRIPT, SHUTDOWN_TIMEOUT, SUPERVISED, Server

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or seccomp.MACHINE not in seccomp.NUMBERS,
    reason="knows the numbers of the system calls of Linux on x86 and aarch64 alone",
)

LAUNCHER = str(Path(seccomp.__file__))

CALLS = {
    "pidfd_open": "pidfd_open",
    "pidfd_send_signal": "pidfd_send_signal",
    "waitid": "waitid",
    "setitimer": "setitimer",
    "prlimit": "prlimit64",
    "prctl": "prctl",
    "PR_SET_PDEATHSIG": "prctl:0=1",
    "PR_SET_CHILD_SUBREAPER": "prctl:0=36",
    "F_SETOWN": "fcntl:1=8",
    "F_SETSIG": "fcntl:1=10",
}
"""What the Reaper calls and CPython, for a server, does not; by the name of the test."""


def complaints(server: Server) -> list[str]:
    return [
        line
        for line in server.output().splitlines()
        if "[reaper]" in line and ("WARNING" in line or "ERROR" in line)
    ]


@pytest.mark.parametrize("method", ["spawn", "fork", "forkserver"])
@pytest.mark.parametrize("error", ["EPERM", "ENOSYS"])
@pytest.mark.parametrize("call", CALLS)
def test_a_denied_system_call(launch, call, error, method):
    argv = [sys.executable, LAUNCHER, CALLS[call], error, *SCRIPT]
    subject = SUPERVISED.with_(method=method, children=["plain"])
    # Shorter than the limit of the stop, or one more warning would say so.
    subject = subject.with_config(GRACEFUL_SHUTDOWN_TIMEOUT=SHUTDOWN_TIMEOUT / 2)
    for signum in (SIGTERM, SIGKILL):
        server = launch(subject, argv=argv)
        server.wait_serving()
        said = complaints(server)
        assert len(said) <= 1, said
        server.send(signum)
        if signum == SIGTERM:
            assert server.exit_code() == 0
            server.wait_gone(SHUTDOWN_TIMEOUT)
            assert complaints(server) == said
        server.wait_gone()
        assert "Traceback" not in server.output()
        assert "another user" not in server.output()


@pytest.mark.skipif(is_musl(), reason="alarm(3) of musl is the denied setitimer(2) too")
@pytest.mark.parametrize("error", ["EPERM", "ENOSYS"])
def test_the_thread_of_a_start_that_is_cut_short_without_setitimer(launch, error):
    """An alarm ends the wait for it; alarm(2) is there too."""
    subject = SUPERVISED.with_(listeners={"main_process_start": "async-thread"})
    server = launch(subject, argv=[sys.executable, LAUNCHER, CALLS["setitimer"], error, *SCRIPT])
    server.wait_for("holding")
    server.send(SIGTERM)
    assert server.exit_code() == 0
    server.wait_gone()
    assert "does not wait for the thread " in server.output()
    assert "Traceback" not in server.output()
