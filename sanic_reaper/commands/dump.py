"""`sanic-reaper dump`: shows the stacks of a worker or of the main process."""

from __future__ import annotations

import os
import sys
import time
from argparse import ArgumentParser
from collections.abc import Sequence
from functools import partial

from ..model.questions import EVERY_TASK
from ..model.roles import MAIN
from ..model.stacks import described, frames_of
from ..state import control
from ..state.main_stack import ask_main
from ..state.server import Server
from . import elsewhere
from .terminal import NOTHING_FOUND, USAGE, print_json, printable, seconds

NO_TASKS = "\nmain runs no event loop, and has no tasks\n"


def main(arguments: Sequence[str]) -> int:
    """Show the stacks of one process and return the exit code."""
    parser = ArgumentParser(
        prog="sanic-reaper dump",
        description="Show the Python stacks of a worker or of the main process as they are now, "
        "without ptrace, even if C code holds the GIL.",
        epilog=f"exit codes: 0 the stacks are shown; {NOTHING_FOUND} there is no such process, or "
        f"it can't be asked; {USAGE} no process was named, or several servers have a process of "
        "that name",
    )
    parser.add_argument(
        "process",
        metavar="NAME|PID",
        nargs="?",
        help=f"a worker, as `sanic-reaper ps` names it, or `{MAIN}`; without: list the names",
    )
    parser.add_argument("--app", help="ask the server of this app")
    parser.add_argument(
        "--tasks", action="store_true", help="show the tasks of a worker's event loop too"
    )
    parser.add_argument("--json", action="store_true", help="print JSON (docs/commands.md)")
    options = parser.parse_args(arguments)
    known = elsewhere.servers()
    server, code = choose(known, options.process, options.app, "dump")
    if server is None:
        return code
    return _show(server, options.process, options.json, options.tasks)


def choose(
    known: list[Server], wanted: str | None, app: str | None, command: str
) -> tuple[Server | None, int]:
    """The one server that has the wanted process.

    Args:
        known: the servers that were found.
        wanted: the name or the pid of the process, or `main`. `None`: the user has named none.
        app: the name of the server's app. `None`: any.
        command: the command that asks, for the messages.

    Returns:
        The server and 0, or `None` and an exit code: a message has said why.
    """
    servers = [one for one in known if one.lives and not one.is_over and app in (None, one.app)]
    # For root: our own servers come first, whatever the files of other users say.
    own = [server for server in servers if server.uid == os.geteuid()]
    fail = partial(_fail_with_names, command, own or servers, known)
    if wanted is None:
        return None, fail("name a process:", USAGE)
    found = _having(own, wanted) or _having(servers, wanted)
    if not found:
        return None, fail(f"no running server has a worker {wanted};", NOTHING_FOUND)
    if len(found) > 1:
        names = ", ".join(f"{server.app} [{server.main[0]}]" for server in found)
        why = f"several servers have {wanted}: {names}"
        return None, _fail(f"{why}; choose one with --app, or give a pid", USAGE, command)
    return found[0], 0


def _fail_with_names(
    command: str, servers: list[Server], known: list[Server], why: str, code: int
) -> int:
    """Fail, and list the processes that can be asked, or else the searched directories."""
    _fail(f"{why} {_names(servers)}", code, command)
    if not servers:
        elsewhere.complain_of_unseen(known, f"sanic-reaper {command} ...")
    return code


def _having(servers: list[Server], wanted: str) -> list[Server]:
    return [
        server
        for server in servers
        if _is_main(server, wanted)
        or any(wanted in (one.name, str(one.identity[0])) for one in server.living_workers)
    ]


def _is_main(server: Server, wanted: str) -> bool:
    return wanted in (MAIN, str(server.main[0]))


def _names(servers: list[Server]) -> str:
    """The processes that can be asked, for the error message."""
    if not servers:
        return "no server is running"
    of_each = [
        f"{server.app} [{server.main[0]}] has "
        + ", ".join([MAIN, *sorted({worker.name for worker in server.workers})])
        for server in servers
    ]
    return "; ".join(of_each)


def _show(server: Server, wanted: str, as_json: bool, with_tasks: bool) -> int:
    try:
        if _is_main(server, wanted):
            text = _of_main(server) + (NO_TASKS if with_tasks else "")
        else:
            what = EVERY_TASK if with_tasks else ""
            text = control.ask_for_stack(server.directory, server.run, wanted, what)
    except (OSError, LookupError) as error:
        return _fail(f"{wanted} of {server.app}: {error}", NOTHING_FOUND)
    if as_json:
        content = {"app": server.app, "main": server.main[0], "worker": wanted}
        print_json("dump", {**content, "text": text})
    else:
        print("\n".join(map(printable, text.splitlines())))
    return 0


def _of_main(server: Server) -> str:
    stack = ask_main(server.directory, server.uid, server.run, server.main)
    now = time.monotonic()
    how = "its loop runs"
    if not server.turns(now):
        stall = "since its start" if server.beat is None else f"for {seconds(now - server.beat)}"
        how = f"its loop has been stalled {stall}"
    lines = [f"{MAIN} [{server.main[0]}]: {how}", *described(frames_of(stack), stack)]
    return "\n".join(lines) + "\n"


def _fail(why: str, code: int, command: str = "dump") -> int:
    print(f"sanic-reaper {command}: {printable(why)}", file=sys.stderr)
    return code
