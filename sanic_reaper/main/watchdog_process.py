"""The watchdog process, and the main process's end of the channel to it.

Guarantees that a watchdog that can't be used any more is reported dead, and that it is reaped.
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
from . import log_format

HELLO = 5.0
"""Seconds that a watchdog may take to answer. It needs about 20 milliseconds."""

LEAVE = 2.0
"""Seconds that a watchdog may take to exit when it is told to. It needs about a millisecond."""


class NeverStarts(OSError):
    """No watchdog can be started in this process, now or later."""


class WatchdogProcess:
    """A watchdog that main has started.

    Args:
        main: pid and creation time of the main process.
        run: the id of this run.
        orphan_grace: seconds that workers may drain once the main process has died.

    Raises:
        NeverStarts: no watchdog can be started here.
        OSError: the watchdog could not be started now.
    """

    def __init__(self, main: Identity, run: str, orphan_grace: float) -> None:
        # A frozen program is its own `sys.executable`, and would start itself again and again.
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
        self._has_answered = False
        # A forked worker must not keep main's end open. Exec closes it.
        os.register_at_fork(after_in_child=self._channel.close)

    def _wake_at_our_end(self, fd: int) -> None:
        """Have the kernel wake a stopped watchdog (SIGSTOP) when main has died.

        Its end of the channel breaks then, and the kernel sends SIGCONT. A parent death signal was
        rejected: it would cost the watchdog `ctypes` and 1 MB. Main requests this, because the
        watchdog may be stopped before it can do so itself.

        Args:
            fd: the watchdog's end of the channel.
        """
        try:
            platform.reader_signal(fd, signal.SIGCONT, self.pid)
        except (OSError, AttributeError):
            pass  # not on this system: `alive` wakes it while main lives

    def confirm(self) -> None:
        """Wait until the watchdog answers. Messages to it wait in the channel until then.

        Raises:
            NeverStarts: the watchdog is of another release, whose protocol differs.
            OSError: the watchdog does not answer, or has exited.
        """
        if self._has_answered:
            return
        ready = select.poll()
        ready.register(self._channel.fd, select.POLLIN)
        answered = ready.poll(HELLO * 1000)
        # It watches by now, and more messages may follow its answer.
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
        self._has_answered = True

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
        """Whether the watchdog works.

        A watchdog that was stopped (SIGSTOP) is sent SIGCONT. One that has not read for so long
        that a message was lost is killed.
        """
        if self._process.poll() is not None:
            return False
        if not self._channel.open:  # it exits, or user code in main has closed the descriptor
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
        facts = signal.SIGKILL, name, name, self.pid, evidence, why, seconds, "its start"
        log.warning("%s", kills.sentence(*facts), extra=log_format.extra(kills.fields(*facts)))
        self.end()

    def end(self) -> None:
        """Kill this watchdog. One that main may not signal exits when its channel is closed."""
        with suppress(PermissionError):
            if self._process.poll() is None:
                send_to(self.identity, signal.SIGKILL)
            self._process.wait()
        self.close()

    def dismiss(self) -> None:
        """Have the watchdog exit, and reap it."""
        self.send(wire.LEAVE)
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(LEAVE)
        self.close()

    def close(self) -> None:
        """Close the channel. A watchdog that still lives sees that, and exits."""
        self._channel.close()
        self._process.returncode = 0  # or `Popen` warns that it still runs


_COMMAND = [
    sys.executable,
    "-I",
    *([] if platform.NEEDS_SITE_PACKAGES else ["-S"]),
    "-c",
    # After the standard library, so that no package that is installed beside can shadow it.
    f"import sys; sys.path.append({str(Path(__file__).parents[2])!r}); {PROGRAM}",
]
