"""The nice contracts with CPython: without one of them a single feature is off."""

from __future__ import annotations

import asyncio
import faulthandler
import importlib
import inspect
import os
import sys

from ..model.stacks import frames_of
from .contracts import Contract, Missing
from .probes import accepts, find, has, is_found, uses, words_of

SEEN = "CPython 3.10 to 3.15"


def _stacks_are_readable() -> bool:
    """Whether a stack that `faulthandler` writes here and now can be read.

    Into a pipe, for there may be no place for a file. What does not fit in is dropped.
    """
    reader, writer = os.pipe()
    try:
        os.set_blocking(writer, False)
        faulthandler.dump_traceback(writer, all_threads=False)
        stack = os.read(reader, 1_000_000).decode(errors="replace")
    finally:
        os.close(reader)
        os.close(writer)
    return any(frame[2] == "_stacks_are_readable" for frame in frames_of(stack))


def _tasks_name_what_they_await() -> bool:
    """Whether a task has `_fut_waiter`: as an attribute of C, or set by the constructor."""
    constructor = getattr(asyncio.Task.__init__, "__code__", None)
    is_set = constructor is not None and "_fut_waiter" in words_of(constructor)
    return is_set or hasattr(asyncio.Task, "_fut_waiter")


def _calls_c() -> None:
    """On Linux, look for the parts of `_ctypes`. A Python without `_ctypes` has another warning."""
    if sys.platform == "linux" and importlib.util.find_spec("_ctypes") is not None:
        has("_ctypes:dlopen", "_ctypes:dlsym", "_ctypes:call_function")()


def _has_program(owner: str, line: str) -> None:
    """Look in the methods of a class for a program with this line.

    Raises:
        Missing: no method has such a constant.
    """
    methods = filter(inspect.isfunction, vars(find(owner)).values())
    words = (word for method in methods for word in words_of(method.__code__))
    if not any(isinstance(word, str) and line in word for word in words):
        raise Missing(f"{owner.partition(':')[2]} has another program")


