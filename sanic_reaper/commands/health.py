"""`sanic-reaper health`: a liveness and readiness probe."""

from __future__ import annotations

import os
import time
from argparse import ArgumentParser, ArgumentTypeError
from collections.abc import Sequence

from .. import platform
from ..state import discovery, health, statedir
from ..state.unseen import unseen
from ..untrusted import printable, whole
from . import elsewhere
from .streams import complain
from .terminal import print_json

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..state.discovery import Unread
    from ..state.server import Server

UNWELL = 1
"""The exit code if a server does not pass."""


def main(arguments: Sequence[str]) -> int:
    """Check the servers and return the exit code."""
    options = build_parser().parse_args(arguments)
    own = os.geteuid()
    uids = [own] if options.user is None else [options.user]
    if options.all_users:
        uids = list(statedir.users())
    unread: list[Unread] = []
    running = _running(discovery.servers(uids, unread), options.app)
    decide = health.live if options.live else health.ready
    found = {
        f"{server.app} [{server.main[0]}]": decide(server, time.monotonic()) for server in running
    }
    well = bool(found) and not any(found.values())
    notes = [str(one) for one in unread if one.seems_alive]
    if options.json:
        print_json("health", {"well": well, "servers": found, "unread": notes})
        return 0 if well else UNWELL
    if not found:
        complain(f"no server is running{_elsewhere(uids, options.app)}")
        complain(elsewhere.looked_in(uids))
        for line in _unseen():
            complain(line)
    for title, why in found.items():
        if why:
            complain(printable(f"{title}: {why}"))
    for note in notes:
        complain(printable(note))
    return 0 if well else UNWELL


def build_parser() -> ArgumentParser:
    parser = ArgumentParser(
        prog="sanic-reaper health",
        description="Check the server of this user, for a probe. If several are running, all must "
        "pass.",
        epilog=f"exit codes: 0 each server passes; {UNWELL} one does not, or no server is running",
    )
    kind = parser.add_mutually_exclusive_group(required=True)
    kind.add_argument(
        "--live", action="store_true", help="the main process is not stuck, and a worker answers"
    )
    kind.add_argument(
        "--ready",
        action="store_true",
        help="all configured workers serve, and none has background work left",
    )
    whose = parser.add_mutually_exclusive_group()
    whose.add_argument(
        "--user",
        type=_uid,
        metavar="NAME|UID",
        help="check the servers of this user (for root; default: your own)",
    )
    whose.add_argument(
        "--all-users", action="store_true", help="check the servers of every user (for root)"
    )
    parser.add_argument("--app", help="check the server of this app only")
    parser.add_argument("--json", action="store_true", help="print JSON (docs/commands.md)")
    return parser


def _uid(text: str) -> int:
    try:
        uid = whole(text, 0, statedir.MOST_UID)
    except ValueError:
        import pwd  # not above: a probe is called every few seconds

        try:
            uid = pwd.getpwnam(text).pw_uid
        except (KeyError, ValueError):
            raise ArgumentTypeError(f"there is no user {text!r}") from None
    if os.geteuid() not in (0, uid):
        raise ArgumentTypeError("only root can see the servers of another user")
    return uid


def _unseen() -> list[str]:
    """Lines about running servers that cannot be shown."""
    known = {server.run for server in discovery.servers()}
    return elsewhere.hints(unseen(platform.table(), known), "sanic-reaper health ...")


def _running(servers: Sequence[Server], app: str | None) -> list[Server]:
    return [
        server
        for server in servers
        if server.lives and not server.is_over and app in (None, server.app)
    ]


def _elsewhere(uids: Sequence[int], app: str | None) -> str:
    """The users whose servers run, if root has asked for a user without servers."""
    others = sorted(set(statedir.users()) - set(uids))
    having = sorted({server.uid for server in _running(discovery.servers(others), app)})
    if not having:
        return ""
    names = ", ".join(map(str, having))
    return f" as user {uids[0]}; servers are running as user {names}: see --user and --all-users"
