"""The marks that a server leaves in the environment of what it starts.

A mark survives exec, `setsid` and a change of parent, and `/proc/PID/environ` shows it: it is the
evidence that remains when the family tree is broken. A process that was forked without exec bears
the marks of main's own exec, so it has none; the tree covers that one.

The names are in lower case. Sanic makes a key of `app.config` of each variable in upper case that
begins with `SANIC_` or with a prefix of the user's (`Config.load_environment_vars`), and sanic-ext
injects each key as a constant. No prefix matches a name in lower case.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

RUN = "sanic_reaper_run"
"""The id of one run of one server. Random, with no pid in it: `sanic --daemon` forks after it."""

MAIN = "sanic_reaper_main"
"""Who main is, in what its server executes: pid, creation time, name and directory of the app, with
tabs between them. Set when main serves: a daemon that still forks would not know."""

DETACHED = "sanic_reaper_detached"
"""Stands in the place of `RUN` in a child that is meant to outlive the server."""

OWNER = "sanic_reaper_owner"
"""In what a worker starts: which worker, as `PID:CREATION TIME`. Its name is not enough: the worker
that takes its place has the same."""

WORKER_MARKS = ("SANIC_WORKER_NAME", "SANIC_WORKER_IDENTIFIER", "SANIC_WORKER_PROCESS", OWNER)
"""What the environment of a worker says of it: three variables of Sanic's, and one of ours."""


def new_run() -> str:
    """Give this server a new id and let everything it starts from now on inherit it."""
    run = os.urandom(8).hex()
    os.environ[RUN] = run
    return run


def run_that_begins() -> str:
    """The id of the run that begins here.

    Never that of a server which started this one, nor of one which ran in this process before.
    """
    run = os.environ.get(RUN)
    if run is None or run in _used:
        run = new_run()
    _used.add(run)
    return run


def name_main(main: tuple[int, int], app: str, directory: str) -> None:
    """Let what this server executes from now on tell whose it is, also when main is gone."""
    os.environ[MAIN] = "\t".join((*map(str, main), app, directory))


_used = {os.environ.get(RUN)}


def detached_env(base: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment for a child that is *meant* to outlive the server.

    Start the child with it, and neither it nor what it starts is ended with the server:

        subprocess.Popen(["backup-tool"], env=detached_env(), start_new_session=True)

    The child must be executed with this environment; a bare `os.fork()` is not covered. It
    inherits nothing else from here: close_fds (the default of `subprocess`) keeps the port free.

    Args:
        base: the variables to start from; `os.environ` where none are given.

    Returns:
        A new dictionary; `base` is left as it is.
    """
    variables = dict(os.environ if base is None else base)
    variables.pop(MAIN, None)
    run = variables.pop(RUN, None) or os.environ.get(RUN)
    for name in WORKER_MARKS:
        variables.pop(name, None)
    if run is not None:
        variables[DETACHED] = run
    return variables


def is_marked(environ: bytes, run: str) -> bool:
    """Whether a raw environment, as /proc shows it, belongs to this run."""
    return _has(environ, RUN, run)


def is_detached(environ: bytes, run: str) -> bool:
    return _has(environ, DETACHED, run)


def owner(environ: bytes) -> tuple[int, int] | None:
    """The process that a raw environment says it comes from."""
    pid, _, start = _value(environ, OWNER).partition(b":")
    return (int(pid), int(start)) if pid.isdigit() and start.isdigit() else None


def run_of(environ: bytes) -> str:
    """The run that a raw environment belongs to, or "" for none."""
    return _value(environ, RUN).decode("utf-8", "replace")


def main_of(environ: bytes) -> tuple[tuple[int, int], str, str] | None:
    """Main as a raw environment tells of it: its identity, its app, the app's directory."""
    words = _value(environ, MAIN).decode("utf-8", "replace").split("\t", 3)
    if len(words) != 4 or not (words[0].isdigit() and words[1].isdigit()):
        return None
    return (int(words[0]), int(words[1])), words[2], words[3]


def _value(environ: bytes, name: str) -> bytes:
    _, _, rest = (b"\0" + environ).partition(f"\0{name}=".encode())
    return rest.partition(b"\0")[0]


def _has(environ: bytes, name: str, value: str) -> bool:
    return (b"\0" + environ + b"\0").find(f"\0{name}={value}\0".encode()) >= 0
