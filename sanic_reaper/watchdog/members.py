"""The registered processes of a server, their deadlines, and the signals to them."""

from __future__ import annotations

import select
import signal
import time

from .. import platform
from ..model import kills
from ..model.kills import FOREIGN, KILLS, NO_SIGNAL, STARTED_BY_MAIN
from ..model.roles import title
from ..protocol import watchdog as wire
from ..tree.process import Handle, may_signal
from .progress import STOPPING, WATCHING

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Set

    from ..platform.base import Identity
    from ..protocol.channel import Channel
    from .progress import Progress
    from .reporting import Reporter

DUMP = 1.0
"""Seconds after SIGABRT within which a worker must have written its stack and died."""

ANSWER = 1.0
"""Seconds that the main process has to find out where an expired worker is, before the watchdog has
the worker write its stack."""


class Member:
    """A registered process and its deadlines, in monotonic seconds.

    Attributes:
        ready_by: when its start must be over. `None`: the start is over, or has no limit.
        dump_at: when it gets SIGABRT to write its stack, unless its stack is known before.
        kill_at: when it is killed.
        end_by: when it must have exited, after it was told to stop while the server runs.
        cause: why it is killed, or is to be killed at `kill_at`: one of `kills.KILLS`.
        since: a moment and its cause, from which the log measures while the server runs.
        asked: whether it was sent SIGTERM.
        killed: whether it was sent SIGKILL.
        refused: whether it was logged that the watchdog may not signal it.
    """

    __slots__ = (
        "asked",
        "cause",
        "dump_at",
        "end_by",
        "handle",
        "kill_at",
        "killed",
        "name",
        "ready_by",
        "refused",
        "role",
        "since",
    )

    def __init__(self, handle: Handle, role: str, name: str, ready_by: float | None) -> None:
        self.handle = handle
        self.role = role
        self.name = name
        self.ready_by = ready_by
        self.dump_at: float | None = None
        self.kill_at: float | None = None
        self.end_by: float | None = None
        self.asked = False
        self.killed = False
        self.refused = False
        self.cause = ""
        self.since = (time.monotonic(), "its start")

    @property
    def title(self) -> str:
        return title(self.role, self.name)

    def __str__(self) -> str:
        return f"{self.title} [{self.handle.pid}]"

    def deadlines(self, is_dumping: bool) -> Iterator[float]:
        """Its deadlines, in monotonic seconds.

        Args:
            is_dumping: whether another process writes its stack now. Stacks are written one after
                the other.
        """
        for moment in (self.ready_by, self.end_by, self.kill_at):
            if moment is not None:
                yield moment
        if self.dump_at is not None and not is_dumping:
            yield self.dump_at


