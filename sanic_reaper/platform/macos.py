"""macOS: the process table from psutil, the end of a process from kqueue.

A kqueue is itself a descriptor that `poll` can wait for: one per process stands where Linux has a
pidfd. It tells of the end only; signals still go by pid. Not run in this project's tests, which
have no such machine: the same code without kqueue is (`fallback`).
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
    queue = select.kqueue()  # type: ignore[attr-defined,unused-ignore]
    try:
        event = select.kevent(  # type: ignore[attr-defined,unused-ignore]
            pid,
            select.KQ_FILTER_PROC,  # type: ignore[attr-defined,unused-ignore]
            select.KQ_EV_ADD | select.KQ_EV_ONESHOT,  # type: ignore[attr-defined,unused-ignore]
            select.KQ_NOTE_EXIT,  # type: ignore[attr-defined,unused-ignore]
        )
        queue.control([event], 0)
        # The kqueue object closes its descriptor when it is collected; ours must outlive it.
        return os.dup(queue.fileno())
    finally:
        queue.close()
