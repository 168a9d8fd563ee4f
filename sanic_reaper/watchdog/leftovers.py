"""What workers and a server leave behind: scans of the process tree, and who is killed after each.

`tree.descendants` finds these processes, and `tree.termination` kills them. This module decides
when, and which.
"""

from __future__ import annotations

import os
import time

from .. import platform
from ..model.roles import MAIN, WATCHDOG
from ..protocol import watchdog as wire
from ..tree.descendants import SCAN_EVERY, DescendantTracker
from ..tree.process import start_of
from ..tree.termination import (
    GIVE_UP_AFTER,
    LEFTOVER_GRACE,
    RESCAN_WITHOUT_DESCRIPTOR,
    Terminator,
)
from .progress import CLEARING, DRAINING, FINISHED, FINISHING, GONE, NEVER, STOPPING, WATCHING

TYPE_CHECKING = False
if TYPE_CHECKING:
    import select

    from ..platform.base import Identity
    from ..protocol.channel import Channel
    from ..tree.process import Handle
    from .members import Members
    from .progress import Progress
    from .reporting import Reporter

SETTLE = 0.5
"""Seconds that a look at what there is at the end of the workers may take, where processes come and
go."""

PROVE_AGAIN = 0.01
"""Seconds until the next look, where the last one has not proved that nothing is left."""

RESTLESS = "starts others faster than they are killed"
"""What can be said of a process that no look at the table finds."""

LAST_WORDS = 5.0
"""Seconds that main has, when nothing is left, to shut down its SyncManagers and to say so."""


