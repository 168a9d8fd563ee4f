"""The command: how it is started, with the signals and variables of `run`, and signalled."""

from __future__ import annotations

import os
import signal

from .. import environment, platform
from ..tree import birthmark
from .routing import BLOCKED_SIGNALS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import NoReturn


class InheritedSignals:
    """The signal mask and the ignored signals that `run` has inherited.

    The constructor blocks all signals. From then on the kernel keeps each signal until
    `platform.next_signal` asks for it. So no signal is lost, and no handler interrupts anything.
    """

    def __init__(self) -> None:
        self.mask = signal.pthread_sigmask(signal.SIG_BLOCK, BLOCKED_SIGNALS)
        self.ignored = {
            signum for signum in BLOCKED_SIGNALS if signal.getsignal(signum) is signal.SIG_IGN
        } - _IGNORED_BY_PYTHON
        # A process that ignores SIGCHLD never learns how a child has exited (wait(2)).
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)

    def restore(self) -> None:
        """Restore the inherited signals for the command. Called in the child, before its exec.

        Handlers do not survive an exec. But until the exec they would swallow a signal.
        """
        for signum in BLOCKED_SIGNALS:
            wanted = signal.SIG_IGN if signum in self.ignored else signal.SIG_DFL
            if signal.getsignal(signum) not in (wanted, None):
                signal.signal(signum, wanted)
        signal.pthread_sigmask(signal.SIG_SETMASK, self.mask)


_IGNORED_BY_PYTHON = {signal.SIGPIPE, signal.SIGXFSZ}
"""Signals that the interpreter ignores when it starts. It does not tell how they were before.
Hardly any program is started with SIGPIPE ignored, and if so, by mistake."""


class Command:
    """The process of the command. While this object is used, the process has not been reaped, so
    its pid cannot be another process's."""

    def __init__(self, pid: int, name: str) -> None:
        self.pid = pid
        self.name = os.path.basename(name)

    def __str__(self) -> str:
        return f"{self.name} [{self.pid}]"

    def send(self, signum: int) -> None:
        """Send a signal to the command alone.

        Raises:
            PermissionError: the command runs as another user by now.
        """
        os.kill(self.pid, signum)

    def send_group(self, signum: int) -> None:
        """Send a signal to the command's process group, or to the command if that group is empty.

        Raises:
            PermissionError: no process of the group may be signalled.
        """
        try:
            os.killpg(self.pid, signum)
        except ProcessLookupError:
            os.kill(self.pid, signum)


def start(argv: Sequence[str], given: InheritedSignals, with_birthmark: bool = False) -> Command:
    """Start a command as our child, in a process group of its own.

    `subprocess` was rejected, because it costs 1.5 MB and 8 ms. `posix_spawn` was rejected, because
    it has no parent death signal.

    Args:
        argv: the command and its arguments.
        given: the signals for the command.
        with_birthmark: whether the command and its descendants get the birthmark.

    Raises:
        FileNotFoundError: the command was not found.
        OSError: the command cannot be executed.
    """
    reading, writing = os.pipe()
    parent = os.getpid()
    pid = os.fork()
    if pid == 0:
        _exec(argv, given, parent, writing, with_birthmark)
    os.close(writing)
    failure = os.read(reading, 16)  # empty after the exec, which closes the pipe
    os.close(reading)
    if failure:
        os.waitpid(pid, 0)
        code = int(failure)
        raise OSError(code, os.strerror(code), argv[0])
    return Command(pid, argv[0])


def _exec(
    argv: Sequence[str], given: InheritedSignals, parent: int, writing: int, with_birthmark: bool
) -> NoReturn:
    code = 0
    try:
        os.setpgid(0, 0)
        _die_with(parent)
        variables = _environment(parent)
        given.restore()
        if with_birthmark:
            birthmark.take()
        os.execvpe(argv[0], list(argv), variables)
    except OSError as error:
        code = error.errno or 0
    finally:
        os.write(writing, str(code).encode())
        os._exit(127)


def _die_with(parent: int) -> None:
    try:
        platform.parent_death_signal(signal.SIGTERM)
    except OSError:
        return
    if os.getppid() != parent:  # `run` died before the signal was armed
        os._exit(128 + signal.SIGTERM)


def _environment(parent: int) -> dict[str, str]:
    """Our environment, changed as if `run` were not there.

    In the C locale the interpreter has set LC_CTYPE for its children (PEP 538). A service manager
    sets LISTEN_PID and WATCHDOG_PID to our pid, and means the command (sd_listen_fds(3),
    sd_watchdog_enabled(3)).
    """
    variables = dict(os.environ)
    original = b"\0" + platform.environ(os.getpid())
    if len(original) > 1 and b"\0LC_CTYPE=" not in original:
        variables.pop("LC_CTYPE", None)
    for name in ("LISTEN_PID", "WATCHDOG_PID"):
        if variables.get(name) == str(parent):
            variables[name] = str(os.getpid())
    return variables


def mark() -> str:
    """Put a marker into the environment of all processes that are started from now on; return it.

    Used where `run` cannot adopt orphans, such as a daemon that has forked twice. Otherwise the
    environment of the command is not changed.
    """
    return environment.begin_run()
