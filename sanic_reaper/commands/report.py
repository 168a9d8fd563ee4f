"""`sanic-reaper report`: reports on the last start and stop of a server, from its files."""

from __future__ import annotations

import os
import stat
import sys
import time
from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter
from collections.abc import Sequence
from contextlib import suppress

from ..report.run_report import RunReport
from ..state.server import Server
from . import elsewhere
from .streams import complain
from .terminal import NOTHING_FOUND, USAGE, painter, print_json

EXIT_CODES = f"""\
exit codes:
  0  a report was made
  {NOTHING_FOUND}  there is no run to report on
  {USAGE}  wrong usage, or FILE can't be written
"""


def main(arguments: Sequence[str]) -> int:
    """Report on the last run; return the exit code."""
    chosen = build_parser().parse_args(arguments)
    found = elsewhere.servers()
    server = _last(found, chosen.app)
    if server is None:
        complain(f"sanic-reaper: {_none(found, chosen.app)}")
        elsewhere.complain_of_unseen(found, "sanic-reaper report")
        return NOTHING_FOUND
    report = RunReport(server, time.monotonic(), server.lives, server.is_here)
    return _show(report, chosen)


def build_parser() -> ArgumentParser:
    parser = ArgumentParser(
        prog="sanic-reaper report",
        description="Report on a run: how long its start and stop took, who was killed, and why.\n"
        "Default: the most recently started run.",
        epilog=EXIT_CODES,
        formatter_class=RawDescriptionHelpFormatter,
    )
    parser.add_argument("--app", metavar="NAME", help="the most recent run of this app")
    parser.add_argument(
        "--full", action="store_true", help="show each worker, each event, and reasons in full"
    )
    form = parser.add_mutually_exclusive_group()
    form.add_argument(
        "--html",
        metavar="FILE",
        help="write one HTML page that needs no other file; `-` writes to stdout",
    )
    form.add_argument("--json", action="store_true", help="print JSON (docs/commands.md)")
    return parser


def _last(found: Sequence[Server], app: str | None) -> Server | None:
    """The most recent run, by the wall clock: the monotonic clock starts again at each boot.

    Runs of this boot and PID namespace are preferred to others, such as those of a container that
    shares our /run, because it is not known whether the others live.
    """
    wanted = [one for one in found if app in (None, one.app)]
    return max(wanted, key=lambda one: (one.is_here, _began(one)), default=None)


def _began(server: Server) -> float:
    try:
        return server.began + float(server.fields.get("clock", 0.0))
    except ValueError:
        return 0.0


def _none(found: Sequence[Server], app: str | None) -> str:
    if app is None:
        return "no server has left files for a report"
    others = ", ".join(sorted({one.app for one in found}))
    return f"no run of {app!r}" + (f"; there are runs of: {others}" if others else "")


def _show(report: RunReport, chosen: Namespace) -> int:
    if chosen.json:
        from ..report.record import record

        print_json("report", record(report))
    elif chosen.html:
        from ..report.page import page

        return _write(chosen.html, page(report).encode("utf-8", "replace"))
    else:
        from ..report.text import Text

        _print(str(Text(report, painter(), chosen.full)))
    sys.stdout.flush()
    return 0


def _print(text: str) -> None:
    """Print a text. Letters that the output cannot show are replaced."""
    encoding = sys.stdout.encoding or "utf-8"
    sys.stdout.write(text.encode(encoding, "replace").decode(encoding))


def _write(path: str, content: bytes) -> int:
    if path == "-":
        sys.stdout.buffer.write(content)
        sys.stdout.flush()
        return 0
    try:
        write_whole(path, content)
    except OSError as error:
        complain(f"sanic-reaper: {path}: {error.strerror or error}")
        return USAGE
    print(f"{path}: {len(content)} bytes")
    return 0


def write_whole(path: str, content: bytes) -> None:
    """Write a file atomically: a reader sees the old file or the new one.

    An existing file must be an ordinary file. A link is not followed, and a device or a pipe is not
    replaced.

    Raises:
        OSError: the file cannot be written.
    """
    with suppress(FileNotFoundError):
        if not stat.S_ISREG(os.lstat(path).st_mode):
            raise OSError("not an ordinary file; `-` writes to stdout")
    draft = f"{path}.{os.getpid()}.draft"
    fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
    try:
        with open(fd, "wb") as file:
            file.write(content)
        os.rename(draft, path)
    except BaseException:
        os.unlink(draft)
        raise
