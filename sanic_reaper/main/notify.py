"""Notifies the service manager that has started main, by the protocol of sd_notify(3).

For a service of `Type=notify`, systemd names a datagram socket in NOTIFY_SOCKET and reads
assignments from it, one a line; times are in microseconds. Without NOTIFY_SOCKET this module is not
loaded.

`Messages` decides what is to be sent, and is pure. `Notifier` sends it, from main's loop. Nothing
here waits, and nothing here fails: the server does not depend on its service manager.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Mapping
from typing import NamedTuple

from ..log import log
from ..untrusted import whole

STARTING, UP, STOPPING = "starting", "up", "stopping"

EXTRA_TIME = 10.0
"""Seconds on top of each deadline that the service manager is asked for. At the deadline the
watchdog kills. Main then logs that, and may wait before the next try or for its own exit."""

MIN_EXTENSION = 1.0
"""Seconds by which a deadline must grow before it is sent again. `EXTRA_TIME` covers less."""

MIN_HEARTBEAT = 0.05
"""Smallest interval of a worker's heartbeat in seconds, however short WatchdogSec= is."""


class Situation(NamedTuple):
    """The state of the server, as far as it concerns a service manager."""

    phase: str
    """`STARTING` until every worker has served at the same time, then `UP` until the stop."""
    wanted: int = 0
    """How many workers are configured."""
    serving: int = 0
    """How many workers serve, or have a predecessor that serves until they do."""
    turns: bool = False
    """Whether the event loop of at least one serving worker turns."""
    deadline: float = 0.0
    """Monotonic time by which the phase ends, or a process is killed. 0: there is no limit."""
    finishing: int = 0
    """How many workers listen while their `after_server_start` handlers still run."""


class Messages:
    """Decides which messages are due, and repeats none. Pure.

    Args:
        ping_interval: seconds between two WATCHDOG=1. 0: none are wanted.
    """

    def __init__(self, ping_interval: float = 0.0) -> None:
        self._ping_interval = ping_interval
        self._next_ping = float("-inf")
        self._sent: set[str] = set()
        self._status = ""
        self._deadline = 0.0

    def on(self, now: float, situation: Situation) -> list[str]:
        """The lines to be sent.

        Args:
            now: monotonic time.
            situation: the state of the server at that time.
        """
        phase = situation.phase
        lines = []
        if phase == STOPPING:
            lines += self._once("STOPPING=1")
        elif phase == UP:
            lines += self._once("READY=1")
        lines += self._on_status(situation)
        if phase != UP:  # there is no timeout then that could be extended
            lines += self._on_deadline(now, situation.deadline)
        if phase == UP and situation.turns and self._ping_interval and now >= self._next_ping:
            self._next_ping = now + self._ping_interval
            lines.append("WATCHDOG=1")
        return lines

    def _once(self, line: str) -> list[str]:
        if line in self._sent:
            return []
        self._sent.add(line)
        self._deadline = 0.0  # from now on systemd runs another timeout
        return [line]

    def _on_status(self, situation: Situation) -> list[str]:
        status = f"{situation.serving}/{situation.wanted} workers serve"
        if situation.finishing:
            status += f", {situation.finishing} finishing start"
        if situation.phase == STOPPING or not situation.wanted:
            status = situation.phase
        if status == self._status:
            return []
        self._status = status
        return [f"STATUS={status}"]

    def _on_deadline(self, now: float, deadline: float) -> list[str]:
        """Ask for the whole time at once, and not in small steps while main's loop turns.

        If main hangs in a stop, the watchdog kills it at this very deadline and logs one line.
        """
        if not deadline or deadline < self._deadline + MIN_EXTENSION:
            return []
        self._deadline = deadline
        return [f"EXTEND_TIMEOUT_USEC={int((max(deadline - now, 0.0) + EXTRA_TIME) * 1e6)}"]


class Notifier:
    """Main's end of the notification socket.

    Args:
        address: address of the socket: a path, or `@` and a name.
        ping_interval: seconds between two WATCHDOG=1. 0: none are wanted.

    Attributes:
        situation: returns the state of the server. Called at each turn until the stop. Set by the
            manager of the workers.
    """

    def __init__(self, address: str, ping_interval: float) -> None:
        self.situation: Callable[[], Situation] | None = None
        self.ping_interval = ping_interval
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self._messages = Messages(ping_interval)
        self._unsent: dict[str, str] = {}
        self._has_warned = False

    @classmethod
    def of(cls, environ: Mapping[str, str]) -> Notifier:
        """The notifier that the environment asks for. NOTIFY_SOCKET must be set."""
        return cls(environ["NOTIFY_SOCKET"], ping_interval_of(environ))

    def heartbeat_interval(self, wanted: float) -> float:
        """The interval of the workers' heartbeat in seconds.

        Args:
            wanted: the interval that the settings ask for. 0: they ask for none.
        """
        if wanted or not self.ping_interval:
            return wanted
        return max(MIN_HEARTBEAT, min(1.0, self.ping_interval / 2))

    def begin(self, limit: float | None) -> None:
        """Send the deadline of the start, before there are workers that have one.

        Args:
            limit: limit in seconds for the start of a worker. `None`: no limit.
        """
        self._send_changes(Situation(STARTING, deadline=time.monotonic() + limit if limit else 0.0))

    def guard(self) -> None:
        """Report the server as up, because Sanic's own manager runs the workers, uncounted."""
        self.situation = lambda: Situation(UP, turns=True)

    def turn(self, stop_by: float | None) -> None:
        """Send what has changed.

        Args:
            stop_by: monotonic deadline of the stop. `None`: no stop has begun.
        """
        if stop_by is not None:
            # The function refers to the manager, and so keeps every worker's descriptors open.
            self.situation = None
            self._send_changes(Situation(STOPPING, deadline=stop_by))
        elif self.situation is not None:
            self._send_changes(self.situation())

    def _send_changes(self, situation: Situation) -> None:
        for line in self._messages.on(time.monotonic(), situation):
            self._unsent[line.partition("=")[0]] = line  # replaces what could not be sent before
        if self._unsent and self._send("\n".join(self._unsent.values())):
            self._unsent.clear()

    def _send(self, message: str) -> bool:
        """Send a message through a new socket. Forked workers would inherit one that stays open.

        Returns:
            Whether the message must not be sent again.
        """
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as line:
                line.setblocking(False)
                line.sendto(message.encode(), self._address)
        except BlockingIOError:
            return False  # its queue is full: next time
        except (OSError, ValueError) as error:
            if not self._has_warned:
                self._has_warned = True
                log.warning(
                    "the service manager can't be notified through NOTIFY_SOCKET (%r: %s); "
                    "the server runs all the same",
                    self._address,
                    error,
                )
            return False
        return True


def ping_interval_of(environ: Mapping[str, str]) -> float:
    """Seconds between two WATCHDOG=1, from WATCHDOG_USEC and WATCHDOG_PID. 0: none are wanted.

    Half of the time after which the service manager gives up, as sd_watchdog_enabled(3) advises.
    """
    if environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return 0.0
    try:
        return whole(environ.get("WATCHDOG_USEC", "")) / 2e6
    except ValueError:
        return 0.0
