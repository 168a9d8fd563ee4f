"""The watch: a list of processes with deadlines. When a deadline passes, or main dies, it kills.

It normally lives in a process of its own (`entry`). Where that process can't be started, the main
process turns the watch itself, in the pauses of its own loop. The watch then guards against
everything but the main process's death.

Nothing here imports Sanic, asyncio, or a module of the standard library that costs much memory.
"""

from __future__ import annotations

import select
import signal
import time

from .. import platform
from ..model.kills import KILLS, STARTED_BY_MAIN, STOP
from ..model.roles import HELPER, MAIN, WORKER
from ..protocol import watchdog as wire
from ..tree.process import Handle
from ..tree.termination import LEFTOVER_GRACE
from .dispatch import Dispatcher
from .leftovers import Leftovers
from .members import Members, send_signal
from .progress import (
    CLEARING,
    DRAINING,
    FINISHED,
    FINISHING,
    GONE,
    NEVER,
    STOPPING,
    WATCHING,
    Progress,
)
from .reporting import Reporter

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from ..platform.base import Identity
    from ..protocol.channel import Channel

HANG_UP = 1.0
"""Seconds that main may live on after it closed the channel; then it has let us go."""

NO_DESCRIPTOR = 0.05
"""Seconds between two looks at a process whose end no descriptor tells, where its end is due."""

NO_DESCRIPTOR_YET = 0.4
"""The same while the server runs, for hours and days. Main's end is seen at once all the same: the
channel breaks."""


