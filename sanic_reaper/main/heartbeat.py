"""Main's view of one worker's event loop, once it listens: whether it turns, what it has served.

A worker's loop sends a beat about once a second. What keeps it from turning keeps it from sending:
blocking code, a GIL that somebody holds in C, SIGSTOP. So it is seen from here, by its absence.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from typing import Any

from ..log import log
from ..model.stacks import frames_of
from ..worker.explanations import AWAITING, BLOCKING, EXITED, Frame, innermost, report
from .startup import stack_of, whole
from .worker_link import Contact

STANDSTILL = 1.0
"""Seconds from which on a loop is said to be blocked."""

NOTED = 20
"""Standstills that are kept, the last ones."""

LONGEST_LOOK = 1.0
"""Seconds that one look may add to a standstill, however long main itself has not looked: a machine
that was suspended, or a main that was stopped, has seen nothing of its workers meanwhile."""

LATE = 1.0
"""Seconds that a beat may be late for: a busy machine, and main's own pauses."""

REMEDY = "let the event loop turn: await asyncio.to_thread(...)"


class Standstill:
    """How long a loop has stood still, as far as somebody has watched it do so. Pure.

    Args:
        every: seconds between two beats; what is shorter is no standstill.
    """

    def __init__(self, every: float) -> None:
        self._every = every
        self._unheard = 0.0
        self._looked_at: float | None = None

    def beat(self) -> None:
        self._unheard = 0.0

    def look(self, now: float) -> float:
        """Seconds since the next beat was due."""
        if self._looked_at is not None:
            self._unheard += min(now - self._looked_at, LONGEST_LOOK)
        self._looked_at = now
        return max(0.0, self._unheard - self._every)


class Pulse:
    """The beats of one worker.

    Args:
        title: what the log calls the worker.
        contact: main's line to it.
        every: seconds between two beats.
        warning: seconds of standing still after which it is reported, once. 0: never.
        timeout: seconds after which it is to be ended. 0: never.
        on_blocked: called when a standstill has been reported, with the words of the report.
        on_hung: called when it is to be ended.
    """

    def __init__(
        self,
        title: str,
        contact: Contact,
        every: float,
        warning: float,
        timeout: float,
        on_blocked: Callable[[str], None],
        on_hung: Callable[[], None],
    ) -> None:
        self.beats = False
        """Whether it has ever sent one: its loop has begun to turn."""
        self.requests = 0
        """What it has served, as of its last beat."""
        self._every = every
        self._heard_at = float("-inf")
        self._title = title
        self._contact = contact
        self.seconds = 0.0
        """For how long its loop has stood still now,"""
        self.stood_still = 0.0
        """and altogether;"""
        self.standstills: deque[tuple[float, float]] = deque(maxlen=NOTED)
        """from when to when, if it was for long. On the monotonic clock."""
        self._standstill = Standstill(every)
        self._warning = warning
        self._timeout = timeout
        self._on_blocked = on_blocked
        self._on_hung = on_hung
        self.sits: Frame | None = None
        """Where it sits while it stands still, if that is known: the innermost line of the user's.
        """
        self._is_asked = False
        """Where it sits,"""
        self._is_told = False
        """and whether the log has it."""
        self._is_hung = False
        contact.listeners.append(self._heed)

    def _heed(self, word: str, rest: list[Any]) -> None:
        if word in ("ready", "beat"):  # both come from the loop
            self._heard_at = time.monotonic()
        if word != "beat":
            return
        self.beats, self.requests = True, rest[0]
        if self._is_told and not self._is_hung:
            log.info("%s goes on: its event loop turns again", self._title)
        elif self._is_asked and not self._is_hung:
            # What it has to say now is where it is, and not where it was.
            self._say(f"{self._standing()}, and turns again before it was seen where")
        self._is_asked = self._is_told = False
        self.sits = None
        self.stood_still += self.seconds
        if self.seconds >= STANDSTILL:
            now = time.monotonic()
            self.standstills.append((now - self.seconds, now))
        self.seconds = 0.0
        self._standstill.beat()

    def turns(self, now: float) -> bool:
        """Whether its loop has been heard lately.

        Not a question for `Standstill`, which forgives what nobody has watched: who asks here can
        wait for one more beat, and shall not take a standing loop for one that turns.
        """
        return now - self._heard_at < self._every + LATE

    def look(self, now: float, is_stopped: Callable[[], bool]) -> None:
        """See whether something is to be said or done. Not for a worker that is on its way out.

        Args:
            now: on the monotonic clock.
            is_stopped: whether the worker is stopped, by SIGSTOP or by a debugger.
        """
        if self._contact.is_deaf:
            return  # nobody can tell
        self.seconds = self._standstill.look(now)
        if self._is_hung:
            return
        if self._timeout and self.seconds >= self._timeout:
            self._is_hung = True
            self._on_hung()
        elif self._warning and self.seconds >= self._warning and not self._is_asked:
            self._is_asked = True
            if is_stopped():  # asked where it is, it would be made to go on
                self._say(f"{self._title} is stopped, by SIGSTOP or by a debugger")
            else:
                self._contact.ask(self._warn)

    def _warn(self, frames: list[Frame], how: str) -> None:
        if not self._is_asked or how == EXITED:
            return  # it turns again, or there is nobody to tell of
        frames, how = self._what_blocks(frames, how)
        self.sits = innermost(frames, None)
        what = self._standing()
        text = report(f"{what}{_manner(how)}", None, self.seconds, how, frames, REMEDY)
        self._say("\n".join([text, *stack_of(frames)]))

    def _what_blocks(self, frames: list[Frame], how: str) -> tuple[list[Frame], str]:
        """A start handler that awaits something does not: a request may, which is on the stack."""
        if how != AWAITING:
            return frames, how
        return frames_of(self._contact.stack), BLOCKING

    def _standing(self) -> str:
        return f"the event loop of {self._title} has stood still for {self.seconds:.1f} s"

    def _say(self, text: str) -> None:
        self._is_told = True
        log.warning("%s", text)
        self._on_blocked(text)

    def hung(self, frames: list[Frame], how: str) -> str:
        """Why it is killed now, and its whole stack."""
        frames, how = self._what_blocks(frames, how)
        what = (
            f"its event loop has stood still for {self.seconds:.1f} s{_manner(how)} "
            f"(REAPER_HEARTBEAT_TIMEOUT = {self._timeout:g})"
        )
        text = report(what, None, self.seconds, how, frames, REMEDY)
        return whole(text, frames, self._contact.stack)


def _manner(how: str) -> str:
    rest = how.removeprefix(BLOCKING)
    return rest if rest.startswith(",") or not rest else f" {rest}"
