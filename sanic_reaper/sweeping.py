"""Ending what is left of a server whose main and whose watchdog are gone.

Who is ended is decided by `view`: what main has recorded, what descends from that, and what bears
the run's mark. How, is what the watchdog does too: SIGTERM, a second, SIGKILL, until none is left.
"""

from __future__ import annotations

import os
import select
import signal
import time

from . import platform, state, statedir, view
from .process import Handle

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from .platform.base import Identity, Row
    from .view import Server, Stray

GRACE = 1.0
"""Seconds between SIGTERM and SIGKILL. They have had their time to finish: nobody asks for an
answer of a server that is gone."""

STUBBORN = 3.0
"""Seconds after SIGKILL after which we give up."""


class Leftover:
    """What is left of one run.

    Attributes:
        processes: each with the evidence that it is of this run.
        title: how the log calls the run.
        uid: whose it was. Nobody else's process is ended for it.
        helped: whether its watchdog lives, and does this itself.
    """

    def __init__(self, title: str, run: str, app: str, directory: str, uid: int) -> None:
        self.title, self.run, self.app, self.directory, self.uid = title, run, app, directory, uid
        self.processes: dict[Identity, str] = {}
        self.names: dict[Identity, str] = {}
        self.helped = False
        self.find: Callable[[], dict[Identity, str]] = dict
        """Looks again."""

    def name(self, identity: Identity) -> str:
        row = platform.row(identity[0])
        return self.names.get(identity) or (row.name if row is not None else "?")


def leftovers(table: Mapping[int, Row], uids: Iterable[int]) -> list[Leftover]:
    """What is left of all runs of these users whose main is gone."""
    uids = list(uids)
    servers = view.servers(uids)
    found = [_of_server(server, table) for server in servers if not server.lives]
    known = {server.run for server in servers}
    found += [_of_stray(stray, table) for stray in view.strays(table, uids, known)]
    return [leftover for leftover in found if leftover.processes]


def not_us(found: Mapping[Identity, str], table: Mapping[int, Row]) -> dict[Identity, str]:
    """Without this process and those that it descends from.

    A server that a worker of an earlier one has started bears the earlier one's mark; so does
    `sanic-reaper sweep` in a shell that a worker has started.
    """
    line, pid = set(), os.getpid()
    while pid in table and pid not in line:
        line.add(pid)
        pid = table[pid].ppid
    return {identity: why for identity, why in found.items() if identity[0] not in line}


def _of_server(server: Server, table: Mapping[int, Row]) -> Leftover:
    title = f"{server.app} (main was {server.main[0]})"
    leftover = Leftover(
        title, server.run, server.app, server.fields.get("directory", ""), server.uid
    )
    leftover.helped = server.watchdog_lives
    leftover.names = {identity: one.name for identity, one in server.members.items()}

    def find() -> dict[Identity, str]:
        now = platform.table()
        return not_us(server.belongs(now), now)

    leftover.find = find
    leftover.processes = not_us(server.belongs(table), table)
    return leftover


def _of_stray(stray: Stray, table: Mapping[int, Row]) -> Leftover:
    title = f"{stray.app} (main was {stray.main[0]})"
    leftover = Leftover(title, stray.run, stray.app, stray.directory, stray.uid)

    def find() -> dict[Identity, str]:
        now = platform.table()
        again = view.strays(now, [stray.uid], set())
        return not_us(next((one.processes for one in again if one.run == stray.run), {}), now)

    leftover.find = find
    leftover.processes = not_us(stray.processes, table)
    return leftover


def end(
    leftover: Leftover,
    say: Callable[[str, str], None],
    tell_of: Callable[[str, int, str], None] | None = None,
) -> int:
    """End it. Looks again after each signal, for what was started meanwhile.

    Args:
        say: where a line goes for each signal: its level, its text.
        tell_of: told once of each that is ended: name, pid, evidence.

    Returns:
        How many were ended.
    """
    began = time.monotonic()
    asked: set[Identity] = set()
    ended: set[Identity] = set()
    while living := leftover.find():
        now = time.monotonic()
        if now - began >= GRACE + STUBBORN:
            for identity in living:
                say("ERROR", f"{leftover.name(identity)} [{identity[0]}] can't be ended; giving up")
            break
        signum = signal.SIGKILL if now - began >= GRACE else signal.SIGTERM
        for identity, evidence in living.items():
            if signum == signal.SIGTERM and identity in asked:
                continue
            asked.add(identity)
            if _send(identity, signum, leftover.uid):
                if tell_of is not None and identity not in ended:
                    tell_of(leftover.name(identity), identity[0], evidence)
                ended.add(identity)
                say(
                    "WARNING" if signum == signal.SIGKILL else "INFO",
                    f"{signum.name} to {leftover.name(identity)} [{identity[0]}], left by "
                    f"{leftover.title}: {evidence}; {now - began:.2f} s after the sweep began",
                )
        _wait(living, 0.1)
    return len(ended)


def _send(identity: Identity, signum: int, uid: int) -> bool:
    handle = Handle.open(*identity)
    if handle is None:
        return False
    try:
        # Once more, of what the handle now holds for good.
        if platform.uid(identity[0]) != uid:
            return False
        sent = handle.send(signum)
        handle.send(signal.SIGCONT)
        return sent
    except PermissionError:
        return False
    finally:
        handle.close()


def _wait(identities: Iterable[Identity], seconds: float) -> None:
    """Until one of them has ended, or the time is over."""
    poll, handles = select.poll(), []
    for identity in identities:
        handle = Handle.open(*identity)
        if handle is not None:
            handles.append(handle)
            if handle.fd is not None:
                poll.register(handle.fd, select.POLLIN)
    poll.poll(seconds * 1000)
    for handle in handles:
        handle.close()


def forget(path: str, run: str) -> None:
    """Remove what a run has left in a directory of our own."""
    statedir.remove(path, *(f"{run}{end}" for end in state.ALL))


def sweep_for(
    app: str,
    directory: str,
    say: Callable[[str, str], None],
    tell_of: Callable[[str, int, str], None],
) -> int:
    """Before this app starts again: end what is left of it, where nobody else does.

    Args:
        app: its name,
        directory: and that in which it runs. Both, or another program of the same user that has
            the same name would be taken for it.

    Returns:
        How many were ended.
    """
    uid = os.geteuid()
    ended = 0
    for leftover in leftovers(platform.table(), [uid]):
        same = leftover.app == app and leftover.directory == directory
        if same and leftover.uid == uid and not leftover.helped:
            ended += end(leftover, say, tell_of)
    _forget_old(app, directory, uid)
    return ended


KEPT_FOR = 7 * 86400.0
"""Seconds for which the report of another app's last run is kept."""


def _forget_old(app: str, directory: str, uid: int) -> None:
    """Of this app the last run is kept, for its report, until this one has something to tell."""
    over = [server for server in view.servers([uid]) if not server.lives]
    same = [
        server
        for server in over
        if server.app == app and server.fields.get("directory") == directory
    ]
    for server in over:
        old = not server.is_here or view.now() - server.began > KEPT_FOR
        if old or server in same[:-1]:
            forget(server.directory, server.run)
