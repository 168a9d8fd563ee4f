"""Where a task waits: the lines in which it, and what it awaits, is suspended. Changes nothing.

Safe in a signal handler, also while the event loop is blocked.
"""

from __future__ import annotations

import asyncio
import gc
from collections import deque
from collections.abc import Iterator
from types import CoroutineType, FrameType
from typing import TYPE_CHECKING, Any

from .stepping import HandlerRun

if TYPE_CHECKING:
    from ..model.stacks import Frame

MOST = 100
"""Maximum number of frames of one task: the innermost ones."""

MOST_STEPS = 2000
"""Maximum number of objects that are looked at for one task. An async function that calls itself
can be as deep as the recursion limit."""

_KINDS = (("cr_frame", "cr_await"), ("ag_frame", "ag_await"), ("gi_frame", "gi_yieldfrom"))
"""Attributes of coroutines, of asynchronous generators, and of generators (`inspect`): the frame,
and what it awaits. (`ag_running` is true as long as a step of it is awaited, also while that is
suspended.)"""

_OF_ASYNCIO = (asyncio.tasks.__file__, getattr(asyncio, "taskgroups", asyncio.tasks).__file__)
"""The files whose functions wait for tasks by futures of their own. (Python 3.10 has no groups.)"""


def chain(task: asyncio.Task[Any], running: FrameType | None = None) -> tuple[list[Frame], bool]:
    """The lines in which a task, and what it awaits, is suspended.

    Args:
        task: of the event loop of this thread.
        running: the frame that this thread runs now, in a signal handler. `None`: the caller is no
            signal handler, and no task runs but the caller's own.

    Returns:
        The frames, innermost first, and whether the task runs now: then they are its stack.
    """
    found: deque[FrameType] = deque(maxlen=MOST)  # the innermost ones count
    awaited: Any = task.get_coro()
    for _ in range(MOST_STEPS):  # what awaits itself has no end
        if awaited is None:
            break
        attributes = _attributes_of(awaited)
        if attributes is None:
            awaited = _behind(awaited) or _kept_by(found[-1] if found else None)
            continue
        frame, following = getattr(awaited, attributes[0]), getattr(awaited, attributes[1])
        if frame is None:
            break  # it has ended
        if running is not None and getattr(awaited, "cr_running", False):
            awaiting = [_line(one) for one in reversed(found)]  # if a task of its own runs
            return [*_stack(running, frame), *awaiting][:MOST], True
        found.append(frame)
        awaited = following if (stepped := HandlerRun.coroutine_of(frame)) is None else stepped
    return [_line(frame) for frame in reversed(found)], False


def _attributes_of(awaited: Any) -> tuple[str, str] | None:
    """The names of its attributes. `None`: it has no frame.

    Asks the class: an object can have a `__getattr__` of the user's, which may do anything.
    """
    if isinstance(awaited, CoroutineType):
        return _KINDS[0]  # nearly always, so it is found first
    return next((kind for kind in _KINDS if hasattr(type(awaited), kind[0])), None)


def is_running(task: asyncio.Task[Any] | None) -> bool:
    """Whether a task runs in this moment. Its own coroutine tells, not one that it awaits."""
    return task is not None and bool(getattr(task.get_coro(), "cr_running", False))


def tasks(running: FrameType | None) -> Iterator[list[Any]]:
    """The fields of a message `task`, for each task of the event loop that has not ended.

    Args:
        running: the frame that this thread runs now, in a signal handler.
    """
    loop = asyncio._get_running_loop()
    if loop is None:
        return  # the app is imported, or the process exits
    for task in sorted(asyncio.all_tasks(loop), key=_rank):
        try:
            frames, _ = chain(task, running)
        except Exception:  # it awaits an object whose attributes fail; the others are to be shown
            frames = []
        yield [task.get_name(), _function_of(task), is_running(task), frames]


def _function_of(task: asyncio.Task[Any]) -> str:
    """The name of a task's coroutine function, or else of the coroutine's class.

    Never the coroutine as text: a class of the user's can show its arguments there.
    """
    coroutine = task.get_coro()
    name = getattr(coroutine, "__qualname__", None)
    return name if isinstance(name, str) else type(coroutine).__qualname__


def _rank(task: asyncio.Task[Any]) -> tuple[int, str]:
    """So that Task-10 comes after Task-9."""
    return len(task.get_name()), task.get_name()


def _line(frame: FrameType) -> Frame:
    return frame.f_code.co_filename, frame.f_lineno or 0, frame.f_code.co_name


def _stack(innermost: FrameType, outermost: FrameType) -> list[Frame]:
    found: list[Frame] = []
    frame: FrameType | None = innermost
    while frame is not None and len(found) < MOST:
        found.append(_line(frame))
        if frame is outermost:
            break
        frame = frame.f_back
    return found


def _behind(awaited: Any) -> Any:
    """The coroutine or generator behind an object that has no frame. `None`: there is none.

    Such an object is the iterator of a future, or a step of an asynchronous generator (`asend`). It
    has no attribute that names its owner, but the garbage collector knows it.
    """
    future = awaited
    if not asyncio.isfuture(awaited):
        owners = gc.get_referents(awaited)
        for owner in owners:
            if _attributes_of(owner) is not None:
                return owner
        future = next(filter(asyncio.isfuture, owners), None)
    if isinstance(future, asyncio.Task):
        return future.get_coro()
    return _first_pending(getattr(future, "_children", None))  # `gather` waits for several


def _kept_by(frame: FrameType | None) -> Any:
    """The task that a function of asyncio waits for by a future of its own. `None`: there is none.

    `wait` does that, `wait_for` before CPython 3.12, and a `TaskGroup` for its tasks.
    """
    file = "" if frame is None else frame.f_code.co_filename
    if frame is None or file not in _OF_ASYNCIO:
        return None
    known = frame.f_locals
    group = getattr(known.get("self"), "_tasks", None)
    return _first_pending([known.get("fut"), *(known.get("fs") or ()), *(group or ())])


def _first_pending(futures: Any) -> Any:
    """The task that runs now, if one does, or else the first one that has not ended."""
    pending = [one for one in futures or () if isinstance(one, asyncio.Task) and not one.done()]
    return next(filter(is_running, pending), pending[0] if pending else None)
