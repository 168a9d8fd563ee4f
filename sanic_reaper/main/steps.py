"""The end of a server goes on, whatever fails on the way."""

from __future__ import annotations

from collections.abc import Callable

from ..log import log


class Steps:
    """Does one step after the other. A step that fails costs that step alone.

    Each kind of failure is logged once, as some steps are repeated until a deadline.
    """

    def __init__(self) -> None:
        self._told: set[tuple[str, str]] = set()

    def attempt(self, purpose: str, step: Callable[[], object]) -> bool:
        """Do one step.

        Args:
            purpose: what it is for, for the log: "could not <purpose>".

        Returns:
            Whether it has raised nothing.
        """
        try:
            step()
        except Exception as error:
            failure = (purpose, repr(error))
            if failure not in self._told:
                self._told.add(failure)
                log.exception("the stop goes on, but main could not %s: %s", *failure)
            return False
        return True
