"""Advice on the start method and the Python in use, for one line of the log."""

from __future__ import annotations

import ast
import os
import sys
import threading
from types import FrameType

BETTER = 'Sanic.start_method = "spawn" is safe'


def advice(method: str, system: str, threads: int, names: list[str]) -> str | None:
    """Advice on a start method. `None` if there is nothing to warn of.

    Args:
        method: the start method, as `multiprocessing` calls it.
        system: the system, as `sys.platform` calls it.
        threads: number of threads in the main process, its main thread and C threads included.
        names: names of its Python threads, without the main thread.
    """
    if method != "fork":
        return None
    if system == "darwin":
        return f"the start method is fork, which macOS's own libraries don't survive; {BETTER}"
    if threads > 1:
        known = f" ({', '.join(sorted(names))})" if names else ""
        return (
            f"the start method is fork, and main runs {threads} threads{known}: a worker may hang "
            f"for ever on a lock that one of them holds just then; {BETTER}"
        )
    return None


def for_interpreter(name: str) -> str | None:
    """Advice on the Python implementation. `None` for CPython.

    Args:
        name: the implementation, as `sys.implementation.name` has it.
    """
    if name == "cpython":
        return None
    return (
        f"this Python is {name}: the Reaper is made for CPython and not tested here; start method "
        "fork and `sanic-reaper run` do not work"
    )


def for_this_process(method: str) -> str | None:
    others = [one.name for one in threading.enumerate() if one is not threading.main_thread()]
    return advice(method, sys.platform, max(_tasks(), len(others) + 1), others)


def _tasks() -> int:
    """Number of threads by the kernel's count, C libraries' included. 0 if unknown."""
    try:
        return len(os.listdir("/proc/self/task"))
    except OSError:
        return 0


UNGUARDED = (
    'the main module calls app.run() without `if __name__ == "__main__":`. Each worker imports '
    "that module (start method %s) and would start a server of its own; put the call into such "
    "a block"
)


def for_a_failed_start(method: str) -> str | None:
    """Advice if the main module calls `app.run()` outside an `if` block. `None` otherwise."""
    if method == "fork":
        return None  # nobody imports the main module again
    frame: FrameType | None = sys._getframe()
    while frame is not None:
        if frame.f_code.co_name == "<module>" and frame.f_globals.get("__name__") == "__main__":
            try:
                with open(frame.f_code.co_filename, encoding="utf-8") as file:
                    is_guarded = stands_in_a_guard(file.read(), frame.f_lineno)
            except (OSError, ValueError, SyntaxError):
                return None  # `-c`, or an archive
            return None if is_guarded else UNGUARDED % method
        frame = frame.f_back
    return None


def stands_in_a_guard(source: str, line: int) -> bool:
    """Whether a line of a module is inside an `if` block.

    Any `if` counts: there are other ways than `__name__` to tell main and workers apart.
    """
    for statement in ast.parse(source).body:
        if statement.lineno <= line <= (statement.end_lineno or statement.lineno):
            return isinstance(statement, ast.If)
    return True
