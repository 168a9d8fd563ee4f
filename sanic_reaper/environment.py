"""Who puts the marks (`marks`) into the environment, and who takes them away."""

from __future__ import annotations

import os
from _thread import allocate_lock

from .marks import DETACHED, MAIN, RUN, WORKER_MARKS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping


def expect_run() -> None:
    """An app of this process has the Reaper: this process may run a server of its own."""
    global _expected
    _expected = True


def begin_run() -> str:
    """Give the run that begins here an id, and let what this process starts from now on inherit it.

    Never the id of a server that started this process, nor of one that ran here before. An id
    belongs to the process that made it: one that was forked from it makes its own.
    """
    global _next
    run = _next_run()
    _next = None
    _remember(RUN)
    os.environ[RUN] = run
    return run


def name_main(main: tuple[int, int], app: str, directory: str, namespace: str = "") -> None:
    """Let what this server executes from now on tell whose it is, also when main is gone."""
    _remember(MAIN)
    os.environ[MAIN] = "\t".join((*map(str, main), app, directory, namespace))


def end_run() -> None:
    """Put back what stood in the environment before the run.

    What this process starts from now on is not the server's.
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
"""The id that the next run of a process will have, and the pid of that process."""

_before: dict[tuple[int, str], str | None] = {}
"""What stood in the environment of a process before its run, by pid and name. Empty: nothing."""


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
"""How many blocks of `with detached_env()` are open, in all threads: they may overlap."""

_attached: dict[str, str | None] = {}
"""What stood in the environment before the first of these blocks."""


def detached_env(base: Mapping[str, str] | None = None) -> DetachedEnv:
    """The environment for a child that is *meant* to outlive the server.

    Start the child with it, and neither it nor what it starts is ended with the server:

        subprocess.Popen(["backup-tool"], env=detached_env(), start_new_session=True)

    What takes no `env` is called in a block, which restores the environment at its end:

        with detached_env():
            webbrowser.open("http://localhost:8000")

    The environment is the whole process's. So whatever is started within the block is spared, also
    by other threads, and by other tasks if the block awaits something: keep it short.

    The child must be executed with this environment; a bare `os.fork()` is not covered. It
    inherits nothing else from here: close_fds (the default of `subprocess`) keeps the port free.

    Args:
        base: the variables to start from; `os.environ` where none are given.

    Returns:
        A new dictionary, which is a context manager too; `base` is left as it is.
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
