"""The init: it waits for signals, passes them on, reaps zombies, and kills the command's leftovers.

There is one loop with one wait, for a signal. All signals are blocked outside of that wait.
`waitpid(-1)` is correct only here: this process has no other code that waits for a child.
"""

from __future__ import annotations

import os
import select
import signal
import time

from .. import platform
from ..model.kills import FOREIGN
from ..tree.descendants import SCAN_EVERY, DescendantTracker
from ..tree.process import Handle, children_of, start_of
from ..tree.termination import GIVE_UP_AFTER, NEVER, RESCAN_EVERY, Target, Terminator
from . import helpers, terminal
from .routing import BLOCKED_SIGNALS, GROUP, NOBODY, route

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from ..platform.base import Arrival, Identity, Row
    from .command import Command
    from .report import Report

STOPS = (signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU)
"""Signals that suspend a job. SIGSTOP is not among them: it comes from someone who inspects the
command, and `run` goes on."""

REPEATED_WITHIN = 0.05
"""Seconds within which a second stop signal counts as the same one: timeout(1) and others signal
their child, and then the child's group."""


class Descendants(DescendantTracker):
    """The descendants of the command. Unlike a server's, none is exempt for being detached: when an
    init exits, a container or a service ends with it."""

    def is_of_command(self, identity: Identity) -> bool:
        """Whether a child of this process is a descendant of the command, and not an orphan of
        another process."""
        row = platform.row(identity[0])
        return row is not None and (row.identity in self.known or self._is_proved(row))

    def _is_detached(self, row: Row) -> bool:
        return False

    def _is_marked(self, row: Row) -> bool:
        return self._run != "" and super()._is_marked(row)


class PatientTerminator(Terminator):
    """Terminates what the command leaves behind. Helpers that exit by themselves get time for it.

    Args:
        report: called for each signal, as `Terminator` has it.
    """

    def __init__(self, report: Callable[[str, int, str, int, str, str], None]) -> None:
        super().__init__(select.poll(), report, lambda identity, name, why: None, NEVER)
        self._leaving: dict[Identity, float] = {}
        """Helpers that exit by themselves, and the monotonic time until which they are neither
        signalled nor reported. `NEVER`: until the grace period is over."""

    @property
    def left_behind(self) -> int:
        """Number of processes that were left behind and are reported, but for those given up."""
        unreported = sum(identity in self._leaving for identity in self.targets)
        return self.exited + len(self.targets) - unreported

    def _track_target(
        self, identity: Identity, name: str | None, evidence: str, now: float
    ) -> None:
        super()._track_target(identity, name, evidence, now)
        target = self.targets.get(identity)
        if target is None:
            return
        patience = helpers.patience_with(identity[0])
        if patience or not target.handle.alive():
            self._leaving[identity] = now + patience

    def _escalate(self, target: Target, now: float, deadline: float, may_terminate: bool) -> None:
        until = self._leaving.get(target.handle.identity)
        if until is not None:
            if now < until and now < max(deadline, target.terminate_at + helpers.PATIENCE):
                return
            del self._leaving[target.handle.identity]
            target.terminate_at = now  # SIGTERM is due now, if there is time for it
        super()._escalate(target, now, deadline, may_terminate)

    def _release(self, target: Target) -> None:
        super()._release(target)
        if self._leaving.pop(target.handle.identity, None) is not None:
            self.exited -= 1


