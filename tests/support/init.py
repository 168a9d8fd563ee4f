"""The first process of a box: it starts commands, inherits every orphan, and takes all with it.

It is PID 1 of a PID namespace or, where there is none, a child subreaper. Either way the kernel
hands it each process below it whose parent has died, so that nothing that was ever started in the
box can leave it. It speaks JSON, a line each way, and ends when its owner closes its input.
"""

from __future__ import annotations

import ctypes
import json
import os
import resource
import select
import signal

PR_SET_CHILD_SUBREAPER = 36


def main() -> None:
    if os.getpid() != 1 and ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError("no child subreaper on this system")
    _, most = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (0, most))  # some of them will be aborted
    woken, wake = os.pipe()
    os.set_blocking(wake, False)
    signal.set_wakeup_fd(wake)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    report(ready=os.getpid())
    pending = b""
    while True:
        readable, _, _ = select.select([0, woken], [], [])
        if woken in readable:
            os.read(woken, 4096)
            reap()
        if 0 in readable:
            chunk = os.read(0, 65536)
            if not chunk:
                break
            *orders, pending = (pending + chunk).split(b"\n")
            for order in orders:
                report(started=start(**json.loads(order)))
    while end_all():
        reap()


def start(
    program: str,
    argv: list[str],
    env: dict[str, str],
    cwd: str,
    output: str,
    session: bool,
    uid: int | None,
) -> int:
    """Start a command. `output` may be a terminal: a leader of a session then controls it."""
    pid = os.fork()
    if pid:
        return pid
    try:
        # Whoever runs the tests may ignore some: a shell's background job, nohup, Python itself.
        for signum in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
            signal.signal(signum, signal.SIG_DFL)
        if session:
            os.setsid()
        terminal = output.startswith("/dev/")
        os.dup2(os.open(output if terminal else os.devnull, os.O_RDONLY), 0)
        sink = os.open(output, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
        os.dup2(sink, 1)
        os.dup2(sink, 2)
        if uid is not None:
            os.setgroups([])
            os.setgid(uid)
            os.setuid(uid)
        os.chdir(cwd)
        os.execve(program, argv, env)
    except OSError as error:
        os.write(2, f"{argv[0]}: {error}\n".encode())
    finally:
        os._exit(127)


def reap() -> None:
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if not pid:
            return
        report(ended=pid, code=os.waitstatus_to_exitcode(status))


def end_all() -> bool:
    """Kill everything below this process; say whether there was anything."""
    parents = {}
    for entry in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{entry}/stat") as stat:
                parents[int(entry)] = int(stat.read().rpartition(")")[2].split()[1])
        except OSError:
            continue
    found = {os.getpid()}
    while more := {pid for pid, ppid in parents.items() if ppid in found} - found:
        found |= more
    found.remove(os.getpid())
    for pid in found:
        # Nobody here but us reaps what is ours by now, so that no pid can have changed hands.
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
    return bool(found)


def report(**words: int) -> None:
    try:
        os.write(1, json.dumps(words).encode() + b"\n")
    except OSError:
        pass  # the owner is gone; the end of our input will tell


if __name__ == "__main__":
    main()
