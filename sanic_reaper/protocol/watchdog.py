"""The words of the main process and its watchdog, in both directions: one table, read by both ends.

A message is a word and its fields, all of them text. Each end calls a handler by the word, with the
fields converted to their types. What does not fit the table is refused: user code in the main
process may write to any of its descriptors.

Plain tuples and dicts: the watchdog keeps this module in memory for as long as the server runs.
"""

from __future__ import annotations

import signal

from .. import untrusted
from ..model.kills import KILLS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import TypeAlias

    Table: TypeAlias = Mapping[str, tuple[str, tuple[tuple[str, str], ...]]]

VERSION = 2
"""To be raised when a word gets another meaning or other fields. The two ends may come from
different releases: a watchdog that is started while a server runs is the one that is installed
then."""

FORCED_STOP = 1.0
"""Seconds after `KILL` at which the watchdog kills a main process that has not exited."""

HELLO = "hello"

REGISTER = "register"
HELPER = "helper"
TRACKER = "tracker"
FORK_SERVER = "fork_server"
EXCLUDE = "exclude"
PREEXISTING = "preexisting"
BEGAN = "began"
STATE = "state"
FORMAT = "format"
DEADLINE = "deadline"
LATE = "late"
HUNG = "hung"
SHOWN = "shown"
DUMP = "dump"
TERMINATE = "terminate"
REPLACED = "replaced"
KILL_OTHER = "kill_other"
STOP = "stop"
KILL = "kill"
FINISH = "finish"
HANDOVER = "handover"
OVER = "over"
SEEN = "seen"
LEAVE = "leave"

LOG = "log"
SIGNALLED = "signalled"
KILLED = "killed"
EXITED = "exited"
EXPIRED = "expired"
ZOMBIE = "zombie"
DONE = "done"
HANDED_OVER = "handed_over"

LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR")

FORMATS = TEXT, JSON = ("text", "json")

_HELLO = (
    "The first message of each end.",
    (("version", "count"),),
)
_PROCESS = (("pid", "pid"), ("start", "start"))
_NAMED = (*_PROCESS, ("name", "text"))

TO_WATCHDOG: Table = {
    HELLO: _HELLO,
    REGISTER: (
        "A worker, or a process of the user's, was started. It must be ready by a deadline.",
        (*_PROCESS, ("role", "text"), ("ready_by", "moment"), ("name", "text")),
    ),
    HELPER: ("A SyncManager was started: the main process stops it after the workers.", _NAMED),
    TRACKER: ("A resource tracker was started: it exits when no process uses it.", _NAMED),
    FORK_SERVER: ("A fork server was started: it exits when no process uses it.", _NAMED),
    EXCLUDE: ("A child of the main process that is not the server's, with its children.", _PROCESS),
    PREEXISTING: (
        "A child that the main process had before the server: the server's only once the main "
        "process has died.",
        _PROCESS,
    ),
    BEGAN: ("The creation time of the server's first process.", (("start", "start"),)),
    STATE: ("The directory of the run's files; empty: there is none.", (("directory", "text"),)),
    FORMAT: (
        "The format of the main process's log, in which the watchdog writes lines once the main "
        "process has died: text, or a JSON object a line.",
        (("format", "format"),),
    ),
    DEADLINE: (
        "A process has another deadline for its start; 0: its start is over.",
        (*_PROCESS, ("ready_by", "moment")),
    ),
    LATE: ("A worker has missed its deadline: kill it when its stack is known.", _PROCESS),
    HUNG: ("A worker's event loop is stalled: kill it when its stack is known.", _PROCESS),
    SHOWN: ("The stack of such a worker is known: kill it now.", _PROCESS),
    DUMP: (
        "Such a worker does not answer: have it write its stack (SIGABRT), then kill it.",
        _PROCESS,
    ),
    TERMINATE: ("Send SIGTERM to a process.", _PROCESS),
    REPLACED: (
        "A process was told to stop while the server runs (replaced, or not wanted any more): "
        "kill it at a deadline.",
        (*_PROCESS, ("end_by", "moment")),
    ),
    KILL_OTHER: (
        "Kill a helper that the main process may not signal any more.",
        (*_NAMED, ("why", "text")),
    ),
    STOP: (
        "The server stops: workers must exit by the first moment, the main process by the second.",
        (("drain_by", "moment"), ("deadline", "moment")),
    ),
    KILL: ("The server was told twice to stop: kill its processes now.", ()),
    FINISH: ("The workers have exited: kill what they left behind.", ()),
    HANDOVER: ("What the main process starts from now on is the script's.", ()),
    OVER: ("The server has stopped: the main process has no deadline any more.", ()),
    SEEN: ("So many lines for the log have been read.", (("lines", "count"),)),
    LEAVE: ("Nothing is left to watch: exit.", ()),
}
"""What the main process says: each word with one sentence, and with its fields and their types."""