class Init:
    """The init of one command: the process that adopts the command's orphans.

    It is created before the command is started. A process that is a child of this process by then
    was started by a shell that has become `run` by exec (`redis-server & exec sanic-reaper run`).
    Such a child is reaped, and otherwise left alone. PID 1 kills it like the rest, because it could
    not live on in any case.

    Args:
        mark: marker in the environment of the command and its children. `""`: none, because this
            process adopts orphans.
        grace: seconds between SIGTERM and SIGKILL for what the command leaves behind.
        report: the log.
    """

    def __init__(self, mark: str, grace: float, report: Report) -> None:
        me = Handle(os.getpid(), start_of(os.getpid()), None)
        self._me = me
        self._adopts = not mark
        self._grace = grace
        self._report = report
        self._roots = {me.identity: "run"}
        self._spared = set() if me.pid == 1 else self._children()
        self._descendants = Descendants(me, mark)
        self._terminator = PatientTerminator(self._tell)
        # We adopt their orphans too, so a child of ours can be a stranger.
        self._descendants.has_strangers = self.has_strangers
        for identity in self._spared:
            self._descendants.exclude(identity)
        self._status: int | None = None
        self._childless = False
        self._suspended = False
        self._refused = False
        self._asked_at = -NEVER
        self._ended_at = 0.0
        self.interrupted = False
        """Whether the last stop signal that was passed on was a Ctrl+C."""

    def serve(self, command: Command) -> int:
        """Wait until the command has exited, and kill what it leaves behind.

        Args:
            command: the command, which has been started.

        Returns:
            Its status, as `os.waitstatus_to_exitcode` gives it.
        """
        self._command = command
        while self._status is None:
            self._turn(self._look() if self._looks else None)
        self._ended_at = time.monotonic()
        terminal.take_back(command.pid)
        self._kill_leftovers()
        self._report_end(command)
        return self._status

    @property
    def has_strangers(self) -> bool:
        """Whether this process had children before the command. If so, the command gets the
        birthmark (`tree/birthmark.py`)."""
        return bool(self._spared)

    @property
    def _looks(self) -> bool:
        """Whether descendants must be recorded while the command runs."""
        return not self._adopts or self.has_strangers

    # -- while the command runs -------------------------------------------------------------------

    def _turn(self, seconds: float | None) -> None:
        arrival = platform.next_signal(BLOCKED_SIGNALS, seconds)
        if arrival is not None and arrival.signum != signal.SIGCHLD:
            self._pass_on(arrival)
        self._reap()

    def _look(self) -> float:
        """Record the descendants. Returns seconds until the next scan."""
        try:
            return self._descendants.scan(self._roots)
        except OSError:
            return SCAN_EVERY

    def _pass_on(self, arrival: Arrival) -> None:
        signum = arrival.signum
        to = route(
            arrival,
            self._me.pid,
            arrival.from_kernel is None and terminal.in_foreground(),
            signum != signal.SIGTSTP or terminal.is_resumable(),
            self._suspended,
        )
        if to == NOBODY:
            return
        if signum == signal.SIGCONT:
            self._suspended = False
        if signum in (signal.SIGTERM, signal.SIGINT):
            self._asked_at = time.monotonic()
            self.interrupted = signum == signal.SIGINT and to == GROUP
        if self._looks:
            self._look()  # while the command lives: its death removes evidence
        try:
            self._command.send_group(signum) if to == GROUP else self._command.send(signum)
        except PermissionError:
            if not self._refused:
                self._refused = True
                self._report.say("ERROR", f"{self._command} {FOREIGN}")

    def _reap(self) -> None:
        """Reap all children that have exited."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG | os.WUNTRACED)
            except ChildProcessError:
                self._childless = True
                return
            if pid == 0:
                self._childless = False
                return
            if self._status is not None or pid != self._command.pid:
                continue
            if os.WIFSTOPPED(status):
                self._join(os.WSTOPSIG(status))
            else:
                self._status = os.waitstatus_to_exitcode(status)

    def _join(self, signum: int) -> None:
        """Handle a command that has been stopped.

        If it needs the terminal, it gets the terminal. Otherwise `run` stops too, because the shell
        waits for `run`. Without such a shell, a key must not stop anything, and the command is
        continued. (The kernel takes `run` for a shell, because `run` is the command's parent.)
        """
        if signum not in STOPS:
            return
        wants_terminal = signum != signal.SIGTSTP
        if wants_terminal and terminal.hand_over(self._command.pid):
            self._command.send_group(signal.SIGCONT)
        elif terminal.is_resumable():
            self._suspended = True
            terminal.suspend_job()
        elif terminal.is_held_by(self._command.pid):
            self._command.send_group(signal.SIGCONT)

    # -- when it has ended ------------------------------------------------------------------------

    def _kill_leftovers(self) -> None:
        """List and signal processes until none is left.

        If `run` adopts orphans, the kernel tells: a process without children has no descendants.
        Otherwise two scans in a row that find nothing are the end.
        """
        _raise_limit_of_descriptors()
        deadline = self._ended_at + self._grace
        empty = 0
        self._reap()
        while not (self._adopts and self._childless):
            try:
                found = self._descendants.find_leftovers(self._roots, {})
                pause = self._terminator.terminate(found, {}, set(), deadline)
                empty = 0 if self._terminator.targets else empty + 1
            except OSError as error:  # no more descriptors on the whole machine, no /proc
                if time.monotonic() >= deadline + GIVE_UP_AFTER:
                    self._report.say("ERROR", f"no process table: {error.strerror}: giving up")
                    return
                pause, empty = RESCAN_EVERY, 0
            if empty == 2:
                if not self._adopts or not self._has_more_children():
                    return
                empty = 0
            if not empty and self._wait(pause, deadline):
                deadline = time.monotonic()
            self._reap()

    def _has_more_children(self) -> bool:
        """Whether there are children that the last scans have missed."""
        self._reap()
        known = self._terminator.given_up | self._spared
        found = self._children() - known if not self._childless else set()
        if self.has_strangers:
            found = set(filter(self._descendants.is_of_command, found))
        if not found and not self._childless and not known:
            text = "children are left that the process table does not show: giving up"
            self._report.say("ERROR", text)
        return bool(found)

    def _wait(self, pause: float, deadline: float) -> bool:
        """Wait until it is time for the next scan. Returns whether a stop signal has come."""
        now = time.monotonic()
        until = min(now + pause, max(now, deadline)) if now < deadline else now + pause
        while now < until:
            arrival = platform.next_signal(BLOCKED_SIGNALS, until - now)
            now = time.monotonic()
            if arrival is None:
                return False
            if arrival.signum in (signal.SIGTERM, signal.SIGINT) and now < deadline:
                if now - self._asked_at >= REPEATED_WITHIN:
                    return True
            elif arrival.signum == signal.SIGCHLD:
                self._reap()
                if self._adopts and self._childless:
                    return False
        return False

    def _children(self) -> set[Identity]:
        try:
            return children_of(self._me.pid)
        except OSError:
            return set()

    # -- the log ----------------------------------------------------------------------------------

    def _elapsed(self) -> float:
        return time.monotonic() - self._ended_at

    def _report_end(self, command: Command) -> None:
        ended, left = self._terminator.left_behind, len(self._terminator.given_up)
        self._report.end(command.name, command.pid, self._status or 0, ended, left, self._elapsed())

    def _tell(self, level: str, signum: int, name: str, pid: int, evidence: str, why: str) -> None:
        since = f"the end of {self._command}"
        self._report.signal(level, signum, name, pid, evidence, why, self._elapsed(), since)


def _raise_limit_of_descriptors() -> None:
    """Raise the limit of open files to its maximum: each process that is killed takes one."""
    import resource

    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    except (OSError, ValueError):
        pass
