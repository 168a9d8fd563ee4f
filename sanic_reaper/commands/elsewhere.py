"""Finds servers, and words the lines about servers that cannot be shown and directories that were
searched."""

from __future__ import annotations

import os
import shlex
from collections import Counter
from functools import cache

from .. import platform
from ..state import discovery, statedir, unseen
from ..untrusted import printable
from .streams import complain

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import Any

    from ..state.discovery import Unread
    from ..state.server import Server
    from ..state.unseen import Unseen

MOST_PLACES = 6
"""Number of searched directories that are listed. (Root searches those of every user.)"""


_complained: set[str] = set()
"""Lines that have been printed by `servers`."""


def servers(uids: Iterable[int] | None = None) -> list[Server]:
    """Find the servers, as `discovery.servers` does.

    A state file that is not understood gets one line on standard error, if its server seems to run.
    The files of another user share one line, because that user can create many.

    Args:
        uids: users whose servers are searched. `None`: as `discovery.servers`.
    """
    unread: list[Unread] = []
    found = discovery.servers(uids, unread)
    own, running = os.geteuid(), [one for one in unread if one.seems_alive]
    notes = [str(one) for one in running if one.uid == own]
    others = Counter(one.uid for one in running if one.uid != own)
    notes += [
        f"{number} state files of user {user(uid)} are not understood"
        for uid, number in others.items()
    ]
    for note in map(printable, notes):
        if note not in _complained:
            _complained.add(note)
            complain(note)
    return found


def looked_in(uids: Iterable[int]) -> str:
    """A line with the searched directories."""
    places = unseen.where(uids)
    more = f" and {len(places) - MOST_PLACES} more" if len(places) > MOST_PLACES else ""
    return f"looked in {', '.join(places[:MOST_PLACES])}{more}, as user {user(os.geteuid())}"


def complain_of_unseen(known: Iterable[Server], command: str) -> None:
    """Print which directories were searched, and which running servers cannot be shown.

    Args:
        known: the servers that were found.
        command: as in `hints`.
    """
    complain(looked_in(statedir.users()))
    hidden = unseen.unseen(platform.table(), {server.run for server in known})
    for line in hints(hidden, command):
        complain(line)


def hints(found: Sequence[Unseen], command: str) -> list[str]:
    """A line for each server, or for all servers of a user, that cannot be shown.

    Args:
        found: the servers.
        command: the command line that would show them.
    """
    counts = Counter((one.why, one.uid) for one in found if one.why != unseen.OTHER_PLACE)
    lines = [_count(why, user(uid), number, command) for (why, uid), number in counts.items()]
    lines += [
        f"a server of user {user(one.uid)} runs (main process {one.main}), and its files "
        f"{_whereabouts(one, command)}"
        for one in found
        if one.why == unseen.OTHER_PLACE
    ]
    return [printable(line) for line in lines]


def _count(why: str, name: str, number: int, command: str) -> str:
    servers = "1 server" if number == 1 else f"{number} servers"
    if why == unseen.CONTAINER:
        place = "in another PID namespace (a container): run the command in it"
        return f"user {name} runs {servers} {place}"
    who, how = (name, "sudo") if name == "root" else (f"{name} and root", f"sudo -u {name}")
    return f"user {name} runs {servers}, which only {who} can see: `{how} {command}`"


def _whereabouts(one: Unseen, command: str) -> str:
    words = [f"{name}={shlex.quote(value)}" for name, value in one.environment.items()]
    if not words:
        return "can't be read from here"
    if one.uid != os.geteuid():
        words = ["sudo", "-u", user(one.uid), *words]
    return f"lie elsewhere: `{' '.join([*words, command])}`"


def as_data(found: Iterable[Unseen]) -> list[dict[str, Any]]:
    """The servers that cannot be shown, for `--json`."""
    return [{"uid": one.uid, "main": one.main, "why": one.why} for one in found]


@cache
def user(uid: int) -> str:
    """The name of a user, or the uid of a user without a name."""
    import pwd  # not above: most commands name no user

    try:
        return pwd.getpwuid(uid).pw_name
    except (KeyError, OverflowError):
        return str(uid)
