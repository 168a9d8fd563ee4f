"""Main's line to one worker: what it reports, and where it is when it is asked."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import Any, TypeAlias

from ..log import log
from ..model.questions import REQUEST, REQUESTS
from ..model.roles import MAIN
from ..model.stacks import frames_of
from ..platform import Identity, mark_of
from ..protocol import worker as words
from ..protocol.watchdog import NotUnderstood, refusal
from ..tree.process import Handle
from ..worker.explanations import AWAITING, BLOCKING, EXITED, Frame
from .reader import Reader

ANSWER = 0.3
"""Seconds that a worker has to say what is not on its stack. With the GIL held it never does."""

STACK = 0.8
"""Seconds that its stack may take: the kernel writes it down as soon as the worker gets a core."""

LATEST = 0.9
"""Seconds for both: the watchdog waits for a second (its own `ANSWER`) before it asks by itself."""

LONGEST_STACK = 1_000_000
"""Characters of a stack that are kept: more than that is none."""

DEAF_FOR = 10.0
"""Seconds after which a worker that has closed its pipe is not one that exits: on a busy machine an
interpreter may take seconds from there to its end."""

Reply: TypeAlias = "Callable[[list[Frame], str], None]"
"""Receives the frames in which the worker sits, innermost first, and how, such as `BLOCKING`."""


class WorkerLink:
    """The pipe from one worker.

    Several may ask where the worker is: a warning, a verdict, a `dump`. Each of them gets an answer
    within two times (`STACK` + `ANSWER`), if only "it has exited": whoever asks while the worker's
    stack is awaited shares that answer, and whoever asks later waits for the next one.

    Args:
        identity: its pid and creation time. The pid alone would not do: whoever asks for its exit
            code reaps it, in main and in threads of the user's, and what we send is deadly to
            whoever does not expect it.
        connection: what it reports through.
        name: the worker's name, for the log.

    Attributes:
        imports: whether nothing has come from it yet, so it still imports the app.
        can_be_asked: not while the worker imports under spawn or forkserver: the signal would end
            it.
        version: the version of the protocol that the worker speaks, as its `hello` says.
        stack: what the worker has shown when it was last asked.
    """

    def __init__(self, identity: Identity, connection: Connection, name: str) -> None:
        self.identity = identity
        self._name = name
        self._handlers: dict[str, list[Callable[..., None]]] = {}
        self.imports = True
        self.can_be_asked = False
        self.version = words.VERSION
        self.stack = ""
        self._stack_at: float | None = None
        """When the first of the stack was there, which the kernel writes down."""
        self._handle = Handle.open(*identity)
        self._mark = None if self._handle is None else _mark_of(self._handle)
        self._reader = Reader(connection)
        self._asked: float | None = None
        self._replies: list[Reply] = []
        """Who shares the answer that the worker has been asked for."""
        self._waiting: list[Reply] = []
        """Who asks next."""
        self._where: tuple[bool, list[Frame]] | None = None
        self._request = REQUEST
        self._is_closed = False
        self._has_complained = self._is_told_deaf = False
        self._deaf_since: float | None = None
        self.listen({words.HELLO: self._on_hello, words.WHERE: self._on_where})

    def listen(self, handlers: Mapping[str, Callable[..., None]]) -> None:
        """Call these handlers from now on, each with the fields of every message of its word.

        Handlers of the same word are called in the order in which they were given.
        """
        for word, handler in handlers.items():
            self._handlers.setdefault(word, []).append(handler)

    def turn(self) -> None:
        """Take in what it has reported; act on an answer, or on the want of one."""
        self.hear()
        if self.is_deaf:
            self._note_deafness()
        if self._asked is None:
            return
        until = self._asked + STACK
        if self._stack_at is not None:  # on a busy machine that alone may have taken `ANSWER`
            until = min(self._stack_at + ANSWER, self._asked + LATEST)
        if self._where is not None or time.monotonic() >= until:
            self._answer()

    def hear(self) -> None:
        messages, stack = self._reader.read()
        self.stack = (self.stack + stack)[-LONGEST_STACK:]
        if stack and self._stack_at is None:
            self._stack_at = time.monotonic()
        for message in messages:
            self._receive(message)

    def _receive(self, message: object) -> None:
        try:
            word, fields = words.read(message, is_newer=self.version != words.VERSION)
        except NotUnderstood as error:
            self._complain(error)
            return
        for handler in self._handlers.get(word, ()):
            handler(*fields)

    def _on_hello(self, version: int, signum: int) -> None:
        self.imports = False
        self.version = version
        # By no other signal, whoever has written this: it could be SIGKILL.
        self._request = signum if signum in REQUESTS else 0
        self.can_be_asked = bool(self._request)

    def _on_where(self, awaits: bool, frames: list[list[Any]]) -> None:
        if self._asked is not None:
            self._where = (awaits, [(file, line, name) for file, line, name in frames])

    @property
    def is_deaf(self) -> bool:
        """Whether nothing more can be heard of it. If it lives, somebody has closed its pipe, and
        its silence means nothing."""
        return self._reader.is_lost

    def _complain(self, error: NotUnderstood) -> None:
        if self._has_complained:
            return
        self._has_complained = True
        why = "Does its code write to descriptors that it has not opened?"
        if self.version != words.VERSION:
            why = "It runs another release of the package"
        log.warning("%s. %s", refusal(MAIN, self._name, self.identity[0], error), why)

    def _note_deafness(self) -> None:
        """A worker that exits closes its pipe some time before it has exited."""
        now = time.monotonic()
        if self._deaf_since is None:
            self._deaf_since = now
        elif now - self._deaf_since >= DEAF_FOR and not self._is_told_deaf and self._lives():
            self._is_told_deaf = True
            log.warning(
                "%s [%d] can't report any more: its pipe is closed; does some code close "
                "descriptors that it has not opened?",
                self._name,
                self.identity[0],
            )

    def ask(self, reply: Reply, is_verdict: bool = False) -> None:
        """Have the worker show where it is, and `reply` be called with that, exactly once.

        Args:
            is_verdict: whether the watchdog waits for the answer before it kills the worker: then
                a stack that is already here, and `ANSWER` seconds old at most, is good enough.
        """
        if self._is_closed:
            reply([], EXITED)
        elif self._asked is None:
            self._put([reply])
        elif is_verdict or not self.stack:  # else it is older than the question
            self._replies.append(reply)
        else:
            self._waiting.append(reply)

    def _put(self, replies: list[Reply]) -> None:
        self._asked, self._replies = time.monotonic(), replies
        self.stack, self._stack_at, self._where = "", None, None
        if self._handle is not None:
            self._check_handle(self._handle)
            with suppress(PermissionError):  # main has become another user
                if self._request:  # else the user's code has taken each of them
                    self._handle.send(self._request)
                self._handle.send(signal.SIGCONT)

    def _answer(self) -> None:
        frames, how = frames_of(self.stack), BLOCKING
        if not self.stack:
            how = "and does not answer" if self._lives() else EXITED
        elif self._where is None:
            how = f"{BLOCKING}, in C code that holds the GIL"
        elif self._where[0]:
            frames, how = self._where[1], AWAITING
        replies, self._replies, self._asked = self._replies, [], None
        for reply in replies:
            reply(frames, how)
        if self._waiting and self._asked is None:
            waiting, self._waiting = self._waiting, []
            self._put(waiting)

    def _check_handle(self, handle: Handle) -> None:
        """Somebody may have closed its descriptor: the number is another file's by now, which is
        not ours to close, or another process's. The creation time tells who is meant without it."""
        if handle.fd is not None and _mark_of(handle) != self._mark:
            handle.fd = None

    def _lives(self) -> bool:
        return self._handle is not None and self._handle.alive()

    def close(self) -> None:
        """It has exited: nothing more is heard, and each question is answered with that.

        The handlers are dropped. They refer to the worker, which refers to this link: such a cycle
        would stay in memory until the next full collection, with the process's descriptors.
        """
        self._is_closed = True
        self._reader.close()
        self._handlers.clear()
        replies, self._asked = [*self._replies, *self._waiting], None
        self._replies, self._waiting = [], []
        if self._handle is not None:
            self._check_handle(self._handle)
            self._handle.close()
            self._handle = None
        for reply in replies:
            reply([], EXITED)


def _mark_of(handle: Handle) -> tuple[int, int] | None:
    return None if handle.fd is None else mark_of(handle.fd)
