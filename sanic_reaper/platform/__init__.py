"""The operating system, behind one set of names. The only place that asks which one it is.

Each backend is a module with the same functions; what it cannot do raises `OSError`, and who calls
decides what remains. So do `table`, `subtree` and `environ` where this process has no descriptor
left to look with, as nobody is to be taken for ended then. Signals, pids and file descriptors are
plain integers.

=====================================  ==========================================================
`row(pid)`                             the `Row` of a process, or `None` where there is none
`table()`                              every visible process, as `{pid: Row}`
`subtree(roots)`                       the roots and what descends from them; `None` where only
                                       `table()` can tell
`children(pid)`                        its children's pids, zombies included; `None` where only
                                       `table()` can tell
`keep_reserve()`                       keep what this needs, should nothing be left to open it with
`environ(pid)`                         its environment as bytes, `b""` where it may not be read
`command(pid)`                         its command line, an item an argument; `[]` where it may not
                                       be read
`channel(pid, fd)`                     what a descriptor of another process is: `pipe`, `socket`,
                                       or "" for anything else, and nothing; `?` where that is
                                       not known
`is_exiting(pid)`                      whether it has begun to end, and is no zombie yet
`uid(pid)`                             the user that it runs as, or `None`
`ignored_signals(pid)`                 what it ignores, also as a zombie: bit N - 1 for signal N; 0
                                       where that is not known
`caught_signals(pid)`                  what it has handlers for, in the same way
`exit_fd(pid)`                         a descriptor that turns readable when the process ends
`send(pid, fd, signum)`                send a signal, through the descriptor where that is safer
`parent_death_signal(signum)`          ask the kernel for a signal when the parent dies
`check_parent_death_signal()`          raise `OSError` where there is no such signal
`early_death_signal(parent, signum)`   Python that does the same in a process that has imported
                                       nothing yet; `""` where there is none
`next_signal(signums, seconds)`        take the next of these signals, all of them blocked; `None`
                                       after so many seconds
`reader_signal(fd, signum, pid)`       ask the kernel for a signal when the pipe's writer is gone
`become_subreaper()`                   adopt descendants whose own parent has died
`become_no_subreaper()`                adopt no more of them
`resident(pid)`                        its resident memory in bytes, 0 where that is not known
`cpu_seconds(pid)`                     the processor time that it has used
`age(start)`                           seconds since a creation time
`oom_kills()`                          how many processes of our cgroup the kernel's OOM killer
                                       has ended; `None` where that is not known
`give_back_memory()`                   have the C library return what it keeps for later
`forbid_core_dump(pid)`                an abort that we cause shall not fill a disk
`name_process(name)`                   what `ps -o comm` shows
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
