"""The words in which a worker reports to the main process: one table.

A message is a word and its fields, as JSON. User code in the worker can write to the pipe too, so a
message counts only if it is in the table and each field has its type. Only the main process imports
this module: a worker has no use for the table.

The two ends can come from different releases: if the package is upgraded while a server runs, the
next worker that is spawned has the new code. So a word keeps its meaning and its fields in each
later release. A release that adds a word, or a field at the end of one, raises `VERSION`. The main
process drops the words and the fields that it does not know.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from ..model.questions import EVERY_REQUEST, EVERY_TASK
from ..model.questions import VERSION as VERSION
from ..untrusted import FARTHEST, MOST
from .watchdog import NotUnderstood

if TYPE_CHECKING:
    from .watchdog import Table

HELLO = "hello"
IMPORTED = "imported"
BEGIN = "begin"
WORK = "work"
END = "end"
FAILED = "failed"
LACKS = "lacks"
LISTENS = "listens"
UP = "up"
OPEN = "open"
READY = "ready"
BEAT = "beat"
REQUEST = "request"
SLOW = "slow"
TASK = "task"
WHERE = "where"

_TIME = (("time", "moment"),)
_BEGIN = (
    ("number", "whole"),
    ("name", "text"),
    ("file", "text"),
    ("line", "whole"),
    ("limit", "seconds"),
    ("source", "text"),
    ("thread", "whole"),
    ("event", "text"),
    ("began", "moment"),
)

_REQUEST = (
    ("method", "text"),
    ("path", "text"),
    ("route", "text"),
    ("id", "text"),
    ("stage", "text"),
    ("seconds", "seconds"),
    ("connection", "text"),
    ("runs", "flag"),
    ("frames", "frames"),
)

WORDS: Table = {
    HELLO: (
        "The first message. The worker can be asked where it is, by this signal; 0: by none.",
        (("version", "whole"), ("signal", "whole")),
    ),
    IMPORTED: ("The app is imported.", _TIME),
    BEGIN: ("A start handler begins. Its limit is in seconds; 0: it has none.", _BEGIN),
    WORK: ("Background work begins.", _BEGIN),
    END: (
        "The handler, or the work, of that number has ended.",
        (("number", "whole"), ("has_failed", "whole"), ("ended", "moment")),
    ),
    FAILED: ("The worker cannot start, and exits.", (("reason", "text"),)),
    LACKS: (
        "Something inside Sanic that the worker relies on is not there.",
        (("contract", "text"),),
    ),
    LISTENS: ("The worker listens: its `after_server_start` handlers begin.", _TIME),
    UP: ("The start is over.", _TIME),
    OPEN: ("Requests are answered, although background work is not done.", ()),
    READY: ("All is done that the worker was started for.", _TIME),
    BEAT: (
        "The event loop turns. So many requests were served, so many are in flight, and the oldest "
        "of them for so long.",
        (("requests", "whole"), ("in_flight", "whole"), ("oldest", "seconds")),
    ),
    REQUEST: (
        "A request in flight: a part of the answer to the main process's signal. `runs`: the event "
        "loop runs it in this moment.",
        _REQUEST,
    ),
    SLOW: ("A request has been in flight for longer than `REAPER_SLOW_REQUEST`.", _REQUEST),
    TASK: (
        "A task of the event loop: a part of the answer, if tasks were asked for.",
        (("name", "text"), ("coroutine", "text"), ("runs", "flag"), ("frames", "frames")),
    ),
    WHERE: (
        "The last part of the answer: whether a start handler awaits something, its frames, and "
        "the number of requests in flight.",
        (("awaits", "flag"), ("frames", "frames"), ("in_flight", "whole")),
    ),
}
"""What a worker may say: each word with one sentence, and with its fields and their types."""

SIGNALS: Mapping[str, str] = {
    "SIGRTMAX-3, -4, -8, -9 or -10; SIGUSR2 on a system without them": (
        "Show where you are. `faulthandler` writes the stack of each thread into the pipe, also "
        "while C code holds the GIL, and `where` follows. A worker takes the first of these "
        "signals that the user's code does not handle, and `hello` says which."
    ),
    "SIGCONT": "Follows each such question: a worker that is stopped must run to answer.",
}
"""How the main process asks a worker: each signal, and its meaning. `model.questions.REQUESTS` has
the numbers."""

QUESTIONS: Mapping[str, str] = {
    EVERY_REQUEST: "The answer has every request in flight, not only the one that runs and the "
    "oldest, ten at most.",
    EVERY_TASK: "The answer has every task of the event loop.",
}
"""What the main process writes into a second pipe before the signal, each word with a line break. A
signal carries no words, and without them a worker answers with its stack and the foremost requests.
"""


def read(message: object, is_newer: bool = False) -> tuple[str, list[Any]]:
    """The word of a message, and its fields, each of the type that the table has.

    Args:
        message: any JSON value, as it has come through the pipe.
        is_newer: whether the worker speaks another version: then fields can follow that are not in
            the table, and are dropped. After `hello` they always can.

    Raises:
        NotUnderstood: the message is not in the table, or has wrong fields.
    """
    if not isinstance(message, list) or not message or not isinstance(message[0], str):
        raise NotUnderstood("no word")
    word, *values = message
    if word not in WORDS:
        raise NotUnderstood(f"unknown word {word[:40]!r}")
    fields = WORDS[word][1]
    if is_newer or word == HELLO:
        del values[len(fields) :]
    if len(values) != len(fields):
        raise NotUnderstood(f"{word} with {len(values)} fields")
    for (name, kind), value in zip(fields, values, strict=True):
        if not TYPES[kind](value):
            raise NotUnderstood(f"{word}: its {name} is not of the type {kind!r}")
    return word, values


def _is_whole(value: object) -> bool:
    return type(value) is int and -MOST < value < MOST


def _is_number(value: object) -> bool:
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        return False
    return -FARTHEST < value < FARTHEST or value == float("inf")


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _is_flag(value: object) -> bool:
    return isinstance(value, bool)


def _are_frames(value: object) -> bool:
    return isinstance(value, list) and all(map(_is_frame, value))


def _is_frame(value: object) -> bool:
    if not isinstance(value, list) or len(value) != 3:
        return False
    file, line, function = value
    return _is_text(file) and _is_whole(line) and _is_text(function)


TYPES: Mapping[str, Callable[[object], bool]] = {
    "whole": _is_whole,
    "moment": _is_number,
    "seconds": _is_number,
    "text": _is_text,
    "flag": _is_flag,
    "frames": _are_frames,
}
"""Whether a value is of a type. A moment is in seconds on the monotonic clock. A frame is a file, a
line and a function."""
