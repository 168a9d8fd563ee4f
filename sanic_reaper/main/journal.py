"""What main leaves in its user's directory while it runs: `state` says in which words.

Who reads it - `sanic-reaper ps`, a probe, a metrics page - never has to ask main, which may be busy
or stuck: and it sees that in the file's own beat. A disk that is full, or can't be written to,
costs the view and nothing else.
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
"""Seconds between two words that main's loop turns, and between two looks at what has changed."""

AT_MOST_EVERY = 0.1
"""Seconds between two versions of the file, whatever happens."""

KEPT = 200
"""Processes that have ended, and events, that are kept for a report."""


class Counted(NamedTuple):
    """What is counted: events, by what tells them apart in a few words."""

    name: str
    role: str
    """Of whom the event tells: `worker`, `process`, `orphan`."""
    cause: str
    """One of `causes`, or "" where there is none."""


class Journal:
    """Writes the state of one server.

    Args:
        run: the id of this run.
        facts: what does not change: the fields of the `server` record.
        main: who writes.
    """

    def __init__(self, run: str, facts: Mapping[str, object], main: Identity, began: float) -> None:
        self.place = StateFile(run)
        """Where it is written."""
        self.phase = "starting"
        self.wanted = 0
        """How many workers are to serve."""
        self.guards_only = False
        """Whether Sanic's own manager runs the workers, which nobody here knows."""
        self._facts = facts
        self._records: dict[Identity, ProcessRecord] = {
            main: ProcessRecord(main, MAIN, "main", began)
        }
        self._ended: deque[ProcessRecord] = deque(maxlen=KEPT)
        self._events: deque[tuple[float, Event]] = deque(maxlen=KEPT)
        self._counts: Counter[Counted] = Counter()
        self._stood_still = 0.0
        self._phase_since = began
        self._entered: dict[str, float] = {}
        """When each phase began, the first time: `began_serving`, and so on."""
        self._next = 0.0
        self._earliest = 0.0
        self._outcome: tuple[int, str] | None = None

    def open(self) -> None:
        """Find the place, and write there: a server that is killed in its first moment is to be
        known, and tidied up after."""
        self.write(time.monotonic())

    @property
    def path(self) -> str:
        """The directory in which it is written. "": in none, for there is no place."""
        return self.place.path

    @path.setter
    def path(self, path: str) -> None:
        self.place.path = path

    # -- what has happened ------------------------------------------------------------------------

    def started(self, process: SupervisedProcess) -> None:
        record = ProcessRecord(process.identity, process.role, process.name, process.began)
        record.process = process
        self._records[process.identity] = record
        self.hurry()

    def registered(self, identity: Identity, role: str, name: str) -> None:
        """A process that is no business of main's but to be there: a helper, the watchdog."""
        if identity not in self._records:
            self._records[identity] = ProcessRecord(identity, role, name, time.monotonic())
            self.hurry()

    def ended(self, process: SupervisedProcess) -> None:
        record = self._records.pop(process.identity, None)
        if record is not None:
            record.end(time.monotonic())
            self._stood_still += record.stood_still
            self._ended.append(record)
            self.hurry()

    def heard(self, event: Event) -> None:
        """Something that users' hooks are told of too."""
        self._events.append((time.monotonic(), event))
        self._counts[Counted(event.name, self._role_of(event), event.cause)] += 1
        self.hurry()

    def _role_of(self, event: Event) -> str:
        """Of whom an event tells: of `worker.died`, perhaps a process of the user's."""
        kind = event.name.partition(".")[0]
        known = (*self._records.values(), *reversed(self._ended))  # it may be buried by now
        roles = (record.role for record in known if record.identity[0] == event.pid)
        return next(roles, kind) if kind == WORKER else kind

    def on_report(self, *fields: object) -> None:
        """Write soon: a worker has reported something."""
        self.hurry()

    def enter(self, phase: str) -> None:
        if phase != self.phase:
            self.phase, self._phase_since = phase, time.monotonic()
            self._entered.setdefault(f"began_{phase}", self._phase_since)
            if phase == "stopping":
                for record in list(self._records.values()):
                    record.ask(self._phase_since)
            self.hurry()

    def dismissed(self, process: SupervisedProcess) -> None:
        """It is told to end, while the server goes on."""
        record = self._records.get(process.identity)
        if record is not None:
            record.ask(time.monotonic())

    def killed_by_main(self, pid: int, why: str) -> None:
        for identity, record in self._records.items():
            if identity[0] == pid:
                record.killed, record.killer = why, MAIN

    def conclude(self, code: int, words: str) -> None:
        """How the server ends."""
        self._outcome = (code, words[:LONGEST])

    @property
    def is_concluded(self) -> bool:
        """Whether it is known how the server ends."""
        return self._outcome is not None

    # -- writing it -------------------------------------------------------------------------------

    def hurry(self) -> None:
        """Something has changed that is worth to be seen at once."""
        self._next = 0.0

    def turn(self, now: float) -> None:
        """Write what has changed, if it is time to. Called in each turn of main's loop."""
        if not self.path or now < self._next or now < self._earliest:
            return
        self._next, self._earliest = now + BEAT_EVERY, now + AT_MOST_EVERY
        self.write(now)

    def write(self, now: float) -> None:
        try:
            self.place.write(now, self._content(now))
        except Exception as error:  # of ours: the server goes on, unseen
            self.path = ""
            log.exception("the state of the server can't be written any more: %r", error)

    def _content(self, now: float) -> bytes:
        """All that fits: what is there now first, and then what was, the latest of it first."""
        for identity, record in list(self._records.items()):
            record.look(now)
            if record.ended is not None:  # a helper: nobody tells of their ends
                self._ended.append(self._records.pop(identity))
        living = list(self._records.values())
        past = [(record.ended or 0.0, record.lines()) for record in self._ended]
        past += [(at, [_line_of(event, at)]) for at, event in self._events]
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
        still = self._stood_still + sum(record.stood_still for record in self._records.values())
        counters.append(state.line("counter", name="blocked_seconds", value=still))
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
    """What does not change in the life of a server. No arguments and no environment: there may be
    secrets in both.
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
