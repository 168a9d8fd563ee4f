"""The `REAPER_*` keys: each with its default, its unit and its check."""

from __future__ import annotations

import math
import signal
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .log import log

BAD_CONFIGURATION = 78
"""Exit code of a start that is stopped by a bad value: EX_CONFIG of sysexits.h."""

MARGIN = 5.0
"""Seconds on top of Sanic's own grace for the stop listeners and for the ladder to SIGKILL."""

_SANIC_GRACE = 15.0


class BadSetting(ValueError):
    """A key has a value that can't be meant."""

    def __init__(self, key: str, value: object, allowed: str) -> None:
        super().__init__(f"{key} = {value!r} is not allowed: {allowed}")


@dataclass(frozen=True)
class Settings:
    """What the user configured, checked. All durations are seconds."""

    enabled: bool
    """Whether the Reaper does anything."""
    startup_timeout: float | None
    """From the start of a worker, imports included, to its ack. `None`: no limit."""
    shutdown_timeout: float
    """From the stop signal to the last SIGKILL."""
    orphan_grace: float
    """How long workers may drain after main died."""
    pdeathsig: int
    """What the kernel sends a worker when its parent dies. 0: nothing."""
    handler_timeout: float
    """What a `before_server_start` handler may take that has no limit of its own. 0: no limit."""
    slow_handler: float
    """After this a handler that still runs is reported, once. 0: never."""
    startup_retries: int
    """How often a worker whose start has failed is started again."""

    @classmethod
    def read(cls, config: Mapping[str, Any]) -> Settings:
        """Read the keys from an app's configuration.

        Raises:
            BadSetting: names the key, its value and what is allowed.
        """
        grace = _duration(config, "GRACEFUL_SHUTDOWN_TIMEOUT", _SANIC_GRACE)
        startup = config.get("REAPER_STARTUP_TIMEOUT", 60.0)
        return cls(
            enabled=_switch(config, "REAPER_ENABLED", True),
            startup_timeout=startup
            if startup is None
            else _duration(config, "REAPER_STARTUP_TIMEOUT", 60.0) or None,
            shutdown_timeout=_duration(config, "REAPER_SHUTDOWN_TIMEOUT", grace + MARGIN),
            orphan_grace=_duration(config, "REAPER_ORPHAN_GRACE", 5.0),
            pdeathsig=_signal(config, "REAPER_PDEATHSIG", "SIGTERM"),
            handler_timeout=_duration(config, "REAPER_HANDLER_TIMEOUT", 0.0),
            slow_handler=_duration(config, "REAPER_SLOW_HANDLER", 5.0),
            startup_retries=_count(config, "REAPER_STARTUP_RETRIES", 0),
        )

    @classmethod
    def read_or_exit(cls, config: Mapping[str, Any]) -> Settings:
        """The same, for a start that a bad value is to stop.

        Raises:
            SystemExit: with `BAD_CONFIGURATION`; the one line that says why is in the log.
        """
        try:
            settings = cls.read(config)
        except BadSetting as error:
            log.error("%s", error)
            raise SystemExit(BAD_CONFIGURATION) from None
        for key in unknown_keys(config):
            log.warning("%s is not a key of the Reaper's; there are %s", key, ", ".join(KEYS))
        return settings


KEYS = (
    "REAPER_ENABLED",
    "REAPER_STARTUP_TIMEOUT",
    "REAPER_SHUTDOWN_TIMEOUT",
    "REAPER_ORPHAN_GRACE",
    "REAPER_PDEATHSIG",
    "REAPER_HANDLER_TIMEOUT",
    "REAPER_SLOW_HANDLER",
    "REAPER_STARTUP_RETRIES",
)

_OWN = ("REAPER_RUN", "REAPER_DETACHED", "REAPER_OWNER", "REAPER_WITHOUT")
"""Sanic turns every `SANIC_*` variable into a key: these are marks of ours, not settings."""


def unknown_keys(config: Mapping[str, Any]) -> list[str]:
    """Keys that look like ours and are not: most likely misspelt."""
    return sorted(key for key in config if key.startswith("REAPER_") and key not in KEYS + _OWN)


def _switch(config: Mapping[str, Any], key: str, default: bool) -> bool:
    value = config.get(key, default)
    if not isinstance(value, bool):
        raise BadSetting(key, value, "True or False")
    return value


def _duration(config: Mapping[str, Any], key: str, default: float) -> float:
    value = config.get(key, default)
    if (
        isinstance(value, bool)
        or not isinstance(value, (int, float))
        or not math.isfinite(value)
        or value < 0
    ):
        none = ", or None" if key == "REAPER_STARTUP_TIMEOUT" else ""
        raise BadSetting(key, value, f"a number of seconds, 0 or more{none}")
    return float(value)


def _count(config: Mapping[str, Any], key: str, default: int) -> int:
    value = config.get(key, default)
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise BadSetting(key, value, "a whole number, 0 or more")
    return value


def _signal(config: Mapping[str, Any], key: str, default: str) -> int:
    value = config.get(key, default)
    if value == "":
        return 0
    allowed = 'the name of a signal such as "SIGTERM", or "" for none'
    if not isinstance(value, str):
        raise BadSetting(key, value, allowed)
    try:
        return signal.Signals[value]
    except KeyError:
        raise BadSetting(key, value, allowed) from None
