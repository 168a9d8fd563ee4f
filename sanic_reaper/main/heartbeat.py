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

from ..log import log
from ..model.stacks import frames_of
from ..model.stalls import BLOCKED_AFTER, Stall
from ..protocol import worker as words
from ..worker.explanations import AWAITING, BLOCKING, EXITED, Frame, innermost, report
from .start_reports import stack_of, with_threads
from .worker_link import WorkerLink

MAX_KEPT_STALLS = 20
"""How many stalls of one worker are kept: the latest."""

LATE = 1.0
"""Seconds by which a heartbeat may be late: a busy machine, and main's own pauses."""

REMEDY = "let the event loop turn: await asyncio.to_thread(...)"


class Heartbeat:
    """The heartbeats of one worker.

    Args:
        title: what the log calls the worker.
        link: main's end of the worker's pipe.
        every: seconds between two beats.
        warning: seconds of standing still after which it is reported, once. 0: never.
        timeout: seconds after which it is to be ended. 0: never.
        on_blocked: called when a stall has been reported, with the words of the report.
    """

    def __init__(
        self,
        title: str,
        link: WorkerLink,
        every: float,
        warning: float,
        timeout: float,
        on_blocked: Callable[[str], None],
    ) -> None:
        self.beats = False
        """Whether it has ever sent one: its loop has begun to turn."""
        self.requests = 0
        """What it has served, as of its last beat."""
        self._every = every
        self._heard_at = float("-inf")
        self._title = title
        self._link = link
        self.seconds = 0.0
        """Seconds for which the loop has stood still now."""
        self.stood_still = 0.0
        """Seconds for which the loop has stood still before, altogether."""
        self.stalls: deque[tuple[float, float]] = deque(maxlen=MAX_KEPT_STALLS)
        """Begin and end of the stalls that were long, on the monotonic clock."""
        self._stall = Stall(every)
        self._warning = warning
        self._timeout = timeout
        self._on_blocked = on_blocked
        self.sits: Frame | None = None
        """Where it sits while it stands still, if that is known: the innermost line of the user's.
        """
        self._is_asked = False
        """Whether the worker was asked where it sits, in this stall."""
        self._is_told = False
        """Whether the log has told of this stall."""
        self._is_hung = False
        link.listen({words.READY: self._on_ready, words.BEAT: self._on_beat})

    def _on_ready(self, ready: float) -> None:
        self._heard_at = time.monotonic()  # this message comes from the loop too

    def _on_beat(self, requests: int) -> None:
        self._heard_at = time.monotonic()
        self.beats, self.requests = True, requests
        if self._is_told and not self._is_hung:
            log.info("%s has recovered: its event loop turns again", self._title)
        elif self._is_asked and not self._is_hung:
            # Its stack shows where it is now, and not where it was.
            self._say(f"{self._blocked()}, and turned again before its stack could be read")
        self._is_asked = self._is_told = False
        self.sits = None
        self.stood_still += self.seconds
        if self.seconds >= BLOCKED_AFTER:
            now = time.monotonic()
            self.stalls.append((now - self.seconds, now))
        self.seconds = 0.0
        self._stall.beat()

    def turns(self, now: float) -> bool:
        """Whether its loop has been heard lately.

        Not a question for `Stall`, which forgives what nobody has watched: who asks here can
        wait for one more beat, and shall not take a standing loop for one that turns.
        """
        return now - self._heard_at < self._every + LATE

    def look(self, now: float, is_halted: Callable[[], bool]) -> bool:
        """See whether the loop stands still, and warn of it. Not for a worker that is leaving.

        Args:
            now: on the monotonic clock.
            is_halted: whether the worker is stopped, by SIGSTOP or by a debugger.

        Returns:
            Whether the loop hangs, so that the worker is to be killed. True once at most.
        """
        if self._link.is_deaf:
            return False  # nobody can tell
        self.seconds = self._stall.look(now)
        if self._is_hung:
            return False
        if self._timeout and self.seconds >= self._timeout:
            self._is_hung = True
            return True
        if self._warning and self.seconds >= self._warning and not self._is_asked:
            self._is_asked = True
            if is_halted():  # asked where it is, it would be made to go on
                self._say(f"{self._title} is stopped, by SIGSTOP or by a debugger")
            else:
                self._link.ask(self._warn)
        return False

    def _warn(self, frames: list[Frame], how: str) -> None:
        if not self._is_asked or how == EXITED:
            return  # it turns again, or there is nobody to tell of
        frames, how = self._what_blocks(frames, how)
        self.sits = innermost(frames, None)
        what = self._blocked()
        text = report(f"{what}{_manner(how)}", None, self.seconds, how, frames, REMEDY)
        self._say("\n".join([text, *stack_of(frames)]))

    def _what_blocks(self, frames: list[Frame], how: str) -> tuple[list[Frame], str]:
        """A start handler that awaits something does not: a request may, which is on the stack."""
        if how != AWAITING:
            return frames, how
        return frames_of(self._link.stack), BLOCKING

    def _blocked(self) -> str:
        return f"the event loop of {self._title} has been blocked for {self.seconds:.1f} s"

    def _say(self, text: str) -> None:
        self._is_told = True
        log.warning("%s", text)
        self._on_blocked(text)

    def hung(self, frames: list[Frame], how: str) -> str:
        """Why it is killed now, and its whole stack."""
        frames, how = self._what_blocks(frames, how)
        what = (
            f"its event loop has been blocked for {self.seconds:.1f} s{_manner(how)} "
            f"(REAPER_HEARTBEAT_TIMEOUT = {self._timeout:g})"
        )
        text = report(what, None, self.seconds, how, frames, REMEDY)
        return with_threads(text, frames, self._link.stack)


def _manner(how: str) -> str:
    rest = how.removeprefix(BLOCKING)
    return rest if rest.startswith(",") or not rest else f" {rest}"
