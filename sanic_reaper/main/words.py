"""The words in which a worker reports. User code may write into its pipe too: nothing is trusted.

Pure.
"""

from __future__ import annotations

from collections.abc import Mapping

from ..untrusted import FARTHEST, MOST

_BEGIN = (int, str, str, int, float, str, int, str, float)

WORDS: Mapping[str, tuple[type, ...]] = {
    "hello": (int,),
    "imported": (float,),
    "begin": _BEGIN,
    "work": _BEGIN,
    "end": (int, int, float),
    "failed": (str,),
    "lacks": (str,),
    "listens": (float,),
    "up": (float,),
    "open": (),
    "ready": (float,),
    "beat": (int,),
    "where": (bool, list),
}
"""What a worker may say, and with what."""


def is_understood(message: object) -> bool:
    """Whether a message is one of `WORDS`, with what belongs to it."""
    if not isinstance(message, list) or not message or not isinstance(message[0], str):
        return False
    word, *rest = message
    types = WORDS.get(word)
    return types is not None and len(types) == len(rest) and all(map(_fits, rest, types))


def _fits(value: object, wanted: type) -> bool:
    if wanted is float:
        if not isinstance(value, (int, float)) or isinstance(value, bool):
            return False
        return -FARTHEST < value < FARTHEST or value == float("inf")
    if wanted is int:
        return type(value) is int and -MOST < value < MOST
    if wanted is list:
        return isinstance(value, list) and all(map(_is_frame, value))
    return isinstance(value, wanted)


def _is_frame(value: object) -> bool:
    """A file, a line, a function."""
    if not isinstance(value, list) or len(value) != 3:
        return False
    return all(map(_fits, value, (str, int, str)))
