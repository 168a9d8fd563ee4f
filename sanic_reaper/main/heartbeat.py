"""The heartbeat of one worker's event loop, once the worker listens: whether the loop turns, and
how many requests the worker has served.

A worker's loop sends a heartbeat about once a second. What keeps the loop from turning also keeps
it from sending: blocking code, a GIL that somebody holds in C, SIGSTOP. So the main process sees a
stall by the missing heartbeat.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

from ..log import log
from ..model.stacks import frames_of
from ..model.stalls import BLOCKED_AFTER, Stall
from ..protocol import worker as words
from ..worker.explanations import AWAITING, BLOCKING, EXITED, Frame, innermost, report
from .fields import extra_of
from .start_reports import stack_of, with_threads
from .worker_link import WorkerLink

if TYPE_CHECKING:
    from ..events import Event

MAX_KEPT_STALLS = 20
"""Maximum number of stalls of one worker that are kept, the latest ones."""

MAX_DELAY = 1.0
"""Seconds by which a heartbeat may be late, on a busy machine and by main's own pauses."""

REMEDY = "let the event loop turn: await asyncio.to_thread(...)"


class Heartbeat:
    """The heartbeats of one worker.

    Args:
        title: what the log calls the worker.
        link: main's end of the worker's pipe.
        every: seconds between two heartbeats.
        warning: seconds after which a blocked event loop is reported, once. 0: never.
        timeout: seconds after which a worker whose event loop is blocked must be killed. 0: never.
        on_blocked: called when a stall is reported, with the text of the report and the seconds
            for which the loop has been blocked. Returns the event.
    """

    def __init__(
        self,
        title: str,
        link: WorkerLink,
        every: float,
        warning: float,
        timeout: float,
        on_blocked: Callable[[str, float], Event | None],
    ) -> None:
        self.has_beaten = False
        """Whether the worker has ever sent a heartbeat."""
        self.requests = 0
        """Number of requests that the worker has served, as of its last heartbeat."""
        self.in_flight = 0
        """Number of requests in flight, as of the last heartbeat."""
        self.oldest_began: float | None = None
        """Monotonic time at which the oldest of them began. `None`: there was none."""
        self._every = every
        self._beat_at = float("-inf")
        self._title = title
        self._link = link
        self.blocked_for = 0.0
        """Seconds for which the loop has been blocked now. 0: the loop turns."""
        self.blocked_before = 0.0
        """Seconds for which the loop was blocked before, in all earlier stalls."""
        self.stalls: deque[tuple[float, float]] = deque(maxlen=MAX_KEPT_STALLS)
        """Begin and end of the stalls of `BLOCKED_AFTER` or longer, in monotonic time."""
        self._stall = Stall(every)
        self._warning = warning
        self._timeout = timeout
        self._on_blocked = on_blocked
        self.blocked_in: Frame | None = None
        """The innermost line of user code that blocks the loop. `None`: not known, or no stall."""
        self._is_asked = False
        """Whether the worker was asked for its stack in this stall."""
        self._is_reported = False
        """Whether this stall was reported."""
        self._is_hung = False
        link.listen({words.READY: self._on_ready, words.BEAT: self._on_beat})

    def _on_ready(self, ready: float) -> None:
        self._beat_at = time.monotonic()  # this message comes from the loop too

    def _on_beat(self, requests: int, in_flight: int, oldest: float) -> None:
        self._beat_at = time.monotonic()
        self.has_beaten, self.requests = True, requests
        self.in_flight = in_flight
        self.oldest_began = self._beat_at - oldest if in_flight else None
        if self._is_reported and not self._is_hung:
            log.info("%s has recovered: its event loop turns again", self._title)
        elif self._is_asked and not self._is_hung:
            # Its stack shows where it is now, and not where it was.
            self._report(f"{self._blocked()}, and turned again before its stack could be read")
        self._is_asked = self._is_reported = False
        self.blocked_in = None
        self.blocked_before += self.blocked_for
        if self.blocked_for >= BLOCKED_AFTER:
            now = time.monotonic()
            self.stalls.append((now - self.blocked_for, now))
        self.blocked_for = 0.0
        self._stall.beat()

    def turns(self, now: float) -> bool:
        """Whether the latest heartbeat is recent.

        `Stall` is no answer to that: it does not count time in which main has not checked. Here a
        blocked loop must not be taken for one that turns, and the caller can wait for the next
        heartbeat.

        Args:
            now: monotonic time.
        """
        return now - self._beat_at < self._every + MAX_DELAY

    def check(self, now: float, is_halted: Callable[[], bool]) -> bool:
        """Check whether the loop is blocked, and report that. Not for a worker that stops.

        Args:
            now: monotonic time.
            is_halted: whether the worker is stopped, by SIGSTOP or by a debugger.

        Returns:
            Whether the loop hangs, so that the worker must be killed. True at most once.
        """
        if self._link.is_deaf:
            return False  # its heartbeats can't arrive
        self.blocked_for = self._stall.check(now)
        if self._is_hung:
            return False
        if self._timeout and self.blocked_for >= self._timeout:
            self._is_hung = True
            return True
        if self._warning and self.blocked_for >= self._warning and not self._is_asked:
            self._is_asked = True
            if is_halted():  # the question would make it continue
                self._report(f"{self._title} is stopped, by SIGSTOP or by a debugger")
            else:
                self._link.ask(self._warn)
        return False

    def _warn(self, frames: list[Frame], how: str) -> None:
        if not self._is_asked or how == EXITED:
            return  # it turns again, or has exited
        frames, how = self._what_blocks(frames, how)
        self.blocked_in = innermost(frames, None)
        what = self._blocked()
        what, request = f"{what}{_manner(how)}", self._request()
        text = report(what, None, self.blocked_for, how, frames, REMEDY, request)
        self._report("\n".join([text, *stack_of(frames)]))

    def _request(self) -> str:
        """The request that blocks the loop. "": it is none, or the worker could not tell."""
        request = self._link.in_flight.running
        return "" if request is None else f"{request.title}, for {request.seconds:.1f} s"

    def _what_blocks(self, frames: list[Frame], how: str) -> tuple[list[Frame], str]:
        """The frames that block the loop. A start handler that awaits something does not."""
        if how != AWAITING:
            return frames, how
        return frames_of(self._link.stack), BLOCKING

    def _blocked(self) -> str:
        return f"the event loop of {self._title} has been blocked for {self.blocked_for:.1f} s"

    def _report(self, text: str) -> None:
        self._is_reported = True
        log.warning("%s", text, extra=extra_of(self._on_blocked(text, self.blocked_for)))

    def hung(self, frames: list[Frame], how: str) -> str:
        """Why the worker is killed now, and the stacks of all its threads."""
        frames, how = self._what_blocks(frames, how)
        what = (
            f"its event loop has been blocked for {self.blocked_for:.1f} s{_manner(how)} "
            f"(REAPER_HEARTBEAT_TIMEOUT = {self._timeout:g})"
        )
        text = report(what, None, self.blocked_for, how, frames, REMEDY, self._request())
        return with_threads(text, frames, self._link.stack)


def _manner(how: str) -> str:
    rest = how.removeprefix(BLOCKING)
    return rest if rest.startswith(",") or not rest else f" {rest}"
