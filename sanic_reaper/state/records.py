"""The records of state files, as far as they can be believed: the one place where their fields are
checked for type and range.

Who reads them may be root, and who has written them another user, another version, or a full disk.
What is wrong costs the field alone, or the record where it makes no sense without that field. What
is left can be converted by `int` and `float`. Names and sentences are anybody's words: whoever
shows them makes them printable.
"""

from __future__ import annotations

from .. import state
from ..untrusted import MOST_PID, identity, number, whole

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from ..platform.base import Identity
    from . import Fields


class OtherVersion(ValueError):
    """The file has been written by another version of sanic-reaper."""


LONGEST_WORD = 40
"""Characters of a word of our own, such as a state."""


def _signed(text: str) -> int:
    return whole(text, -(2**31))


def _pid_or_none(text: str) -> int:
    """0 stands in an event that is about no process."""
    return whole(text, 0, MOST_PID)


def _word(text: str) -> str:
    if len(text) > LONGEST_WORD or not text.isprintable():
        raise ValueError("no word of ours")
    return text


_WHOLE = ("start", "line", "requests", "wanted", "uid", "beside", "failed", "version")
_SIGNED = ("code", "exit_code")
_NUMBERS = (
    "asked",
    "began",
    "clock",
    "doing_since",
    "ended",
    "imported",
    "ready",
    "seconds",
    "since",
    "stood_still",
    "time",
    "up",
    "value",
)

CHECKS: dict[str, Callable[[str], object]] = {
    "pid": _pid_or_none,
    **dict.fromkeys(_WHOLE, whole),
    **dict.fromkeys(_SIGNED, _signed),
    **dict.fromkeys(_NUMBERS, number),
    **dict.fromkeys(("cause", "killer", "level", "method", "phase", "role", "state"), _word),
}

_NEEDED: dict[str, tuple[str, ...]] = {
    "server": ("run", "app", "pid", "start"),
    "process": ("pid", "start"),
    "start": ("pid", "start"),
    "handler": ("pid", "start", "began"),
    "standstill": ("pid", "start", "began", "ended"),
    "event": ("time", "name", "pid"),
    "counter": ("name", "value"),
    "kin": ("pid", "start"),
    "ended": ("time", "pid", "start"),
    "log": ("time", "text"),
    "gone": ("time",),
}
"""By kind, without which fields a record makes no sense."""

_DEFAULTS: dict[str, Fields] = {
    "server": {
        "address": "",
        "began": "0",
        "clock": "0",
        "directory": "",
        "method": "",
        "phase": "starting",
    },
}


def believable(records: Iterable[tuple[str, Fields]]) -> Iterator[tuple[str, Fields]]:
    """Those records that make sense, with those fields that do.

    Raises:
        OtherVersion: what a server has written is of another version, so nothing of it is known.
    """
    for kind, fields in records:
        if kind == "server":
            _check_version(fields.get("version", ""))
        found = _checked(kind, fields)
        needed = _NEEDED.get(kind, ())
        if not all(key in found for key in needed):
            continue
        if "start" not in needed or int(found["pid"]) > 0:  # a signal to 0 reaches our own group
            yield kind, found


def _check_version(text: str) -> None:
    try:
        version = whole(text)
    except ValueError:
        raise ValueError("it has no version") from None
    if version != state.VERSION:
        raise OtherVersion(
            f"written by another version of sanic-reaper ({version}); "
            f"this one reads {state.VERSION}"
        )


def _checked(kind: str, fields: Fields) -> Fields:
    found = dict(_DEFAULTS.get(kind, {}))
    for key, value in fields.items():
        check = number if key.startswith("began_") else CHECKS.get(key)
        try:
            if check is not None:
                check(value)
        except ValueError:
            continue
        found[key] = value
    if "doing" in found and "doing_since" not in found:
        found["doing_since"] = found.get("since", found.get("began", "0"))
    return found


def identity_of(fields: Fields) -> Identity:
    """The process that a believable record is about."""
    return identity(fields["pid"], fields["start"])


def moment(content: bytes) -> float | None:
    """What a beat file tells. `None`: nothing."""
    try:
        return number(content[:50].decode("ascii").strip())
    except ValueError:
        return None
