"""The backend for macOS: the process table from psutil, the exit of a process from kqueue.

A kqueue is a descriptor that `poll` can wait for. One kqueue per process takes the place of Linux's
pidfd, but tells only of the exit: signals are sent by pid. The project's tests do not run on macOS.
They run `fallback`, which is the same code without kqueue.
"""

from __future__ import annotations

import os
import select

from .fallback import (
    NEEDS_SITE_PACKAGES,
    SUPPORTED,
    age,
    become_no_subreaper,
    become_subreaper,
    caught_signals,
    channel,
    check_parent_death_signal,
    children,
    command,
    cpu_seconds,
    early_death_signal,
    environ,
    forbid_core_dump,
    give_back_memory,
    ignored_signals,
    is_exiting,
    keep_reserve,
    name_process,
    next_signal,
    oom_kills,
    parent_death_signal,
    reader_signal,
    resident,
    row,
    send,
    subtree,
    table,
    uid,
)

__all__ = [
    "NEEDS_SITE_PACKAGES",
    "SUPPORTED",
    "age",
    "become_no_subreaper",
    "become_subreaper",
    "caught_signals",
    "channel",
    "check_parent_death_signal",
    "children",
    "command",
    "cpu_seconds",
    "early_death_signal",
    "environ",
    "exit_fd",
    "forbid_core_dump",
    "give_back_memory",
    "ignored_signals",
    "is_exiting",
    "keep_reserve",
    "name_process",
    "next_signal",
    "oom_kills",
    "parent_death_signal",
    "reader_signal",
    "resident",
    "row",
    "send",
    "subtree",
    "table",
    "uid",
]


def exit_fd(pid: int) -> int:
    """Open a descriptor that becomes readable when the process exits: a kqueue (kqueue(2)).

    Raises:
        ProcessLookupError: no process has this pid.
        OSError: no descriptor is free.
    """
    queue = select.kqueue()  # type: ignore[attr-defined,unused-ignore]
    try:
        event = select.kevent(  # type: ignore[attr-defined,unused-ignore]
            pid,
            select.KQ_FILTER_PROC,  # type: ignore[attr-defined,unused-ignore]
            select.KQ_EV_ADD | select.KQ_EV_ONESHOT,  # type: ignore[attr-defined,unused-ignore]
            select.KQ_NOTE_EXIT,  # type: ignore[attr-defined,unused-ignore]
        )
        queue.control([event], 0)
        # The kqueue object closes its descriptor when it is collected. A duplicate outlives it.
        return os.dup(queue.fileno())
    finally:
        queue.close()
