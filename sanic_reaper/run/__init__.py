"""`sanic-reaper run -- CMD`: the command's init.

`run` starts the command as its child and stays: it passes signals on, reaps every zombie, and when
the command ends it ends all that has come from it, and then itself with the command's exit code.
It lives as long as the server does, so it imports neither Sanic nor asyncio, and `argparse` only
where there is an option to parse: 10 ms and 2 MB.
"""

from __future__ import annotations

import os
import signal

from .. import platform
from .command import Given, mark, start
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
  that of COMMAND; where a signal has ended it, 128 + the signal's number
  2    wrong usage
  126  COMMAND can't be executed
  127  COMMAND is not there
"""


def main(arguments: Sequence[str]) -> int:
    given = Given()
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
        _end_by(signal.SIGINT)
    return exit_code(status)


def _adopt(report: Report) -> str:
    """Have all orphans come to us; where that can't be, return the mark that they will bear."""
    if os.getpid() == 1:
        return ""
    try:
        platform.become_subreaper()
    except OSError as error:
        report.say(
            "WARNING",
            f"orphans are not adopted ({error.strerror}): a daemon is found only if it was seen "
            "before it left, or has kept its environment",
        )
        return mark()
    return ""


def _end_by(signum: int) -> None:
    """End as the command has, by a Ctrl+C: a shell that sees that gives up its script, and goes on
    with it after an exit code of 130.

    Nothing but a Ctrl+C: an exit code of 128 + N is what is there for PID 1, which can't be killed,
    and elsewhere a death by signal means that `run` itself was killed and could not clean up.
    """
    signal.signal(signum, signal.SIG_DFL)
    os.kill(os.getpid(), signum)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signum})


def parse(arguments: Sequence[str]) -> tuple[list[str], float, bool]:
    """The command, the grace, and whether to speak JSON.

    Raises:
        SystemExit: help was wanted (0), or the arguments are wrong (2).
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
        "After COMMAND has exited, one more SIGTERM or SIGINT cuts the grace short.",
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
