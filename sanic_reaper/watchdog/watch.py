"""The watch: a list of processes with deadlines. When one passes, or main dies, it kills.

It normally lives in a process of its own (`watchdog`). Where that process can't be started, main
turns it itself, in the pauses of its own loop; it then guards against everything but main's death.

Nothing here imports Sanic, asyncio, or a module of the standard library that costs much memory.
"""

from __future__ import annotations

import os
import select
import signal
import time

from .. import platform, state, untrusted
from ..model.kills import FOREIGN, KILLS, NO_SIGNAL, STARTED_BY_MAIN, sentence
from ..model.roles import HELPER, MAIN, WATCHDOG, WORKER, title
from ..state import statedir
from ..tree.process import Handle, start_of
from ..tree.remains import (
    BLIND,
    LOOK_EVERY,
    NEVER,
    STUBBORN,
    TAIL,
    Remains,
    may_signal,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from ..platform.base import Identity
    from ..protocol.channel import Channel

DUMP = 1.0
"""Seconds that a worker has, after SIGABRT, to write its stack and die."""

ANSWER = 1.0
"""Seconds that main has to find out where an expired worker is, before that is done from here."""

SETTLE = 0.5
"""Seconds that a look at what there is at the end of the workers may take, where processes come and
go."""

PROVE_AGAIN = 0.01
"""Seconds until the next look, where the last one has not proved that nothing is left."""

RESTLESS = "starts others faster than they are killed"
"""What can be said of a process that no look at the table finds."""

LAST_WORDS = 5.0
"""Seconds that main has, when nothing is left, to shut down its SyncManagers and to say so."""

HANG_UP = 1.0
"""Seconds that main may live on after it closed the channel; then it has let us go."""

NO_DESCRIPTOR = 0.05
"""Seconds between two looks at a process whose end no descriptor tells, where its end is due."""

NO_DESCRIPTOR_YET = 0.4
"""The same while the server runs, for hours and days. Main's end is seen at once all the same: the
channel breaks."""

WATCHING = "watching"  # main runs, and so do its workers
STOPPING = "stopping"  # main stops: workers drain
FINISHING = "finishing"  # main has done its part: what workers left behind is ended
FINISHED = "finished"  # nothing is left but main and its helpers
DRAINING = "draining"  # main is gone: workers drain
CLEARING = "clearing"  # main and workers are gone: everything else is ended
GONE = "gone"  # nothing is left

_MAIN_LIVES = (WATCHING, STOPPING, FINISHING, FINISHED)


def _moment(text: str) -> float:
    """Raises: ValueError."""
    return NEVER if text == "inf" else untrusted.number(text)


class Member:
    """A process that main told us of, with what must happen by when (monotonic seconds)."""

    __slots__ = (
        "asked",
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
        "why",
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
        self.why = ""
        """Why it is to be killed at `kill_at`."""
        self.since = (time.monotonic(), "its start")
        """What it is measured from while the server goes on."""

    @property
    def title(self) -> str:
        return title(self.role, self.name)

    def __str__(self) -> str:
        return f"{self.title} [{self.handle.pid}]"


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
        self.run = run
        self.orphan_grace = orphan_grace
        self.channel = channel
        self.phase = WATCHING
        self.drain_by = NEVER
        self.deadline = NEVER
        self.forced = False
        self.is_over = False
        self.members: dict[Identity, Member] = {}
        self.helpers: dict[Identity, str] = {}
        self.services: set[Identity] = set()
        self.trackers: set[Identity] = set()
        self._me = (os.getpid(), start_of(os.getpid()))
        self._log = log
        self._state = ""
        self._kin: set[Identity] = set()
        self._kin_file: tuple[int, int] | None = None
        self._unseen: list[tuple[str, str]] = []
        self._began = time.monotonic()
        self._cause = "the start"
        self._next_scan = 0.0
        self._dead: set[Identity] = set()
        self._zombies: set[Identity] = set()
        self._hung_up: float | None = None
        self._orderly = False
        self._cleared = 0
        self._has_complained = False
        self._is_unproven = False
        self._poll = select.poll()
        self.remains = Remains(main, run, self._poll, self._report_leftover, self._tell_of)
        self._register(channel.fd)
        self._register(main.fd)

    # -- the loop ---------------------------------------------------------------------------------

    def turn(self, longest: float = 60.0) -> None:
        """Wait for the next event or deadline, at most `longest` seconds, and act on it."""
        ready = self._wait(min(longest, self._pause()))
        self.channel.flush()
        for message in self.channel.receive():
            try:
                self._obey(message)
            except (ValueError, IndexError):
                self._report("ERROR", f"watchdog: not understood: {message}")
        self._look_at_main(ready)
        self._bury(ready)
        now = time.monotonic()
        self._enforce_startups(now)
        self._enforce_ends(now)
        if now >= self._next_scan:
            try:
                self._scan(now)
            except OSError as error:
                self._note_blindness(error, now)
                self._next_scan = now + BLIND

    def _scan(self, now: float) -> None:
        """Look at the process table, for whatever is to be done with it now."""
        if self.phase in (FINISHING, CLEARING):
            self._clear(now)
        elif self.phase == WATCHING and self._dead:
            self._clear_after_the_dead(now)
        elif self.phase in (WATCHING, STOPPING, DRAINING):
            self._remember(now)
            self._report_zombies()
            self._leave_kin()

    def _remember(self, now: float) -> None:
        try:
            self._next_scan = now + self.remains.remember(self._roots())
        except OSError as error:
            self._note_blindness(error, now)
            self._next_scan = now + LOOK_EVERY

    def _note_blindness(self, error: OSError, now: float) -> None:
        """It will be tried again, without end while main lives: that there is no descriptor to look
        with passes, and is worth no word. Anything else is worth one."""
        if self.phase == CLEARING and now >= self.deadline + STUBBORN:
            self.phase = GONE
        elif error.errno in platform.SCARCE or self._has_complained:
            return
        self._has_complained = True
        text = "the process table can't be read, so what workers leave behind may stay"
        self._report("ERROR", f"watchdog: {text}: {error}")

    def _wait(self, seconds: float) -> set[int]:
        if self.channel.fd >= 0:
            events = select.POLLIN | (select.POLLOUT if self.channel.waits else 0)
            self._poll.modify(self.channel.fd, events)
        return {fd for fd, _ in self._poll.poll(seconds * 1000)}

    def _pause(self) -> float:
        """Seconds until something is due."""
        now = time.monotonic()
        due = [NEVER if self.phase == FINISHED else self._next_scan]
        if self.phase in _MAIN_LIVES:
            due.append(self.deadline)
        dumping = any(member.kill_at is not None for member in self.members.values())
        for member in self.members.values():
            if not member.killed:
                due.append(self.drain_by)
                due.extend(filter(None, (member.ready_by, member.end_by, member.kill_at)))
                due.extend(filter(None, (None if dumping else member.dump_at,)))
        if self._hung_up is not None:
            due.append(self._hung_up + HANG_UP)
        blind_for_main = self.main.fd is None and self.phase in _MAIN_LIVES
        if blind_for_main or any(m.handle.fd is None for m in self.members.values()):
            due.append(now + (NO_DESCRIPTOR_YET if self.phase == WATCHING else NO_DESCRIPTOR))
        return max(0.0, min(due) - now)

    def _register(self, fd: int | None) -> None:
        if fd is not None and fd >= 0:
            self._poll.register(fd, select.POLLIN)

    def _release(self, handle: Handle) -> None:
        if handle.fd is not None:
            self._poll.unregister(handle.fd)
        handle.close()

    # -- what main says ---------------------------------------------------------------------------

    def _obey(self, message: list[str]) -> None:
        word, *rest = message
        if word == "adopt":
            self._adopt(*untrusted.identity(rest[0], rest[1]), rest[2], _moment(rest[3]), rest[4])
        elif word in ("helper", "tracker", "forkserver"):
            helper = untrusted.identity(rest[0], rest[1])
            self.helpers[helper] = rest[2]
            if word != "helper":
                self.services.add(helper)
            if word == "tracker":
                self.trackers.add(helper)
        elif word == "stop":
            self._stop(_moment(rest[0]), _moment(rest[1]))
        elif word == "kill":
            self.forced = True
            self._stop(0.0, time.monotonic() + TAIL)
        elif word == "spare":
            self.remains.spare(untrusted.identity(rest[0], rest[1]))
            self.remains.strangers = True
        elif word == "began":
            self.remains.began = untrusted.whole(rest[0])
        elif word == "precedes":
            self.remains.precede(untrusted.identity(rest[0], rest[1]))
            self.remains.strangers = True
        elif word == "finish":
            self._finish()
        elif word == "state":
            self._state = rest[0]
        elif word == "seen":
            del self._unseen[: untrusted.whole(rest[0])]
        elif word == "handover":
            self._hand_over()
        elif word == "over":
            # What main does from here on is the script's business.
            self.is_over, self.deadline = True, NEVER
        elif word == "leave":
            self.phase = GONE
        elif word == "kill_other":
            self._kill_other(untrusted.identity(rest[0], rest[1]), rest[2], rest[3])
        elif member := self.members.get(untrusted.identity(rest[0], rest[1])):
            if word == "due" and member.dump_at is None and member.kill_at is None:
                member.ready_by = _moment(rest[2]) or None
                if member.ready_by is None:
                    self._next_scan = 0.0  # its start is over: see now what it has started
            elif word == "shown" and member.dump_at is not None:
                member.dump_at, member.kill_at = None, time.monotonic()
            elif word == "dump" and member.dump_at is not None:
                member.dump_at = time.monotonic()
            elif word == "late" and self.phase == WATCHING:
                self._expect_stack(member, KILLS["startup"])
            elif word == "hung":
                self._expect_stack(member, KILLS["hung"])
            elif word == "ask":
                self._ask(member)
            elif word == "end":
                member.end_by = _moment(rest[2])
                member.since = (time.monotonic(), "it was replaced")

    def _adopt(self, pid: int, start: int, role: str, ready_by: float, name: str) -> None:
        handle = None if (pid, start) in self.members else Handle.open(pid, start)
        if handle is None:
            return
        member = Member(handle, role, name, ready_by or None)
        self.members[handle.identity] = member
        self.remains.registered.add(handle.identity)
        self._register(handle.fd)
        if self.phase != WATCHING:  # a newcomer to a server that is stopping
            self._ask(member)

    def _stop(self, drain_by: float, deadline: float) -> None:
        """Workers end by `drain_by`, main and everything else by `deadline`."""
        self.drain_by = min(self.drain_by, drain_by)
        self.deadline = min(self.deadline, deadline)
        if self.phase == WATCHING:
            self.phase = STOPPING
            self._begin("the stop")
            self._cleared = self.remains.ended
            self._wake_helpers()
        self._ask_members()

    def _finish(self) -> None:
        if self.phase in (WATCHING, STOPPING):
            self.phase = FINISHING
            self._next_scan = 0.0

    def _hand_over(self) -> None:
        """All workers have ended: what main starts from now on is the script's. What is below main
        by now is known; main waits until that is so."""
        by = time.monotonic() + SETTLE
        while self.phase in (WATCHING, STOPPING):
            now = time.monotonic()
            self._remember(now)
            if now >= by or self.remains.is_proven():
                break
        self.remains.strangers = True
        self.channel.send("handed")

    def _wake_helpers(self) -> None:
        """A stopped SyncManager would hold up everybody who still has to tell it something."""
        # The children that main had before the server are the script's own to stop.
        known = set() if self._orderly else self.remains.known.keys() - self.remains.preceding
        for pid, start in [*self.helpers, *known]:
            row = platform.row(pid)
            if row is not None and row.start == start and row.stopped:
                handle = Handle.open(pid, start)
                if handle is not None:
                    self._signal(handle, signal.SIGCONT)
                    handle.close()

    # -- who has died -----------------------------------------------------------------------------

    def _look_at_main(self, ready: set[int]) -> None:
        if self.phase not in _MAIN_LIVES:
            return
        gone = self.main.fd in ready if self.main.fd is not None else not self.main.alive()
        if gone:
            self._mourn()
        elif not self.channel.open:
            self._hang_up()

    def _hang_up(self) -> None:
        """A dying main closes its end a moment before it is a zombie; one that lives on has become
        another program (exec), and what that does with its children is none of our business."""
        now = time.monotonic()
        if self._hung_up is None:
            self._hung_up = now
            self._close_channel()
        elif now - self._hung_up >= HANG_UP:
            self.phase = GONE

    def _mourn(self) -> None:
        """Main is gone. Workers drain, unless their time is up already."""
        self._close_channel()
        self._release(self.main)
        for level, text in self._unseen:
            self._log(level, text)
            if self.phase != FINISHED:
                self._leave_word("log", level=level, text=text)
        self._unseen.clear()
        now = time.monotonic()
        self._orderly = orderly = self.phase == FINISHED
        if self.phase == WATCHING:
            self._begin("main died")
        self.phase = DRAINING
        if not orderly:
            self._report("WARNING", f"main [{self.main.pid}] is gone; ending what it started")
        self.drain_by = min(self.drain_by, now + self.orphan_grace)
        self.deadline = max(now, self.drain_by) + TAIL
        self._wake_helpers()
        # Before they are asked: what they have just started must be known when they are gone.
        self._remember(now)
        self._ask_members()

    def _close_channel(self) -> None:
        if self.channel.fd >= 0:
            self._poll.unregister(self.channel.fd)
            self.channel.close()

    def _bury(self, ready: set[int]) -> None:
        for identity, member in list(self.members.items()):
            fd = member.handle.fd
            if fd in ready if fd is not None else not member.handle.alive():
                self._release(member.handle)
                del self.members[identity]
                if self.phase in _MAIN_LIVES:
                    self.channel.send("ended", *identity)
                elif not self._orderly:
                    why = member.why if member.killed else None
                    self._leave_word("ended", pid=identity[0], start=identity[1], killed=why)
                # A process of the user's own may be there to start something, and end.
                if self.phase == WATCHING and member.role == WORKER:
                    self._dead.add(identity)
                    self._begin(f"the end of {member}")
                # What it leaves behind has another parent now: look while we know whose it was.
                self._next_scan = 0.0
        if self.remains.has_ended(ready):
            self._next_scan = 0.0
        if self.phase == DRAINING and not self.members:
            self.phase = CLEARING
            self._next_scan = 0.0

    # -- deadlines --------------------------------------------------------------------------------

    def _enforce_startups(self, now: float) -> None:
        for member in self.members.values():
            if member.ready_by is not None and now >= member.ready_by:
                # Main has to agree: it may be busy, and the worker's word that it is ready unread.
                # A main that does not even listen could do nothing about the worker's end.
                member.ready_by = None
                self.channel.send("expired", *member.handle.identity)
        if any(member.kill_at is not None for member in self.members.values()):
            return  # one stack at a time: two at once would be interleaved line by line
        for member in self.members.values():
            if member.dump_at is not None and now >= member.dump_at:
                member.dump_at = None
                member.kill_at = now + DUMP
                self._dump(member)
                return

    def _expect_stack(self, member: Member, why: str) -> None:
        """It is to be killed. Main has a moment to find out where it is; then we do."""
        member.why = why
        member.dump_at = time.monotonic() + ANSWER

    def _dump(self, member: Member) -> None:
        """SIGABRT: `faulthandler` answers it with every thread's stack, whoever holds the GIL."""
        try:
            platform.forbid_core_dump(member.handle.pid)
        except OSError:
            pass
        if not self._may_signal(member):
            return
        why = f"{member.why}, asked for its stack"
        self._report_member("WARNING", signal.SIGABRT, member, why, member.since)
        self._signal(member.handle, signal.SIGABRT)
        self._signal(member.handle, signal.SIGCONT)

    def _enforce_ends(self, now: float) -> None:
        for member in self.members.values():
            if member.kill_at is not None and now >= member.kill_at:
                self._kill(member, member.why)
            elif member.end_by is not None and now >= member.end_by:
                self._kill(member, KILLS["replaced"])
            elif now >= self.drain_by:
                self._kill(member, KILLS["forced" if self.forced else "stop"])
        if now >= self.deadline and self.phase in _MAIN_LIVES:
            who = (MAIN, MAIN, self.main.pid)
            self._report_signal("ERROR", signal.SIGKILL, who, "started us", KILLS["stop"])
            self._signal(self.main, signal.SIGKILL)
            self.deadline = now + TAIL

    def _ask_members(self) -> None:
        for member in self.members.values():
            member.ready_by = member.dump_at = None
            self._ask(member)

    def _ask(self, member: Member) -> None:
        """SIGTERM, once: Sanic takes a second one for an order to drop everything.

        SIGCONT follows, as systemd does it, for a stopped process acts on nothing but SIGKILL.
        """
        if member.asked or self.forced:
            return
        member.asked = True
        if not self._may_signal(member):
            return
        level = "DEBUG" if self.phase == STOPPING else "INFO"
        self._report_member(level, signal.SIGTERM, member)
        self._signal(member.handle, signal.SIGTERM)
        self._signal(member.handle, signal.SIGCONT)

    def _may_signal(self, member: Member) -> bool:
        """Whether we may; if not, that is said once."""
        if may_signal(member.handle):
            return True
        if not member.refused:
            member.refused = True
            self._report_member("ERROR", NO_SIGNAL, member, FOREIGN, member.since)
        return False

    def _kill(self, member: Member, why: str) -> None:
        if member.killed:
            return
        member.killed, member.why = True, why
        member.kill_at = None
        if not self._may_signal(member):
            return
        self._report_member("WARNING", signal.SIGKILL, member, why, member.since)
        self._tell_of(member.handle.identity, member.name, why)
        self._signal(member.handle, signal.SIGKILL)

    def _kill_other(self, identity: Identity, name: str, why: str) -> None:
        """A helper that main would kill, and may not, since it has become another user."""
        handle = Handle.open(*identity)
        if handle is not None:
            who = (HELPER, name, handle.pid)
            self._report_signal("WARNING", signal.SIGKILL, who, STARTED_BY_MAIN, why)
            self._signal(handle, signal.SIGKILL)
            handle.close()

    # -- what is left behind ----------------------------------------------------------------------

    def _roots(self) -> dict[Identity, str]:
        roots = {self.main.identity: MAIN, self._me: WATCHDOG}
        roots.update((identity, member.title) for identity, member in self.members.items())
        roots.update(self.helpers)
        return roots

    def _clear(self, now: float) -> None:
        """End what workers left behind, and once main is gone its helpers too."""
        last = self.phase == CLEARING
        # While main lives, what was left must be gone before main's own time is up.
        deadline = self.deadline if last else self.deadline - TAIL / 2
        self._next_scan = now + self.remains.end(
            self._roots(),
            self.helpers if last else {},
            self._self_ending(),
            0.0 if self.forced else deadline,
            spare_preceding=not last,
            # What there is when the server has stopped in good order is the script's.
            of=frozenset() if self._orderly else None,
        )
        if not last:
            self._report_zombies()
        if self.remains.targets or self.members:
            return
        if not last and not self._is_proven(now):
            self._next_scan = now + PROVE_AGAIN
            return
        if last:
            self.phase = GONE
            if not self._orderly:
                self._leave_word("gone")
        else:
            self.phase = FINISHED
            self._leave_kin()
            if not self.is_over:  # main has a little more to do, and says when that is done
                self.deadline = max(self.deadline, now + LAST_WORDS)
            survivors = [*self.remains.survivors, *([RESTLESS] if self._is_unproven else [])]
            self.channel.send("done", self.remains.ended - self._cleared, *survivors)

    def _is_proven(self, now: float) -> bool:
        """Whether nothing is left, by all that can be known; or there is no time to look again."""
        self._is_unproven = not self.remains.is_proven()
        if self._is_unproven and now >= self.deadline - TAIL / 4:
            self._report("ERROR", f"a process of the server {RESTLESS}; giving up")
            return True
        return not self._is_unproven

    def _self_ending(self) -> set[Identity]:
        """Helpers that end by themselves when nobody uses them any more.

        The tracker has work to do then: it unlinks what others have left in /dev/shm. The fork
        server has none, and takes 15 ms for its end. But after a stop in good order nobody is in a
        hurry, and its end is worth no line in the log.
        """
        return self.services if self._orderly else self.trackers

    def _clear_after_the_dead(self, now: float) -> None:
        """End what a worker has left behind while the others go on, and main with them.

        Also where it ended in peace, to be replaced: a helper of its own that it forgot would be
        there once more after each restart.
        """
        pause = self.remains.end(self._roots(), {}, set(), NEVER, of=self._dead)
        self._next_scan = now + pause
        self._report_zombies()
        if not self.remains.targets:
            self._dead.clear()

    def _report_zombies(self) -> None:
        """Tell main of each once: with hundreds of them, again and again would fill the channel."""
        if self.phase in _MAIN_LIVES:
            for identity in self.remains.unwaited - self._zombies:
                self.channel.send("zombie", *identity)
            self._zombies = set(self.remains.unwaited)

    # -- saying so --------------------------------------------------------------------------------

    def _signal(self, handle: Handle, signum: int) -> None:
        try:
            handle.send(signum)
        except PermissionError:
            self._report("ERROR", f"[{handle.pid}] runs as another user whom we may not signal")

    def _begin(self, cause: str) -> None:
        self._began = time.monotonic()
        self._cause = cause

    def _report_member(
        self,
        level: str,
        signum: int,
        member: Member,
        why: str = "",
        since: tuple[float, str] | None = None,
    ) -> None:
        who = (member.role, member.name, member.handle.pid)
        self._report_signal(level, signum, who, STARTED_BY_MAIN, why, since)

    def _report_leftover(
        self, level: str, signum: int, name: str, pid: int, evidence: str, why: str
    ) -> None:
        self._report_signal(level, signum, ("", name, pid), evidence, why)

    def _report_signal(
        self,
        level: str,
        signum: int,
        who: tuple[str, str, int],
        evidence: str,
        why: str = "",
        since: tuple[float, str] | None = None,
    ) -> None:
        """Args: who: its role, name and pid."""
        began, cause = since if since and self.phase == WATCHING else (self._began, self._cause)
        seconds = time.monotonic() - began
        self._report(level, sentence(signum, *who, evidence, why, seconds, cause))

    def _tell_of(self, identity: Identity, name: str, why: str) -> None:
        """Let main know, for the hooks of its user, whom we end."""
        if self.phase in _MAIN_LIVES:
            self.channel.send("killed", *identity, name, why)

    def _report(self, level: str, text: str) -> None:
        """Through main's own log while main lives: it knows the user's format and place.

        What main has not confirmed when it dies is written here instead, so no line is lost.
        """
        if self.phase in _MAIN_LIVES:
            self.channel.send("log", level, text)
            if self.channel.open:  # main has it, or will have it when it has read what came before
                self._unseen.append((level, text))
                return
        self._log(level, text)
        self._leave_word("log", level=level, text=text)

    def _leave_kin(self) -> None:
        """Write down whom we know, for whoever comes when main and we are gone. A process that was
        forked without exec, and whose parent is gone too, is known by nothing else."""
        kin, name = set(self.remains.known), self.run + state.KIN
        if self.phase in (STOPPING, FINISHED):  # no later start may end what is the script's own
            kin -= self.remains.preceding
        if not self._state or not (kin or self._kin):
            return
        # Somebody may have removed it.
        if kin != self._kin or self._kin_file != statedir.file_id(self._state, name):
            lines = [state.line("kin", pid=pid, start=start) for pid, start in sorted(kin)]
            try:
                content = state.encode("".join(lines))
                self._kin_file = statedir.write(self._state, name, content)
                self._kin = kin
            except OSError:
                pass  # main says so

    def _leave_word(self, kind: str, **fields: object) -> None:
        """Where main has left its own, for a report: what became of the server after it."""
        if self._state:
            record = state.line(kind, time=time.monotonic(), **fields)
            try:
                statedir.append(self._state, self.run + state.END, state.encode(record))
            except OSError:
                pass
