"""Sets and removes the markers (`marks`) in this process's environment."""

from __future__ import annotations

import os
from _thread import allocate_lock

from .marks import DETACHED, MAIN, RUN, WORKER_MARKS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping


def expect_run() -> None:
    """Note that an app of this process has the Reaper, so that this process can run a server."""
    global _expected
    _expected = True


def begin_run() -> str:
    """Put the id of a new run into the environment, for each process that this one starts.

    The id is always new: never the id of a server that started this process, or of one that ran in
    this process before. A process that was forked from this one makes an id of its own.

    Returns:
        The id.
    """
    global _next
    run = _next_run()
    _next = None
    _remember(RUN)
    os.environ[RUN] = run
    return run


def name_main(main: tuple[int, int], app: str, directory: str, namespace: str = "") -> None:
    """Put the main process into the environment, so that leftovers name it when it has exited.

    Args:
        main: pid and creation time of the main process.
        app: name of the app.
        directory: working directory of the app.
        namespace: PID namespace in which the pid is valid.
    """
    _remember(MAIN)
    os.environ[MAIN] = "\t".join((*map(str, main), app, directory, namespace))


def end_run() -> None:
    """Restore the environment that this process had before the run.

    Processes that this process starts from now on do not belong to the server.
    """
    for name in (RUN, MAIN):
        before = _before.pop((os.getpid(), name), None)
        if before:
            os.environ[name] = before
        elif before is not None:
            os.environ.pop(name, None)


def _remember(name: str) -> None:
    _before.setdefault((os.getpid(), name), os.environ.get(name, ""))


def _next_run() -> str:
    global _next
    if _next is None or _next[0] != os.getpid():
        _next = (os.getpid(), os.urandom(8).hex())
    return _next[1]


_expected = False
_next: tuple[int, str] | None = None
"""The pid of a process, and the id that its next run will have."""

_before: dict[tuple[int, str], str | None] = {}
"""The markers before a run, by pid and name. An empty value: the marker was not set."""


class DetachedEnv(dict[str, str]):
    """An environment for a child; as a context manager, the environment of this process."""

    __slots__ = ()

    def __enter__(self) -> DetachedEnv:
        global _blocks
        with _lock:
            if not _blocks:
                wanted = detached_env()
                _attached.update({name: os.environ.get(name) for name in _ALL})
                _set({name: wanted.get(name) for name in _ALL})
            _blocks += 1
        return self

    def __exit__(self, *_: object) -> None:
        global _blocks
        with _lock:
            _blocks -= 1
            if not _blocks:
                _set(_attached)


def _set(variables: Mapping[str, str | None]) -> None:
    for name, value in variables.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value


_ALL = (RUN, MAIN, DETACHED, *WORKER_MARKS)
_lock = allocate_lock()
_blocks = 0
"""Number of open `with detached_env()` blocks, in all threads: blocks can overlap."""

_attached: dict[str, str | None] = {}
"""The environment's markers before the first open block."""


def detached_env(base: Mapping[str, str] | None = None) -> DetachedEnv:
    """The environment for a child that is *meant* to outlive the server.

    Neither a child that starts with this environment nor its descendants are killed when the server
    stops:

        subprocess.Popen(["backup-tool"], env=detached_env(), start_new_session=True)

    Use a block for a call that takes no `env`. The block restores the environment at its end:

        with detached_env():
            webbrowser.open("http://localhost:8000")

    The environment belongs to the whole process. So every process that starts during the block is
    exempt, also one that another thread starts, or another task while the block awaits. Keep the
    block short.

    The child must be executed with this environment: a bare `os.fork()` is not covered. Leave
    `close_fds` at its default (`subprocess`), so that the child does not hold the server's port.

    Args:
        base: the variables to start from. Default: `os.environ`.

    Returns:
        A new dictionary, which is also a context manager. `base` is not changed.
    """
    variables = DetachedEnv(os.environ if base is None else base)
    runs = variables.pop(DETACHED, "").split(",")
    runs.append(variables.pop(RUN, "") or os.environ.get(RUN, ""))
    if _expected and RUN not in os.environ:
        runs.append(_next_run())  # the server of this process has not begun yet
    variables.pop(MAIN, None)
    for name in WORKER_MARKS:
        variables.pop(name, None)
    if runs := [run for run in dict.fromkeys(runs) if run]:
        variables[DETACHED] = ",".join(runs)
    return variables
