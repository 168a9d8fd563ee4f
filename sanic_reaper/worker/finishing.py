"""The second half of a worker's start: the `after_server_start` listeners, which a stop cancels."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from contextlib import suppress

from .stepping import error_of

CANCEL_GRACE = 1.0
"""Seconds that a handler gets to clean up when a stop has cancelled it, and then its threads."""


class FinishingStart:
    """Runs the `after_server_start` listeners in a task of their own.

    Args:
        listeners: runs all listeners.
    """

    def __init__(self, listeners: Awaitable[None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._task = self._loop.create_task(error_of(listeners))
        self._is_left = self._loop.create_future()
        self._is_cancelled = False

    @property
    def is_over(self) -> bool:
        """Whether the listeners have ended."""
        return self._task.done()

    async def wait(self) -> BaseException | None:
        """Wait until the listeners have ended, or have been cancelled for `CANCEL_GRACE` seconds.

        Returns:
            The error that the listeners have raised, if they have ended.
        """
        await asyncio.wait({self._task, self._is_left}, return_when=asyncio.FIRST_COMPLETED)
        return self._task.result() if self._task.done() else None

    def cancel(self) -> None:
        """Cancel the listeners, and end `wait` after `CANCEL_GRACE`. A second call does nothing."""
        if not self._is_cancelled:
            self._is_cancelled = True
            self._task.cancel()
            self._loop.call_later(CANCEL_GRACE, self._leave)

    def _leave(self) -> None:
        if not self._task.done():
            # asyncio would log this task once more when the process exits.
            with suppress(AttributeError):
                self._task._log_destroy_pending = False  # type: ignore[attr-defined]
            self._is_left.set_result(None)