CPYTHON = (
    Contract(
        "SyncManager's process",
        "A `SyncManager` starts its process from the context `ctx`, runs `initializer` in it, and "
        "keeps it as `_process`.",
        (
            accepts("multiprocessing.managers:SyncManager.__init__", "ctx"),
            accepts("multiprocessing.managers:SyncManager.start", "initializer", "initargs"),
            uses("multiprocessing.managers:BaseManager.start", "_process", "_ctx"),
        ),
        "a SyncManager is found by descent only, and only the watchdog kills it when the main "
        "process dies.",
        seen=SEEN,
    ),
    Contract(
        "children of multiprocessing",
        "`multiprocessing.process._children` has each child that was started and not joined.",
        (
            is_found(
                "multiprocessing.process._children is no set",
                lambda: isinstance(find("multiprocessing.process:_children"), set),
            ),
        ),
        "helpers are found by descent only.",
        seen=SEEN,
    ),
    Contract(
        "services of multiprocessing",
        "`_resource_tracker` has its `_pid`, and `_forkserver` its `_forkserver_pid`.",
        (
            has("multiprocessing.resource_tracker:_resource_tracker._pid"),
            has("multiprocessing.forkserver:_forkserver._forkserver_pid"),
        ),
        "the resource tracker and the fork server are found by descent only.",
        seen=SEEN,
    ),
    Contract(
        "spawning",
        "`multiprocessing` asks `spawn.get_command_line` how to start a process, and "
        "`spawn.get_preparation_data` what to tell it; `spawn.prepare` imports the app's module.",
        (
            uses(
                "multiprocessing.popen_spawn_posix:Popen._launch",
                *("get_command_line", "get_preparation_data"),
            ),
            has("multiprocessing.spawn:prepare"),
        ),
        "only the watchdog kills a worker that still imports when the main process dies, and a "
        "SyncManager imports the app.",
        seen=SEEN,
    ),
    Contract(
        "exit of the interpreter",
        "`threading._register_atexit` calls a function before threads are joined.",
        (has("threading:_register_atexit"),),
        "a thread that does not end delays the main process until the watchdog kills it.",
        seen=SEEN,
    ),
    Contract(
        "stacks",
        "`faulthandler` writes stacks in the format that is read here.",
        (is_found("faulthandler writes another format", _stacks_are_readable),),
        "the log does not name the line in which a worker hangs.",
        seen=SEEN,
    ),
    Contract(
        "suspended coroutines",
        "A coroutine has what it awaits in `cr_await`, a generator in `gi_yieldfrom`, and a task "
        "in `_fut_waiter`.",
        (
            has("types:CoroutineType.cr_await", "types:GeneratorType.gi_yieldfrom"),
            is_found("asyncio.Task has no _fut_waiter", _tasks_name_what_they_await),
        ),
        "a report names fewer lines of a handler that awaits something.",
        seen=SEEN,
    ),
    Contract(
        "abandoned tasks",
        "A task has `_log_destroy_pending`, which keeps asyncio from logging its end.",
        (has("asyncio:Task._log_destroy_pending"),),
        "asyncio logs one more line about a handler that a stop has left behind.",
        seen=SEEN,
    ),
    Contract(
        "temporary directory",
        "`multiprocessing.util.get_temp_dir` makes the directory of the sockets, and keeps it as "
        "`tempdir` in the `_config` of the process.",
        (uses("multiprocessing.util:get_temp_dir", "_config", "tempdir"),),
        "a directory of sockets is left in /tmp when the main process is killed.",
        seen=SEEN,
    ),
    Contract(
        "preloaded modules",
        "The fork server keeps the names of the modules that it preloads in `_preload_modules`.",
        (uses("multiprocessing.forkserver:ForkServer.set_forkserver_preload", "_preload_modules"),),
        "the fork server preloads none of the user's modules.",
        seen=SEEN,
    ),
    Contract(
        "pipe of the resource tracker",
        "`_resource_tracker` has the descriptor of its pipe in `_fd`.",
        (has("multiprocessing.resource_tracker:_resource_tracker._fd"),),
        "a start can hang if code in the main process has closed that pipe.",
        seen=SEEN,
    ),
    Contract(
        "programs of services",
        "The programs of the resource tracker and of the fork server import `main` from their "
        "module.",
        (
            lambda: _has_program(
                "multiprocessing.resource_tracker:ResourceTracker",
                "from multiprocessing.resource_tracker import main;",
            ),
            lambda: _has_program(
                "multiprocessing.forkserver:ForkServer",
                "from multiprocessing.forkserver import main;",
            ),
        ),
        "sanic-reaper run kills a resource tracker or a fork server that would exit by itself.",
        seen=SEEN,
    ),
    Contract(
        "exit functions",
        "`atexit._run_exitfuncs` calls the functions that were registered with `atexit`.",
        (has("atexit:_run_exitfuncs"),),
        "those functions are not called if the main process exits without waiting for a thread.",
        seen=SEEN,
    ),
    Contract(
        "alarm clock",
        "The module `_signal` has the functions that `signal.signal` and `signal.getsignal` call.",
        (has("_signal:signal", "_signal:getsignal"),),
        "setting the limit of a start handler takes some microseconds more.",
        seen=SEEN,
    ),
    Contract(
        "calls into the C library",
        "`_ctypes` calls a function of C by `dlopen`, `dlsym` and `call_function` (Linux).",
        (_calls_c,),
        "each worker loads ctypes, and only the watchdog kills a worker that still imports when "
        "the main process dies.",
        seen=SEEN,
    ),
    Contract(
        "slow callbacks",
        "asyncio logs `Executing %s took %.3f seconds`, with the callback as the first argument.",
        (uses("asyncio.base_events:BaseEventLoop._run_once", "Executing %s took %.3f seconds"),),
        "asyncio's line about a slow callback (debug mode) does not name the start handler.",
        seen=SEEN,
    ),
)