class Members:
    """The registered processes of one server.

    Args:
        poll: where the descriptors of their exit are registered.
    """

    def __init__(
        self, channel: Channel, poll: select.poll, progress: Progress, reporter: Reporter
    ) -> None:
        self.all: dict[Identity, Member] = {}
        self._channel = channel
        self._poll = poll
        self._progress = progress
        self._reporter = reporter

    def register(self, identity: Identity, role: str, ready_by: float, name: str) -> bool:
        """Register a process.

        Args:
            identity: which process.
            role: one of `roles.ROLES`.
            ready_by: when its start must be over, in monotonic seconds. 0: at no time.
            name: its name, for the log.

        Returns:
            Whether the process is alive and was not registered before.
        """
        handle = None if identity in self.all else Handle.open(*identity)
        if handle is None:
            return False
        member = self.all[identity] = Member(handle, role, name, ready_by or None)
        if handle.fd is not None:
            self._poll.register(handle.fd, select.POLLIN)
        if self._progress.phase != WATCHING:  # the server is already stopping
            self.terminate(member)
        return True

    def take_exited(self, ready: Set[int]) -> list[Member]:
        """Remove the members that have exited, and return them.

        Args:
            ready: descriptors that are readable.
        """
        exited = []
        for identity, member in list(self.all.items()):
            fd = member.handle.fd
            if fd in ready if fd is not None else not member.handle.alive():
                if fd is not None:
                    self._poll.unregister(fd)
                member.handle.close()
                exited.append(self.all.pop(identity))
        return exited

    def deadlines(self) -> Iterable[float]:
        """The deadlines of all members, in monotonic seconds."""
        is_dumping = any(member.kill_at is not None for member in self.all.values())
        for member in self.all.values():
            if not member.killed:
                yield self._progress.drain_by
                yield from member.deadlines(is_dumping)

    @property
    def are_blind(self) -> bool:
        """Whether there is a member of whose exit no descriptor tells."""
        return any(member.handle.fd is None for member in self.all.values())

    # -- deadlines --------------------------------------------------------------------------------

    def enforce_startups(self, now: float) -> None:
        """Report members that are late with their start, and have them write their stack."""
        for member in self.all.values():
            if member.ready_by is not None and now >= member.ready_by:
                # Main must confirm: if it was busy, it may not have read the worker's `ready` yet.
                # If main does not answer at all, it could not replace the worker either.
                member.ready_by = None
                self._channel.send(wire.EXPIRED, *member.handle.identity)
        if any(member.kill_at is not None for member in self.all.values()):
            return  # one stack at a time: the lines of two would be mixed
        for member in self.all.values():
            if member.dump_at is not None and now >= member.dump_at:
                member.dump_at = None
                member.kill_at = now + DUMP
                self._dump(member)
                return

    def expect_stack(self, member: Member, cause: str) -> None:
        """Plan to kill a process. The main process has a moment to find out where the process is;
        then the watchdog does.

        Args:
            cause: one of `kills.KILLS`.
        """
        member.cause = cause
        member.dump_at = time.monotonic() + ANSWER

    def _dump(self, member: Member) -> None:
        """Send SIGABRT: `faulthandler` then writes every thread's stack, whoever holds the GIL."""
        try:
            platform.forbid_core_dump(member.handle.pid)
        except OSError:
            pass
        if not self._may_signal(member):
            return
        why = f"{KILLS[member.cause]}, asked for its stack"
        self._report("WARNING", signal.SIGABRT, member, why, member.since, member.cause)
        send_signal(member.handle, signal.SIGABRT, self._reporter)
        send_signal(member.handle, signal.SIGCONT, self._reporter)

    def enforce_ends(self, now: float) -> None:
        """Kill the members that missed a deadline."""
        progress = self._progress
        for member in self.all.values():
            if member.kill_at is not None and now >= member.kill_at:
                self.kill(member, member.cause)
            elif member.end_by is not None and now >= member.end_by:
                self.kill(member, kills.REPLACED)
            elif now >= progress.drain_by:
                self.kill(member, kills.FORCED if progress.is_forced else kills.STOP)

    # -- signals ----------------------------------------------------------------------------------

    def terminate_all(self) -> None:
        """Send SIGTERM to each member, once. Deadlines of a start no longer apply."""
        for member in self.all.values():
            member.ready_by = member.dump_at = None
            self.terminate(member)

    def terminate(self, member: Member) -> None:
        """Send SIGTERM to a member, once: at a second one, Sanic drops all requests.

        SIGCONT follows, as in systemd (systemd.kill(5)), because a stopped process acts on no other
        signal than SIGKILL.
        """
        if member.asked or self._progress.is_forced:
            return
        member.asked = True
        if not self._may_signal(member):
            return
        level = "DEBUG" if self._progress.phase == STOPPING else "INFO"
        self._report(level, signal.SIGTERM, member)
        send_signal(member.handle, signal.SIGTERM, self._reporter)
        send_signal(member.handle, signal.SIGCONT, self._reporter)

    def kill(self, member: Member, cause: str) -> None:
        """Send SIGKILL to a process, once.

        Args:
            cause: one of `kills.KILLS`.
        """
        if member.killed:
            return
        member.killed, member.cause = True, cause
        member.kill_at = None
        if not self._may_signal(member):
            return
        self._report("WARNING", signal.SIGKILL, member, KILLS[cause], member.since, cause)
        self._reporter.killed(member.handle.identity, member.name, cause, STARTED_BY_MAIN)
        send_signal(member.handle, signal.SIGKILL, self._reporter)

    def _may_signal(self, member: Member) -> bool:
        """Whether the watchdog may signal a member. If not, one line says so."""
        if may_signal(member.handle):
            return True
        if not member.refused:
            member.refused = True
            self._report("ERROR", NO_SIGNAL, member, FOREIGN, member.since)
        return False

    def _report(
        self,
        level: str,
        signum: int,
        member: Member,
        why: str = "",
        since: tuple[float, str] | None = None,
        cause: str = "",
    ) -> None:
        who = (member.role, member.name, member.handle.pid)
        self._reporter.signal(level, signum, who, STARTED_BY_MAIN, why, since, cause)


def send_signal(handle: Handle, signum: int, reporter: Reporter) -> None:
    """Send a signal to a process. If the kernel refuses it, one line says so."""
    try:
        handle.send(signum)
    except PermissionError:
        reporter.line("ERROR", f"[{handle.pid}] {FOREIGN}")
