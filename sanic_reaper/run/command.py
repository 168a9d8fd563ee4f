"""The command: started with what `run` itself was given, and signalled."""

from __future__ import annotations

import os
import signal

from .. import environment, platform
from ..tree import birthmark
from .routing import TAKEN

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import NoReturn


class Given:
    """The signals as whoever started `run` has left them; from now on all of them are blocked.

    They are kept by the kernel until `platform.next_signal` asks for them, so none is lost from
    here on, whenever it comes, and no handler can interrupt anything.
    """

    def __init__(self) -> None:
        self.mask = signal.pthread_sigmask(signal.SIG_BLOCK, TAKEN)
        self.ignored = {
            signum for signum in TAKEN if signal.getsignal(signum) is signal.SIG_IGN
        } - _IGNORED_BY_PYTHON
        # Who ignores it has no zombies, and never learns how a child has ended (wait(2)).
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)

    def restore(self) -> None:
        """Leave the signals to the command as they were. For the child, right before its exec.

        Handlers would not survive that; but until then they would swallow a signal.
        """
        for signum in TAKEN:
            wanted = signal.SIG_IGN if signum in self.ignored else signal.SIG_DFL
            if signal.getsignal(signum) not in (wanted, None):
                signal.signal(signum, wanted)
        signal.pthread_sigmask(signal.SIG_SETMASK, self.mask)


_IGNORED_BY_PYTHON = {signal.SIGPIPE, signal.SIGXFSZ}
"""The interpreter ignores them when it starts, and does not tell how they were before. Nearly
nobody is started with SIGPIPE ignored, and who is does not want it."""


class Command:
    """The process that `run` is there for. It has not been waited for while this is used, so that
    its pid is nobody else's."""

    def __init__(self, pid: int, name: str) -> None:
        self.pid = pid
        self.name = os.path.basename(name)

    def __str__(self) -> str:
        return f"{self.name} [{self.pid}]"

    def send(self, signum: int) -> None:
        """To the command alone.

        Raises:
            PermissionError: it runs as another user by now.
        """
        os.kill(self.pid, signum)

    def send_group(self, signum: int) -> None:
        """To all of its process group, unless it has left that.

        Raises:
            PermissionError: none of them may be signalled.
        """
        try:
            os.killpg(self.pid, signum)
        except ProcessLookupError:
            os.kill(self.pid, signum)


def start(argv: Sequence[str], given: Given, with_birthmark: bool = False) -> Command:
    """Start a command as our child, in a process group of its own.

    Not with `subprocess`, which costs 1.5 MB and 8 ms, nor `posix_spawn`, which knows nothing of
    the parent death signal.

    Args:
        with_birthmark: whether the command and its children are to be told from others by that.

    Raises:
        OSError: it can't be executed. `FileNotFoundError`: it is not there.
    """
    reading, writing = os.pipe()
    parent = os.getpid()
    pid = os.fork()
    if pid == 0:
        _become(argv, given, parent, writing, with_birthmark)
    os.close(writing)
    failure = os.read(reading, 16)  # the end of the file comes with the exec, which closes it
    os.close(reading)
    if failure:
        os.waitpid(pid, 0)
        code = int(failure)
        raise OSError(code, os.strerror(code), argv[0])
    return Command(pid, argv[0])


def _become(
    argv: Sequence[str], given: Given, parent: int, writing: int, with_birthmark: bool
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
    if os.getppid() != parent:  # it has died before; who has adopted us is older than it
        os._exit(128 + signal.SIGTERM)


def _environment(parent: int) -> dict[str, str]:
    """Ours, with two changes that make us invisible.

    Where the locale is C, the interpreter has set LC_CTYPE for its children (PEP 538). And a
    service manager says in LISTEN_PID and WATCHDOG_PID whom it means, which is our pid
    (sd_listen_fds(3), sd_watchdog_enabled(3)).
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
    """Mark what is started from now on, and return the mark.

    For a system on which a daemon that forked twice does not come to us. Elsewhere nothing is
    added to the environment of the command.
    """
    return environment.begin_run()
