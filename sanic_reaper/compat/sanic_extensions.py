"""The internals of sanic-ext, and where Sanic and sanic-ext start their SyncManagers."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import wraps
from typing import Any

from sanic import Sanic
from sanic_ext import Extension

from .sanic_app import App

MANAGER_SITES = (
    "sanic.mixins.startup",
    "sanic_ext.extensions.health.monitor",
    "sanic_ext.extensions.logging.logger",
)
"""Modules that start a SyncManager by calling `Manager`, a global of the module."""


def substitute_manager_factory(factory: Callable[[], Any]) -> None:
    """Have Sanic and sanic-ext start their SyncManagers by `factory`.

    A patch of `multiprocessing.managers` was rejected: it would change the user's managers too.
    """
    for name in MANAGER_SITES:
        module = sys.modules.get(name)
        if module is not None and hasattr(module, "Manager"):
            module.__dict__["Manager"] = factory


def allow_late_extend(is_ours: Callable[[Any], bool], join: Callable[[App, Any], None]) -> None:
    """Have `app.extend(extensions=[...])` work at any time for some extensions.

    By itself Sanic refuses it after an earlier `app.extend` and after any use of `app.ext`. If
    AUTO_EXTEND is off, Sanic reports that sanic-ext is not installed.

    Args:
        is_ours: whether an extension can be added at any time.
        join: adds such an extension to an app.
    """
    original: Callable[..., Any] = Sanic.extend
    if hasattr(original, "reaper_wraps_it"):
        return

    @wraps(original)
    def extend(self: App, *, extensions: Any = None, **options: Any) -> Any:
        ours = [one for one in extensions or () if is_ours(one)]
        is_set_up = hasattr(self, "_ext")
        if not ours and is_set_up and any(map(is_ours, self.ext.extensions)):
            raise RuntimeError(
                "Cannot extend Sanic after Sanic Extensions has been setup. If the Reaper's line "
                "has set it up, put that line below this one: it works after any app.extend()"
            )
        if not ours or not (is_set_up or not self.config.AUTO_EXTEND):
            return original(self, extensions=extensions, **options)
        if len(ours) < len(extensions) or options:
            raise RuntimeError(
                "Cannot extend Sanic after Sanic Extensions has been setup, or without AUTO_EXTEND."
                " The Reaper can, in a line of its own: app.extend(extensions=[Reaper]). "
                "All other extensions belong in the first app.extend()"
            )
        for extension in ours:
            join(self, extension)
        return getattr(self, "_ext", None)

    extend.reaper_wraps_it = True  # type: ignore[attr-defined]
    Sanic.extend = extend  # type: ignore[method-assign]


def add_extension(app: App, extension: Any) -> None:
    """Start an extension, as `sanic_ext.Extend` does when it sets up an app's extensions.

    If they are not set up yet, the extension works too, but is not on the list of extensions.
    """
    bootstrap = getattr(app, "_ext", None)
    config = getattr(bootstrap, "config", None)
    created = Extension.create(extension, app, config)  # type: ignore[arg-type]
    created._startup(bootstrap)  # type: ignore[no-untyped-call]
    if bootstrap is not None:
        bootstrap.extensions.append(created)
