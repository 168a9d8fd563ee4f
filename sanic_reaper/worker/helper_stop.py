"""The stop of a process that is no server: of the user's, or of an extension's."""

from __future__ import annotations

import os
import signal
from types import FrameType

from .stopping import ProcessStop


class HelperStop(ProcessStop):
    """A process of the user's, or of an extension's: a stop is one KeyboardInterrupt.

    That is what Sanic sends, and what its documentation lets such a function expect. A SIGTERM is
    turned into whatever the function has made of SIGINT by then. If that is to ignore it, SIGTERM
    does what it does by default.
    """

    def install(self) -> None:
        signal.signal(signal.SIGINT, self._interrupt)
        signal.signal(signal.SIGTERM, self._terminate)

    def _interrupt(self, signum: int, frame: FrameType | None) -> None:
        if self._first(signum):
            raise KeyboardInterrupt

    def _terminate(self, signum: int, frame: FrameType | None) -> None:
        handler = signal.getsignal(signal.SIGINT)
        if handler == self._interrupt:
            self._interrupt(signum, frame)
        elif callable(handler):
            if self._first(signum):
                handler(signal.SIGINT, frame)
        else:  # SIGINT is ignored, or has its default action: so SIGTERM has its own
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            os.kill(os.getpid(), signal.SIGTERM)
