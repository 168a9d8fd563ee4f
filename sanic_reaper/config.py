"""The `REAPER_*` keys: each with its default, its unit and its check."""

from __future__ import annotations

import math
import re
import signal
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from .log import log

BAD_CONFIGURATION = 78
"""Exit code of a start that is stopped by a bad value: EX_CONFIG of sysexits.h."""

MARGIN = 5.0
"""Seconds on top of Sanic's own grace for the stop listeners and for the ladder to SIGKILL."""

_SANIC_GRACE = 15.0

ENDLESS = 86400.0
"""Seconds that stand for a grace of `inf`, which Sanic allows: a stop has a limit all the same."""

LONGEST = 1e9
"""Seconds, 31 years. A longer duration counts as this one: the kernel's timers and the watchdog's
channel take it, and nobody can tell the difference."""

SHORTEST_HEARTBEAT = 1.0
"""Seconds for which a healthy loop may stand still: a garbage collection, a busy machine."""

SHORTEST_WARNING = 0.5
"""Seconds below which a warning blames healthy loops: main itself looks a few times a second."""

SMALLEST_RSS = 1024**2
"""Bytes that each worker takes at the least. A smaller limit lacks its unit, most likely."""

_BEAT = 1.0
_FASTEST_BEAT = 0.05


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
    """From the start of a worker, imports included, until its `after_server_start` handlers are
    through. `None`: no limit."""
    shutdown_timeout: float
    """From the stop signal to the last SIGKILL."""
    orphan_grace: float
    """How long workers may drain after main died."""
    pdeathsig: int
    """What the kernel sends a worker when its parent dies. 0: nothing."""
    handler_timeout: float
    """What a handler of its start may take that has no limit of its own. 0: no limit."""
    slow_handler: float
    """After this a handler that still runs is reported, once. 0: never."""
    startup_retries: int
    """How often a worker whose start has failed is started again."""
    respawn: bool
    """Whether a worker that died is replaced."""
    respawn_limit: int
    """How many replacements of one worker, within the window, are not yet a crash loop."""
    respawn_window: float
    """How long a death counts."""
    heartbeat_timeout: float
    """How long a worker's event loop may stand still before the worker is ended. 0: for ever."""
    blocked_warning: float
    """After this a standing loop is reported, once. 0: never."""
    max_lifetime: float
    """The age at which a worker is recycled. 0: none."""
    max_requests: int
    """The number of requests served after which it is. 0: none."""
    max_rss: int
    """The bytes of resident memory at which it is. 0: none."""
    recycle_jitter: float
    """The share by which each worker's limits are spread."""
    sweep: bool
    """Whether what is left of an earlier run of this app is ended before it starts."""
    endpoint: str
    """The prefix of the paths under which a worker tells of the server. "": there are none."""

    @property
    def beat_every(self) -> float:
        """How often a worker's event loop is to say that it turns. 0: nobody wants to know."""
        wanted = [limit for limit in (self.heartbeat_timeout, self.blocked_warning) if limit]
        if not wanted and not self.max_requests:
            return 0.0
        return max(_FASTEST_BEAT, min([_BEAT, *(limit / 4 for limit in wanted)]))

    @classmethod
    def read(cls, config: Mapping[str, Any]) -> Settings:
        """Read the keys from an app's configuration.

        Raises:
            BadSetting: names the key, its value and what is allowed.
        """
        grace = _grace(config)
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
            respawn=_switch(config, "REAPER_RESPAWN", True),
            respawn_limit=_count(config, "REAPER_RESPAWN_LIMIT", 5),
            respawn_window=_duration(config, "REAPER_RESPAWN_WINDOW", 60.0),
            heartbeat_timeout=_heartbeat(config, "REAPER_HEARTBEAT_TIMEOUT", 0.0),
            blocked_warning=_blocked_warning(config, "REAPER_BLOCKED_WARNING", 10.0),
            max_lifetime=_duration(config, "REAPER_MAX_LIFETIME", 0.0),
            max_requests=_count(config, "REAPER_MAX_REQUESTS", 0),
            max_rss=_size(config, "REAPER_MAX_RSS", 0),
            recycle_jitter=_share(config, "REAPER_RECYCLE_JITTER", 0.1),
            sweep=_switch(config, "REAPER_SWEEP", True),
            endpoint=_path(config, "REAPER_ENDPOINT", ""),
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
        for warning in warnings_about_keys(config):
            log.warning("%s", warning)
        return settings

    def warnings(self, config: Mapping[str, Any]) -> Iterator[str]:
        """What is allowed, and most likely not meant."""
        grace, limit = _grace(config), self.shutdown_timeout
        if limit == 0:
            yield (
                "REAPER_SHUTDOWN_TIMEOUT = 0 s: each stop kills all processes at once, and no "
                "request in flight is answered; 0 does not mean that there is no limit"
            )
        elif limit < grace != ENDLESS:
            yield (
                f"REAPER_SHUTDOWN_TIMEOUT = {limit:g} s is shorter than GRACEFUL_SHUTDOWN_TIMEOUT "
                f"= {grace:g} s: requests in flight are cut off after {limit:g} s"
            )
        if 0 < self.max_rss < SMALLEST_RSS:
            yield (
                f"REAPER_MAX_RSS = {self.max_rss} bytes: each worker takes more, and is recycled "
                'as soon as it serves; a limit with a unit is "512MiB", for example'
            )
        if grace == ENDLESS and config.get("REAPER_SHUTDOWN_TIMEOUT") is None:
            yield (
                "GRACEFUL_SHUTDOWN_TIMEOUT = inf: a stop takes as long as a request does; "
                "set REAPER_SHUTDOWN_TIMEOUT to give it a limit shorter than a day"
            )


