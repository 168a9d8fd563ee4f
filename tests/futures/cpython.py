"""The futures of CPython's `multiprocessing`, asyncio, `threading` and `faulthandler`."""

from __future__ import annotations

import inspect
from multiprocessing import popen_fork
from typing import Any

from futures.future import Future, edit, rename

MULTIPROCESSING = ("multiprocessing",)
UNKNOWN_HELPERS = "SIGKILL to python\\S* .*: descends from main"
"""What multiprocessing runs for itself is found by descent alone, and its end is not awaited."""

STACKS = """
import faulthandler, os, signal, sys, threading

def write(frame, file):
    lines = ["+++ main thread +++"]
    while frame is not None:
        lines.append(f"- {frame.f_code.co_name} at {frame.f_code.co_filename}:{frame.f_lineno}")
        frame = frame.f_back
    text = "".join(f"{line}\\n" for line in lines)
    os.write(file if isinstance(file, int) else file.fileno(), text.encode())

def register(signum, file=sys.stderr, all_threads=True, chain=False):
    before = signal.getsignal(signum)

    def handle(number, frame):
        write(frame, file)
        if chain and callable(before):
            before(number, frame)

    if threading.current_thread() is threading.main_thread():
        signal.signal(signum, handle)

def dump_traceback(file=sys.stderr, all_threads=True):
    write(sys._getframe(1), file)

faulthandler.register, faulthandler.dump_traceback = register, dump_traceback
"""
"""A `sitecustomize` that has stacks written in another format. (By Python, for the module of C can
write no other one: so not while somebody holds the GIL.)"""


CHILDREN_RUN_EXITFUNCS = "_run_exitfuncs" in inspect.getsource(popen_fork)
"""Whether `multiprocessing` itself calls it, in the children that it forks (since 3.13)."""


def of_multiprocessing(name: str, new: str, **more: Any) -> Future:
    return rename(name, new, packages=MULTIPROCESSING, **more)


def in_c(name: str, program: str) -> Future:
    """Something of a module in C that has gone. No copy of that can be edited.

    Args:
        name: of what has gone.
        program: takes it away in each process that starts.
    """
    return Future(name, adds={"sitecustomize.py": program}, packages=(), line=rf"\b{name}\b")


CPYTHON = (
    of_multiprocessing("_children", "_processes"),
    of_multiprocessing("_popen", "_handle", is_vital=True, tolerated=UNKNOWN_HELPERS),
    of_multiprocessing("_Popen", "_make_popen", is_vital=True),
    of_multiprocessing("_start_method", "_method", line=""),
    Future(
        "_kwargs of a process",
        edits=[edit(r"\b_kwargs\b", "_named", "multiprocessing/process.py")],
        packages=MULTIPROCESSING,
        line=r"\b_kwargs\b",
        is_vital=True,
    ),
    Future(
        "poll of Popen",
        edits=[
            edit(r"popen\.poll\b", "popen.check", "multiprocessing/process.py"),
            edit(
                r"\bpoll\(",
                "check(",
                *("multiprocessing/popen_fork.py", "multiprocessing/popen_forkserver.py"),
            ),
        ],
        packages=MULTIPROCESSING,
        line=r"\bpoll\b",
        is_vital=True,
    ),
    Future(
        "_process of BaseManager",
        edits=[edit(r"self\._process\b", "self._server_process", "multiprocessing/managers.py")],
        packages=MULTIPROCESSING,
        line=r"\b_process\b",
    ),
    Future(
        "_pid of the resource tracker",
        edits=[edit(r"\b_pid\b", "_process_id", "multiprocessing/resource_tracker.py")],
        packages=MULTIPROCESSING,
        line=r"\b_pid\b",
    ),
    of_multiprocessing(
        "_forkserver", "_the_server", method="forkserver", tolerated=UNKNOWN_HELPERS
    ),
    of_multiprocessing(
        "_forkserver_pid", "_server_pid", method="forkserver", tolerated=UNKNOWN_HELPERS
    ),
    of_multiprocessing("get_command_line", "command_line", method="spawn"),
    of_multiprocessing("get_preparation_data", "preparation_data", method="spawn"),
    Future(
        "prepare of spawn",
        edits=[edit(r"\bprepare\(", "set_up(", "multiprocessing/spawn.py")],
        packages=MULTIPROCESSING,
        method="spawn",
        line=r"\bprepare\b",
    ),
    of_multiprocessing("_config", "_settings"),
    of_multiprocessing("get_temp_dir", "temporary_directory"),
    of_multiprocessing("_preload_modules", "_modules", method="forkserver"),
    Future(
        "_fd of the resource tracker",
        edits=[edit(r"\b_fd\b", "_pipe", "multiprocessing/resource_tracker.py")],
        packages=MULTIPROCESSING,
        line=r"\b_fd\b",
    ),
    Future(
        "program of the resource tracker",
        edits=[
            edit(r"import main;main\(", "import main; main(", "multiprocessing/resource_tracker.py")
        ],
        packages=MULTIPROCESSING,
        line="",
    ),
    Future(
        "main of the resource tracker",
        edits=[
            edit(r"import main;main\(", "import run;run(", "multiprocessing/resource_tracker.py"),
            edit(r"^def main\(", "def run(", "multiprocessing/resource_tracker.py"),
        ],
        packages=MULTIPROCESSING,
        line="ResourceTracker has another program",
    ),
    rename("_register_atexit", "_at_exit", packages=("threading", "concurrent")),
    rename(
        "_fut_waiter",
        "_awaited",
        edits=[edit("^    import _asyncio$", "    raise ImportError", "asyncio/tasks.py")],
        packages=("asyncio",),
    ),
    Future(
        "asyncio's line about a slow callback",
        edits=[edit("Executing %s took", "%s took", "asyncio/base_events.py")],
        packages=("asyncio",),
        line="slow callbacks",
    ),
    in_c("_signal", 'import signal, sys; sys.modules["_signal"] = None'),
    in_c("call_function", "import _ctypes; del _ctypes.call_function"),
    Future(
        "_run_exitfuncs",
        renames={"_run_exitfuncs": "_run_exit"} if CHILDREN_RUN_EXITFUNCS else {},
        adds={
            "sitecustomize.py": "import atexit\n"
            "atexit._run_exit = atexit._run_exitfuncs; del atexit._run_exitfuncs"
        },
        packages=MULTIPROCESSING if CHILDREN_RUN_EXITFUNCS else (),
        line=r"\b_run_exitfuncs\b",
    ),
    Future(
        "format of faulthandler",
        adds={"sitecustomize.py": STACKS},
        packages=(),
        line="faulthandler",
        limit="start",
    ),
)
