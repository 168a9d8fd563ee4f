"""The `sanic-reaper` command.

Each command lives in a module of its own with a `main(arguments) -> int`. A module is imported only
when its command is chosen: `sanic-reaper --version` must not wait for Sanic, or for psutil. And
`sanic-reaper run` stays as long as its server does, so it does not even pay for `argparse` here.
"""

from __future__ import annotations

import sys
from importlib import import_module

from sanic_reaper import __version__

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser
    from collections.abc import Sequence


class Command:
    """A command: the module that is it, and a line for the list of all.

    Not a `NamedTuple`: `typing` alone takes a tenth of the time that a probe has.
    """

    def __init__(self, module: str, line: str) -> None:
        self.module, self.help = module, line


COMMANDS = {
    "ps": Command(
        "sanic_reaper.commands.ps",
        "the running servers, their processes, and what each is doing",
    ),
    "dump": Command(
        "sanic_reaper.commands.dump",
        "the Python stacks of a worker, even if C code holds the GIL",
    ),
    "requests": Command(
        "sanic_reaper.commands.requests",
        "the requests in flight of a worker or of all, and the line in which each waits",
    ),
    "sweep": Command(
        "sanic_reaper.commands.sweep", "list and kill leftover processes of servers that have died"
    ),
    "health": Command(
        "sanic_reaper.commands.health", "for probes: exit code 0 if a server is live, or ready"
    ),
    "report": Command(
        "sanic_reaper.commands.report",
        "how long the last start and stop took, and who was killed",
    ),
    "demo": Command(
        "sanic_reaper.demo",
        "kill a server, without and with the Reaper; count what is left",
    ),
    "run": Command("sanic_reaper.run", "run a command under an init; leave nothing of it behind"),
}

USAGE = 2

EXIT_CODES = """\
exit codes:
  0    success
  1    the check failed: no server, an unhealthy one, or leftovers
  2    the command could not run: wrong usage, or something is missing
  130  interrupted
  141  the reader of the output has exited (`ps | head`)
`run` exits with the code of the command that it runs.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the chosen command and return its exit code."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    # `run` gives the streams to its command as they are, closed ones too.
    if words[:1] != ["run"] or words[1:2] in (["-h"], ["--help"]):
        from .commands import streams

        streams.prepare()
    try:
        try:
            return _run(words)
        finally:
            if sys.stdout is not None:
                sys.stdout.flush()  # here, not at the interpreter's end: it may fail
    except KeyboardInterrupt:
        return 130
    except OSError as error:
        from .commands import streams

        code = streams.exit_code_for(error)
        if code is None:
            raise
        return code


def _run(words: list[str]) -> int:
    if not words:
        build_parser().print_help()
        return USAGE
    if words[0] not in COMMANDS:
        chosen = build_parser().parse_args(words)
        words = [chosen.command, *chosen.arguments]
    command = import_module(COMMANDS[words[0]].module)
    return int(command.main(words[1:]))


def build_parser() -> ArgumentParser:
    from argparse import REMAINDER, SUPPRESS, ArgumentParser, RawDescriptionHelpFormatter

    width = max(map(len, COMMANDS))
    commands = "\n".join(f"  {name:{width}}  {command.help}" for name, command in COMMANDS.items())
    hint = "`sanic-reaper COMMAND --help` shows the options of a command."
    parser = ArgumentParser(
        prog="sanic-reaper",
        usage="%(prog)s [--help | --version] COMMAND ...",
        description="Inspect Sanic servers that use the Reaper, and kill leftover processes.",
        epilog=f"commands:\n{commands}\n\n{hint}\n\n{EXIT_CODES}",
        formatter_class=RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    parser.add_argument("command", choices=COMMANDS, metavar="COMMAND", help=SUPPRESS)
    parser.add_argument("arguments", nargs=REMAINDER, help=SUPPRESS)
    return parser


if __name__ == "__main__":
    sys.exit(main())
