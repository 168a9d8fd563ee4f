"""The watchdog as the main process sees it: its process, and the main process's end of the channel.

Guarantees: a watchdog that cannot be used any more is reported dead, and its process is reaped.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

from .. import platform
from ..log import log
from ..model import kills, roles
from ..platform.base import Identity
from ..protocol import watchdog as wire
from ..protocol.channel import Channel
from ..tree.process import send_to, start_of
from ..tree.watchdogs import PROGRAM

HELLO = 5.0
"""Seconds that a watchdog may take to say that it is there; it needs about 20 milliseconds."""


LEAVE = 2.0
"""Seconds that it may take to end when it is told to; it needs about a millisecond."""


class NeverStarts(OSError):
    """No watchdog can be started here, now or later."""


class WatchdogProcess:
    """The watchdog process, as main sees it.

    Raises:
        NeverStarts: it can never be started here.
        OSError: it could not be started now.
    """

    def __init__(self, main: Identity, run: str, orphan_grace: float) -> None:
        # A frozen program is its own `sys.executable`: it would start itself, again and again.
        if "watchdog" in platform.WITHOUT or not sys.executable or hasattr(sys, "frozen"):
            raise NeverStarts("there is no Python interpreter to start it with")
        self._began = time.monotonic()
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
        self._channel.send(wire.HELLO, wire.VERSION)
        self._received: list[list[str]] = []
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
            NeverStarts: it comes from another release, and has other words.
            OSError: it is not.
        """
        if self._is_there:
            return
        ready = select.poll()
        ready.register(self._channel.fd, select.POLLIN)
        answered = ready.poll(HELLO * 1000)
        # It has begun to watch by now, and may have more to say than this.
        self._received = self._channel.receive()
        if not answered:
            self._kill("does not answer")
            raise TimeoutError(f"it has not answered within {HELLO:g} s")
        hello = next((message for message in self._received if message[0] == wire.HELLO), None)
        if hello is None:
            self.end()
            raise OSError("it exited at once")
        if hello != [wire.HELLO, str(wire.VERSION)]:
            self.end()
            raise NeverStarts(
                f"it comes from another release, whose protocol is {hello[1:]}, not "
                f"{wire.VERSION}; restart the server"
            )
        self._is_there = True

    @property
    def pid(self) -> int:
        return self._process.pid

    def send(self, *words: object) -> bool:
        return self._channel.send(*words)

    def receive(self) -> list[list[str]]:
        self._channel.flush()
        messages, self._received = self._received + self._channel.receive(), []
        lines = sum(message[0] in (wire.LOG, wire.SIGNALLED) for message in messages)
        if lines:
            self.send(wire.SEEN, lines)
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
            log.warning("SIGCONT to watchdog [%d]: it was stopped by a signal", self._process.pid)
            with suppress(PermissionError):  # main has become another user
                send_to(self.identity, signal.SIGCONT)
        return True

    def fileno(self) -> int:
        return self._channel.fd

    def _kill(self, why: str) -> None:
        seconds = time.monotonic() - self._began
        evidence, name = kills.STARTED_BY_MAIN, roles.WATCHDOG
        signum = signal.SIGKILL
        words = kills.sentence(signum, name, name, self.pid, evidence, why, seconds, "its start")
        log.warning("%s", words)
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
        self.send(wire.LEAVE)
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
