"""The operating system behind one set of functions. No other module asks which system it is.

Each backend is a module with the same functions. A function that the system does not support raises
`OSError`; the caller decides what to do without it. `table`, `subtree` and `environ` also raise
`OSError` if this process has no free descriptor: an unreadable process must not be taken for one
that has exited. Signals, pids and file descriptors are plain integers.

=====================================  ==========================================================
`row(pid)`                             the `Row` of a process; `None`: no such process
`table()`                              every visible process, as `{pid: Row}`
`subtree(roots)`                       the roots and their descendants, as `{pid: Row}`; `None`:
                                       this system can only list all processes
`children(pid)`                        the pids of a process's children, zombies included; `None`:
                                       this system can only list all processes
`keep_reserve()`                       keep a descriptor for a time when no other is free
`environ(pid)`                         a process's environment; `b""`: it can't be read
`command(pid)`                         a process's command line, one item for each argument; `[]`:
                                       it can't be read
`channel(pid, fd)`                     kind of a process's descriptor: `pipe` or `socket`; `""`:
                                       another kind, or not open; `?`: unknown
`is_exiting(pid)`                      whether a process has begun to exit and is no zombie yet
`uid(pid)`                             the user that a process runs as; `None`: unknown
`ignored_signals(pid)`                 the signals that a process, or a zombie, ignores: bit N - 1
                                       for signal N; 0 if unknown
`caught_signals(pid)`                  the signals that a process has handlers for, in the same form
`exit_fd(pid)`                         a descriptor that becomes readable when the process exits
`send(pid, fd, signum)`                send a signal, through the descriptor `fd` if there is one
`parent_death_signal(signum)`          ask the kernel for a signal when the parent dies
`check_parent_death_signal()`          raise `OSError` if the kernel refuses that signal
`early_death_signal(parent, signum)`   Python code that asks for the signal in a process that has
                                       imported nothing yet; `""`: not supported
`next_signal(signums, seconds)`        take the next of these signals, which must be blocked; `None`
                                       if none comes in time
`reader_signal(fd, signum, pid)`       ask the kernel for a signal when a pipe's last writer closes
`become_subreaper()`                   adopt descendants whose parent dies
`become_no_subreaper()`                stop adopting them
`resident(pid)`                        a process's resident memory in bytes; 0 if unknown
`cpu_seconds(pid)`                     the processor time that a process has used, in seconds
`age(start)`                           seconds since a creation time
`oom_kills()`                          processes of this cgroup that the kernel's OOM killer has
                                       killed; `None`: unknown
`give_back_memory()`                   have the C library return free memory to the kernel
`forbid_core_dump(pid)`                keep a process that gets SIGABRT from writing a core dump
`name_process(name)`                   set the name that `ps -o comm` shows for this process
=====================================  ==========================================================
"""

from __future__ import annotations

import sys

from .base import SCARCE, WITHOUT, Arrival, Identity, Row, mark_of

if sys.platform == "linux" and "proc" not in WITHOUT:
    from . import linux as backend
elif sys.platform == "darwin":
    from . import macos as backend  # type: ignore[no-redef,unused-ignore]
else:
    from . import fallback as backend  # type: ignore[no-redef,unused-ignore]

SUPPORTED = backend.SUPPORTED
NEEDS_SITE_PACKAGES = backend.NEEDS_SITE_PACKAGES
row = backend.row
table = backend.table
subtree = backend.subtree
children = backend.children
keep_reserve = backend.keep_reserve
environ = backend.environ
command = backend.command
channel = backend.channel
is_exiting = backend.is_exiting
uid = backend.uid
ignored_signals = backend.ignored_signals
caught_signals = backend.caught_signals
exit_fd = backend.exit_fd
send = backend.send
parent_death_signal = backend.parent_death_signal
check_parent_death_signal = backend.check_parent_death_signal
early_death_signal = backend.early_death_signal
next_signal = backend.next_signal
reader_signal = backend.reader_signal
become_no_subreaper = backend.become_no_subreaper
become_subreaper = backend.become_subreaper
forbid_core_dump = backend.forbid_core_dump
give_back_memory = backend.give_back_memory
name_process = backend.name_process
resident = backend.resident
cpu_seconds = backend.cpu_seconds
age = backend.age
oom_kills = backend.oom_kills

__all__ = ["SCARCE", "SUPPORTED", "WITHOUT", "Arrival", "Identity", "Row", "mark_of"]
