"""Runs the steps of a stop, so that a failed step does not prevent the steps after it."""

from __future__ import annotations

from collections.abc import Callable

from ..log import log


class Steps:
    """Runs steps one by one, and logs those that fail.

    Each kind of failure is logged once, because some steps are repeated until a deadline.
    """

    def __init__(self) -> None:
        self._reported: set[tuple[str, str]] = set()

    def attempt(self, purpose: str, step: Callable[[], object]) -> bool:
        """Run one step.

        Args:
            purpose: purpose of the step, which the log puts after "main could not".
            step: the step.

        Returns:
            Whether the step succeeded.
        """
        try:
            step()
        except Exception as error:
            failure = (purpose, repr(error))
            if failure not in self._reported:
                self._reported.add(failure)
                log.exception("the stop continues, but main could not %s: %s", *failure)
            return False
        return True
