"""What the main process alone touches of how `multiprocessing` spawns a process. A worker never
loads this.
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
    """In this, what a function of `multiprocessing.spawn` returns to this thread is changed.

    Both ways to launch look such functions up in their module. Classes of ours instead of theirs
    would have to repeat all of their `_launch`, which also writes what the process is to run.
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
    """In this, what this thread spawns runs a program before it learns what it is for.

    The command is `from multiprocessing.spawn import spawn_main; spawn_main(...)`, and still begins
    so: that is what `ps` shows.
    """

    def change(command: list[str]) -> list[str]:
        imported, separator, call = command[-2].partition("; ")  # a frozen program has neither
        if separator:
            command[-2] = f"{imported}\n{program}\n{call}"
        return command

    return _changing("get_command_line", change)


def main_module(method: str) -> tuple[str, ...]:
    """How a process that is started in this way would be told to find main's own module: the word
    for it, and the name or the path. Empty: not at all. A forked one has it already.
    """
    prepare = getattr(multiprocessing.spawn, "get_preparation_data", None)
    data = {} if method == "fork" or prepare is None else prepare("")
    return next(((way, data[way]) for way in _WAYS if way in data), ())


_WAYS = ("init_main_from_name", "init_main_from_path")


def spawning_without_main() -> AbstractContextManager[None]:
    """In this, what this thread starts does not import main's own module.

    It can import the module later, by `multiprocessing.spawn.prepare`. Where that is not found,
    nothing is changed.
    """
    if not hasattr(multiprocessing.spawn, "prepare"):
        return nullcontext()
    return _changing(
        "get_preparation_data",
        lambda data: {key: value for key, value in data.items() if key not in _WAYS},
    )
