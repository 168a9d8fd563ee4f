"""Kills the leftovers of runs whose main process and watchdog have died.

`server` and `strays` decide which processes are leftovers: those that main has recorded, their
descendants, and those that bear the run's marker. They are killed as the watchdog does it
(`tree.termination`): SIGTERM, one second, SIGKILL, until none is left.
"""

from __future__ import annotations

import os
import select
import time

from .. import platform
from ..model import kills
from ..tree.termination import NEVER, Target, Terminator
from . import discovery, strays, tidying

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from ..platform.base import Identity, Row
    from .discovery import Unread
    from .server import Server
    from .strays import Stray


class Leftover:
    """The leftovers of one run.

    Args:
        run: the run.
        directory: the working directory of its app.
        belongs: finds the processes of the run in a process table, each with the evidence.
        names: what the log calls some of them.
        helped: whether the run's watchdog lives, and kills them itself.

    Attributes:
        title: how the log calls the run.
        uid: the user whose run it was. No process of another user is killed for it.
    """

    def __init__(
        self,
        run: Server | Stray,
        directory: str,
        belongs: Callable[[Mapping[int, Row]], dict[Identity, str]],
        names: Mapping[Identity, str],
        helped: bool,
    ) -> None:
        self.title = f"{run.app} (main was {run.main[0]})"
        self.run, self.app, self.main, self.uid = run.run, run.app, run.main, run.uid
        self.directory = directory
        self.helped = helped
        self.names = names
        self._belongs = belongs

    def find(self, table: Mapping[int, Row]) -> dict[Identity, str]:
        """The leftovers that live now, each with the evidence, but not this process."""
        return _not_us(self._belongs(table), table)

    def name(self, row: Row) -> str:
        """What the log calls a leftover."""
        return self.names.get(row.identity) or row.name


def leftovers(
    servers: Iterable[Server], table: Mapping[int, Row], uids: Iterable[int]
) -> list[Leftover]:
    """The runs that have leftovers: their main process has died.

    Args:
        servers: the runs with a state file.
        table: the process table.
        uids: the users whose other leftovers are searched, by their markers.
    """
    servers = list(servers)
    found = [_of_server(server) for server in servers if server.is_gone]
    known = {(server.uid, server.run) for server in servers}
    found += [_of_stray(stray) for stray in strays.strays(table, uids, known)]
    return [leftover for leftover in found if leftover.find(table)]


def _not_us(found: Mapping[Identity, str], table: Mapping[int, Row]) -> dict[Identity, str]:
    """Leave out this process and its ancestors.

    A server that a worker of an earlier run has started bears the earlier run's marker, and so does
    `sanic-reaper sweep` in a shell that a worker has started.
    """
    ancestors, pid = set(), os.getpid()
    while pid in table and pid not in ancestors:
        ancestors.add(pid)
        pid = table[pid].ppid
    return {identity: why for identity, why in found.items() if identity[0] not in ancestors}


def _of_server(server: Server) -> Leftover:
    names = {identity: one.name for identity, one in server.members.items()}
    directory = server.fields.get("directory", "")
    return Leftover(server, directory, server.belongs, names, server.watchdog_lives)


def _of_stray(stray: Stray) -> Leftover:
    def belongs(table: Mapping[int, Row]) -> dict[Identity, str]:
        again = strays.strays(table, [stray.uid], set())
        return next((one.processes for one in again if one.run == stray.run), {})

    return Leftover(stray, stray.directory, belongs, {}, helped=False)


class _Sweep(Terminator):
    """Terminates the leftovers of a run that has no watchdog, as its watchdog would."""

    give_up_after = 3.0  # a start waits for it

    def __init__(
        self,
        leftover: Leftover,
        poll: select.poll,
        report: Callable[[str, int, str, int, str, str], None],
        on_target: Callable[[Identity, str, str], None],
    ) -> None:
        super().__init__(poll, report, on_target)
        self._uid = leftover.uid

    def _signal(self, target: Target, level: str, signum: int) -> None:
        # Asked once more, of the process that the handle now holds for good.
        if platform.uid(target.handle.pid) == self._uid:
            super()._signal(target, level, signum)
        elif target.handle.alive():
            self._give_up(target, "runs as another user by now")


def kill(
    leftover: Leftover,
    say: Callable[[str, str, Mapping[str, object]], None],
    tell_of: Callable[[Identity, str, str], None],
) -> int:
    """Kill the leftovers of a run.

    Args:
        leftover: the run.
        say: takes a line for each signal: its level, its text, its fields (`kills.fields`).
        tell_of: called once for each process that is killed: identity, name, evidence.

    Returns:
        How many processes were killed.

    Raises:
        OSError: the process table can't be read.
    """
    began = time.monotonic()

    def report(level: str, signum: int, name: str, pid: int, evidence: str, why: str) -> None:
        seconds, since = time.monotonic() - began, "the sweep began"
        facts = signum, "", name, pid, evidence, why, seconds, since
        say(level, kills.sentence(*facts, run=leftover.title), kills.fields(*facts))

    poll = select.poll()
    sweep = _Sweep(leftover, poll, report, tell_of)
    while True:
        found = leftover.find(platform.table())
        pause = sweep.terminate(found, leftover.names, set(), NEVER)
        if not sweep.targets:
            return sweep.exited
        poll.poll(pause * 1000)


def sweep_for(
    app: str,
    directory: str,
    say: Callable[[str, str, Mapping[str, object]], None],
    tell_of: Callable[[Identity, str, str], None],
) -> None:
    """Kill the leftovers of an app before it starts again, and remove files of old runs.

    Leftovers of a run whose watchdog lives are left to that watchdog.

    Args:
        app: name of the app.
        directory: its working directory. Another program of the same user can have the same name.
        say, tell_of: as `kill` has them.
    """
    uid = os.geteuid()
    unread: list[Unread] = []
    servers = discovery.servers([uid], unread)
    for leftover in leftovers(servers, platform.table(), [uid]):
        same = leftover.app == app and leftover.directory == directory
        if same and not leftover.helped:
            kill(leftover, say, tell_of)
    tidying.remove_old(app, directory, servers)
    tidying.remove_fragments(unread)
