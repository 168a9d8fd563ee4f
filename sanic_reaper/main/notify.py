"""What the service manager that has started main is told: the protocol of sd_notify(3).

systemd names a datagram socket in NOTIFY_SOCKET, to a service of `Type=notify`, and reads from it
assignments, a line each; their times are in microseconds. Nobody imports this where none is named.

`Words` decides what is to be said, and is pure. `Notifier` says it, from main's loop. Whether
anybody listens is not the server's business: nothing here waits, and nothing here fails.
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

SLACK = 10.0
"""Seconds on top of a deadline that the service manager is to leave us. At the deadline the
watchdog kills; that is reported, and the next try may have to wait, or the interpreter to end."""

CLOSE = 1.0
"""Seconds by which a deadline may grow before that is news: there are `SLACK` of them."""


SHORTEST_BEAT = 0.05
"""Seconds between two beats of a worker's loop, however impatient the service manager is."""


class Situation(NamedTuple):
    """The server, as far as a service manager wants to know of it."""

    phase: str
    """`STARTING` until every worker has served at the same time, then `UP` until the stop."""
    wanted: int = 0
    """How many workers there should be."""
    serving: int = 0
    """How many of them serve, or have somebody who serves until they do."""
    turns: bool = False
    """Whether the event loop of one that serves turns."""
    due: float = 0.0
    """By when the phase is over, or somebody is killed, on the monotonic clock. 0: no limit."""
    finishing: int = 0
    """How many workers listen while their `after_server_start` handlers still run."""


class Words:
    """What is to be told when, each thing once. Pure.

    Args:
        ping_every: seconds between two signs of life. 0: nobody waits for any.
    """

    def __init__(self, ping_every: float = 0.0) -> None:
        self._ping_every = ping_every
        self._next_ping = float("-inf")
        self._told: set[str] = set()
        self._status = ""
        self._due = 0.0

    def on(self, now: float, situation: Situation) -> list[str]:
        """The lines that are news.

        Args:
            now: on the monotonic clock.
        """
        phase = situation.phase
        lines = []
        if phase == STOPPING:
            lines += self._once("STOPPING=1")
        elif phase == UP:
            lines += self._once("READY=1")
        lines += self._on_status(situation)
        if phase != UP:  # there is no timeout then that could be extended
            lines += self._on_due(now, situation.due)
        if phase == UP and situation.turns and self._ping_every and now >= self._next_ping:
            self._next_ping = now + self._ping_every
            lines.append("WATCHDOG=1")
        return lines

    def _once(self, line: str) -> list[str]:
        if line in self._told:
            return []
        self._told.add(line)
        self._due = 0.0  # it is another timeout's from now on
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

    def _on_due(self, now: float, due: float) -> list[str]:
        """Told in full, not in small steps for as long as main's loop turns: a main that hangs in a
        stop is ended by the watchdog at this very deadline, and that is one line in the log."""
        if not due or due < self._due + CLOSE:
            return []
        self._due = due
        return [f"EXTEND_TIMEOUT_USEC={int((max(due - now, 0.0) + SLACK) * 1e6)}"]


class Notifier:
    """The line to the service manager.

    Args:
        address: of its socket: a path, or `@` and a name.
        ping_every: seconds between two signs of life. 0: it waits for none.

    Attributes:
        situation: how the server is, asked at each turn until the stop. Set by who knows.
    """

    def __init__(self, address: str, ping_every: float) -> None:
        self.situation: Callable[[], Situation] | None = None
        self.ping_every = ping_every
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self._words = Words(ping_every)
        self._unsent: dict[str, str] = {}
        self._is_told = False

    @classmethod
    def of(cls, environ: Mapping[str, str]) -> Notifier:
        """As the environment says. There must be a NOTIFY_SOCKET."""
        return cls(environ["NOTIFY_SOCKET"], ping_interval(environ))

    def beat_every(self, wanted: float) -> float:
        """How often a worker's loop is to beat, where somebody else wants it so often.

        Args:
            wanted: in seconds. 0: nobody does.
        """
        if wanted or not self.ping_every:
            return wanted
        return max(SHORTEST_BEAT, min(1.0, self.ping_every / 2))

    def begin(self, limit: float | None) -> None:
        """The start begins. Until there are workers nobody has a deadline: they will have this one.

        Args:
            limit: seconds that their start may take. `None`: as long as it likes.
        """
        self._say(Situation(STARTING, due=time.monotonic() + limit if limit else 0.0))

    def guard(self) -> None:
        """Sanic's own manager runs the workers: nobody here knows how many there are."""
        self.situation = lambda: Situation(UP, turns=True)

    def turn(self, stop_by: float | None) -> None:
        """Say what is news.

        Args:
            stop_by: when the stop is over that has begun, on the monotonic clock. `None`: none has.
        """
        if stop_by is not None:
            # It holds on to the manager, and so to every worker's descriptors.
            self.situation = None
            self._say(Situation(STOPPING, due=stop_by))
        elif self.situation is not None:
            self._say(self.situation())

    def _say(self, situation: Situation) -> None:
        for line in self._words.on(time.monotonic(), situation):
            self._unsent[line.partition("=")[0]] = line  # what it had to say before is no news
        if self._unsent and self._send("\n".join(self._unsent.values())):
            self._unsent.clear()

    def _send(self, message: str) -> bool:
        """A socket for each message: one that stays would be passed on by fork, to every worker."""
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as line:
                line.setblocking(False)
                line.sendto(message.encode(), self._address)
        except BlockingIOError:
            return False  # it is busy: next time
        except (OSError, ValueError) as error:
            if not self._is_told:
                self._is_told = True
                log.warning("the service manager can't be told (%r: %s)", self._address, error)
            return False
        return True


def ping_interval(environ: Mapping[str, str]) -> float:
    """Seconds between two signs of life, by WATCHDOG_USEC and WATCHDOG_PID. 0: none is wanted.

    Half of the time after which the service manager gives up, as sd_watchdog_enabled(3) advises.
    """
    if environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return 0.0
    try:
        return whole(environ.get("WATCHDOG_USEC", "")) / 2e6
    except ValueError:
        return 0.0
