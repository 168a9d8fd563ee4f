"""The loop of the main process in a thread of its own.

Needed where Sanic's own manager runs the workers, and so has the main thread: where a vital
contract is broken (`compat.contracts`).
"""

from __future__ import annotations

import multiprocessing
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from ..log import log
from ..model.roles import SANIC_PREFIX
from ..tree.process import children_of

if TYPE_CHECKING:
    from ..platform.base import Identity

PATIENCE = 2.0
"""Seconds that the thread may take to end its last turn."""

PAUSE = 0.1
"""Seconds after a turn that has failed."""


class Guard:
    """Guards a server whose workers Sanic's own manager runs, until it is stopped.

    A late worker is a child of the main process that `multiprocessing` has started under a name of
    Sanic's. All other children belong to the script: they are not killed.

    Args:
        main_pid: pid of the main process.
        turn: makes one turn of the supervisor's loop.
        killer: called in each turn. Returns what kills a worker, once workers are late.
    """

    def __init__(
        self,
        main_pid: int,
        turn: Callable[[], None],
        killer: Callable[[], Callable[[Identity], object] | None],
    ) -> None:
        self._killed: set[Identity] = set()
        self._main_pid = main_pid
        self._turn = turn
        self._killer = killer
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="reaper guard", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Wait until the last turn is over, for `PATIENCE` seconds at most."""
        self._is_over.set()
        self._thread.join(PATIENCE)

    def _run(self) -> None:
        has_complained = False
        while not self._is_over.is_set():
            try:
                self._take_turn()
            except Exception as error:
                if not has_complained:
                    log.exception("unexpected error in the guard of this server: %r", error)
                has_complained = True
                self._is_over.wait(PAUSE)

    def _take_turn(self) -> None:
        self._turn()
        # Sanic leaves a worker that it has replaced as a zombie: this asks for exit statuses.
        processes = multiprocessing.active_children()
        kill = self._killer()
        if kill is not None:
            workers = {one.pid for one in processes if one.name.startswith(SANIC_PREFIX)}
            for identity in children_of(self._main_pid) - self._killed:
                if identity[0] in workers:
                    kill(identity)
                    self._killed.add(identity)
