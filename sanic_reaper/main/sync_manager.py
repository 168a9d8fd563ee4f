"""A SyncManager whose process ends with main, and not before the workers."""

from __future__ import annotations

import multiprocessing
from typing import TYPE_CHECKING, Any

from . import main_internals
from .sync_process import Charge, ManagerContext, enter_manager

if TYPE_CHECKING:
    from ..platform.base import Identity


def guarded_manager(main: Identity, grace: float) -> Any:
    """`multiprocessing.Manager()`, with a manager process that ends with main."""
    from multiprocessing.managers import SyncManager

    main_internals.ensure_temporary_directory()
    context = multiprocessing.get_context()
    module = main_internals.main_module(context.get_start_method())
    manager = SyncManager(ctx=ManagerContext(context))  # type: ignore[arg-type]
    manager.start(enter_manager, (Charge(main, grace, module),))
    return manager
