"""No process of a Sanic server is ever left behind.

    app.extend(extensions=[Reaper])

What is public, and stays so. (The modules of this package are not.)

Reaper           the extension; Reaper.attach(app) and Reaper.of(app), with types
ReaperHandle     the type of app.ctx.reaper: on, ready, startup
Event            what a hook is told
startup_timeout  a limit for one before_server_start handler
background       a before_server_start handler that goes on beside the first requests
detached_env     the environment of a child that is meant to outlive the server
StartupTimeout   raised in a handler at its limit
NotReady         the answer to a request that comes before background work is done: 503
"""

# The names below are loaded when they are first used (PEP 562): the watchdog and the command line
# import this package too, and must not pay for Sanic.

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .decorators import background, startup_timeout
    from .environment import detached_env
    from .events import Event
    from .extension import Reaper
    from .handle import ReaperHandle
    from .worker.background import NotReady
    from .worker.handlers import StartupTimeout

__version__ = "0.1.0"

__all__ = [
    "Event",
    "NotReady",
    "Reaper",
    "ReaperHandle",
    "StartupTimeout",
    "__version__",
    "background",
    "detached_env",
    "startup_timeout",
]

_HOMES = {
    "Event": "events",
    "NotReady": "worker.background",
    "Reaper": "extension",
    "ReaperHandle": "handle",
    "StartupTimeout": "worker.handlers",
    "background": "decorators",
    "detached_env": "environment",
    "startup_timeout": "decorators",
}


if not TYPE_CHECKING:  # a type checker would believe that every name is here

    def __getattr__(name):
        home = _HOMES.get(name)
        if home is None:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from importlib import import_module

        return getattr(import_module(f".{home}", __name__), name)


def __dir__() -> list[str]:
    return __all__


if os.getpid() == 1:
    from .pid_one import hear_sigterm

    hear_sigterm()
