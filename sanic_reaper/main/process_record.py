"""The record of one process in the state file, from its start to its exit."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from .. import state
from ..model.lifecycle import BLOCKED, ENDED, RUNNING, STOPPING
from ..model.roles import WATCHDOG
from ..tree.process import Handle

if TYPE_CHECKING:
    from ..platform.base import Identity
    from .worker import SupervisedProcess

LONGEST = 2000
"""Maximum length of a reason, in characters. It can contain a whole stack."""


class ProcessRecord:
    """One process, from its start to its exit. Times are monotonic."""

    def __init__(self, identity: Identity, role: str, name: str, began: float) -> None:
        self.identity = identity
        self.role = role
        self.name = name
        self.began = began
        self.ended: float | None = None
        self.exit_code: int | None = None
        self.asked: float | None = None
        """Time at which the process was told to stop."""
        self.killed: str | None = None
        """Why the process was killed. `None`: it was not."""
        self.killer: str | None = None
        """Role of the process that has killed it: the watchdog or main."""
        self.failure: str | None = None
        """Why the worker's start has failed, as the worker has reported it."""
        self.stalls: list[tuple[float, float]] = []
        self._cut_off: list[tuple[float, float]] = []
        self.state = ""
        self.since = began
        self.requests: int | None = None
        self.in_flight: int | None = None
        """Number of requests in flight. `None`: no heartbeat has told."""
        self.oldest: float | None = None
        """Time at which the oldest request in flight began. `None`: there is none."""
        self.lost: list[str] = []
        """The requests that were lost when the process was killed, each in a line of words."""
        self.blocked_seconds = 0.0
        """Seconds for which the worker's event loop was blocked, in all."""
        self.process: SupervisedProcess | None = None
        """The process in the fleet, while it lives. `None` for a helper, and after the exit."""
        self._start: list[str] = []

    def update(self, now: float) -> None:
        """Note the state of the process.

        Args:
            now: monotonic time.
        """
        process = self.process
        if process is None:
            if not Handle(*self.identity, None).alive():
                self.state, self.since, self.ended = ENDED, now, now
            return
        self._note(process)
        current = process.shown
        if self.state == BLOCKED and current == STOPPING:
            self._cut_off.append((self.since, now))  # no heartbeat will tell its end
        if current != self.state:
            self.state, self.since = current, process.since

    def _note(self, process: SupervisedProcess) -> None:
        if process.killed_for:
            self.killed, self.killer = process.killed_for, WATCHDOG
        if process.heartbeat is not None:
            heartbeat = process.heartbeat
            self.requests = heartbeat.requests
            self.in_flight = heartbeat.in_flight if heartbeat.has_beaten else None
            self.oldest = heartbeat.oldest_began
            self.blocked_seconds = heartbeat.blocked_before + heartbeat.blocked_for
            self.stalls = list(heartbeat.stalls)
        if process.startup is not None:
            self.failure = process.startup.failure

    def ask(self, now: float) -> None:
        """Note that the process was told to stop, unless that was noted before."""
        if self.asked is None:
            self.asked = now

    def end(self, now: float) -> None:
        """Note that the process has exited."""
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
        """All lines of the process in the state file."""
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
            in_flight=self.in_flight,
            oldest=self.oldest,
            stood_still=self.blocked_seconds or None,
            **doing,
        )

    def details(self) -> Iterator[str]:
        """The lines that follow that record: the start, its handlers, the stalls."""
        pid, start = self.identity
        yield from self._start or self.lines_of_its_start()
        for began, ended in [*self.stalls, *self._cut_off]:
            yield state.line("standstill", pid=pid, start=start, began=began, ended=ended)
        for words in self.lost:
            yield state.line("lost", pid=pid, start=start, text=words[:LONGEST])

    def lines_of_its_start(self, with_unfinished: bool = False) -> list[str]:
        """The lines of the worker's start.

        Args:
            with_unfinished: whether steps that still run are included.
        """
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
                    beside=int(step.is_background) or None,
                    failed=int(step.has_failed) or None,
                )
            )
        return lines


def _doing(process: SupervisedProcess | None, blocked_since: float | None) -> dict[str, object]:
    """The function that a worker is in, and since when: the one that blocks its event loop, if that
    is known; else a handler of its start."""
    heartbeat = process.heartbeat if process is not None else None
    sits = heartbeat.blocked_in if heartbeat is not None else None
    if sits is not None and blocked_since is not None:
        file, line, name = sits
        return {"doing": name, "file": file, "line": line, "doing_since": blocked_since}
    startup = process.startup if process is not None else None
    step = startup.doing if startup is not None else None
    if step is None:
        return {}
    place = step.place
    return {"doing": place.name, "file": place.file, "line": place.line, "doing_since": step.began}
