"""Checks the records of state files: the type and the range of each field.

The reader can be root, and the writer another user or another version, or the disk was full. A
wrong field is dropped, and so is a record that makes no sense without it. The other fields can be
converted by `int` and `float`. Names and sentences are not checked: whoever shows them must make
them printable.
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
    """Another version of sanic-reaper has written the file."""


LONGEST_WORD = 40
"""Maximum length of a word that the Reaper defines, such as a state, in characters."""


def _signed(text: str) -> int:
    return whole(text, -(2**31))


def _pid_or_none(text: str) -> int:
    """A pid, or 0 in an event that is about no process."""
    return whole(text, 0, MOST_PID)


def _word(text: str) -> str:
    if len(text) > LONGEST_WORD or not text.isprintable():
        raise ValueError("too long, or not printable")
    return text


_WHOLE = ("start", "line", "requests", "in_flight", "wanted", "uid", "beside", "failed", "version")
_SIGNED = ("code", "exit_code")
_NUMBERS = (
    "asked",
    "began",
    "clock",
    "doing_since",
    "ended",
    "imported",
    "oldest",
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
    "lost": ("pid", "start", "text"),
    "event": ("time", "name", "pid"),
    "counter": ("name", "value"),
    "kin": ("pid", "start"),
    "ended": ("time", "pid", "start"),
    "log": ("time", "text"),
    "gone": ("time",),
}
"""The fields without which a record of a kind makes no sense."""

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
    """Drop records and fields that are wrong.

    Raises:
        OtherVersion: another version of sanic-reaper has written the records.
        ValueError: the `server` record has no version.
    """
    for kind, fields in records:
        if kind == "server":
            _check_version(fields.get("version", ""))
        found = _checked(kind, fields)
        needed = _NEEDED.get(kind, ())
        if not all(key in found for key in needed):
            continue
        if (
            "start" not in needed or int(found["pid"]) > 0
        ):  # a signal to pid 0 would reach this process's own group
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
    """The moment in a beat file, in monotonic seconds. `None`: it has none."""
    try:
        return number(content[:50].decode("ascii").strip())
    except ValueError:
        return None
