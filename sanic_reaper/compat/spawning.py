"""Changes how `multiprocessing` spawns a process.

Used by the main process only. A worker never loads this module.
"""

from __future__ import annotations

import multiprocessing
import multiprocessing.spawn
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any


@contextmanager
def _changing(name: str, change: Callable[[Any], Any]) -> Iterator[None]:
    """A context in which a function of `multiprocessing.spawn` returns something else.

    Only calls of this thread are changed. Spawn and forkserver look the functions up in the module.
    Subclasses of their `Popen` were rejected: they would have to repeat all of `_launch`.

    Args:
        name: name of the function.
        change: receives what the function returns, and returns what is to take its place.
    """
    spawn: Any = multiprocessing.spawn
    original, thread = getattr(spawn, name, None), threading.get_ident()
    if original is None:
        yield
        return

    def function(*args: Any, **kwargs: Any) -> Any:
        result = original(*args, **kwargs)
        return change(result) if threading.get_ident() == thread else result

    setattr(spawn, name, function)
    try:
        yield
    finally:
        setattr(spawn, name, original)


def spawning_with(program: str) -> AbstractContextManager[None]:
    """A context in which processes that this thread spawns first run a program.

    The command is `from multiprocessing.spawn import spawn_main; spawn_main(...)`. It still begins
    in that way, because `ps` shows the beginning.

    Args:
        program: Python statements.
    """

    def change(command: list[str]) -> list[str]:
        imported, separator, call = command[-2].partition("; ")  # a frozen program has neither
        if separator:
            command[-2] = f"{imported}\n{program}\n{call}"
        return command

    return _changing("get_command_line", change)


def main_module(method: str) -> tuple[str, ...]:
    """How a spawned process is told to find main's own module.

    Args:
        method: start method. A forked process has the module already.

    Returns:
        The key of the preparation data, and the module's name or path. Empty: it is not told.
    """
    prepare = getattr(multiprocessing.spawn, "get_preparation_data", None)
    data = {} if method == "fork" or prepare is None else prepare("")
    return next(((way, data[way]) for way in _WAYS if way in data), ())


_WAYS = ("init_main_from_name", "init_main_from_path")


def spawning_without_main() -> AbstractContextManager[None]:
    """A context in which processes that this thread starts do not import main's own module.

    They can import it later by `multiprocessing.spawn.prepare`. If there is no such function,
    nothing is changed.
    """
    if not hasattr(multiprocessing.spawn, "prepare"):
        return nullcontext()
    return _changing(
        "get_preparation_data",
        lambda data: {key: value for key, value in data.items() if key not in _WAYS},
    )