class Watch:
    """The list, its deadlines and the one way to kill.

    Args:
        main: the process whose end ends everything.
        run: the id that main's descendants bear in their environment.
        orphan_grace: seconds that workers may drain once main is gone.
        channel: where main says what to watch, and hears what has happened.
        log: where a line goes that main can't log any more: its level, its text.
    """

    def __init__(
        self,
        main: Handle,
        run: str,
        orphan_grace: float,
        channel: Channel,
        log: Callable[[str, str], None],
    ) -> None:
        self.main = main
        self.orphan_grace = orphan_grace
        self.channel = channel
        self.progress = Progress()
        self.reporter = Reporter(run, channel, log, self.progress)
        self._poll = select.poll()
        self.members = Members(channel, self._poll, self.progress, self.reporter)
        self.leftovers = Leftovers(
            main, run, channel, self._poll, self.progress, self.members, self.reporter
        )
        self._dispatcher = Dispatcher(self, (MAIN, MAIN, main.pid))
        self._hung_up: float | None = None
        self._register(channel.fd)
        self._register(main.fd)

    @property
    def phase(self) -> str:
        """One of the phases of `progress`."""
        return self.progress.phase

    # -- the loop ---------------------------------------------------------------------------------

    def turn(self, longest: float = 60.0) -> None:
        """Wait for the next event or deadline, at most `longest` seconds, and act on it."""
        ready = self._wait(min(longest, self._pause()))
        self.channel.flush()
        for message in self.channel.receive():
            self._dispatcher.dispatch(message)
        self._look_at_main(ready)
        self._handle_exits(ready)
        now = time.monotonic()
        self.members.enforce_startups(now)
        self.members.enforce_ends(now)
        self._enforce_deadline(now)
        self.leftovers.scan_if_due(now)

    def _wait(self, seconds: float) -> set[int]:
        if self.channel.fd >= 0:
            events = select.POLLIN | (select.POLLOUT if self.channel.waits else 0)
            self._poll.modify(self.channel.fd, events)
        return {fd for fd, _ in self._poll.poll(seconds * 1000)}

    def _pause(self) -> float:
        """Seconds until something is due."""
        now = time.monotonic()
        due = [
            NEVER if self.phase == FINISHED else self.leftovers.next_scan,
            *self.members.deadlines(),
        ]
        if self.progress.main_lives:
            due.append(self.progress.deadline)
        if self._hung_up is not None:
            due.append(self._hung_up + HANG_UP)
        blind_for_main = self.main.fd is None and self.progress.main_lives
        if blind_for_main or self.members.are_blind:
            due.append(now + (NO_DESCRIPTOR_YET if self.phase == WATCHING else NO_DESCRIPTOR))
        return max(0.0, min(due) - now)

    def _register(self, fd: int | None) -> None:
        if fd is not None and fd >= 0:
            self._poll.register(fd, select.POLLIN)

    def _release(self, handle: Handle) -> None:
        if handle.fd is not None:
            self._poll.unregister(handle.fd)
        handle.close()

    # -- what the main process tells it to do ------------------------------------------------------

    def stop(self, drain_by: float, deadline: float) -> None:
        """Registered processes must exit by `drain_by`, main and everything else by `deadline`."""
        progress = self.progress
        progress.drain_by = min(progress.drain_by, drain_by)
        progress.deadline = min(progress.deadline, deadline)
        if self.phase == WATCHING:
            progress.phase = STOPPING
            progress.begin("the stop")
            self.leftovers.begin_stop()
            self._wake_helpers()
        self.members.terminate_all()

    def kill(self) -> None:
        """Kill everything now."""
        self.progress.is_forced = True
        self.stop(0.0, time.monotonic() + LEFTOVER_GRACE)

    def finish(self) -> None:
        """The workers have exited: kill what they left behind."""
        if self.phase in (WATCHING, STOPPING):
            self.progress.phase = FINISHING
            self.leftovers.scan_now()

    def hand_over(self) -> None:
        """All workers have ended: what main starts from now on is the script's. What is below main
        by now is known; main waits until that is so."""
        self.leftovers.settle()
        self.leftovers.descendants.has_strangers = True
        self.channel.send(wire.HANDED_OVER)

    def kill_other(self, identity: Identity, name: str, why: str) -> None:
        """A helper that main would kill, and may not, since it has become another user."""
        handle = Handle.open(*identity)
        if handle is not None:
            who = (HELPER, name, handle.pid)
            self.reporter.signal("WARNING", signal.SIGKILL, who, STARTED_BY_MAIN, why)
            send_signal(handle, signal.SIGKILL, self.reporter)
            handle.close()

    def _wake_helpers(self) -> None:
        """A stopped SyncManager would hold up everybody who still has to tell it something."""
        # The children that main had before the server are the script's own to stop.
        descendants, is_orderly = self.leftovers.descendants, self.progress.is_orderly
        known = set() if is_orderly else descendants.known.keys() - descendants.preexisting
        for pid, start in [*self.leftovers.helpers, *known]:
            row = platform.row(pid)
            if row is not None and row.start == start and row.stopped:
                handle = Handle.open(pid, start)
                if handle is not None:
                    send_signal(handle, signal.SIGCONT, self.reporter)
                    handle.close()

    # -- who has exited ---------------------------------------------------------------------------

    def _look_at_main(self, ready: set[int]) -> None:
        if not self.progress.main_lives:
            return
        gone = self.main.fd in ready if self.main.fd is not None else not self.main.alive()
        if gone:
            self._handle_main_exit()
        elif not self.channel.open:
            self._hang_up()

    def _hang_up(self) -> None:
        """A dying main closes its end a moment before it is a zombie. If main is still alive after
        `HANG_UP`, it has exec'ed another program: stop watching and leave its children alone."""
        now = time.monotonic()
        if self._hung_up is None:
            self._hung_up = now
            self._close_channel()
        elif now - self._hung_up >= HANG_UP:
            self.progress.phase = GONE

    def _handle_main_exit(self) -> None:
        """Main is gone. Workers drain, unless their time is up already."""
        self._close_channel()
        self._release(self.main)
        self.reporter.write_unseen()
        now, progress = time.monotonic(), self.progress
        progress.is_orderly = self.phase == FINISHED
        if self.phase == WATCHING:
            progress.begin("main died")
        progress.phase = DRAINING
        if not progress.is_orderly:
            text = f"main [{self.main.pid}] has died; stopping what it started"
            self.reporter.line("WARNING", text)
        progress.drain_by = min(progress.drain_by, now + self.orphan_grace)
        progress.deadline = max(now, progress.drain_by) + LEFTOVER_GRACE
        self._wake_helpers()
        # Before they are asked: what they have just started must be known when they are gone.
        self.leftovers.remember(now)
        self.members.terminate_all()

    def _close_channel(self) -> None:
        if self.channel.fd >= 0:
            self._poll.unregister(self.channel.fd)
            self.channel.close()

    def _handle_exits(self, ready: set[int]) -> None:
        for member in self.members.take_exited(ready):
            pid, start = identity = member.handle.identity
            if self.progress.main_lives:
                self.channel.send(wire.EXITED, pid, start)
            elif not self.progress.is_orderly:
                why = KILLS[member.cause] if member.killed else None
                self.reporter.event("ended", pid=pid, start=start, killed=why)
            # A process of the user's own may be there to start something, and end.
            if self.phase == WATCHING and member.role == WORKER:
                self.leftovers.note_exit(identity)
                self.progress.begin(f"the end of {member}")
            # What it leaves behind has another parent now: look while we know whose it was.
            self.leftovers.scan_now()
        if self.leftovers.terminator.has_exited(ready):
            self.leftovers.scan_now()
        if self.phase == DRAINING and not self.members.all:
            self.progress.phase = CLEARING
            self.leftovers.scan_now()

    def _enforce_deadline(self, now: float) -> None:
        """Kill a main process that hangs in its own stop."""
        if now >= self.progress.deadline and self.progress.main_lives:
            who = (MAIN, MAIN, self.main.pid)
            self.reporter.signal("ERROR", signal.SIGKILL, who, "started the watchdog", KILLS[STOP])
            send_signal(self.main, signal.SIGKILL, self.reporter)
            self.progress.deadline = now + LEFTOVER_GRACE
