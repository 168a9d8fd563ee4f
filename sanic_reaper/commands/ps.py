"""`sanic-reaper ps`: shows every server, its processes and their states."""

from __future__ import annotations

import sys
import time
from argparse import ArgumentParser
from collections import Counter
from collections.abc import Sequence

from .. import platform
from ..state import statedir, strays
from ..state.unseen import Unseen, unseen
from . import elsewhere
from .picture import Picture
from .terminal import NOTHING_FOUND, height, print_json

INTERVAL = 2.0
"""Seconds between two screens of `--watch`."""

SAMPLE = 0.1
"""Seconds over which processor time is measured for the first screen."""


def main(arguments: Sequence[str]) -> int:
    """Show the servers and return the exit code."""
    parser = ArgumentParser(
        prog="sanic-reaper ps",
        description="Show the running servers of this user (as root: of every user), their "
        "processes, and the leftover processes of servers whose main process has died.",
        epilog=f"exit codes: 0 something is shown; {NOTHING_FOUND} there is no server",
    )
    parser.add_argument("--watch", action="store_true", help="repeat every 2 s until interrupted")
    parser.add_argument(
        "--json",
        action="store_true",
        help="print JSON (docs/commands.md); with --watch one object per line",
    )
    options = parser.parse_args(arguments)
    pictures, hidden = look()
    if pictures:
        measure(pictures, SAMPLE)
    while True:
        if options.json:
            content = {"servers": [picture.as_data() for picture in pictures]}
            content["unseen"] = elsewhere.as_data(hidden)
            print_json("ps", content, in_one_line=options.watch)
        else:
            show(pictures, hidden, clear=options.watch)
        if not options.watch:
            return 0 if pictures else NOTHING_FOUND
        sys.stdout.flush()
        time.sleep(INTERVAL)
        before = pictures
        pictures, hidden = look()
        compare(before, pictures)


def show(pictures: list[Picture], hidden: list[Unseen], clear: bool) -> None:
    """Print the servers. `clear`: on a cleared screen, cut to its height."""
    blocks = [picture.lines() for picture in pictures]
    if not blocks:
        blocks = [["no server is running here", elsewhere.looked_in(statedir.users())]]
    if hidden:
        blocks.append(elsewhere.hints(hidden, "sanic-reaper ps"))
    if clear and sys.stdout.isatty():
        blocks = fitting(blocks, pictures, height())
        print("\x1b[H\x1b[2J", end="")
    print("\n\n".join(map("\n".join, blocks)))


HEAD = 2
"""Lines of a server that are always shown: its headline, and the names of the columns."""


def fitting(blocks: list[list[str]], pictures: Sequence[Picture], lines: int) -> list[list[str]]:
    """Cut blocks of lines to the height of a terminal.

    The last processes of the longest blocks are left out, and counted by their states.

    Args:
        blocks: the lines of each server. More blocks can follow those of the servers.
        pictures: the servers.
        lines: height of the terminal.
    """
    shown = [len(block) for block in blocks]
    spare = lines - 1 - (len(blocks) - 1)  # the cursor's line, and one between two blocks
    while sum(shown) > spare:
        longest = max(range(len(shown)), key=shown.__getitem__)
        if shown[longest] <= HEAD + 1:
            break
        shown[longest] -= 1
    found = []
    for at, (block, number) in enumerate(zip(blocks, shown, strict=True)):
        if number < len(block) and at < len(pictures):
            kept = number - 1
            states = Counter(line.state for line in pictures[at].processes[kept - HEAD :])
            words = ", ".join(f"{count} {state}" for state, count in states.most_common())
            block = [*block[:kept], f"... and {states.total()} more processes: {words}"]
        found.append(block)
    return found


def look() -> tuple[list[Picture], list[Unseen]]:
    """Find the servers and leftovers to show, and the running servers that cannot be shown."""
    servers = elsewhere.servers()
    table, now = platform.table(), time.monotonic()  # after the state files: no process is missing
    for server in servers:
        server.observe(table.get)
    pictures = [Picture.of(server, table, now) for server in servers]
    known = {(server.uid, server.run) for server in servers}
    uids = list(statedir.users())
    pictures += [Picture.of_stray(stray, table) for stray in strays.strays(table, uids, known)]
    shown = [picture for picture in pictures if picture.is_worth_showing]
    return shown, unseen(table, {run for _, run in known})


def measure(pictures: Sequence[Picture], seconds: float) -> None:
    """Wait for so many seconds, and set each process's share of a core over that time."""
    time.sleep(seconds)
    for picture in pictures:
        for line in picture.processes:
            now = time.monotonic()
            line.compare(line.cpu, line.seen_at, platform.cpu_seconds(line.row.pid), now)


def compare(before: Sequence[Picture], pictures: Sequence[Picture]) -> None:
    """Set each process's share of a core since the earlier pictures."""
    earlier = {line.row.identity: line for picture in before for line in picture.processes}
    for picture in pictures:
        for line in picture.processes:
            then = earlier.get(line.row.identity)
            if then is not None:
                line.compare(then.cpu, then.seen_at, line.cpu, line.seen_at)