class Leftovers:
    """The processes of the server that nobody registered, and the helpers of `multiprocessing`.

    Args:
        main: the main process.
        run: the id that the descendants of the main process bear in their environment.
        poll: where the descriptors of those that are being killed are registered.

    Attributes:
        descendants: finds them.
        terminator: kills them.
        helpers: SyncManagers, resource tracker and fork server, with their names. They are killed
            only once the main process has died.
        services: those of them that exit when no process uses them any more.
        trackers: the resource trackers among those.
        next_scan: when the process tree is scanned next.
    """

    def __init__(
        self,
        main: Handle,
        run: str,
        channel: Channel,
        poll: select.poll,
        progress: Progress,
        members: Members,
        reporter: Reporter,
    ) -> None:
        self.descendants = DescendantTracker(main, run)
        self.terminator = Terminator(poll, self._report_signal, reporter.leftover_killed)
        self.helpers: dict[Identity, str] = {}
        self.services: set[Identity] = set()
        self.trackers: set[Identity] = set()
        self.next_scan = 0.0
        self._main = main.identity
        self._me = (os.getpid(), start_of(os.getpid()))
        self._channel = channel
        self._progress = progress
        self._members = members
        self._reporter = reporter
        self._exited: set[Identity] = set()
        self._zombies: set[Identity] = set()
        self._killed_before_stop = 0
        self._has_complained = False
        self._is_unproven = False

    def scan_now(self) -> None:
        """Scan in this turn."""
        self.next_scan = 0.0

    def scan_if_due(self, now: float) -> None:
        """Look at the process table, for whatever is to be done with it now."""
        if now < self.next_scan:
            return
        try:
            self._scan(now)
        except OSError as error:
            self._note_blindness(error, now)
            self.next_scan = now + RESCAN_WITHOUT_DESCRIPTOR

    def _scan(self, now: float) -> None:
        phase = self._progress.phase
        if phase in (FINISHING, CLEARING):
            self._clear(now)
        elif phase == WATCHING and self._exited:
            self._clear_after_exits(now)
        elif phase in (WATCHING, STOPPING, DRAINING):
            self.remember(now)
            self.report_zombies()
            self._write_descendants()

    def remember(self, now: float) -> None:
        """Note who descends from whom, for when the tree is broken."""
        try:
            self.next_scan = now + self.descendants.scan(self._roots())
        except OSError as error:
            self._note_blindness(error, now)
            self.next_scan = now + SCAN_EVERY

    def settle(self) -> None:
        """Know all that is below the main process by now, within `SETTLE` seconds."""
        by = time.monotonic() + SETTLE
        while self._progress.phase in (WATCHING, STOPPING):
            now = time.monotonic()
            self.remember(now)
            if now >= by or self.descendants.has_seen_every_child():
                break

    def _note_blindness(self, error: OSError, now: float) -> None:
        """It will be tried again, without end while main lives: that there is no descriptor to look
        with passes, and is worth no word. Anything else is worth one."""
        if self._progress.phase == CLEARING and now >= self._progress.deadline + GIVE_UP_AFTER:
            self._progress.phase = GONE
        elif error.errno in platform.SCARCE or self._has_complained:
            return
        self._has_complained = True
        text = "the process table can't be read: processes that workers leave behind may survive"
        self._reporter.line("ERROR", f"watchdog: {text}: {error}")

    def _roots(self) -> dict[Identity, str]:
        roots = {self._main: MAIN, self._me: WATCHDOG}
        roots.update((identity, member.title) for identity, member in self._members.all.items())
        roots.update(self.helpers)
        return roots

    # -- killing them -----------------------------------------------------------------------------

    def begin_stop(self) -> None:
        """Count from now on how many are killed."""
        self._killed_before_stop = self.terminator.exited

    def note_exit(self, worker: Identity) -> None:
        """A worker has exited while the server runs: what it has started is killed."""
        self._exited.add(worker)

    def _clear(self, now: float) -> None:
        """Kill what workers left behind, and once main is gone its helpers too."""
        progress, last = self._progress, self._progress.phase == CLEARING
        # While main lives, what was left must be gone before main's own time is up.
        deadline = progress.deadline if last else progress.deadline - LEFTOVER_GRACE / 2
        found = self.descendants.find_leftovers(
            self._roots(),
            self.helpers if last else {},
            exempt_preexisting=not last,
            # What there is when the server has stopped in good order is the script's.
            of=frozenset() if progress.is_orderly else None,
        )
        by = 0.0 if progress.is_forced else deadline
        pause = self.terminator.terminate(found, self.helpers, self._self_ending(), by)
        self.next_scan = now + pause
        if not last:
            self.report_zombies()
        if self.terminator.targets or self._members.all:
            return
        if last:
            progress.phase = GONE
            if not progress.is_orderly:
                self._reporter.event("gone")
        elif self._is_proven(now):
            self._finish(now)
        else:
            self.next_scan = now + PROVE_AGAIN

    def _finish(self, now: float) -> None:
        progress = self._progress
        progress.phase = FINISHED
        self._write_descendants()
        if not progress.is_over:  # main has a little more to do, and says when that is done
            progress.deadline = max(progress.deadline, now + LAST_WORDS)
        survivors = [*self.terminator.reasons_given_up, *([RESTLESS] if self._is_unproven else [])]
        killed = self.terminator.exited - self._killed_before_stop
        self._channel.send(wire.DONE, killed, *survivors)

    def _is_proven(self, now: float) -> bool:
        """Whether nothing is left, by all that can be known; or there is no time to look again."""
        self._is_unproven = not self.descendants.has_seen_every_child()
        if self._is_unproven and now >= self._progress.deadline - LEFTOVER_GRACE / 4:
            self._reporter.line("ERROR", f"a process of the server {RESTLESS}; giving up")
            return True
        return not self._is_unproven

    def _self_ending(self) -> set[Identity]:
        """Helpers that exit by themselves when nobody uses them any more.

        The tracker has work to do then: it unlinks what others have left in /dev/shm. The fork
        server has none, and takes 15 ms for its exit. But after a stop in good order nobody is in a
        hurry, and its exit is worth no line in the log.
        """
        return self.services if self._progress.is_orderly else self.trackers

    def _clear_after_exits(self, now: float) -> None:
        """Kill what a worker has left behind while the others go on, and main with them.

        Also where the worker exited in peace, to be replaced: a helper of its own that it forgot
        would be there once more after each restart.
        """
        found = self.descendants.find_leftovers(self._roots(), {}, of=self._exited)
        self.next_scan = now + self.terminator.terminate(found, {}, set(), NEVER)
        self.report_zombies()
        if not self.terminator.targets:
            self._exited.clear()

    # -- saying so --------------------------------------------------------------------------------

    def report_zombies(self) -> None:
        """Tell main of each once: with hundreds of them, again and again would fill the channel."""
        if self._progress.main_lives:
            for identity in self.descendants.adopted_zombies - self._zombies:
                self._channel.send(wire.ZOMBIE, *identity)
            self._zombies = set(self.descendants.adopted_zombies)

    def _report_signal(
        self, level: str, signum: int, name: str, pid: int, evidence: str, why: str
    ) -> None:
        self._reporter.signal(level, signum, ("", name, pid), evidence, why)

    def _write_descendants(self) -> None:
        known, preceding = self.descendants.known.keys(), self.descendants.preexisting
        self._reporter.write_descendants(known, preceding)
