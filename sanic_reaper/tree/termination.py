"""Terminates leftover processes: SIGTERM, a grace period, SIGKILL.

Assumes that the caller has decided which processes are leftovers, and calls again until none is
left. Guarantees that a signal reaches the process that was meant, or none: each target is held by a
`Handle`.
"""

from __future__ import annotations

import select
import signal
import time

from .. import platform
from ..model.kills import FOREIGN, NO_SIGNAL
from .process import Handle, may_signal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ..platform.base import Identity

NEVER = float("inf")

LEFTOVER_GRACE = 1.0
"""Seconds between SIGTERM and SIGKILL for a process that is no worker."""

GIVE_UP_AFTER = 5.0
"""Seconds after SIGKILL at which a process that is still alive is given up: its thread waits in the
kernel for something that does not come, such as a disk."""

RESCAN_EVERY = 0.25
"""Seconds between two scans of the whole process table while leftovers are terminated."""

RESCAN_WITHOUT_DESCRIPTOR = 0.05
"""The same in seconds, where no descriptor tells that a leftover has exited."""


SURVIVES = "survives SIGKILL"
"""Why a process was given up that SIGKILL did not kill in time."""


class Target:
    """A leftover that is being terminated.

    Attributes:
        handle: the process.
        name: what the log calls it.
        evidence: why the process belongs to the server.
        terminate_at: when SIGTERM is due, in monotonic seconds.
        killed_at: when SIGKILL was sent, in monotonic seconds. `None`: not yet.
    """

    __slots__ = ("evidence", "handle", "killed_at", "name", "terminate_at")

    def __init__(self, handle: Handle, name: str, evidence: str, terminate_at: float) -> None:
        self.handle = handle
        self.name = name
        self.evidence = evidence
        self.terminate_at = terminate_at
        self.killed_at: float | None = None


class Terminator:
    """Terminates leftovers.

    Args:
        poll: where the descriptors of the targets are registered. They tell of an exit.
        report: called for each signal: level, signal, name, pid, evidence, reason (or "").
        on_target: called once for each target: identity, name, evidence.
        grace: seconds between SIGTERM and SIGKILL.

    Attributes:
        targets: the processes that are being terminated.
        exited: how many targets have exited.
    """

    give_up_after = GIVE_UP_AFTER

    def __init__(
        self,
        poll: select.poll,
        report: Callable[[str, int, str, int, str, str], None],
        on_target: Callable[[Identity, str, str], None],
        grace: float = LEFTOVER_GRACE,
    ) -> None:
        self.targets: dict[Identity, Target] = {}
        self.exited = 0
        self._poll = poll
        self._report = report
        self._on_target = on_target
        self._grace = grace
        self._given_up: dict[Identity, str] = {}
        self._busy_since: float | None = None
        self._busy_until = 0.0

    @property
    def given_up(self) -> set[Identity]:
        """The processes that could not be terminated."""
        return set(self._given_up)

    @property
    def reasons_given_up(self) -> list[str]:
        """Why each of `given_up` could not be terminated, in a few words."""
        return list(self._given_up.values())

    def terminate(
        self,
        leftovers: Mapping[Identity, str],
        names: Mapping[Identity, str],
        self_ending: set[Identity],
        deadline: float,
    ) -> float:
        """Send the signals that are due. Call this again until `targets` is empty.

        Args:
            leftovers: all processes to be terminated that live now, each with its evidence.
            names: what the log calls some of them. The others have their name from the kernel.
            self_ending: those that get no SIGTERM, because they exit when nobody uses them.
            deadline: when SIGKILL is sent to all of them, in monotonic seconds.

        Returns:
            Seconds until the next call, unless a target exits before (`has_exited`).
        """
        now = time.monotonic()
        self._update_targets(leftovers, names, now)
        self._note_activity(now)
        for identity, target in list(self.targets.items()):
            self._escalate(target, now, deadline, may_terminate=identity not in self_ending)
        if any(target.handle.fd is None for target in self.targets.values()):
            return RESCAN_WITHOUT_DESCRIPTOR
        return RESCAN_EVERY

    def has_exited(self, ready: set[int]) -> bool:
        """Whether a target has exited, by the descriptors that `poll` found readable."""
        return any(target.handle.fd in ready for target in self.targets.values())

    # -- targets ----------------------------------------------------------------------------------

    def _update_targets(
        self, leftovers: Mapping[Identity, str], names: Mapping[Identity, str], now: float
    ) -> None:
        wanted = leftovers.keys() - self._given_up.keys()
        for identity in self.targets.keys() - wanted:
            self._release(self.targets.pop(identity))
        for identity, evidence in leftovers.items():
            if identity in wanted and identity not in self.targets:
                self._track_target(identity, names.get(identity), evidence, now)

    def _note_activity(self, now: float) -> None:
        """Measure since when there have been targets, without a pause of a grace period."""
        if self.targets:
            self._busy_since = now if self._busy_since is None else self._busy_since
            self._busy_until = now
        elif now - self._busy_until > self._grace:
            self._busy_since = None

    def _track_target(
        self, identity: Identity, name: str | None, evidence: str, now: float
    ) -> None:
        handle = Handle.open(*identity)
        if handle is None:
            return
        row = platform.row(handle.pid)
        title = name or (row.name if row is not None else "?")
        self.targets[identity] = Target(handle, title, evidence, now)
        self._on_target(identity, title, evidence)
        if handle.fd is not None:
            self._poll.register(handle.fd, select.POLLIN)

    def _release(self, target: Target) -> None:
        if target.handle.fd is not None:
            self._poll.unregister(target.handle.fd)
        target.handle.close()
        self.exited += 1

    # -- signals ----------------------------------------------------------------------------------

    def _escalate(self, target: Target, now: float, deadline: float, may_terminate: bool) -> None:
        """Send SIGTERM to a new target, and SIGKILL to a target whose grace period is over.

        A target that comes when the others have had their grace period gets SIGKILL at once: a
        process that was told to stop has started it, and may start the next one.
        """
        is_late = self._busy_since is not None and now - self._busy_since >= 2 * self._grace
        if target.killed_at is not None:
            if now >= target.killed_at + self.give_up_after:
                self._give_up(target, f"{SURVIVES}; giving up", signal.SIGKILL, SURVIVES)
        elif (
            now >= deadline
            or now - target.terminate_at >= self._grace
            or (is_late and may_terminate)
        ):
            target.killed_at = now
            self._signal(target, "WARNING", signal.SIGKILL)
        elif target.terminate_at == now and may_terminate:
            self._signal(target, "INFO", signal.SIGTERM)

    def _signal(self, target: Target, level: str, signum: int) -> None:
        if not may_signal(target.handle):
            self._give_up(target, FOREIGN)
            return
        self._report(level, signum, target.name, target.handle.pid, target.evidence, "")
        target.handle.send(signum)
        target.handle.send(signal.SIGCONT)

    def _give_up(
        self,
        target: Target,
        why: str,
        signum: int = NO_SIGNAL,
        reason: str = "runs as another user",
    ) -> None:
        """Stop waiting for a target that can't be terminated.

        Args:
            why: the reason, for the line in the log.
            signum: the signal that was sent, for that line.
            reason: the reason in a few words, for `reasons_given_up`.
        """
        self._report("ERROR", signum, target.name, target.handle.pid, target.evidence, why)
        identity = target.handle.identity
        self._given_up[identity] = reason
        self._release(self.targets.pop(identity))
        self.exited -= 1
