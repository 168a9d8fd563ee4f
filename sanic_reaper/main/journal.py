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
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import sanic

from sanic_reaper import __version__

from .. import state
from ..log import log
from ..model.lifecycle import BLOCKED, ENDED, RUNNING, STOPPING
from ..model.roles import MAIN, WATCHDOG, WORKER
from ..tree.process import Handle
from .statefile import StateFile, fitting

if TYPE_CHECKING:
    from ..events import Event
    from ..platform.base import Identity
    from .worker import Child

BEAT_EVERY = 1.0
"""Seconds between two words that main's loop turns, and between two looks at what has changed."""

AT_MOST_EVERY = 0.1
"""Seconds between two versions of the file, whatever happens."""

KEPT = 200
"""Processes that have ended, and events, that are kept for a report."""

LONGEST = 2000
"""Characters of a reason that are kept: it may have a whole stack in it."""


class Counted(NamedTuple):
    """What is counted: events, by what tells them apart in a few words."""

    name: str
    role: str
    """Of whom the event tells: `worker`, `process`, `orphan`."""
    cause: str
    """One of `causes`, or "" where there is none."""


class Story:
    """One process, from its start to its end. Moments are on the monotonic clock."""

    def __init__(self, identity: Identity, role: str, name: str, began: float) -> None:
        self.identity = identity
        self.role = role
        self.name = name
        self.began = began
        self.ended: float | None = None
        self.exit_code: int | None = None
        self.asked: float | None = None
        """When it was told to end."""
        self.killed: str | None = None
        """Why it was killed,"""
        self.killer: str | None = None
        """and by whom: the watchdog, or main."""
        self.failure: str | None = None
        """Why it has not started, in its own words."""
        self.standstills: list[tuple[float, float]] = []
        self._cut_off: list[tuple[float, float]] = []
        self.state = ""
        self.since = began
        self.requests: int | None = None
        self.stood_still = 0.0
        """Seconds for which its event loop has not turned when it should have."""
        self.process: Child | None = None
        """What main knows of it, as long as it lives, if it is in the fleet."""
        self._start: list[str] = []

    def look(self, now: float) -> None:
        """Find out what it is at now."""
        process = self.process
        if process is None:
            if not Handle(*self.identity, None).alive():
                self.state, self.since, self.ended = ENDED, now, now
            return
        self._note(process)
        current = process.shown
        if self.state == BLOCKED and current == STOPPING:
            self._cut_off.append((self.since, now))  # nobody hears of its end
        if current != self.state:
            self.state, self.since = current, process.since

    def _note(self, process: Child) -> None:
        if process.killed_for:
            self.killed, self.killer = process.killed_for, WATCHDOG
        if process.heartbeat is not None:
            heartbeat = process.heartbeat
            self.requests = heartbeat.requests
            self.stood_still = heartbeat.stood_still + heartbeat.seconds  # which still lasts
            self.standstills = list(heartbeat.stalls)
        if process.startup is not None:
            self.failure = process.startup.failure

    def ask(self, now: float) -> None:
        if self.asked is None:
            self.asked = now

    def end(self, now: float) -> None:
        process = self.process
        if process is None or self.ended is not None:
            return
        self._note(process)
        if self.state == BLOCKED:
            self._cut_off.append((self.since, now))
        self._start = self.lines_of_its_start(with_unfinished=True)
        self.ended, self.exit_code, self.process = now, process.status, None
        self.state, self.since = ENDED, now

    def lines(self) -> list[str]:
        return [self.line(), *self.details()]

    def line(self) -> str:
        """The record of the process itself."""
        pid, start = self.identity
        process = self.process
        doing = _doing(process, self.since if self.state == BLOCKED else None)
        return state.line(
            "process",
            pid=pid,
            start=start,
            role=self.role,
            name=self.name,
            state=self.state or RUNNING,
            since=self.since,
            began=self.began,
            ended=self.ended,
            exit_code=self.exit_code,
            asked=self.asked,
            killed=self.killed and self.killed[:LONGEST],
            killer=self.killer,
            failure=self.failure and self.failure[:LONGEST],
            requests=self.requests,
            stood_still=self.stood_still or None,
            **doing,
        )

    def details(self) -> Iterator[str]:
        """What belongs to it, and stands after it."""
        pid, start = self.identity
        yield from self._start or self.lines_of_its_start()
        for began, ended in [*self.standstills, *self._cut_off]:
            yield state.line("standstill", pid=pid, start=start, began=began, ended=ended)

    def lines_of_its_start(self, with_unfinished: bool = False) -> list[str]:
        startup = self.process.startup if self.process is not None else None
        if startup is None:
            return []
        pid, start = self.identity
        lines = [
            state.line(
                "start",
                pid=pid,
                start=start,
                imported=startup.imported,
                up=startup.up,
                ready=startup.ready,
            )
        ]
        for step in [*startup.done, *(startup.running if with_unfinished else ())]:
            place = step.place
            lines.append(
                state.line(
                    "handler",
                    pid=pid,
                    start=start,
                    name=place.name,
                    file=place.file,
                    line=place.line,
                    began=step.began,
                    ended=step.ended,
                    beside=int(step.is_beside) or None,
                    failed=int(step.has_failed) or None,
                )
            )
        return lines


