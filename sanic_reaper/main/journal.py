"""Writes the state of one server to a file in its user's directory. `state` defines the format.

Readers (`sanic-reaper ps`, a probe, a metrics page) never have to ask the main process, which may
be busy or stuck. They see that by the file's heartbeat. A disk that is full, or that can't be
written to, makes the server invisible to them and has no other effect.
"""

from __future__ import annotations

import os
import sys
import time
from collections import Counter, deque
from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

import sanic

from sanic_reaper import __version__

from .. import state
from ..log import log
from ..model.roles import MAIN, WORKER
from .process_record import LONGEST, ProcessRecord
from .statefile import StateFile, fitting

if TYPE_CHECKING:
    from ..events import Event
    from ..platform.base import Identity
    from .worker import SupervisedProcess

BEAT_EVERY = 1.0
"""Seconds between two heartbeats of main's loop, and between two checks of what has changed."""

AT_MOST_EVERY = 0.1
"""Minimum number of seconds between two versions of the file."""

KEPT = 200
"""Maximum number of exited processes, and of events, that are kept for a report."""

KEPT_SLOW = 20
"""Maximum number of slow requests that are kept besides. A database that fails makes thousands,
and they must not push out why workers died."""


class Counted(NamedTuple):
    """The key of a counter of events."""

    name: str
    """Name of the event, one of `events.NAMES`."""
    role: str
    """Role of the process that the event is about: `worker`, `process`, `orphan`."""
    cause: str
    """Cause of the event, one of `causes`. "" if it has none."""


