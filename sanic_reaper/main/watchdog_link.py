"""The main process's link to the watchdog: it starts, replaces and informs the watchdog.

Guarantees that a new watchdog is told everything that an earlier one was told. A watchdog that has
died is replaced. If none can be started, a watch in the main process takes its place
(`inline_watch`), and the next tries are ever rarer.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from ..log import LEVELS, log
from ..model import kills
from ..model.roles import MAIN, WATCHDOG
from ..platform.base import Identity
from ..protocol import watchdog as wire
from ..tree.process import UNKNOWN
from . import log_format
from .inline_watch import InlineWatch
from .watchdog_process import NeverStarts, WatchdogProcess

if TYPE_CHECKING:
    from .interfaces import WatchdogEndpoint

RETRY_AFTER = 0.5
"""Seconds until a watchdog that could not be started is tried again. Each pause is doubled."""

LONGEST_RETRY = 60.0
"""Maximum number of seconds between two tries."""


class WatchdogLink:
    """Starts the watchdog, sends to it, receives from it, and replaces it.

    Args:
        main: the main process's pid and creation time.
        run: the id of this run.
        orphan_grace: seconds that workers may drain once the main process has died.
        handlers: what to call with the fields of a message, by its first word. The link itself
            handles the other words.
        on_start: called with the pid and creation time of each watchdog, before any message to it.
        introduce: called to register all processes with a new watchdog.

    Attributes:
        left_behind: number of leftover processes that the stop has killed. `None`: not known yet.
        survivors: the reason for each leftover process that could not be killed.
        handlers: what is called for each word of the watchdog.
        is_handing_over: whether the watchdog has not confirmed the handover yet.
    """

    def __init__(
        self,
        main: Identity,
        run: str,
        orphan_grace: float,
        handlers: Mapping[str, Callable[..., None]],
        on_start: Callable[[Identity], None],
        introduce: Callable[[], None],
    ) -> None:
        self.left_behind: int | None = None
        self.survivors: list[str] = []
        self.is_handing_over = False
        self._main, self._run, self._orphan_grace = main, run, orphan_grace
        self._excluded: set[Identity] = set()
        self._preexisting: set[Identity] = set()
        self.handlers: dict[str, Callable[..., None]] = {
            **handlers,
            wire.HELLO: self._on_hello,
            wire.LOG: self._on_log,
            wire.SIGNALLED: self._on_signalled,
            wire.DONE: self._on_done,
            wire.HANDED_OVER: self._on_handed_over,
        }
        self._receiver = wire.Receiver(wire.TO_MAIN, self.handlers, self._complain)
        self._on_start = on_start
        self._introduce = introduce
        self._endpoint: WatchdogEndpoint | None = None
        self._began = UNKNOWN
        """The creation time of the first watchdog, as a moment of the kernel's own clock."""
        self._stop: tuple[float, float] | None = None
        self._is_forced = False
        self._is_finishing = False
        self._was_handed_over = False
        self._retry_at = float("inf")
        self._retry_after = RETRY_AFTER

    @property
    def is_open(self) -> bool:
        """Whether the server is watched, which it is from `start` until `dismiss`."""
        return self._endpoint is not None

    def fileno(self) -> int:
        """A descriptor that turns readable when there is something to receive, or -1."""
        return -1 if self._endpoint is None else self._endpoint.fileno()

    # -- start and replacement --------------------------------------------------------------------

    def start(self, excluded: Iterable[Identity], preexisting: Iterable[Identity]) -> None:
        """Start the watchdog, or the watch in main if no watchdog can be started.

        Args:
            excluded: children of the main process that are not the server's.
            preexisting: children that the main process had when the server began, and that
                `multiprocessing` does not know. They belong to the server only after main's death.
        """
        self._excluded, self._preexisting = set(excluded), set(preexisting)
        self._start()

    def _start(self) -> None:
        try:
            self._endpoint = watchdog = WatchdogProcess(self._main, self._run, self._orphan_grace)
        except OSError as error:
            self._watch_inline(error)
            return
        if self._began == UNKNOWN:
            self._began = watchdog.identity[1]
        self._on_start(watchdog.identity)
        # Before it answers, because main can be killed at this moment too.
        self._send_everything()

    def confirm(self) -> None:
        """Wait until the watchdog that was started last answers. If it does not, watch in main."""
        if not isinstance(self._endpoint, WatchdogProcess):
            return  # no watchdog was started
        try:
            self._endpoint.confirm()
        except OSError as error:
            self._watch_inline(error)
        else:
            self._retry_after = RETRY_AFTER

    def _watch_inline(self, error: OSError) -> None:
        log.warning(
            "the watchdog cannot be started (%s): if main is killed, only the kernel's parent "
            "death signal stops the workers",
            error,
        )
        if not isinstance(error, NeverStarts):
            self._retry_at = time.monotonic() + self._retry_after
            self._retry_after = min(2 * self._retry_after, LONGEST_RETRY)
        self._endpoint = InlineWatch(self._main, self._run, self._orphan_grace)
        self._send_everything()

    def check(self, now: float) -> None:
        """Replace a watchdog that has died, and try again if none could be started.

        Args:
            now: monotonic time.
        """
        assert self._endpoint is not None
        if not self._endpoint.alive() or now >= self._retry_at:
            self._replace()

    def _replace(self) -> None:
        assert self._endpoint is not None
        had_one = isinstance(self._endpoint, WatchdogProcess)
        if had_one:
            log.warning("the watchdog has died; starting another")
        self._endpoint.close()
        self._retry_at = float("inf")
        self._start()
        self.confirm()
        if not had_one and isinstance(self._endpoint, WatchdogProcess):
            log.info("the watchdog has been started")

    def dismiss(self) -> None:
        """Have the watchdog exit, because nothing is left to guard."""
        endpoint, self._endpoint = self._endpoint, None
        if endpoint is not None:
            endpoint.dismiss()

    # -- messages to the watchdog -----------------------------------------------------------------

    def send(self, *words: object) -> None:
        """Send one message, its word first. After `dismiss` this does nothing."""
        if self._endpoint is not None:
            self._endpoint.send(*words)

    def _send_everything(self) -> None:
        for identity in self._excluded:
            self.send(wire.EXCLUDE, *identity)
        self.send(wire.BEGAN, self._began)
        for identity in self._preexisting:
            self.send(wire.PREEXISTING, *identity)
        self._introduce()
        if self._stop is not None:
            self.send(wire.STOP, *self._stop)
        if self._is_forced:
            self.send(wire.KILL)
        if self._is_finishing:
            self.send(wire.FINISH)
        if self._was_handed_over:
            self.send(wire.HANDOVER)

    def stop(self, drain_by: float, deadline: float) -> None:
        """Report that the server stops. Safe in a signal handler: it makes one write.

        Args:
            drain_by: monotonic time by which the workers must have exited.
            deadline: monotonic time by which the main process must have exited.
        """
        self._stop = (drain_by, deadline)
        self.send(wire.STOP, drain_by, deadline)

    def kill(self) -> None:
        """Kill all processes of the server now. Safe in a signal handler."""
        self._is_forced = True
        self.send(wire.KILL)

    def finish(self) -> None:
        """Have leftovers killed, because the workers have exited. Sets `left_behind` when done."""
        self._is_finishing = True
        self.send(wire.FINISH)

    def hand_over(self) -> None:
        """Leave what main starts from now on to the script.

        The watchdog scans once more first. `is_handing_over` is true until it has.
        """
        self._was_handed_over = self.is_handing_over = True
        self.send(wire.HANDOVER)

    # -- messages of the watchdog -----------------------------------------------------------------

    def receive(self) -> None:
        """Act on the messages that have arrived."""
        assert self._endpoint is not None
        for message in self._endpoint.receive():
            self._receiver.receive(message)

    def _complain(self, error: wire.NotUnderstood) -> None:
        pid = getattr(self._endpoint, "pid", self._main[0])
        log.error("%s", wire.refusal(MAIN, WATCHDOG, pid, error))

    def _on_hello(self, version: int) -> None:
        """Ignore the version, which `confirm` has checked."""

    def _on_log(self, level: str, text: str) -> None:
        log.log(LEVELS[level], "%s", text)

    def _on_signalled(self, level: str, *facts: Any) -> None:
        words, fields = kills.sentence(*facts[:-1]), kills.fields(*facts)
        log.log(LEVELS[level], "%s", words, extra=log_format.extra(fields))

    def _on_done(self, left_behind: int, *survivors: str) -> None:
        self.left_behind, self.survivors = left_behind, [*survivors]

    def _on_handed_over(self) -> None:
        self.is_handing_over = False
