"""The words in which a worker reports to the main process: one table.

A message is a word and its fields, as JSON. User code in the worker may write to the pipe too, so a
message counts only if it is in the table and each field has its type. Only the main process imports
this module: a worker has no use for the table.
"""

from __future__ import annotations

from collections.abc import Mapping

from ..untrusted import FARTHEST, MOST

_TIME: tuple[tuple[str, type], ...] = (("time", float),)
_BEGIN: tuple[tuple[str, type], ...] = (
    ("number", int),
    ("name", str),
    ("file", str),
    ("line", int),
    ("limit", float),
    ("source", str),
    ("thread", int),
    ("event", str),
    ("began", float),
)

WORDS: Mapping[str, tuple[str, tuple[tuple[str, type], ...]]] = {
    "hello": (
        "The worker can be asked where it is, by this signal; 0: by none.",
        (("signal", int),),
    ),
    "imported": ("The app is imported.", _TIME),
    "begin": ("A start handler begins. Its limit is in seconds; 0: it has none.", _BEGIN),
    "work": ("Background work begins.", _BEGIN),
    "end": (
        "The handler, or the work, of that number has ended.",
        (("number", int), ("has_failed", int), ("ended", float)),
    ),
    "failed": ("The worker can't start, and exits.", (("reason", str),)),
    "lacks": (
        "Something inside Sanic that the worker relies on is not there.",
        (("contract", str),),
    ),
    "listens": ("The worker listens: its `after_server_start` handlers begin.", _TIME),
    "up": ("The start is over.", _TIME),
    "open": ("Requests are answered, although background work is not done.", ()),
    "ready": ("All is done that the worker was started for.", _TIME),
    "beat": ("The event loop turns. So many requests were served.", (("requests", int),)),
    "where": (
        "The answer to the main process's signal: whether the worker awaits something, and frames.",
        (("awaits", bool), ("frames", list)),
    ),
}
"""What a worker may say: each word with one sentence, and with its fields and their types.

A time is on the monotonic clock, in seconds. A frame is a file, a line and a function.
"""


def is_understood(message: object) -> bool:
    """Whether a message is one of `WORDS`, with what belongs to it."""
    if not isinstance(message, list) or not message or not isinstance(message[0], str):
        return False
    word, *rest = message
    if word not in WORDS:
        return False
    types = [kind for _, kind in WORDS[word][1]]
    return len(types) == len(rest) and all(map(_fits, rest, types))


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
