"""The settings: each is declared once, as a row of `Settings`.

The reader, the messages about bad values, the list of keys, the `SANIC_REAPER_*` variables (Sanic
makes keys of them) and the tables in the documents come from the rows. To add a setting, add a row,
and use the attribute where it is meant. `python -m support.tables`, in `tests`, then writes the
tables.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, NamedTuple

from .log import log
from .model.exit_codes import BAD_CONFIGURATION
from .values import COUNT, LIMIT, PATH, SECONDS, SHARE, SIGNAL, SIZE, SWITCH, Kind, stall

PREFIX = "REAPER_"
"""What the key of each setting begins with."""

_SANIC_GRACE = 15.0

ENDLESS = 86400.0
"""Seconds that stand for a grace of `inf`, which Sanic allows: a stop has a limit all the same."""

SMALLEST_RSS = 1024**2
"""Bytes that each worker takes at the least. A smaller limit lacks its unit, most likely."""

_BEAT = 1.0
_FASTEST_BEAT = 0.05

_HEARTBEAT = stall(1.0, "limit")  # a garbage collection, a busy machine
_WARNING = stall(0.5, "warning")  # main itself looks a few times a second


class BadSetting(ValueError):
    """A key has a value that is not allowed."""

    def __init__(self, key: str, value: object, allowed: str) -> None:
        super().__init__(f"{key} = {value!r} is not allowed: {allowed}")


class AfterGrace(NamedTuple):
    """A default: so many seconds more than Sanic's `GRACEFUL_SHUTDOWN_TIMEOUT`."""

    margin: float


class Setting(NamedTuple):
    """One row of the table of settings."""

    attribute: str
    """Attribute of `Settings` that holds the typed value."""
    kind: Kind
    """What is allowed, and what is made of it."""
    default: object
    """As the user would write it; or `AfterGrace`."""
    meaning: str
    """What it does, in sentences that stand alone."""

    @property
    def key(self) -> str:
        """Key of `app.config`. The environment variable has `SANIC_` in front."""
        return PREFIX + self.attribute.upper()

    def read(self, config: Mapping[str, Any]) -> Any:
        """The typed value. Raises: BadSetting."""
        default = self.default
        if isinstance(default, AfterGrace):
            default = _grace(config) + default.margin
        return _converted(self.key, config.get(self.key, default), self.kind)


def _converted(key: str, value: object, kind: Kind) -> Any:
    try:
        return kind.convert(value)
    except ValueError:
        raise BadSetting(key, value, kind.allowed) from None


def _grace(config: Mapping[str, Any]) -> float:
    """Sanic's own, which may be infinite."""
    key = "GRACEFUL_SHUTDOWN_TIMEOUT"
    if config.get(key) == math.inf:
        return ENDLESS
    seconds: float = _converted(key, config.get(key, _SANIC_GRACE), SECONDS)
    return seconds


def _row(kind: Kind, default: object, meaning: str) -> Any:
    """A field of `Settings`, whose annotation says what `kind` makes of a value."""
    return field(metadata={"row": (kind, default, meaning)})


