"""The main process's link to one worker: receives its reports, and asks for its stack.

The main process asks by a signal and reads the answer from the worker's pipe. Whatever user code
writes to that pipe, nothing is raised, and no signal is sent but one of `REQUESTS`.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import Any, TypeAlias

from ..log import log
from ..model.questions import REQUEST, REQUESTS
from ..model.requests import InFlight, Request, Task
from ..model.roles import MAIN
from ..model.stacks import frames_of
from ..platform import Identity, mark_of
from ..protocol import worker as words
from ..protocol.watchdog import NotUnderstood, refusal
from ..tree.process import Handle
from ..worker.explanations import AWAITING, BLOCKING, EXITED, Frame
from .question_pipe import QuestionPipe
from .reader import Reader

ANSWER = 0.3
"""Seconds from the stack to the message `where`. While the GIL is held in C, none comes."""

STACK = 0.8
"""Seconds from the question to the stack. `faulthandler` writes it once the worker gets a core."""

LATEST = 0.9
"""Seconds from the question to the end of the answer. The watchdog waits for a second (its own
`ANSWER`) before it asks by itself."""

IN_C = f"{BLOCKING}, in C code that holds the GIL or does not return"
"""What a worker does that shows its stack and no more. C code that has released the GIL, and waits
for a database (libpq) or a lock, lets no signal handler of Python run either: the main thread runs
them (Python's `signal`)."""

LISTING = 3.0
"""Seconds from the question to the end of an answer that has every request or every task, if its
first part came in time. (The worker itself gives up after 2.)"""

LONGEST_STACK = 1_000_000
"""The last characters of what was written besides messages that are kept as the stack."""

DEAF_FOR = 10.0
"""Seconds after which the log reports a closed pipe. A worker that exits closes its pipe too, and
on a busy machine the interpreter takes seconds from there to its exit."""

Reply: TypeAlias = "Callable[[list[Frame], str], None]"
"""Called with the frames of the worker, innermost first, and what it does, such as `BLOCKING`."""


class WorkerLink:
    """The link to one worker.

    A warning, a verdict and a `dump` can ask at the same time. Whoever asks while the stack is
    awaited shares that answer if it has what he wants, and whoever asks later waits for the next
    one. So each question is answered within `LATEST` + 2 x `LISTING` seconds, also with `EXITED`.

    Args:
        identity: the worker's pid and creation time. The pid alone does not suffice: any code in
            main that asks for an exit code reaps the worker, and the question's signal kills a
            process that does not handle it.
        connection: main's end of the pipe.
        name: the worker's name, for the log.
        questions: main's end of the pipe for what a question wants. `None`: there is none.

    Attributes:
        imports: whether the worker has sent nothing yet, and so still imports the app.
        can_be_asked: whether the worker handles a signal by which main can ask. While a worker
            imports under spawn or forkserver it handles none, and the signal would kill it.
        version: the version of the protocol that the worker speaks, as its `hello` says.
        stack: the stacks that the worker has written since it was last asked.
        in_flight: its requests in flight, as the last question was answered.
        answered_at: monotonic time of that answer. `None`: there was none, or one is awaited, or C
            code blocks the loop. Then nothing is known of its requests.
        tasks: the tasks of its event loop, if the last question was for them.
    """

    def __init__(
        self,
        identity: Identity,
        connection: Connection,
        name: str,
        questions: Connection | None = None,
    ) -> None:
        self.identity = identity
        self._name = name
        self._handlers: dict[str, list[Callable[..., None]]] = {}
        self.imports = True
        self.can_be_asked = False
        self.version = words.VERSION
        self.stack = ""
        self.in_flight = InFlight()
        self.answered_at: float | None = None
        self.tasks: list[Task] = []
        self._requests: list[Request] = []
        self._stack_at: float | None = None
        """Monotonic time at which the beginning of the stack was read."""
        self._handle = Handle.open(*identity)
        self._mark = None if self._handle is None else _mark_of(self._handle)
        self._reader = Reader(connection)
        self._questions = QuestionPipe(questions)
        self._asked: float | None = None
        self._wanted = ""
        """What was asked for besides the stack: `EVERY_REQUEST`, `EVERY_TASK`, or nothing."""
        self._replies: list[Reply] = []
        """The replies that share the answer which is awaited."""
        self._waiting: list[tuple[Reply, str]] = []
        """The replies that wait for a later question, and what each wants."""
        self._where: tuple[bool, list[Frame]] | None = None
        self._request = REQUEST
        self._is_closed = False
        self._has_complained = self._is_told_deaf = False
        self._deaf_since: float | None = None
        self.listen(
            {
                words.HELLO: self._on_hello,
                words.REQUEST: self._on_request,
                words.TASK: self._on_task,
                words.WHERE: self._on_where,
            }
        )

    def listen(self, handlers: Mapping[str, Callable[..., None]]) -> None:
        """Call these handlers from now on, each with the fields of every message of its word.

        Handlers of the same word are called in the order in which they were given.
        """
        for word, handler in handlers.items():
            self._handlers.setdefault(word, []).append(handler)

    def turn(self) -> None:
        """Receive the worker's reports, and answer a question that is answered or overdue."""
        self.hear()
        if self.is_deaf:
            self._report_closed_pipe()
        if self._asked is None:
            return
        until = self._asked + STACK
        if self._stack_at is not None:  # on a busy machine that alone may have taken `ANSWER`
            until = min(self._stack_at + ANSWER, self._asked + LATEST)
        if self._wanted and (self._requests or self.tasks):
            until = self._asked + LISTING
        if self._where is not None or time.monotonic() >= until:
            self._answer()

    def hear(self) -> None:
        """Receive what the worker has written since the last call."""
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

    @property
    def news(self) -> list[int]:
        """The descriptor that becomes readable when a worker goes on with a long answer.

        The worker waits for room in the pipe, in a signal handler. Empty while none is awaited.
        """
        is_listing = self._asked is not None and bool(self._wanted)
        return self._reader.descriptors if is_listing else []

    def _on_hello(self, version: int, signum: int) -> None:
        self.imports = False
        self.version = version
        # User code can have written this. By no other signal: it could be SIGKILL.
        self._request = signum if signum in REQUESTS else 0
        self.can_be_asked = bool(self._request)

    def _on_request(self, *fields: Any) -> None:
        if self._asked is not None:
            self._requests.append(Request.of(fields))

    def _on_task(self, name: str, coroutine: str, runs: bool, frames: list[list[Any]]) -> None:
        if self._asked is not None:
            self.tasks.append(Task(name, coroutine, runs, _frames(frames)))

    def _on_where(self, awaits: bool, frames: list[list[Any]], in_flight: int) -> None:
        if self._asked is not None:
            self._where = (awaits, _frames(frames))
            self.in_flight = InFlight(in_flight, self._requests)
            self.answered_at = time.monotonic()

    @property
    def is_deaf(self) -> bool:
        """Whether the pipe is closed. If the worker lives, its silence then means nothing."""
        return self._reader.is_lost

    def _complain(self, error: NotUnderstood) -> None:
        if self._has_complained:
            return
        self._has_complained = True
        why = "Does its code write to descriptors that it has not opened?"
        if self.version != words.VERSION:
            why = "It runs another release of the package"
        log.warning("%s. %s", refusal(MAIN, self._name, self.identity[0], error), why)

    def _report_closed_pipe(self) -> None:
        """Log once that a worker lives whose pipe has been closed for `DEAF_FOR` seconds."""
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

    def ask(self, reply: Reply, is_verdict: bool = False, want: str = "") -> None:
        """Ask the worker for its stack, and for the requests in flight that it deems foremost.

        Args:
            reply: is called with the answer, exactly once.
            is_verdict: whether the watchdog waits for the answer before it kills the worker. Then
                a stack that has been read already is accepted. It is `ANSWER` seconds old at most.
            want: `EVERY_REQUEST` or `EVERY_TASK`, to ask for all of them too.
        """
        if self._is_closed:
            reply([], EXITED)
        elif self._asked is None:
            self._put([reply], want)
        elif is_verdict or (want in ("", self._wanted) and not self.stack):
            self._replies.append(reply)
        else:  # the stack is older than the question
            self._waiting.append((reply, want))

    def _put(self, replies: list[Reply], want: str) -> None:
        self._asked, self._replies, self._wanted = time.monotonic(), replies, want
        self.stack, self._stack_at, self._where = "", None, None
        self._requests, self.tasks, self.in_flight = [], [], InFlight()
        self.answered_at = None
        if want:
            self._questions.write(want)
        if self._handle is not None:
            self._check_handle(self._handle)
            with suppress(PermissionError):  # main has become another user
                if self._request:  # otherwise the user's code handles each of the signals
                    self._handle.send(self._request)
                self._handle.send(signal.SIGCONT)

    def _answer(self) -> None:
        frames, how = frames_of(self.stack), BLOCKING
        if not self.stack:
            how = "and does not answer" if self._lives() else EXITED
        elif self._where is None:
            how = IN_C
        elif self._where[0]:
            frames, how = self._where[1], AWAITING
        replies, self._replies, self._asked = self._replies, [], None
        for reply in replies:
            reply(frames, how)
        if self._waiting and self._asked is None:
            want = self._waiting[0][1]
            now = [reply for reply, wanted in self._waiting if wanted == want]
            self._waiting = [one for one in self._waiting if one[1] != want]
            self._put(now, want)

    def _check_handle(self, handle: Handle) -> None:
        """Forget the pidfd if user code has closed it. Its number can be another file's by now.

        Without a pidfd, the creation time identifies the process.
        """
        if handle.fd is not None and _mark_of(handle) != self._mark:
            handle.fd = None

    def _lives(self) -> bool:
        return self._handle is not None and self._handle.alive()

    def close(self) -> None:
        """Close the link, because the worker has exited. Each open question is answered `EXITED`.

        The handlers are dropped. They refer to the worker, which refers to this link: such a cycle
        would stay in memory until the next full collection, with the process's descriptors.
        """
        self._is_closed = True
        self._reader.close()
        self._questions.close()
        self._handlers.clear()
        replies, self._asked = [*self._replies, *(reply for reply, _ in self._waiting)], None
        self._replies, self._waiting = [], []
        if self._handle is not None:
            self._check_handle(self._handle)
            self._handle.close()
            self._handle = None
        for reply in replies:
            reply([], EXITED)


def _frames(fields: list[list[Any]]) -> list[Frame]:
    return [(file, line, name) for file, line, name in fields]


def _mark_of(handle: Handle) -> tuple[int, int] | None:
    return None if handle.fd is None else mark_of(handle.fd)
