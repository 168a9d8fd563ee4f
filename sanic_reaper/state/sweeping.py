"""Ending what is left of a server whose main and whose watchdog are gone.

`server` and `strays` decide which processes these are: what main has recorded, what descends from
that, and what bears the run's mark. They are killed as the watchdog does it (`tree.termination`):
SIGTERM, a second, SIGKILL, until none is left. They get no more time: nobody waits for an answer of
a server that is gone.
"""

from __future__ import annotations

import os
import select
import time

from .. import platform, state
from ..model import kills
from ..tree.termination import NEVER, Target, Terminator
from . import discovery, statedir, strays

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from ..platform.base import Identity, Row
    from .discovery import Unread
    from .server import Server
    from .strays import Stray


class Leftover:
    """What is left of one run.

    Args:
        belongs: what of a process table is of this run, each with the evidence for that.
        names: what the log calls some of them.
        helped: whether its watchdog lives, and does this itself.

    Attributes:
        title: how the log calls the run.
        uid: whose it was. Nobody else's process is ended for it.
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
        """Who is there now."""
        return _not_us(self._belongs(table), table)

    def name(self, row: Row) -> str:
        return self.names.get(row.identity) or row.name


def leftovers(
    servers: Iterable[Server], table: Mapping[int, Row], uids: Iterable[int]
) -> list[Leftover]:
    """What is left of the runs of these users whose main is gone."""
    servers = list(servers)
    found = [_of_server(server) for server in servers if server.is_gone]
    known = {(server.uid, server.run) for server in servers}
    found += [_of_stray(stray) for stray in strays.strays(table, uids, known)]
    return [leftover for leftover in found if leftover.find(table)]


def _not_us(found: Mapping[Identity, str], table: Mapping[int, Row]) -> dict[Identity, str]:
    """Without this process and those that it descends from.

    A server that a worker of an earlier one has started bears the earlier one's mark; so does
    `sanic-reaper sweep` in a shell that a worker has started.
    """
    line, pid = set(), os.getpid()
    while pid in table and pid not in line:
        line.add(pid)
        pid = table[pid].ppid
    return {identity: why for identity, why in found.items() if identity[0] not in line}


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


def end(
    leftover: Leftover,
    say: Callable[[str, str], None],
    tell_of: Callable[[Identity, str, str], None],
) -> int:
    """End it.

    Args:
        say: where a line goes for each signal: its level, its text.
        tell_of: told once of each that is ended: identity, name, evidence.

    Returns:
        How many were ended.
    """
    began = time.monotonic()

    def report(level: str, signum: int, name: str, pid: int, evidence: str, why: str) -> None:
        seconds, run = time.monotonic() - began, leftover.title
        say(
            level,
            kills.sentence(
                signum, "", name, pid, evidence, why, seconds, "the sweep began", run=run
            ),
        )

    poll = select.poll()
    sweep = _Sweep(leftover, poll, report, tell_of)
    while True:
        found = leftover.find(platform.table())
        pause = sweep.terminate(found, leftover.names, set(), NEVER)
        if not sweep.targets:
            return sweep.exited
        poll.poll(pause * 1000)


def forget(path: str, run: str) -> None:
    """Remove what a run has left in a directory of our own."""
    statedir.remove(path, *(f"{run}{end}" for end in state.ALL))


def sweep_for(
    app: str,
    directory: str,
    say: Callable[[str, str], None],
    tell_of: Callable[[Identity, str, str], None],
) -> None:
    """Before this app starts again: end what is left of it, where nobody else does.

    Args:
        app: its name,
        directory: and that in which it runs. Both, or another program of the same user that has
            the same name would be taken for it.
        say, tell_of: as `end`.
    """
    uid = os.geteuid()
    unread: list[Unread] = []
    servers = discovery.servers([uid], unread)
    for leftover in leftovers(servers, platform.table(), [uid]):
        same = leftover.app == app and leftover.directory == directory
        if same and not leftover.helped:
            end(leftover, say, tell_of)
    _forget_old(app, directory, servers)
    _forget_fragments(unread)


KEPT_FOR = 7 * 86400.0
"""Seconds for which the report of another app's last run is kept."""


def _forget_old(app: str, directory: str, servers: Iterable[Server]) -> None:
    """Of this app the last run is kept, for its report, until this one has something to tell."""
    over = [server for server in servers if server.is_gone]
    same = [
        server
        for server in over
        if server.is_here and (server.app, server.fields["directory"]) == (app, directory)
    ]
    for server in over:
        old = not server.is_here or time.monotonic() - server.began > KEPT_FOR
        if old or server in same[:-1]:
            forget(server.directory, server.run)


FRAGMENT_KEPT_FOR = 60.0
"""Seconds for which files without a state file are kept: its server may be about to write it. (And
one that lives writes them anew.)"""


def _forget_fragments(unread: Iterable[Unread]) -> None:
    """What is left of runs that no state file tells of, since they were killed in their very first
    moment; and of those whose file nobody has understood for a week."""
    for one in unread:
        if one.age is not None and one.age > KEPT_FOR:
            path, name = os.path.split(one.path)
            forget(path, name.removesuffix(state.STATE))
    for path in statedir.places(os.geteuid()):
        try:
            directory = statedir.open_directory(path, os.geteuid())
        except OSError:
            continue
        try:
            for name in _fragments(directory, path):
                os.unlink(name, dir_fd=directory)
        except OSError:
            pass
        finally:
            os.close(directory)


def _fragments(directory: int, path: str) -> list[str]:
    """The names of the files that tell nobody anything any more."""
    names = sorted(os.listdir(directory))
    told = {name.removesuffix(state.STATE) for name in names if name.endswith(state.STATE)}
    runs: dict[str, list[str]] = {}
    found = []
    for name in names:
        run, dot, end = name.rpartition(".")
        if name.startswith("."):
            if _is_draft(name) and _is_old(directory, name):
                found.append(name)
        elif dot + end in state.ALL and run not in told:
            runs.setdefault(run, []).append(name)
    for run, left in runs.items():
        socket = run + state.SOCKET
        refuses = socket in left and _refuses(path, socket)
        if refuses or all(_is_old(directory, name) for name in left):
            found += left
    return found


def _is_draft(name: str) -> bool:
    """Of `statedir.write`: `.RUN.state.PID`."""
    _, run, end, pid, *more = (*name.split("."), "", "", "")
    return bool(run) and f".{end}" in state.ALL and pid.isdigit() and not any(more)


def _is_old(directory: int, name: str) -> bool:
    age = statedir.age_of(directory, name)
    return age is not None and age > FRAGMENT_KEPT_FOR


def _refuses(directory: str, name: str) -> bool:
    """Whether a socket is nobody's any more."""
    import socket  # here, as the commands do without

    from .socket_path import short_path

    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            with short_path(directory, name) as path:
                probe.connect(path)
        except ConnectionRefusedError:
            return True
        except OSError:
            pass
    return False
