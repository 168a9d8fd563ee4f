"""Carries out the messages of the main process: one handler for each word of the protocol.

Guarantees that a message that is not in the table changes nothing. The first such message is
logged, with its sender.
"""

from __future__ import annotations

import time

from ..model import kills
from ..model.roles import title
from ..protocol import watchdog as wire
from .progress import GONE, WATCHING

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from .members import Member
    from .watch import Watch


class Dispatcher:
    """Calls the handler of each message.

    Args:
        watch: what the messages change.
        sender: who sends them: a role, a name and a pid.

    Attributes:
        handlers: what is called for each word that the main process may say.
        dispatch: acts on one message.
    """

    def __init__(self, watch: Watch, sender: tuple[str, str, int]) -> None:
        self._watch = watch
        self._leftovers, self._descendants = watch.leftovers, watch.leftovers.descendants
        self._sender = sender
        self.handlers: dict[str, Callable[..., None]] = {
            wire.HELLO: self._on_hello,
            wire.REGISTER: self._on_register,
            wire.HELPER: self._on_helper,
            wire.TRACKER: self._on_tracker,
            wire.FORK_SERVER: self._on_fork_server,
            wire.EXCLUDE: self._on_exclude,
            wire.PREEXISTING: self._on_preexisting,
            wire.BEGAN: self._on_began,
            wire.STATE: self._on_state,
            wire.FORMAT: self._on_format,
            wire.DEADLINE: self._on_deadline,
            wire.LATE: self._on_late,
            wire.HUNG: self._on_hung,
            wire.SHOWN: self._on_shown,
            wire.DUMP: self._on_dump,
            wire.TERMINATE: self._on_terminate,
            wire.REPLACED: self._on_replaced,
            wire.KILL_OTHER: self._on_kill_other,
            wire.STOP: watch.stop,
            wire.KILL: watch.kill,
            wire.FINISH: watch.finish,
            wire.HANDOVER: watch.hand_over,
            wire.OVER: self._on_over,
            wire.SEEN: watch.reporter.confirm,
            wire.LEAVE: self._on_leave,
        }
        self.dispatch = wire.Receiver(wire.TO_WATCHDOG, self.handlers, self._complain).receive

    def _complain(self, error: wire.NotUnderstood) -> None:
        role, name, pid = self._sender
        self._watch.reporter.line("ERROR", wire.refusal("watchdog", title(role, name), pid, error))

    def _on_hello(self, version: int) -> None:
        """Leave, if the main process is of another release, with another protocol. It watches its
        workers itself then."""
        if version != wire.VERSION:
            self._watch.progress.phase = GONE

    # -- registration -----------------------------------------------------------------------------

    def _on_register(self, pid: int, start: int, role: str, ready_by: float, name: str) -> None:
        if self._watch.members.register((pid, start), role, ready_by, name):
            self._descendants.registered.add((pid, start))

    def _on_helper(self, pid: int, start: int, name: str) -> None:
        self._leftovers.helpers[pid, start] = name

    def _on_fork_server(self, pid: int, start: int, name: str) -> None:
        self._leftovers.helpers[pid, start] = name
        self._leftovers.services.add((pid, start))

    def _on_tracker(self, pid: int, start: int, name: str) -> None:
        self._on_fork_server(pid, start, name)
        self._leftovers.trackers.add((pid, start))

    def _on_exclude(self, pid: int, start: int) -> None:
        self._descendants.exclude((pid, start))
        self._descendants.has_strangers = True

    def _on_preexisting(self, pid: int, start: int) -> None:
        self._descendants.preexisting_children.add((pid, start))
        self._descendants.has_strangers = True

    def _on_began(self, start: int) -> None:
        self._descendants.began = start

    def _on_state(self, directory: str) -> None:
        self._watch.reporter.directory = directory

    def _on_format(self, name: str) -> None:
        self._watch.reporter.writes_json = name == wire.JSON

    # -- one process ------------------------------------------------------------------------------

    def _find(self, pid: int, start: int) -> Member | None:
        """The registered process. `None`: it has exited, and the main process does not know yet."""
        return self._watch.members.all.get((pid, start))

    def _on_deadline(self, pid: int, start: int, ready_by: float) -> None:
        member = self._find(pid, start)
        if member is not None and member.dump_at is None and member.kill_at is None:
            member.ready_by = ready_by or None
            if member.ready_by is None:
                self._leftovers.scan_now()  # its start is over: note at once what it has started

    def _on_late(self, pid: int, start: int) -> None:
        member = self._find(pid, start)
        if member is not None and self._watch.phase == WATCHING:
            self._watch.members.expect_stack(member, kills.STARTUP)

    def _on_hung(self, pid: int, start: int) -> None:
        if member := self._find(pid, start):
            self._watch.members.expect_stack(member, kills.HUNG)

    def _on_shown(self, pid: int, start: int) -> None:
        member = self._find(pid, start)
        if member is not None and member.dump_at is not None:
            member.dump_at, member.kill_at = None, time.monotonic()

    def _on_dump(self, pid: int, start: int) -> None:
        member = self._find(pid, start)
        if member is not None and member.dump_at is not None:
            member.dump_at = time.monotonic()

    def _on_terminate(self, pid: int, start: int) -> None:
        if member := self._find(pid, start):
            self._watch.members.terminate(member)

    def _on_replaced(self, pid: int, start: int, end_by: float) -> None:
        if member := self._find(pid, start):
            member.end_by = end_by
            member.since = (time.monotonic(), "it was replaced")

    def _on_kill_other(self, pid: int, start: int, name: str, why: str) -> None:
        self._watch.kill_other((pid, start), name, why)

    # -- the whole server -------------------------------------------------------------------------

    def _on_over(self) -> None:
        """Remove the main process's deadline: its server has stopped, and the script goes on."""
        self._watch.progress.is_over, self._watch.progress.deadline = True, float("inf")

    def _on_leave(self) -> None:
        self._watch.progress.phase = GONE
