"""Puts the Reaper's manager of the workers in the place of Sanic's, or guards the server without.

Assumes that Sanic constructs its `WorkerManager` after `main_process_start`. Guarantees that a
server whose workers are run by Sanic's own manager is guarded (`guarding`), and that one error line
says so.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ..compat import contracts, sanic_main
from ..compat.sanic_app import App
from ..log import log
from ..model.kills import FORCED, KILLS, STOP
from ..model.roles import WORKER
from .guarding import Guard

if TYPE_CHECKING:
    from ..platform.base import Identity
    from .interfaces import ServerParts


class ManagerTakeover:
    """Decides who manages the workers of one server: the Reaper's manager, or Sanic's.

    Args:
        parts: the parts of the server.
        guards_only: whether a vital contract is broken (`compat.contracts`), so that Sanic's own
            manager runs the workers.
    """

    def __init__(self, parts: ServerParts, guards_only: bool) -> None:
        self._parts = parts
        self._guards_only = guards_only
        self._sanics_own: Callable[..., Any] | None = None
        """Sanic's `WorkerManager`, while ours is in its place."""
        self._has_manager = False
        """Whether Sanic has constructed our manager."""
        self._guard: Guard | None = None

    def substitute(self) -> None:
        """Have Sanic construct our manager in the place of its own."""
        if not self._guards_only:
            self._sanics_own = sanic_main.substitute_worker_manager(self._make_manager)

    def restore(self) -> None:
        """Put Sanic's `WorkerManager` back."""
        if self._sanics_own is not None:
            sanic_main.substitute_worker_manager(self._sanics_own)

    def _make_manager(self, *args: Any, **kwargs: Any) -> Any:
        """Construct our manager; or Sanic's own, in a fork of main or where ours can't be.

        A process that was forked from main may serve an app that does not have the Reaper.
        """
        assert self._sanics_own is not None
        if os.getpid() != self._parts.main[0]:
            return self._sanics_own(*args, **kwargs)
        from .manager import SupervisedManager  # here: it does not import where Sanic has changed

        try:
            manager = SupervisedManager(*args, supervisor=self._parts, **kwargs)
        except (AttributeError, KeyError, TypeError) as error:
            log.error("%s (%r)", contracts.NOT_OURS, error)
            self._guards_only = True
            return self._sanics_own(*args, **kwargs)
        self._has_manager = True
        return manager

    def confirm(self, app: App) -> None:
        """Guard the server without a manager of ours, if Sanic has constructed its own."""
        if self._has_manager:
            return
        parts = self._parts
        if not self._guards_only:
            log.error("%s", contracts.NOT_OURS)
        if parts.signals.received is not None:  # Sanic's manager has not heard of it
            sanic_main.exit_from_serve(0)
        parts.journal.guards_only = True
        parts.journal.enter("serving")
        if parts.notifier is not None:
            parts.notifier.guard()
        sanic_main.replace_kill(app, parts.stop.force)
        parts.signals.accompany()
        parts.helpers.are_known = False
        self._guard = Guard(parts.main[0], self._turn_beside, self._killer)

    def stop_guard(self) -> None:
        """Have the main thread turn the loop again, if a guard has done so."""
        if self._guard is not None:
            self._guard.stop()

    def _turn_beside(self) -> None:
        """One turn where Sanic's own manager has the main thread."""
        self._parts.turn(0.25)
        self._parts.hooks.turn()

    def _killer(self) -> Callable[[Identity], object] | None:
        """What kills a worker that Sanic's own manager waits for. `None`: none is late yet."""
        stop, kills = self._parts.stop, self._parts.kills
        if not stop.has_begun or not (stop.is_forced or time.monotonic() >= stop.drain_by):
            return None
        cause = FORCED if stop.is_forced else STOP

        def kill(identity: Identity) -> None:
            if kills.kill(identity, WORKER, "of Sanic's manager", KILLS[cause], cause=cause):
                kills.by_us.append(WORKER)

        return kill
