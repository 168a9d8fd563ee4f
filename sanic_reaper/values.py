"""The kinds of value that a setting can have: what is allowed, and what the code makes of it.

Pure: no key is known here.
"""

from __future__ import annotations

import math
import re
import signal
import sys
from collections.abc import Callable
from typing import Any, NamedTuple

from .untrusted import LONGEST_DURATION


class Kind(NamedTuple):
    """A kind of value."""

    allowed: str
    """What is allowed, for the message about a value that is not."""
    column: str
    """What is allowed, in a few words for the tables of the documents."""
    convert: Callable[[Any], Any]
    """Makes the typed value of what the user wrote. Raises `ValueError` for what is not allowed."""


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _switch(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError
    return value


def _seconds(value: Any) -> float:
    # The bound refuses nan and inf, and an int that no float can hold.
    if not _is_number(value) or not 0 <= value <= sys.float_info.max:
        raise ValueError
    return float(min(value, LONGEST_DURATION))


def _limit(value: Any) -> float | None:
    return None if value is None else _seconds(value) or None


def _count(value: Any) -> int:
    if not _is_number(value) or not isinstance(value, int) or value < 0:
        raise ValueError
    return value


def _share(value: Any) -> float:
    if not _is_number(value) or not 0 <= value <= 1:
        raise ValueError
    return float(value)


_UNITS = {"": 1, "B": 1}
for _power, _prefix in enumerate("KMGT", 1):
    _UNITS[f"{_prefix}B"], _UNITS[f"{_prefix}iB"] = 1000**_power, 1024**_power
    _UNITS[_prefix] = 1024**_power  # as systemd, Docker and nginx understand it


def _size(value: Any) -> int:
    if isinstance(value, str):
        found = re.fullmatch(r"(\d+(?:\.\d+)?) ?(\w*)", value, re.ASCII)
        if found is None or found[2] not in _UNITS:
            raise ValueError
        size = float(found[1]) * _UNITS[found[2]]
        if not math.isfinite(size):
            raise ValueError
        return math.ceil(size)  # not 0, which is no limit, for a part of a byte
    return _count(value)


def _path(value: Any) -> str:
    """A prefix of paths: only what is the same path to every client and proxy."""
    if value is None or value == "":
        return ""
    if not isinstance(value, str) or not re.fullmatch(r"(/(?!\.+(/|$))[\w.~-]+)+", value, re.ASCII):
        raise ValueError
    return value


def _signal(value: Any) -> int:
    if value == "":
        return 0
    if not isinstance(value, str) or value not in signal.Signals.__members__:
        raise ValueError
    return signal.Signals[value]


_FINITE = "a finite number of seconds, 0 or more"

SWITCH = Kind("True or False", "`True`, `False`", _switch)
SECONDS = Kind(_FINITE, "seconds", _seconds)
LIMIT = Kind(f"{_FINITE}, or None", "seconds, `None`", _limit)
"""Seconds of which 0 and `None` both mean that there is no limit."""
COUNT = Kind("a whole number, 0 or more", "whole number", _count)
SHARE = Kind("a number from 0 to 1", "`0` to `1`", _share)
SIZE = Kind(
    'a number of bytes, or one with a unit, such as "512MiB": ' + ", ".join(filter(None, _UNITS)),
    'bytes, or with a unit: `"512MiB"`',
    _size,
)
PATH = Kind(
    'a path such as "/__reaper__", without a slash at its end; or "" for none',
    'a path: `"/__reaper__"`',
    _path,
)
SIGNAL = Kind('the name of a signal such as "SIGTERM", or "" for none', "name of a signal", _signal)


def stall(shortest: float, what: str) -> Kind:
    """Seconds for which an event loop may stand still. 0: there is no such limit, or warning.

    Args:
        shortest: the shortest time that does not blame a healthy worker.
        what: the word for what 0 turns off.
    """

    def convert(value: Any) -> float:
        seconds = _seconds(value)
        if 0 < seconds < shortest:
            raise ValueError
        return seconds

    unit = "second" if shortest == 1 else "seconds"
    return Kind(
        f"0 for no {what}, or {shortest:g} {unit} or more, as a healthy worker may stand still "
        "for a moment",
        f"seconds, `{shortest:g}` or more, or `0`",
        convert,
    )
