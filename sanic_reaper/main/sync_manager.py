"""Starts and stops a SyncManager whose process exits after the workers, and when main has died."""

from __future__ import annotations

import multiprocessing
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from ..compat import services, spawning
from .sync_process import ManagerConfig, ManagerContext, enter_manager

if TYPE_CHECKING:
    from ..platform.base import Identity


def guarded_manager(main: Identity, grace: float) -> Any:
    """Start a SyncManager that exits when main has died.

    Args:
        main: pid and creation time of the main process.
        grace: seconds that the SyncManager stays after main's death, for workers that still stop.

    Returns:
        The manager, as `multiprocessing.Manager()` returns it.
    """
    from multiprocessing.managers import SyncManager

    services.ensure_temporary_directory()
    context = multiprocessing.get_context()
    module = spawning.main_module(context.get_start_method())
    try:
        manager = SyncManager(ctx=ManagerContext(context))  # type: ignore[arg-type]
        manager.start(enter_manager, (ManagerConfig(main, grace, module),))
    except (AttributeError, TypeError):  # a broken contract, of which the log tells
        return multiprocessing.Manager()
    return manager


def shut_down(manager: Any, patience: float) -> bool:
    """Shut a SyncManager down within a limit. (`SyncManager.shutdown` itself has none.)

    Args:
        manager: the manager.
        patience: seconds to wait for the shutdown.

    Returns:
        Whether its process has exited.
    """
    thread = threading.Thread(target=_shut_down, args=(manager,), daemon=True)
    try:
        thread.start()
    except RuntimeError:  # RLIMIT_NPROC counts threads too
        return False
    thread.join(patience)
    process = getattr(manager, "_process", None)  # a CPython of the future may hide it
    return not thread.is_alive() and (process is None or not process.is_alive())


def _shut_down(manager: Any) -> None:
    # Main runs as another user now, and may neither talk to the process nor signal it.
    with suppress(PermissionError):
        manager.shutdown()