@dataclass(frozen=True)
class Settings:
    """What the user configured, checked. All durations are seconds. 0 in place of a signal, a
    number or a duration turns off what the row is about, unless the row says otherwise."""

    enabled: bool = _row(
        SWITCH,
        True,
        "Whether the Reaper does anything. `False`: it is registered, and does nothing.",
    )
    startup_timeout: float | None = _row(
        LIMIT,
        60.0,
        "Longest start of a worker: from its launch, imports included, until its "
        "`after_server_start` handlers have returned. `0` or `None`: no limit. "
        "Takes the place of Sanic's fixed 30 s.",
    )
    shutdown_timeout: float = _row(
        SECONDS,
        AfterGrace(5.0),
        "Longest stop of the server: from the stop signal to the last SIGKILL.",
    )
    orphan_grace: float = _row(
        SECONDS,
        5.0,
        "Time that workers have to drain after the main process died. Then they get SIGKILL.",
    )
    pdeathsig: int = _row(
        SIGNAL,
        "SIGTERM",
        "Signal that the kernel sends to a serving worker when the main process dies. "
        '(A worker that is still starting always gets SIGKILL.) `""` turns both off.',
    )
    handler_timeout: float = _row(
        SECONDS,
        0.0,
        "Longest run of a `before_server_start` or `after_server_start` handler that has no limit "
        "of its own. `0`: no limit.",
    )
    slow_handler: float = _row(
        SECONDS,
        5.0,
        "Time after which a start handler that still runs is reported with its stack, once. "
        "`0`: never.",
    )
    startup_retries: int = _row(
        COUNT,
        0,
        "How often a worker whose start failed is started again, after 1, 2, 4 … 30 s, before the "
        "server gives up.",
    )
    respawn: bool = _row(
        SWITCH,
        True,
        "Whether a worker that died is replaced. `False`: its death is only reported.",
    )
    respawn_limit: int = _row(
        COUNT,
        5,
        "How often one worker is replaced within `REAPER_RESPAWN_WINDOW`. "
        "One more death is a crash loop.",
    )
    respawn_window: float = _row(
        SECONDS, 60.0, "Time for which the replacement of a worker counts."
    )
    heartbeat_timeout: float = _row(
        _HEARTBEAT,
        0.0,
        "Time after which a worker with a stalled event loop is shown with all its threads, "
        "killed and replaced. `0`: never.",
    )
    blocked_warning: float = _row(
        _WARNING,
        10.0,
        "Time after which a stalled event loop is reported with its stack, once for each stall. "
        "`0`: never.",
    )
    slow_request: float = _row(
        SECONDS,
        0.0,
        "Time after which a request that is still in flight is reported, once, with the line in "
        "which it waits. WebSockets are not. `0`: never.",
    )
    request_paths: bool = _row(
        SWITCH,
        True,
        "Whether the log and the command show the path of a request in flight. `False`: only the "
        "name of its route.",
    )
    max_lifetime: float = _row(SECONDS, 0.0, "Age at which a worker is recycled. `0`: never.")
    max_requests: int = _row(
        COUNT,
        0,
        "Number of requests after which a worker is recycled (HTTP/1.1; checked once a second). "
        "`0`: never.",
    )
    max_rss: int = _row(
        SIZE,
        0,
        'Resident memory at which a worker is recycled. `"512M"` is the same as `"512MiB"`; '
        '`"512MB"` is 512,000,000 bytes. `0`: never.',
    )
    recycle_jitter: float = _row(
        SHARE,
        0.1,
        "Each worker's recycling limits are reduced by a random fraction between 0 and this value, "
        "so that workers are not all recycled at once.",
    )
    sweep: bool = _row(
        SWITCH,
        True,
        "Whether processes left over from earlier runs of this app are killed before it starts.",
    )
    endpoint: str = _row(
        PATH,
        "",
        "Prefix of the paths under which each worker reports on the server: `/live`, `/ready`, "
        '`/metrics` and `/status`. `""`: there are no such paths.',
    )

    @property
    def beat_every(self) -> float:
        """Seconds between two reports that a worker's event loop turns. 0: nobody needs them."""
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
        _grace(config)
        return cls(**{row.attribute: row.read(config) for row in TABLE})

    @classmethod
    def read_or_exit(cls, config: Mapping[str, Any]) -> Settings:
        """Read the keys for a start that a bad value stops.

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
        """Sentences about values that are allowed, and most likely not meant."""
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


TABLE = tuple(Setting(one.name, *one.metadata["row"]) for one in fields(Settings))
"""Each setting, in the order of the documents."""

KEYS = tuple(row.key for row in TABLE)

_OWN = ("REAPER_WITHOUT",)
"""Sanic turns every `SANIC_*` variable into a key. This one is for tests and is not a setting."""


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