def _doing(process: Child | None, blocked_since: float | None) -> dict[str, object]:
    """The function that a worker is in, and since when: the one that blocks its event loop, if that
    is known; else a handler of its start."""
    heartbeat = process.heartbeat if process is not None else None
    sits = heartbeat.sits if heartbeat is not None else None
    if sits is not None and blocked_since is not None:
        file, line, name = sits
        return {"doing": name, "file": file, "line": line, "doing_since": blocked_since}
    startup = process.startup if process is not None else None
    step = startup.doing if startup is not None else None
    if step is None:
        return {}
    place = step.place
    return {"doing": place.name, "file": place.file, "line": place.line, "doing_since": step.began}


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
        self._stories: dict[Identity, Story] = {main: Story(main, MAIN, MAIN, began)}
        self._ended: deque[Story] = deque(maxlen=KEPT)
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

    def started(self, process: Child) -> None:
        story = Story(process.identity, process.role, process.name, process.began)
        story.process = process
        self._stories[process.identity] = story
        self.hurry()

    def registered(self, identity: Identity, role: str, name: str) -> None:
        """A process that is no business of main's but to be there: a helper, the watchdog."""
        if identity not in self._stories:
            self._stories[identity] = Story(identity, role, name, time.monotonic())
            self.hurry()

    def ended(self, process: Child) -> None:
        story = self._stories.pop(process.identity, None)
        if story is not None:
            story.end(time.monotonic())
            self._stood_still += story.stood_still
            self._ended.append(story)
            self.hurry()

    def heard(self, event: Event) -> None:
        """Something that users' hooks are told of too."""
        self._events.append((time.monotonic(), event))
        self._counts[Counted(event.name, self._role_of(event), event.cause)] += 1
        self.hurry()

    def _role_of(self, event: Event) -> str:
        """Of whom an event tells: of `worker.died`, perhaps a process of the user's."""
        kind = event.name.partition(".")[0]
        known = (*self._stories.values(), *reversed(self._ended))  # it may be buried by now
        roles = (story.role for story in known if story.identity[0] == event.pid)
        return next(roles, kind) if kind == WORKER else kind

    def on_message(self, word: str, rest: list[Any]) -> None:
        """What a worker reports: that its loop turns is no news."""
        if word != "beat":
            self.hurry()

    def enter(self, phase: str) -> None:
        if phase != self.phase:
            self.phase, self._phase_since = phase, time.monotonic()
            self._entered.setdefault(f"began_{phase}", self._phase_since)
            if phase == "stopping":
                for story in list(self._stories.values()):
                    story.ask(self._phase_since)
            self.hurry()

    def dismissed(self, process: Child) -> None:
        """It is told to end, while the server goes on."""
        story = self._stories.get(process.identity)
        if story is not None:
            story.ask(time.monotonic())

    def killed_by_main(self, pid: int, why: str) -> None:
        for identity, story in self._stories.items():
            if identity[0] == pid:
                story.killed, story.killer = why, MAIN

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
            log.exception("the server can't be seen any more: %r", error)

    def _content(self, now: float) -> bytes:
        """All that fits: what is there now first, and then what was, the latest of it first."""
        for identity, story in list(self._stories.items()):
            story.look(now)
            if story.ended is not None:  # a helper: nobody tells of their ends
                self._ended.append(self._stories.pop(identity))
        living = list(self._stories.values())
        past = [(story.ended or 0.0, story.lines()) for story in self._ended]
        past += [(at, [_line_of(event, at)]) for at, event in self._events]
        return b"".join(
            fitting(
                [
                    self._head(),
                    *(state.encode(story.line()) for story in living),
                    *(state.encode("".join(story.details())) for story in living),
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
        still = self._stood_still + sum(story.stood_still for story in self._stories.values())
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
