"""`sanic-reaper sweep`: lists leftover processes of servers whose main process has died, and kills
them."""

from __future__ import annotations

import os
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence

from .. import platform
from ..state import statedir
from ..state.ports import listening
from ..state.sweeping import Leftover, kill, leftovers
from . import elsewhere
from .streams import complain
from .terminal import USAGE, columns, print_json, printable, seconds, size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from ..platform import Row

LEFT = 1
"""The exit code if something is left."""
DELETED = "this directory, which has been deleted"


def main(arguments: Sequence[str]) -> int:
    """List leftovers, kill them if that is wanted, and return the exit code."""
    options = build_parser().parse_args(arguments)
    uids = list(statedir.users())
    servers = elsewhere.servers(uids)
    table = platform.table()  # after the state files: what has just ended is no leftover
    everything = leftovers(servers, table, uids)
    found = [leftover for leftover in everything if _is_meant(leftover, options)]
    others = sum(len(one.find(table)) for one in everything if one not in found)
    shown = [as_data(leftover, table) for leftover in found]
    lines: list[str] = []
    said = lines.append if options.json else print
    mine = [leftover for leftover in found if not leftover.helped]
    if not options.json:
        show(found, shown, options, others)
    if mine and not options.yes and not options.json and not _agrees():
        return LEFT
    ended = 0
    if options.yes or not options.json:
        ended = sum(
            kill(leftover, lambda _, text, fields: said(printable(text)), lambda *_: None)
            for leftover in mine
        )
    table = platform.table()
    left = any(leftover.find(table) for leftover in found)
    if options.json:
        content = {"found": shown, "others": others, "ended": ended, "left": left, "log": lines}
        print_json("sweep", content)
    return LEFT if left else 0


def build_parser() -> ArgumentParser:
    parser = ArgumentParser(
        prog="sanic-reaper sweep",
        description="List the leftover processes of servers whose main process has died, and kill "
        "them: with --yes, or after a question. Processes that cannot be proved to belong to such "
        "a server are neither listed nor killed.",
        epilog=f"exit codes: 0 nothing is left; {LEFT} something is left; {USAGE} no terminal to "
        "ask the question on",
    )
    parser.add_argument("--yes", action="store_true", help="kill them without a question")
    which = parser.add_mutually_exclusive_group()
    which.add_argument(
        "--app",
        metavar="NAME",
        help="only leftovers of this app, wherever it was started (default: of the apps "
        "that were started in this directory)",
    )
    which.add_argument("--all-apps", action="store_true", help="leftovers of every app")
    parser.add_argument("--json", action="store_true", help="print JSON (docs/commands.md)")
    return parser


def _is_meant(leftover: Leftover, options: Namespace) -> bool:
    if options.app is not None:
        return bool(leftover.app == options.app)
    return options.all_apps or leftover.directory == _here()


def _here() -> str | None:
    """The current directory. `None`: it has been deleted, so no app was started here."""
    try:
        return os.getcwd()
    except FileNotFoundError:
        return None


def _agrees() -> bool:
    if not sys.stdin.isatty():
        complain("no terminal to ask the question on: --yes kills them")
        raise SystemExit(USAGE)
    return input("kill them? [y/N] ").strip().lower() in ("y", "yes")


def show(
    found: list[Leftover], shown: list[dict[str, Any]], options: Namespace, others: int
) -> None:
    """Print the leftovers.

    Args:
        found: the leftovers.
        shown: each of them, from `as_data`.
        options: the options of the command.
        others: number of leftover processes of apps that were not asked for.
    """
    if not found:
        whose = "" if options.all_apps else f" of apps started in {_here() or DELETED}"
        if options.app is not None:
            whose = f" of {options.app}"
        print(printable(f"no leftover processes{whose}"))
    for leftover, data in zip(found, shown, strict=True):
        more = ": its watchdog is killing them" if leftover.helped else ""
        print(printable(f"{leftover.title}, in {leftover.directory}{more}"))
        rows = [("PID", "NAME", "AGE", "RSS", "PORTS", "EVIDENCE")]
        rows += [
            (
                str(one["pid"]),
                printable(one["name"]),
                seconds(one["age_seconds"]),
                size(one["rss_bytes"]),
                ",".join(map(str, one["ports"])) or "-",
                printable(one["evidence"]),
            )
            for one in data["processes"]
        ]
        print("\n".join(columns(rows, right=frozenset((0, 2, 3)))))
    if others:
        one = "1 leftover process of another app"
        what = one if others == 1 else f"{others} leftover processes of other apps"
        print(f"{what}: `sanic-reaper sweep --all-apps`")


def as_data(leftover: Leftover, table: Mapping[int, Row]) -> dict[str, Any]:
    """The leftovers of one run, for `--json`."""
    processes = leftover.find(table)
    ports = listening(pid for pid, _ in processes)
    return {
        "app": leftover.app,
        "run": leftover.run,
        "uid": leftover.uid,
        "directory": leftover.directory,
        "watchdog_lives": leftover.helped,
        "processes": [
            {
                "pid": pid,
                "name": leftover.name(table[pid]),
                "age_seconds": round(platform.age(start), 3),
                "rss_bytes": platform.resident(pid),
                "ports": ports[pid],
                "evidence": evidence,
            }
            for (pid, start), evidence in sorted(processes.items())
        ],
    }
