"""Main's end of the watchdog: start it, talk to it, notice that it died, start another."""

from __future__ import annotations

import os
import select
import signal
import socket
import subprocess
import sys
from collections import deque
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from .. import platform
from ..log import log
from ..platform.base import Identity
from ..tree.process import Handle, send_to, start_of
from ..tree.watchdogs import PROGRAM
from ..watchdog.channel import Channel
from ..watchdog.watch import FINISHED, GONE, Watch

HELLO = 5.0
"""Seconds that a watchdog may take to say that it is there; it needs about 20 milliseconds."""


LEAVE = 2.0
"""Seconds that it may take to end when it is told to; it needs about a millisecond."""


class NoInterpreter(OSError):
    """There is nothing to start a watchdog with, and there never will be."""


class Sidecar(Protocol):
    """Somebody who keeps the list of deadlines."""

    def tell(self, *words: object) -> bool: ...

    def heard(self) -> list[list[str]]: ...

    def alive(self) -> bool: ...

    def fileno(self) -> int: ...

    def dismiss(self) -> None: ...

    def close(self) -> None: ...


class Watchdog:
    """The watchdog process, as main sees it.

    Raises:
        NoInterpreter: it can never be started here.
        OSError: it could not be started now.
    """

    def __init__(self, main: Identity, run: str, orphan_grace: float) -> None:
        # A frozen program is its own `sys.executable`: it would start itself, again and again.
        if "watchdog" in platform.WITHOUT or not sys.executable or hasattr(sys, "frozen"):
            raise NoInterpreter("there is no Python interpreter to start it with")
        ours, its = socket.socketpair()
        with its:
            self._process = subprocess.Popen(
                [*_COMMAND, *map(str, main), str(its.fileno()), run, str(orphan_grace)],
                pass_fds=[its.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                cwd="/",
                start_new_session=True,
            )
            self._wake_at_our_end(its.fileno())
        self.identity = (self._process.pid, start_of(self._process.pid))
        self._channel = Channel(ours.detach())
        self._heard: list[list[str]] = []
        self._is_there = False
        # A forked worker must not hold our end open. What is executed does not.
        os.register_at_fork(after_in_child=self._channel.close)

    def _wake_at_our_end(self, fd: int) -> None:
        """Have it go on, if somebody has stopped it (SIGSTOP), when we are gone and no longer can.

        By its end of the channel, which breaks then: a parent death signal would cost it `ctypes`,
        and 1 MB. Asked for from here, as it may be stopped before it can ask for anything itself.
        """
        try:
            platform.reader_signal(fd, signal.SIGCONT, self.pid)
        except (OSError, AttributeError):
            pass  # not on this system: we see to it while we live

    def confirm(self) -> None:
        """Wait until it is there, once. What it was told before waits in the channel.

        Raises:
            OSError: it is not.
        """
        if self._is_there:
            return
        ready = select.poll()
        ready.register(self._channel.fd, select.POLLIN)
        answered = ready.poll(HELLO * 1000)
        # It has begun to watch by now, and may have more to say than this.
        self._heard = self._channel.receive()
        if not answered:
            self._kill("does not answer")
            raise TimeoutError(f"it has not answered within {HELLO:g} s")
        if ["hello"] not in self._heard:
            self.end()
            raise OSError("it has ended at once")
        self._is_there = True

    @property
    def pid(self) -> int:
        return self._process.pid

    def tell(self, *words: object) -> bool:
        return self._channel.send(*words)

    def heard(self) -> list[list[str]]:
        self._channel.flush()
        messages, self._heard = self._heard + self._channel.receive(), []
        logged = sum(message[0] == "log" for message in messages)
        if logged:
            self.tell("seen", logged)
        return messages

    def alive(self) -> bool:
        """Whether it guards. One that somebody has stopped (SIGSTOP) is made to go on; one that has
        not read for so long that it has missed something is ended."""
        if self._process.poll() is not None:
            return False
        if not self._channel.open:  # it is dying; or somebody in main has closed the descriptor
            self.end()
            return False
        if self._channel.lost:
            self._kill("does not listen")
            return False
        row = platform.row(self._process.pid)
        if row is not None and row.stopped:
            log.warning("watchdog [%d] was stopped; SIGCONT", self._process.pid)
            with suppress(PermissionError):  # main has become another user
                send_to(self.identity, signal.SIGCONT)
        return True

    def fileno(self) -> int:
        return self._channel.fd

    def _kill(self, why: str) -> None:
        log.warning("SIGKILL to watchdog [%d]: started by main, %s", self.pid, why)
        self.end()

    def end(self) -> None:
        """Give up on this one. One that main may not signal ends when its channel is closed."""
        with suppress(PermissionError):
            if self._process.poll() is None:
                send_to(self.identity, signal.SIGKILL)
            self._process.wait()
        self.close()

    def dismiss(self) -> None:
        """There is nothing to guard any more: it ends, and no trace of it is left in main."""
        self.tell("leave")
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(LEAVE)
        self.close()

    def close(self) -> None:
        """Let it go: it is dead, or it sees that main lives on without it, and ends."""
        self._channel.close()
        self._process.returncode = 0  # or `Popen` complains that it still runs


_COMMAND = [
    sys.executable,
    "-I",
    *([] if platform.NEEDS_SITE_PACKAGES else ["-S"]),
    "-c",
    # Behind the standard library, so that nothing installed beside us can shadow it.
    f"import sys; sys.path.append({str(Path(__file__).parents[2])!r}); {PROGRAM}",
]


class InlineWatch:
    """A watch without a process of its own, turned by main whenever main asks what is new.

    What remains while the watchdog can't be started: deadlines hold as long as main's loop turns.
    """

    def __init__(self, main: Identity, run: str, orphan_grace: float) -> None:
        self._inbox: deque[list[str]] = deque()
        self._outbox: deque[list[str]] = deque()
        handle = Handle(*main, None)
        self._watch = Watch(handle, run, orphan_grace, self._Ends(self), _log)  # type: ignore[arg-type]

    class _Ends:
        """The watch's end of a channel that never leaves this process."""

        fd = -1
        open = True
        waits = False

        def __init__(self, inline: InlineWatch) -> None:
            self._inline = inline

        def send(self, *words: object) -> bool:
            self._inline._outbox.append(list(map(str, words)))
            return True

        def flush(self) -> bool:
            return True

        def receive(self) -> list[list[str]]:
            inbox = self._inline._inbox
            return [inbox.popleft() for _ in range(len(inbox))]

        def close(self) -> None:
            pass

    def tell(self, *words: object) -> bool:
        self._inbox.append(list(map(str, words)))
        return True

    def heard(self) -> list[list[str]]:
        if self._watch.phase not in (FINISHED, GONE) or self._inbox:
            self._watch.turn(0.0)
        self._watch._unseen.clear()
        return [self._outbox.popleft() for _ in range(len(self._outbox))]

    def alive(self) -> bool:
        return True

    def fileno(self) -> int:
        return -1

    def dismiss(self) -> None:
        pass

    def close(self) -> None:
        pass


def _log(level: str, text: str) -> None:
    log.log(LEVELS.get(level, 20), "%s", text)


LEVELS = {"DEBUG": 10, "INFO": 20, "WARNING": 30, "ERROR": 40}
