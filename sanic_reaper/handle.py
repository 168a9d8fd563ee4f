"""The interface of the Reaper for the app's own code: `app.ctx.reaper`."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar, overload

from .compat.sanic_app import App
from .worker import starts
from .worker.handler_runner import Record

if TYPE_CHECKING:
    from .events import Event

Hook = TypeVar("Hook", bound="Callable[[Event], object]")


class ReaperHandle(starts.Starts):
    """The Reaper as the app's own code sees it: `app.ctx.reaper`, or `Reaper.of(app)`."""

    def __init__(self, app: App) -> None:
        self.hooks: list[tuple[str | None, Callable[[Event], object]]] = []
        self._app = app

    @property
    def startup(self) -> list[Record]:
        """The `before_server_start` and `after_server_start` handlers of this worker, in the order
        in which they ended. Empty in the main process."""
        start = starts.of(self._app)
        return [] if start is None else start.records

    @property
    def ready(self) -> bool:
        """Whether this worker serves and its background work is done. `False` in the main process,
        unless the Reaper is switched off."""
        start = starts.of(self._app)
        if start is None:
            return not self._app.config.get("REAPER_ENABLED", True)
        return start.is_ready

    @overload
    def on(self, event: Hook, /) -> Hook: ...

    @overload
    def on(self, event: str | None = None) -> Callable[[Hook], Hook]: ...

    def on(self, event: str | Hook | None = None) -> Any:
        """Register a function of one argument, an `Event`.

            @app.ctx.reaper.on("worker.died")
            def page_somebody(event): ...

        Args:
            event: name of the events that the function is called with. `None`: all events.

        Raises:
            ValueError: there is no event of that name.
            TypeError: the hook is not a function of one argument.
        """
        from .events import NAMES  # not above: most workers do not need them

        if callable(event):  # @app.ctx.reaper.on
            return self.on()(event)
        if event is not None and event not in NAMES:
            raise ValueError(f"no event is called {event!r}; there are {', '.join(NAMES)}")

        def register(hook: Hook) -> Hook:
            check_hook("app.ctx.reaper.on", hook)
            self.hooks.append((event, hook))
            return hook

        return register


def check_hook(name: str, hook: object) -> None:
    """Check that a hook can be called with an event, so that it does not fail at the first one.

    Args:
        name: where the hook is registered, for the error message.
        hook: the hook.

    Raises:
        TypeError: it cannot. The message says what is needed.
    """
    wanted = (
        "a function of one argument, an Event, and neither a coroutine nor a generator function"
    )
    if not callable(hook) or any(map(_runs_nothing, (hook, type(hook).__call__))):
        raise TypeError(f"{name}: {hook!r} is not {wanted}")
    try:
        inspect.signature(hook).bind(None)
    except ValueError:  # in C, without a signature
        return
    except TypeError as error:
        raise TypeError(f"{name}: {hook!r} is not {wanted}: {error}") from None


def _runs_nothing(function: object) -> bool:
    """Whether a call of a function only creates a coroutine or a generator."""
    return (
        inspect.iscoroutinefunction(function)
        or inspect.isgeneratorfunction(function)
        or inspect.isasyncgenfunction(function)
    )
