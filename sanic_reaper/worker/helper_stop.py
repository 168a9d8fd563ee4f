"""Handles the stop signals of a process that is no server: the user's own, or an extension's."""

from __future__ import annotations

import os
import signal
from types import FrameType

from .stopping import ProcessStop


class HelperStop(ProcessStop):
    """Turns the first stop signal into one KeyboardInterrupt.

    Sanic's documentation promises that to the function of such a process. SIGTERM calls the handler
    that the function has installed for SIGINT. If the function ignores SIGINT, SIGTERM has its
    default action.
    """

    def install(self) -> None:
        signal.signal(signal.SIGINT, self._interrupt)
        signal.signal(signal.SIGTERM, self._terminate)

    def _interrupt(self, signum: int, frame: FrameType | None) -> None:
        if self._begins_stop(signum):
            raise KeyboardInterrupt

    def _terminate(self, signum: int, frame: FrameType | None) -> None:
        handler = signal.getsignal(signal.SIGINT)
        if handler == self._interrupt:
            self._interrupt(signum, frame)
        elif callable(handler):
            if self._begins_stop(signum):
                handler(signal.SIGINT, frame)
        else:  # SIGINT is ignored or has its default action, so SIGTERM gets its default action
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            os.kill(os.getpid(), signal.SIGTERM)
