"""What is touched inside sanic-ext, and where it and Sanic start their SyncManagers."""

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
"""Modules that start a SyncManager by calling the global `Manager`, looked up at the call."""


def substitute_manager_factory(factory: Callable[[], Any]) -> None:
    """Let Sanic and sanic-ext start their SyncManagers with `factory`.

    Patching `multiprocessing.managers` was rejected: it would change the user's own managers too.
    """
    for name in MANAGER_SITES:
        module = sys.modules.get(name)
        if module is not None and hasattr(module, "Manager"):
            module.__dict__["Manager"] = factory


def let_join(is_ours: Callable[[Any], bool], join: Callable[[App, Any], None]) -> None:
    """Have `app.extend(extensions=[...])` work at any time for extensions that can join later.

    Sanic refuses it once the app's extensions are set up, by an earlier `app.extend` or any use of
    `app.ext`, and calls sanic-ext missing where AUTO_EXTEND is off.

    Args:
        is_ours: whether an extension can join later.
        join: adds it to an app.
    """
    original: Callable[..., Any] = Sanic.extend
    if hasattr(original, "reaper_stands_around"):
        return

    @wraps(original)
    def extend(self: App, *, extensions: Any = None, **options: Any) -> Any:
        ours = [one for one in extensions or () if is_ours(one)]
        is_set_up = hasattr(self, "_ext")
        if not ours and is_set_up and any(map(is_ours, self.ext.extensions)):
            raise RuntimeError(
                "Cannot extend Sanic after Sanic Extensions has been setup. If the Reaper's line "
                "has done that, put it below this one: it works after any other app.extend()"
            )
        if not ours or not (is_set_up or not self.config.AUTO_EXTEND):
            return original(self, extensions=extensions, **options)
        if len(ours) < len(extensions) or options:
            raise RuntimeError(
                "Cannot extend Sanic after Sanic Extensions has been setup, or without AUTO_EXTEND."
                " The Reaper can join all the same, by a line of its own: "
                "app.extend(extensions=[Reaper]). Everything else belongs in the first app.extend()"
            )
        for extension in ours:
            join(self, extension)
        return getattr(self, "_ext", None)

    extend.reaper_stands_around = True  # type: ignore[attr-defined]
    Sanic.extend = extend  # type: ignore[method-assign]


def add_extension(app: App, extension: Any) -> None:
    """Start an extension, as `sanic_ext.Extend` does when an app's extensions are set up.

    Where they are not set up yet it is not on their list, and works all the same.
    """
    bootstrap = getattr(app, "_ext", None)
    config = getattr(bootstrap, "config", None)
    created = Extension.create(extension, app, config)  # type: ignore[arg-type]
    created._startup(bootstrap)  # type: ignore[no-untyped-call]
    if bootstrap is not None:
        bootstrap.extensions.append(created)