TO_MAIN: Table = {
    HELLO: _HELLO,
    LOG: ("A line for the log.", (("level", "level"), ("text", "text"))),
    SIGNALLED: (
        "A signal was sent, or refused: the fields of the line for the log. The last one is empty "
        "if the signal has none of the causes.",
        (
            ("level", "level"),
            ("signal", "signal"),
            ("role", "text"),
            ("name", "text"),
            ("pid", "pid"),
            ("evidence", "text"),
            ("why", "text"),
            ("seconds", "number"),
            ("since", "text"),
            ("cause", "cause"),
        ),
    ),
    KILLED: (
        "A process is killed: the cause, or, for a leftover, no cause and the evidence.",
        (*_NAMED, ("cause", "cause"), ("evidence", "text")),
    ),
    EXITED: ("A registered process has exited.", _PROCESS),
    EXPIRED: ("A registered process has missed its deadline.", _PROCESS),
    ZOMBIE: ("A zombie that the main process has adopted, and that nobody waits for.", _PROCESS),
    DONE: (
        "Leftovers were killed: how many, and why each survivor could not be killed.",
        (("killed", "count"), ("survivors", "texts")),
    ),
    HANDED_OVER: ("All that the main process has started before is known.", ()),
}
"""What the watchdog says, in the same form."""


class NotUnderstood(ValueError):
    """A message that is not in the table, or has wrong fields."""


def moment(text: str) -> float:
    """A moment on the monotonic clock, or `inf`: never.

    Raises:
        ValueError: `text` is neither.
    """
    return float("inf") if text == "inf" else untrusted.number(text)


def _level(text: str) -> str:
    if text not in LEVELS:
        raise ValueError(text)
    return text


def _format(text: str) -> str:
    if text not in FORMATS:
        raise ValueError(text)
    return text


def _cause(text: str) -> str:
    if text and text not in KILLS:
        raise ValueError(text)
    return text


def _signal(text: str) -> int:
    """Raises: ValueError: no signal has this number. 0 is none."""
    number = untrusted.whole(text)
    return number and int(signal.Signals(number))


TYPES: Mapping[str, Callable[[str], object]] = {
    "pid": untrusted.pid,
    "start": untrusted.whole,
    "count": untrusted.whole,
    "number": untrusted.number,
    "moment": moment,
    "signal": _signal,
    "level": _level,
    "format": _format,
    "cause": _cause,
    "text": str,
}
"""How each type of a field is read. `texts` are all fields that are left."""


def read(table: Table, message: list[str]) -> tuple[str, list[object]]:
    """The word of a message, and its fields as the table has them.

    Raises:
        NotUnderstood: the message is not in the table, or has wrong fields.
    """
    word, *texts = message
    if word not in table:
        raise NotUnderstood(f"unknown word {word[:40]!r}")
    kinds = [kind for _, kind in table[word][1]]
    if kinds[-1:] == ["texts"]:
        kinds[-1:] = ["text"] * (len(texts) - len(kinds) + 1)
    if len(texts) != len(kinds):
        raise NotUnderstood(f"{word} with {len(texts)} fields")
    try:
        return word, [TYPES[kind](text) for kind, text in zip(kinds, texts, strict=True)]
    except ValueError as error:
        raise NotUnderstood(f"{word}: {error}") from error


class Receiver:
    """Calls the handler of each message that one end receives.

    A message that is not in the table changes nothing. The first one is complained of.

    Args:
        table: the words that this end understands.
        handlers: what is called with the fields of a message, by its word.
        complain: called with the error of the first message that is refused.
    """

    __slots__ = ("_complain", "_handlers", "_has_complained", "_table")

    def __init__(
        self,
        table: Table,
        handlers: Mapping[str, Callable[..., None]],
        complain: Callable[[NotUnderstood], None],
    ) -> None:
        self._table, self._handlers, self._complain = table, handlers, complain
        self._has_complained = False

    def receive(self, message: list[str]) -> None:
        """Act on one message."""
        try:
            word, fields = read(self._table, message)
        except NotUnderstood as error:
            if not self._has_complained:
                self._has_complained = True
                self._complain(error)
        else:
            self._handlers[word](*fields)


def refusal(receiver: str, sender: str, pid: int, error: NotUnderstood) -> str:
    """The line for the log about a message that was refused."""
    return (
        f"{receiver}: dropped a message that is not understood ({error}), from {sender} [{pid}]; "
        "later ones are dropped without a line"
    )
