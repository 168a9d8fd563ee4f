"""The watch: a list of processes with deadlines. When a deadline passes, or main dies, it kills.

The watch normally runs in a process of its own (`entry`). If that process can't be started, the
main process turns the watch itself, in the pauses of its own loop. The watch then guards against
everything except the main process's death.

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
"""Seconds after which a main process that closed the channel and still lives is no server any more:
it has executed another program (exec)."""

NO_DESCRIPTOR = 0.05
"""Seconds between two checks of a process that is expected to exit, without a descriptor that tells
of its exit."""

NO_DESCRIPTOR_YET = 0.4
"""Seconds between two such checks while the server runs. The main process's death is noticed at
once all the same, because the channel breaks."""


class Watch:
    """Watches the processes of one server, and kills those that miss their deadlines.

    Args:
        main: the main process. When it dies, every other process of the server is stopped.
        run: the id of the run, which the descendants have in their environment.
        orphan_grace: seconds that workers may drain after the main process has died.
        channel: the channel to the main process.
        log: takes a line that the main process can't log any more, as `Reporter` has it.
    """

    def __init__(
        self,
        main: Handle,
        run: str,
        orphan_grace: float,
        channel: Channel,
        log: Callable[..., None],
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
        self._check_main(ready)
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
        """Seconds until the next deadline."""
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

    # -- orders of the main process ---------------------------------------------------------------

    def stop(self, drain_by: float, deadline: float) -> None:
        """Begin the stop of the server.

        Args:
            drain_by: when registered processes must have exited, in monotonic seconds.
            deadline: when the main process must have exited, in monotonic seconds.
        """
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
        """Kill all registered processes and all leftovers now, without a grace period."""
        self.progress.is_forced = True
        self.stop(0.0, time.monotonic() + wire.FORCED_STOP)
        self._wake_helpers()

    def finish(self) -> None:
        """Kill what the workers have left behind. They have exited."""
        if self.phase in (WATCHING, STOPPING):
            self.progress.phase = FINISHING
            self.leftovers.scan_now()

    def hand_over(self) -> None:
        """Treat what the main process starts from now on as the script's, not as the server's.

        All workers have exited. A scan notes every descendant that the main process has by now. The
        main process waits for the answer.
        """
        self.leftovers.settle()
        self.leftovers.descendants.has_strangers = True
        self.channel.send(wire.HANDED_OVER)

    def kill_other(self, identity: Identity, name: str, why: str) -> None:
        """Kill a helper for a main process that has become another user, and may not do it."""
        handle = Handle.open(*identity)
        if handle is not None:
            who = (HELPER, name, handle.pid)
            self.reporter.signal("WARNING", signal.SIGKILL, who, STARTED_BY_MAIN, why)
            send_signal(handle, signal.SIGKILL, self.reporter)
            handle.close()

    def _wake_helpers(self) -> None:
        """Send SIGCONT to stopped helpers and descendants: a stopped SyncManager blocks clients."""
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

    # -- exits ------------------------------------------------------------------------------------

    def _check_main(self, ready: set[int]) -> None:
        if not self.progress.main_lives:
            return
        fd = self.main.fd
        has_exited = fd in ready if fd is not None else not self.main.alive()
        if has_exited:
            self._handle_main_exit()
        elif not self.channel.open:
            self._hang_up()

    def _hang_up(self) -> None:
        """Handle a channel that the main process has closed.

        A dying main process closes it a moment before it becomes a zombie. If the main process is
        still alive after `HANG_UP`, it has executed another program: stop watching, and leave its
        children alone.
        """
        now = time.monotonic()
        if self._hung_up is None:
            self._hung_up = now
            self._close_channel()
        elif now - self._hung_up >= HANG_UP:
            self.progress.phase = GONE

    def _handle_main_exit(self) -> None:
        """Stop what the main process, which has died, has started. Workers may drain first."""
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
        # Before SIGTERM: what the workers have just started must be known once they have exited.
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
            # A process of the user's may exist only to start another one, and exit.
            if self.phase == WATCHING and member.role == WORKER:
                self.leftovers.note_exit(identity)
                self.progress.begin(f"the end of {member}")
            # Its children have another parent now: scan while it is known whose they were.
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
            evidence = "started the watchdog"
            self.reporter.signal("ERROR", signal.SIGKILL, who, evidence, KILLS[STOP], cause=STOP)
            send_signal(self.main, signal.SIGKILL, self.reporter)
            self.progress.deadline = now + LEFTOVER_GRACE
