"""The nice contracts with CPython: without one of them a single feature is off."""

from __future__ import annotations

import faulthandler
import os

from ..model.stacks import frames_of
from .contracts import Contract
from .probes import accepts, find, has, is_found, uses

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
        "a SyncManager is found by descent alone, and outlives main until the watchdog kills it.",
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
        "helpers are found by descent alone.",
        seen=SEEN,
    ),
    Contract(
        "services of multiprocessing",
        "`_resource_tracker` has its `_pid`, and `_forkserver` its `_forkserver_pid`.",
        (
            has("multiprocessing.resource_tracker:_resource_tracker._pid"),
            has("multiprocessing.forkserver:_forkserver._forkserver_pid"),
        ),
        "the resource tracker and the fork server are found by descent alone.",
        seen=SEEN,
    ),
    Contract(
        "spawning",
        "`multiprocessing` asks `spawn.get_command_line` how to start a process, and "
        "`spawn.get_preparation_data` what to tell it.",
        (
            uses(
                "multiprocessing.popen_spawn_posix:Popen._launch",
                *("get_command_line", "get_preparation_data"),
            ),
        ),
        "a worker that still imports is killed by the watchdog alone when main dies, and a "
        "SyncManager imports the app.",
        seen=SEEN,
    ),
    Contract(
        "exit of the interpreter",
        "`threading._register_atexit` calls a function before threads are joined.",
        (has("threading:_register_atexit"),),
        "a thread that does not end holds main up until the watchdog kills it.",
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
        "A coroutine tells by `cr_await` what it waits for, and a generator by `gi_yieldfrom`.",
        (has("types:CoroutineType.cr_await", "types:GeneratorType.gi_yieldfrom"),),
        "a report names fewer lines of a handler that awaits something.",
        seen=SEEN,
    ),
    Contract(
        "abandoned tasks",
        "A task has `_log_destroy_pending`, which keeps asyncio from logging its end.",
        (has("asyncio:Task._log_destroy_pending"),),
        "asyncio logs a handler once more that a stop has left behind.",
        seen=SEEN,
    ),
)
