"""Waits for and signals the processes that main starts through `multiprocessing`.

The class of `multiprocessing` has three faults, which the subclasses here mend:

- A stop signal can raise `StopRequested` between waitpid(2) and the line that keeps its result.
  The exit status would be lost.
- User code can reap children of main, by a SIGCHLD handler with `waitpid(-1)` or by SIG_IGN. Then
  waitpid fails (ECHILD), which `multiprocessing` takes for a child that has not started yet. Main
  would wait for that child until the deadline of the stop.
- A signal is sent to a bare pid. If something else has reaped the process, the pid can belong to a
  stranger by now.
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
"""The exit code in place of an unknown one, as in asyncio and in the fork server."""


@functools.cache
def keeping(popen: type[P]) -> type[P]:
    """A subclass of a `Popen` class of `multiprocessing`, with all three faults mended."""
    # Main can't reap the children of a fork server, which reports their exit status.
    ours = _SignalsNobodyElse if popen.method == "forkserver" else _KeepsStatus
    return type(popen.__name__, (ours, popen), {})


class _SignalsNobodyElse(popen_fork.Popen):
    """Signals its process by pid and creation time."""

    start: int
    """The creation time of the process."""
    is_lost = False
    """Whether the process has exited with an unknown status."""

    def __init__(self, process: Any) -> None:
        super().__init__(process)
        self.start = start_of(self.pid)

    def _send_signal(self, signum: int) -> None:
        if self.poll() is None:
            send_to((self.pid, self.start), signum)

    def lose(self) -> None:
        """Note that the process has exited with an unknown status, or is waited for no more."""
        self.is_lost = True
        self.returncode = LOST


class _KeepsStatus(_SignalsNobodyElse):
    """Reads the exit status, keeps it, and reaps after that, so that no interrupt loses the status.

    Blocking the signals meanwhile was rejected, because some callers wait here without a limit.
    """

    def __init__(self, process: Any) -> None:
        self._waiter = os.getpid()
        super().__init__(process)

    def poll(self, flag: int = os.WNOHANG) -> int | None:
        if self.returncode is None:
            try:
                self._look(flag)
            except ChildProcessError:
                # Only main can conclude that: a forked child has no such child either.
                if os.getpid() == self._waiter and self.returncode is None:
                    self.lose()
            except OSError:
                return super().poll(flag)
        return self.returncode

    def _look(self, flag: int) -> None:
        """Read the exit status of the process, if it has exited.

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
