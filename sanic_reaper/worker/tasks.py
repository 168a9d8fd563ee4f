"""Every task of the event loop: its name, its coroutine, and where it waits.

A worker loads this module only when somebody asks.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from types import FrameType
from typing import Any

from .awaits import chain, is_running


def described(frame: FrameType | None) -> Iterator[list[Any]]:
    """The fields of a message `task`, for each task that has not ended.

    Args:
        frame: the frame that this thread runs now.
    """
    for task in _tasks():
        if task.done():
            continue
        coroutine = task.get_coro()
        name = str(getattr(coroutine, "__qualname__", "") or coroutine)
        frames, _ = chain(task, frame)
        yield [task.get_name(), name, is_running(task), frames]


def _tasks() -> list[asyncio.Task[Any]]:
    loop = asyncio._get_running_loop() or asyncio.get_event_loop_policy().get_event_loop()
    return sorted(asyncio.all_tasks(loop), key=lambda task: task.get_name())