class Journal:
    """Writes the state of one server.

    Args:
        run: the id of this run.
        facts: the fields of the `server` record that do not change.
        main: pid and creation time of the main process.
        began: monotonic time at which the server began.
    """

    def __init__(self, run: str, facts: Mapping[str, object], main: Identity, began: float) -> None:
        self.place = StateFile(run)
        """The files to which the state is written."""
        self.phase = "starting"
        """Phase of the server: `starting`, `serving`, `stopping` or `stopped`."""
        self.wanted = 0
        """Number of workers that are configured."""
        self.guards_only = False
        """Whether Sanic's own manager runs the workers, so that their states are unknown."""
        self._facts = facts
        self._records: dict[Identity, ProcessRecord] = {
            main: ProcessRecord(main, MAIN, "main", began)
        }
        self._ended: deque[ProcessRecord] = deque(maxlen=KEPT)
        self._events: deque[tuple[float, Event]] = deque(maxlen=KEPT)
        self._slow: deque[tuple[float, Event]] = deque(maxlen=KEPT_SLOW)
        self._counts: Counter[Counted] = Counter()
        self._blocked_seconds = 0.0
        self._phase_since = began
        self._entered: dict[str, float] = {}
        """Monotonic time at which each phase began first, by `began_serving` and so on."""
        self._next = 0.0
        self._earliest = 0.0
        self._outcome: tuple[int, str] | None = None

    def open(self) -> None:
        """Find the directory, and write the first version.

        A server that is killed in its first moment must be known, so that its leftovers are found.
        """
        self.write(time.monotonic())

    @property
    def path(self) -> str:
        """The directory of the files. "": no directory can be written to."""
        return self.place.path

    @path.setter
    def path(self, path: str) -> None:
        self.place.path = path

    # -- what has happened ------------------------------------------------------------------------

    def started(self, process: SupervisedProcess) -> None:
        """Note a process that main has started."""
        record = ProcessRecord(process.identity, process.role, process.name, process.began)
        record.process = process
        self._records[process.identity] = record
        self.write_soon()

    def registered(self, identity: Identity, role: str, name: str) -> None:
        """Note a process of which main knows only that it exists: a helper, the watchdog."""
        if identity not in self._records:
            self._records[identity] = ProcessRecord(identity, role, name, time.monotonic())
            self.write_soon()

    def ended(self, process: SupervisedProcess) -> None:
        """Note that a process has exited."""
        record = self._records.pop(process.identity, None)
        if record is not None:
            record.end(time.monotonic())
            self._blocked_seconds += record.blocked_seconds
            self._ended.append(record)
            self.write_soon()

    def record(self, event: Event) -> None:
        """Note an event, which users' hooks receive too."""
        kept = self._slow if event.name == "request.slow" else self._events
        kept.append((time.monotonic(), event))
        self._counts[Counted(event.name, self._role_of(event), event.cause)] += 1
        self.write_soon()

    def _role_of(self, event: Event) -> str:
        """The role of the process that an event is about. `worker.died` can be a user's process."""
        if event.name.startswith("orphan."):
            return "orphan"
        known = (*self._records.values(), *reversed(self._ended))  # it may have exited by now
        roles = (record.role for record in known if record.identity[0] == event.pid)
        return next(roles, WORKER)

    def on_report(self, *fields: object) -> None:
        """Write soon: a worker has reported something."""
        self.write_soon()

    def enter(self, phase: str) -> None:
        """Enter a phase of the server, unless it is the current one."""
        if phase != self.phase:
            self.phase, self._phase_since = phase, time.monotonic()
            self._entered.setdefault(f"began_{phase}", self._phase_since)
            if phase == "stopping":
                for record in list(self._records.values()):
                    record.ask(self._phase_since)
            self.write_soon()

    def on_terminate(self, process: SupervisedProcess) -> None:
        """Note that a process was told to stop while the server keeps running."""
        record = self._records.get(process.identity)
        if record is not None:
            record.ask(time.monotonic())

    def killed_by_main(self, pid: int, why: str) -> None:
        """Note that main itself has killed a process, and why."""
        for identity, record in self._records.items():
            if identity[0] == pid:
                record.killed, record.killer = why, MAIN

    def lost(self, identity: Identity, lines: list[str]) -> None:
        """Note the requests that a process had in flight when it was killed, in words."""
        record = self._records.get(identity)
        if record is not None:
            record.lost = lines
            self.write_soon()

    def conclude(self, code: int, words: str) -> None:
        """Note the exit code of the server, and the reason in words."""
        self._outcome = (code, words[:LONGEST])

    @property
    def is_concluded(self) -> bool:
        """Whether the exit code of the server is known."""
        return self._outcome is not None

    # -- writing it -------------------------------------------------------------------------------

    def write_soon(self) -> None:
        """Write the next version soon, because something has changed."""
        self._next = 0.0

    def turn(self, now: float) -> None:
        """Write the next version if it is due. Called in each turn of main's loop.

        Args:
            now: monotonic time.
        """
        if not self.path or now < self._next or now < self._earliest:
            return
        self._next, self._earliest = now + BEAT_EVERY, now + AT_MOST_EVERY
        self.write(now)

    def write(self, now: float) -> None:
        """Write the files now. An error makes the server invisible, and has no other effect.

        Args:
            now: monotonic time.
        """
        try:
            self.place.write(now, self._content(now))
        except Exception as error:  # a failure of ours must not take the server down
            self.path = ""
            log.exception("the state of the server can't be written any more: %r", error)

    def _content(self, now: float) -> bytes:
        """The content of the state file: living processes first, then the latest of the past."""
        for identity, record in list(self._records.items()):
            record.update(now)
            if record.ended is not None:  # a helper, whose exit nobody reports
                self._ended.append(self._records.pop(identity))
        living = list(self._records.values())
        past = [(record.ended or 0.0, record.lines()) for record in self._ended]
        events = sorted((*self._events, *self._slow), key=lambda event: event[0])
        past += [(at, [_line_of(event, at)]) for at, event in events]
        return b"".join(
            fitting(
                [
                    self._head(),
                    *(state.encode(record.line()) for record in living),
                    *(state.encode("".join(record.details())) for record in living),
                ],
                [(at, state.encode("".join(lines))) for at, lines in past],
            )
        )

    def _head(self) -> bytes:
        code, words = self._outcome or (None, None)
        server = state.line(
            "server",
            **self._facts,
            phase=self.phase,
            since=self._phase_since,
            **self._entered,
            wanted=self.wanted,
            guards_only=self.guards_only or None,
            code=code,
            words=words,
        )
        counters = [
            state.line("counter", **counted._asdict(), value=number)
            for counted, number in sorted(self._counts.items())
        ]
        blocked = self._blocked_seconds + sum(
            record.blocked_seconds for record in self._records.values()
        )
        counters.append(state.line("counter", name="blocked_seconds", value=blocked))
        return state.encode("".join([server, *counters]))


def _line_of(event: Event, at: float) -> str:
    return state.line(
        "event",
        time=at,
        name=event.name,
        pid=event.pid,
        process=event.process,
        reason=event.reason[:LONGEST] or None,
        exit_code=event.exit_code,
        seconds=event.seconds,
        cause=event.cause or None,
    )


def facts(
    app_name: str, run: str, main: Identity, began: float, method: str, address: str
) -> dict[str, object]:
    """The fields of the `server` record that do not change.

    The command line and the environment are left out, because both can contain secrets.

    Args:
        began: monotonic time at which the server began.
        method: the start method, as `multiprocessing` calls it.
        address: the address of the server, for people to read.
    """
    return {
        "version": state.VERSION,
        "run": run,
        "app": app_name,
        "pid": main[0],
        "start": main[1],
        "boot": state.boot(),
        "namespace": state.namespace(),
        "uid": os.geteuid(),
        "began": began,
        "clock": time.time() - time.monotonic(),
        "directory": os.getcwd(),
        "method": method,
        "address": address,
        "host": os.uname().nodename,
        "reaper": __version__,
        "sanic": sanic.__version__,
        "python": ".".join(map(str, sys.version_info[:3])),
    }
