"""`sanic-reaper run -- CMD`: runs a command under an init.

`run` starts the command as its child, passes signals on to it, and reaps every zombie. When the
command exits, `run` kills all its descendants, and exits with the command's exit code. `run` lives
as long as the server. So it imports neither Sanic nor asyncio, and imports `argparse` (10 ms, 2 MB)
only if there is an option to parse.
"""

from __future__ import annotations

import os
import signal

from .. import platform
from .command import InheritedSignals, mark, start
from .init import Init
from .report import Report, exit_code

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser
    from collections.abc import Sequence

GRACE = 10.0
"""Seconds between SIGTERM and SIGKILL for what the command leaves behind."""

NOT_EXECUTABLE, NOT_FOUND = 126, 127

EXIT_CODES = """\
exit codes:
  the exit code of COMMAND, or 128 + N if signal N killed it
  2    wrong usage
  126  COMMAND can't be executed
  127  COMMAND was not found
"""


def main(arguments: Sequence[str]) -> int:
    """Run a command and return its exit code."""
    given = InheritedSignals()
    command, grace, as_json = parse(arguments)
    report = Report(as_json)
    init = Init(_adopt(report), grace, report)
    try:
        child = start(command, given, init.has_strangers)
    except OSError as error:
        report.say("ERROR", f"{command[0]}: {error.strerror}")
        return NOT_FOUND if isinstance(error, FileNotFoundError) else NOT_EXECUTABLE
    platform.give_back_memory()
    status = init.serve(child)
    if init.interrupted and status == -signal.SIGINT:
        _die_by(signal.SIGINT)
    return exit_code(status)


def _adopt(report: Report) -> str:
    """Become the subreaper of all descendants.

    Returns:
        If that is not possible, the marker by which descendants are found. Otherwise `""`.
    """
    if os.getpid() == 1:
        return ""
    try:
        platform.become_subreaper()
    except OSError as error:
        report.say(
            "WARNING",
            f"orphans are not adopted ({error.strerror}): a daemon is found only if it was seen "
            "before its parent exited, or if it has kept its environment",
        )
        return mark()
    return ""


def _die_by(signum: int) -> None:
    """Die by the same signal as the command, after a Ctrl+C.

    A shell stops its script if it sees that death. After an exit code of 130 it would go on.

    Used for Ctrl+C only. After other signals the exit code is 128 + N: a death by signal means that
    `run` itself was killed and could not clean up. (PID 1 cannot die by a signal of its own.)
    """
    signal.signal(signum, signal.SIG_DFL)
    os.kill(os.getpid(), signum)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signum})


def parse(arguments: Sequence[str]) -> tuple[list[str], float, bool]:
    """Parse the command line.

    Returns:
        The command with its arguments, the grace period in seconds, and whether to log as JSON.

    Raises:
        SystemExit: help was asked for (0), or the arguments are wrong (2).
    """
    if arguments and not arguments[0].startswith("-"):
        return list(arguments), GRACE, False
    if len(arguments) > 1 and arguments[0] == "--":
        return list(arguments[1:]), GRACE, False
    parser = build_parser()
    options = parser.parse_args(arguments)
    command = options.command[1:] if options.command[:1] == ["--"] else options.command
    if not command:
        parser.error("no COMMAND is given")
    return command, options.grace, options.json


def build_parser() -> ArgumentParser:
    from argparse import REMAINDER, ArgumentParser, ArgumentTypeError, RawDescriptionHelpFormatter

    def seconds(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = -1.0
        if not 0 <= value < float("inf"):
            raise ArgumentTypeError(f"{text!r} is not a number of seconds, 0 or more")
        return value

    parser = ArgumentParser(
        prog="sanic-reaper run",
        usage="%(prog)s [--grace SECONDS] [--json] [--] COMMAND [ARGUMENT ...]",
        description="Run COMMAND under an init: pass signals on to it, reap zombies, and when\n"
        "COMMAND exits, kill every process that it left behind, daemons included.\n"
        "Use it as PID 1 of a container, as the main process of a service, or in a script.",
        epilog=f"{EXIT_CODES}\n"
        "After COMMAND has exited, one more SIGTERM or SIGINT ends the grace period at once.",
        formatter_class=RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument(
        "--grace",
        type=seconds,
        default=GRACE,
        metavar="SECONDS",
        help="time between SIGTERM and SIGKILL for what COMMAND left behind "
        "(default: %(default)g; 0: SIGKILL at once)",
    )
    parser.add_argument(
        "--json", action="store_true", help="write the log as JSON, one object per line, to stderr"
    )
    parser.add_argument("command", nargs=REMAINDER, metavar="COMMAND", help="what to run")
    return parser
