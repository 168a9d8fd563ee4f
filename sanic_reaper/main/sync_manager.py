"""A SyncManager whose process ends with main, and not before the workers."""

from __future__ import annotations

import multiprocessing
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from ..compat import services, spawning
from .sync_process import Charge, ManagerContext, enter_manager

if TYPE_CHECKING:
    from ..platform.base import Identity


def guarded_manager(main: Identity, grace: float) -> Any:
    """`multiprocessing.Manager()`, with a manager process that ends with main."""
    from multiprocessing.managers import SyncManager

    services.ensure_temporary_directory()
    context = multiprocessing.get_context()
    module = spawning.main_module(context.get_start_method())
    manager = SyncManager(ctx=ManagerContext(context))  # type: ignore[arg-type]
    manager.start(enter_manager, (Charge(main, grace, module),))
    return manager


def shut_down(manager: Any, patience: float) -> bool:
    """Let a SyncManager shut down. Its own shutdown waits for an answer, without a limit.

    Args:
        patience: seconds that it may take.

    Returns:
        Whether its process has ended.
    """
    thread = threading.Thread(target=_shut_down, args=(manager,), daemon=True)
    try:
        thread.start()
    except RuntimeError:  # no process, and so no thread, may be started any more
        return False
    thread.join(patience)
    return not thread.is_alive() and not manager._process.is_alive()


def _shut_down(manager: Any) -> None:
    # Main has become another user: it may neither talk to the process nor signal it.
    with suppress(PermissionError):
        manager.shutdown()