KEYS = (
    "REAPER_ENABLED",
    "REAPER_STARTUP_TIMEOUT",
    "REAPER_SHUTDOWN_TIMEOUT",
    "REAPER_ORPHAN_GRACE",
    "REAPER_PDEATHSIG",
    "REAPER_HANDLER_TIMEOUT",
    "REAPER_SLOW_HANDLER",
    "REAPER_STARTUP_RETRIES",
    "REAPER_RESPAWN",
    "REAPER_RESPAWN_LIMIT",
    "REAPER_RESPAWN_WINDOW",
    "REAPER_HEARTBEAT_TIMEOUT",
    "REAPER_BLOCKED_WARNING",
    "REAPER_MAX_LIFETIME",
    "REAPER_MAX_REQUESTS",
    "REAPER_MAX_RSS",
    "REAPER_RECYCLE_JITTER",
    "REAPER_SWEEP",
    "REAPER_ENDPOINT",
)

_OWN = ("REAPER_WITHOUT",)
"""Sanic turns every `SANIC_*` variable into a key. This one is for tests and is not a setting."""


PREFIX = "REAPER_"


def unknown_keys(config: Mapping[str, Any]) -> list[str]:
    """Keys that look like ours and are not: most likely misspelt."""
    return sorted(key for key in config if key.startswith(PREFIX) and key not in KEYS + _OWN)


def warnings_about_keys(config: Mapping[str, Any]) -> Iterator[str]:
    """A sentence for each unknown key: which one may be meant, or which ones there are."""
    for key in unknown_keys(config):
        from difflib import get_close_matches  # here, as few need it

        names = [one.removeprefix(PREFIX) for one in KEYS]
        meant = get_close_matches(key.removeprefix(PREFIX).upper(), names, 1, 0.68)
        hint = f"did you mean {PREFIX}{meant[0]}?" if meant else f"there are {', '.join(KEYS)}"
        yield f"{key} is not a setting of the Reaper: {hint}"


def _grace(config: Mapping[str, Any]) -> float:
    """Sanic's own, which may be infinite."""
    if config.get("GRACEFUL_SHUTDOWN_TIMEOUT") == math.inf:
        return ENDLESS
    return _duration(config, "GRACEFUL_SHUTDOWN_TIMEOUT", _SANIC_GRACE)


def _heartbeat(config: Mapping[str, Any], key: str, default: float) -> float:
    return _stall(config, key, default, SHORTEST_HEARTBEAT, "limit")


def _blocked_warning(config: Mapping[str, Any], key: str, default: float) -> float:
    return _stall(config, key, default, SHORTEST_WARNING, "warning")


def _stall(
    config: Mapping[str, Any], key: str, default: float, shortest: float, what: str
) -> float:
    """Seconds for which an event loop may stand still. 0: there is no such limit, or warning."""
    seconds = _duration(config, key, default)
    if 0 < seconds < shortest:
        unit = "second" if shortest == 1 else "seconds"
        allowed = f"0 for no {what}, or {shortest:g} {unit} or more, as a healthy worker"
        raise BadSetting(key, config[key], f"{allowed} may stand still for a moment")
    return seconds


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
        or not 0 <= value <= sys.float_info.max  # nan and inf, and an int that is no float
    ):
        none = ", or None" if key == "REAPER_STARTUP_TIMEOUT" else ""
        raise BadSetting(key, value, f"a finite number of seconds, 0 or more{none}")
    return float(min(value, LONGEST))


def _count(config: Mapping[str, Any], key: str, default: int) -> int:
    value = config.get(key, default)
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise BadSetting(key, value, "a whole number, 0 or more")
    return value


def _share(config: Mapping[str, Any], key: str, default: float) -> float:
    value = config.get(key, default)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= 1:
        raise BadSetting(key, value, "a number from 0 to 1")
    return float(value)


_UNITS = {"": 1, "B": 1}
for _power, _prefix in enumerate("KMGT", 1):
    _UNITS[f"{_prefix}B"], _UNITS[f"{_prefix}iB"] = 1000**_power, 1024**_power
    _UNITS[_prefix] = 1024**_power  # as systemd, Docker and nginx understand it


_NAMES = ", ".join(filter(None, _UNITS))


def _size(config: Mapping[str, Any], key: str, default: int) -> int:
    value = config.get(key, default)
    found = (
        re.fullmatch(r"(\d+(?:\.\d+)?) ?([KMGT]?i?B|[KMGT])?", value)
        if isinstance(value, str)
        else None
    )
    if found is not None and (found[2] or "") in _UNITS:
        size = float(found[1]) * _UNITS[found[2] or ""]
        if math.isfinite(size):
            return math.ceil(size)  # not 0, which is no limit, for a part of a byte
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise BadSetting(
            key, value, f'a number of bytes, or one with a unit, such as "512MiB": {_NAMES}'
        )
    return value


def _path(config: Mapping[str, Any], key: str, default: str) -> str:
    """A prefix of paths. No more than what is the same path to every client and proxy."""
    value = config.get(key, default)
    if value is None or value == "":
        return ""
    if not isinstance(value, str) or not re.fullmatch(r"(/(?!\.+(/|$))[\w.~-]+)+", value, re.ASCII):
        allowed = 'a path such as "/__reaper__", without a slash at its end; or "" for none'
        raise BadSetting(key, value, allowed)
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
