"""What `sanic-reaper run` is given to run in the tests. It says what happens to it, a line each.

record [FAMILY]   each signal that arrives; with FAMILY a child in the same process group does too
read              each line that it reads, and each signal that a person at a keyboard can send
leave NAME...     starts children (`children.py`), and leaves them with exit code 7 at SIGTERM
orphans NUMBER    has so many orphans that end at once, and says when they do
helpers [WHAT]    has Python's resource tracker and fork server; exit code 7 at SIGTERM. WHAT is
                  `child`: it leaves a child of the fork server; `impostor`: a process of its own
                  that has the command line of a resource tracker, and is none
notify            tells a service manager that it is ready, and waits
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import time

WAIT = 600


def say(*words: object) -> None:
    """One write, so that lines of two processes are never mixed."""
    os.write(1, " ".join(map(str, words)).encode() + b"\n")


def record(family: str = "") -> None:
    who = "command"
    ours, theirs = socket.socketpair()
    if family and os.fork() == 0:
        who = "child"
        ours.close()

    # Not by handlers: for Python a signal that came twice may be one.
    signals = signal.valid_signals() - {signal.SIGCHLD}
    signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    if who == "child":
        theirs.send(b".")
    else:
        if family:
            ours.recv(1)
        say("ready", os.getpid())
    while True:
        say(who, "got", int(signal.sigwait(signals)))


def read() -> None:
    def note(signum: int, frame: object) -> None:
        say("got", signum)

    signal.signal(signal.SIGINT, note)
    signal.signal(signal.SIGTERM, note)
    say("ready", os.getpid(), os.getpgid(0))
    while line := os.read(0, 4096):
        say("read", line.decode().strip())


def leave(*names: str) -> None:
    from children import CHILDREN

    for name in names:
        CHILDREN[name]()
    signal.signal(signal.SIGTERM, lambda *_: os._exit(7))
    say("ready", os.getpid())
    time.sleep(WAIT)


def helpers(what: str = "") -> None:
    import multiprocessing
    import subprocess

    signal.signal(signal.SIGTERM, lambda *_: os._exit(7))
    child = multiprocessing.get_context("forkserver").Process(target=time.sleep, args=(WAIT,))
    child.start()
    if what != "child":
        child.kill()
        child.join()
    if what == "impostor":
        code = f"import time; time.sleep({WAIT})"
        tracker = "from multiprocessing.resource_tracker import main;main(99)"
        subprocess.Popen([sys.executable, "-c", f"{code}  # {tracker}"])
    say("ready", os.getpid())
    time.sleep(WAIT)


def orphans(number: str) -> None:
    reading, writing = os.pipe()
    for _ in range(int(number)):
        child = os.fork()
        if child == 0:
            os.close(writing)
            if os.fork() == 0:
                os.read(reading, 1)  # until the writer is gone: all of them end at once
            os._exit(0)
        os.waitpid(child, 0)
    say("ready", os.getpid())
    signal.sigwait([signal.SIGUSR1])
    os.close(writing)
    say("released")
    time.sleep(WAIT)


def notify() -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.sendto(b"READY=1", os.environ["NOTIFY_SOCKET"])
    mine = [name for name in ("LISTEN_PID", "WATCHDOG_PID") if os.environ[name] == str(os.getpid())]
    say("ready", os.getpid(), *mine)
    time.sleep(WAIT)


if __name__ == "__main__":
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1} if "orphans" in sys.argv else ())
    globals()[sys.argv[1]](*sys.argv[2:])
