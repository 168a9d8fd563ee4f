"""Kills what workers and a server leave behind: decides when to scan, and which processes to kill.

`tree.descendants` finds these processes, and `tree.termination` kills them.
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
"""Maximum seconds for the scans that note all descendants at the end of the workers. Where
processes come and go, no scan may be complete."""

PROVE_AGAIN = 0.01
"""Seconds until the next scan, if the last one has not proved that no process is left."""

RESTLESS = "starts others faster than they are killed"
"""The description of a process that no scan finds, although the main process has a child."""

LAST_WORDS = 5.0
"""Seconds that the main process has, when no process is left, to shut down its SyncManagers and to
say so."""


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
        services: the helpers that exit when no process uses them any more: tracker, fork server.
        trackers: the resource trackers among the services.
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
        """Scan the process table if a scan is due, and act on what it shows."""
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
        """Note who descends from whom, for the time when the ancestors have exited."""
        try:
            self.next_scan = now + self.descendants.scan(self._roots())
        except OSError as error:
            self._note_blindness(error, now)
            self.next_scan = now + SCAN_EVERY

    def settle(self) -> None:
        """Scan until all descendants of main are known, for `SETTLE` seconds at most."""
        by = time.monotonic() + SETTLE
        while self._progress.phase in (WATCHING, STOPPING):
            now = time.monotonic()
            self.remember(now)
            if now >= by or self.descendants.has_seen_every_child():
                break

    def _note_blindness(self, error: OSError, now: float) -> None:
        """Handle a process table that can't be read. The scan is repeated as long as main lives.

        A lack of descriptors is temporary, and is not logged. Any other error is logged once.
        """
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
        """Count from now on how many leftovers are killed."""
        self._killed_before_stop = self.terminator.exited

    def note_exit(self, worker: Identity) -> None:
        """Have the descendants of a worker killed, which has exited while the server runs."""
        self._exited.add(worker)

    def _clear(self, now: float) -> None:
        """Kill what workers left behind and, once the main process has died, its helpers too."""
        progress, last = self._progress, self._progress.phase == CLEARING
        # While main lives, leftovers must be dead before main's own deadline.
        deadline = progress.deadline if last else progress.deadline - LEFTOVER_GRACE / 2
        found = self.descendants.find_leftovers(
            self._roots(),
            self.helpers if last else {},
            exempt_preexisting=not last,
            # After an orderly stop of the server, the remaining descendants are the script's.
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
        elif self._has_nothing_left(now):
            self._finish(now)
        else:
            self.next_scan = now + PROVE_AGAIN

    def _finish(self, now: float) -> None:
        progress = self._progress
        progress.phase = FINISHED
        self._write_descendants()
        if not progress.is_over:  # main still shuts down its helpers, and reports when it has
            progress.deadline = max(progress.deadline, now + LAST_WORDS)
        survivors = [*self.terminator.reasons_given_up, *([RESTLESS] if self._is_unproven else [])]
        killed = self.terminator.exited - self._killed_before_stop
        self._channel.send(wire.DONE, killed, *survivors)

    def _has_nothing_left(self, now: float) -> bool:
        """Whether no process is left, as far as scans can tell, or there is no time for another."""
        self._is_unproven = not self.descendants.has_seen_every_child()
        if self._is_unproven and now >= self._progress.deadline - LEFTOVER_GRACE / 4:
            self._reporter.line("ERROR", f"a process of the server {RESTLESS}; giving up")
            return True
        return not self._is_unproven

    def _self_ending(self) -> set[Identity]:
        """The helpers that get no SIGTERM, because they exit when no process uses them any more.

        The resource tracker has work to do then: it unlinks what others have left in /dev/shm. The
        fork server has none, and exits within 15 ms. After an orderly stop there is time for that,
        and a SIGTERM would be a needless line in the log.
        """
        return self.services if self._progress.is_orderly else self.trackers

    def _clear_after_exits(self, now: float) -> None:
        """Kill what an exited worker has left behind, while the server runs.

        Also after an orderly exit, as for a replacement: otherwise each restart of a worker that
        forgets a child would leave one more.
        """
        found = self.descendants.find_leftovers(self._roots(), {}, of=self._exited)
        self.next_scan = now + self.terminator.terminate(found, {}, set(), NEVER)
        self.report_zombies()
        if not self.terminator.targets:
            self._exited.clear()

    # -- reports ----------------------------------------------------------------------------------

    def report_zombies(self) -> None:
        """Report each adopted zombie to the main process, once: hundreds would fill the channel."""
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
