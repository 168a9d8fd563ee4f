"""How main waits for the processes that `multiprocessing` starts for it, and how it signals them.

Three things can go wrong in the class of `multiprocessing`, and its subclasses here mend them:

- A stop signal raises `StopRequested` wherever main is, so also between waitpid(2) and the line
  that keeps what waitpid has returned. The status would be lost.
- Code of the user's may reap children of main's: a handler of SIGCHLD with `waitpid(-1)`, or
  SIG_IGN in its place. There is no such child then (ECHILD), which `multiprocessing` takes for a
  child that is not there yet. Main would wait for it until the time of the stop is up.
- A signal is sent to a bare pid. The pid of a process that somebody else has reaped may belong to
  a stranger by now.
"""

from __future__ import annotations

import functools
import os
from contextlib import suppress
from multiprocessing import popen_fork
from typing import Any, TypeVar

from ..tree.process import send_to, start_of

P = TypeVar("P", bound=popen_fork.Popen)

LOST = 255
"""The exit code of a process whose own nobody knows, as in asyncio and in the fork server."""


@functools.cache
def keeping(popen: type[P]) -> type[P]:
    """The same class, with all three mended."""
    # The children of a fork server are not main's to reap: it tells main how they have ended.
    ours = _SignalsNobodyElse if popen.method == "forkserver" else _KeepsStatus
    return type(popen.__name__, (ours, popen), {})


class _SignalsNobodyElse(popen_fork.Popen):
    """Knows its process by its creation time as well as by its pid."""

    start: int
    """The creation time of the process."""
    is_lost = False
    """Whether the process has ended, and nobody can tell how."""

    def __init__(self, process: Any) -> None:
        super().__init__(process)
        self.start = start_of(self.pid)

    def _send_signal(self, signum: int) -> None:
        if self.poll() is None:
            send_to((self.pid, self.start), signum)


class _KeepsStatus(_SignalsNobodyElse):
    """Looks at the status, keeps it, and reaps then: interrupted anywhere, it knows or can look.

    To hold the signals back meanwhile was the alternative. But some wait here without a limit.
    """

    def __init__(self, process: Any) -> None:
        self._waiter = os.getpid()
        super().__init__(process)

    def poll(self, flag: int = os.WNOHANG) -> int | None:
        if self.returncode is None:
            try:
                self._look(flag)
            except ChildProcessError:
                # Not in the child itself, nor in one that main has forked besides.
                if os.getpid() == self._waiter and self.returncode is None:
                    self.lose()
            except OSError:
                return super().poll(flag)
        return self.returncode

    def _look(self, flag: int) -> None:
        """Find out how the process has ended, if it has.

        Raises:
            ChildProcessError: main has no such child.
        """
        if not hasattr(os, "waitid"):  # macOS, before 3.13
            pid, status = os.waitpid(self.pid, flag)
            if pid == self.pid:
                self.returncode = os.waitstatus_to_exitcode(status)
            return
        seen = os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT | flag)
        if seen is not None:
            has_exited = seen.si_code == os.CLD_EXITED
            self.returncode = seen.si_status if has_exited else -seen.si_status
            with suppress(ChildProcessError):
                os.waitpid(self.pid, os.WNOHANG)

    def lose(self) -> None:
        """The process has ended, and something else has taken its status."""
        self.is_lost = True
        self.returncode = LOST
