"""How main waits for the processes that `multiprocessing` starts for it.

A stop signal raises `StopRequested` wherever main is, so also between waitpid(2) and the line of
`multiprocessing` that keeps what that has returned. Nobody would ever learn then that the process
has ended: who asks once more hears that there is no such child, which `multiprocessing` takes for
one that is not there yet. Main would wait for it until the time of the stop is up.
"""

from __future__ import annotations

import functools
import os
from contextlib import suppress
from multiprocessing import popen_fork
from typing import TypeVar

P = TypeVar("P", bound=popen_fork.Popen)


@functools.cache
def keeping(popen: type[P]) -> type[P]:
    """The same class, but for that. As it is, where there is no waitid(2) in Python."""
    if not hasattr(os, "waitid"):
        return popen  # macOS, before 3.13
    return type(popen.__name__, (_KeepsStatus, popen), {})


class _KeepsStatus:
    """Looks at the status, keeps it, and reaps then: interrupted anywhere, it knows or can look.

    To hold the signals back meanwhile was the alternative. But some wait here without a limit.
    """

    pid: int
    returncode: int | None

    def poll(self, flag: int = os.WNOHANG) -> int | None:
        if self.returncode is None:
            try:
                seen = os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT | flag)
            except OSError:  # as `multiprocessing` does it
                return None
            if seen is not None:
                has_exited = seen.si_code == os.CLD_EXITED
                self.returncode = seen.si_status if has_exited else -seen.si_status
                with suppress(ChildProcessError):
                    os.waitpid(self.pid, os.WNOHANG)
        return self.returncode
