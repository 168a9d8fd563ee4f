"""Stacks as `faulthandler` writes them: how they are read and shown. Pure."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TypeAlias

Frame: TypeAlias = "tuple[str, int, str]"
"""A line that something sits in: file, line, function."""


def frames_of(stack: str, thread: int = 0) -> list[Frame]:
    """The frames of one thread in what `faulthandler` wrote: file, line, function.

    Innermost first, as it writes them. The thread that the signal was delivered to is the
    "current" one; only where there is none, or it is not Python's, the last thread is taken: the
    main thread is the oldest, and the list is from the youngest to the oldest.

    Args:
        thread: its `ident`; if there is none by this one, the result is empty. 0: the main thread.
    """
    threads: list[list[Frame]] = []
    current: list[Frame] | None = None
    wanted: list[Frame] = []
    for line in stack.splitlines():
        if line.startswith(("Thread ", "Current thread ", "Stack (most recent")):
            threads.append([])
            if thread and _ident_in(line) == thread:
                wanted = threads[-1]
            if not line.startswith("Thread "):
                current = threads[-1]
        elif line.startswith('  File "') and threads:
            file, _, rest = line[8:].rpartition('", line ')
            number, _, function = rest.partition(" in ")
            threads[-1].append((file, _line(number), function))
    if thread:
        return wanted
    return current or (threads[-1] if threads else [])


def _line(number: str) -> int:
    """In a stack that user code may have written into."""
    return int(number) if number.isascii() and number.isdigit() and len(number) < 10 else 0


def _ident_in(heading: str) -> int:
    """Of a thread, from the line above its frames: `Thread 0x00007f31 [name] (most recent ...`."""
    word = heading.removeprefix("Current thread ").removeprefix("Thread ").partition(" ")[0]
    try:
        return int(word, 16)
    except ValueError:
        return 0


def other_threads(stack: str) -> list[str]:
    """The lines of the threads that are not the current one."""
    lines: list[str] = []
    is_other = False
    for line in stack.splitlines():
        if line and not line.startswith(" "):
            is_other = line.startswith("Thread ")
        if is_other and line:
            lines.append(line)
    return lines


def described(frames: list[Frame], stack: str) -> list[str]:
    """The lines to show of a process: each thread's stack once, the one that was asked for first.

    Args:
        frames: in which the process sits, innermost first: on a thread's stack, or suspended.
        stack: what `faulthandler` wrote.
    """
    lines = [f'  File "{file}", line {line} in {name}' for file, line, name in frames]
    if frames and frames == frames_of(stack):
        rest = other_threads(stack)
    else:  # a coroutine's, which is on no stack
        rest = stack.rstrip("\n").splitlines()
    return [*lines, "", *rest] if rest else lines
