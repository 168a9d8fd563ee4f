"""`sanic-reaper demo`: sends signals to real servers, with and without the Reaper, and counts what
is left.

For each row of the table `examples/slow_start.py` runs twice: with the Reaper, and as plain Sanic.
Both get the same signal in the same state. The processes that still live are counted as soon as
none lives, or when the limit is over (`patience`). Leftovers of plain Sanic are killed by pid and
creation time, also when the demo itself is interrupted.

The two servers of a row run one after the other: a main process of plain Sanic that spins on a core
must not disturb the measurement of the Reaper.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
import time
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from uuid import uuid4

from .family import Family
from .results import ROWS, Result, Row
from .servers import CannotRun, Stage, find_example, play
from .table import Style, render_end, render_head, render_json, render_row


class Screen:
    """Shows the table on stdout, and on stderr what the demo is doing.

    On a terminal the table grows, with one line below it that says what the demo is doing.
    Otherwise stderr gets a line for each row, and stdout the whole table at the end.

    Args:
        rows: number of rows.
        start_method: how Sanic starts its workers.
        table: whether to show the table.
    """

    def __init__(self, rows: int, start_method: str, table: bool) -> None:
        self.rows = rows
        self.start_method = start_method
        self.done: list[Result] = []
        self.table = table
        self.live = sys.stderr.isatty()
        self.grows = table and (self.live or sys.stdout.isatty())
        self.style = Style(sys.stdout.isatty() and not os.environ.get("NO_COLOR"))
        self.width = shutil.get_terminal_size((120, 24)).columns
        if self.grows:
            self.print(render_head(self.start_method, self.style))

    def begin(self, row: Row) -> Callable[[str], None]:
        """Announce a row. Returns a function that shows what is being done in it."""
        title = f"[{len(self.done) + 1}/{self.rows}] {row.event} {row.state}"
        if not self.live:
            print(title, file=sys.stderr, flush=True)
        return lambda doing: self.status(f"{title}: {doing}")

    def status(self, text: str) -> None:
        """Replace the line that says what the demo is doing."""
        if self.live:
            print(f"\r\x1b[K{text[: self.width - 1]}", end="", file=sys.stderr, flush=True)

    def add(self, result: Result) -> None:
        """Show the result of a row."""
        self.done.append(result)
        self.status("")
        if self.grows:
            self.print([render_row(result, self.style)])

    def end(self) -> None:
        """Show the end of the table and the verdicts."""
        if self.table and not self.grows:
            self.print(render_head(self.start_method, self.style))
            self.print([render_row(result, self.style) for result in self.done])
        if self.table:
            self.print(render_end(self.done, self.style, self.width))

    def print(self, lines: Sequence[str]) -> None:
        print("\n".join(lines), flush=True)


@contextmanager
def one_interrupt() -> Iterator[None]:
    """A context in which the first Ctrl+C, SIGTERM or SIGHUP stops the demo, and later ones are
    ignored, so that they do not disturb the clean-up.

    A signal that was ignored when the demo started (nohup, a background job) has no effect, but
    gets a handler too: exec resets a handler, but the servers would inherit an ignored signal.

    Raises:
        KeyboardInterrupt: at the first signal.
    """
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.getsignal(number) for number in numbers}
    ended = False

    def interrupt(number: int, _: FrameType | None) -> None:
        nonlocal ended
        if not ended and before[signal.Signals(number)] is not signal.SIG_IGN:
            ended = True
            raise KeyboardInterrupt

    for number in numbers:
        signal.signal(number, interrupt)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def run(rows: Sequence[Row], start_method: str, as_json: bool) -> int:
    """Play the rows and show them.

    Returns:
        The exit code. 0: the Reaper left nothing. 1: it left something. 2: not measured.
    """
    began = time.monotonic()
    stage = Stage(find_example(), start_method, marker=uuid4().hex)
    screen = Screen(len(rows), start_method, table=not as_json)
    with one_interrupt():
        try:
            for row in rows:
                screen.add(play(row, stage, screen.begin(row)))
        finally:
            Family(stage.marker).kill()  # also a server that an interrupt caught before its `with`
            screen.status("")
    screen.end()
    if as_json:
        print(render_json(screen.done, start_method, time.monotonic() - began))
    if not all(result.reaper.clean for result in screen.done if result.reaper.measured):
        return 1
    return 0 if all(result.reaper.measured for result in screen.done) else 2


def main(arguments: Sequence[str]) -> int:
    """Run the demo and return the exit code."""
    options = build_parser().parse_args(arguments)
    rows = [row for row in ROWS if not options.only or row.name in options.only]
    try:
        return run(rows, options.start_method, options.json)
    except CannotRun as missing:
        print(f"sanic-reaper demo: {missing}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted; whatever was started has been killed", file=sys.stderr)
        raise


def build_parser() -> ArgumentParser:
    parser = ArgumentParser(
        prog="sanic-reaper demo",
        description="Send signals to a real server, as plain Sanic and with the Reaper,\n"
        "count what is left behind, and kill it. Takes about a minute on an idle machine,\n"
        "and several on a busy one.",
        epilog="rows: " + ", ".join(row.name for row in ROWS) + "\n\n"
        "exit codes: 0 the Reaper left nothing, 1 it left something, 2 the demo could not run\n"
        "or the machine is too busy to measure, 130 interrupted",
        formatter_class=RawDescriptionHelpFormatter,
    )
    names = [row.name for row in ROWS]
    parser.add_argument("--json", action="store_true", help="print the results as JSON")
    parser.add_argument(
        "--only", action="append", metavar="ROW", choices=names, help="this row; may be repeated"
    )
    parser.add_argument(
        "--start-method",
        choices=["spawn", "fork", "forkserver"],
        default="spawn",
        help="how Sanic starts its workers (default: spawn)",
    )
    return parser
