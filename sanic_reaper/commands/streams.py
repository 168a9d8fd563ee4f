"""The three standard streams when they are closed, full, read by nobody, or in an encoding that
lacks letters: `ps | head`, `>&-`, `> /dev/full`, `LC_ALL=C`. A command exits then as other Unix
tools do, and without a traceback.
"""

from __future__ import annotations

import errno
import io
import os
import sys

from ..untrusted import printable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TextIO

NO_READER = 141
"""The exit code when nobody reads the output any more: what a shell shows of a tool that SIGPIPE
has killed (128 + 13)."""

FAILED = 2


class Output(io.FileIO):
    """A descriptor that remembers why it could not be written to. Whoever writes may be argparse,
    which keeps such an error to itself."""

    failure: OSError | None = None

    def write(self, data: object) -> int:
        try:
            return super().write(data)  # type: ignore[arg-type]
        except OSError as error:
            self.failure = error
            raise


def prepare() -> None:
    """Make stdin, stdout and stderr what a command can rely on, also where they are closed.

    The interpreter has `None` in the place of a closed one, and what is printed is lost without a
    word; and the next file that is opened would get the number of a standard stream. Here there is
    nothing to read from stdin then, and each write to stdout fails, as for any tool with `>&-`.
    """
    if sys.stdin is None:
        sys.stdin = open(os.devnull)  # noqa: SIM115
    if sys.stdout is None:
        os.open(os.devnull, os.O_RDONLY)  # is 1 now, the lowest number that is free
    if sys.stderr is None:
        os.open(os.devnull, os.O_WRONLY)
    if sys.stdout is sys.__stdout__:  # else a test's
        sys.stdout = _text(1, sys.stdout)
    if sys.stderr is sys.__stderr__:
        sys.stderr = _text(2, sys.stderr)


def _text(fd: int, before: TextIO | None) -> TextIO:
    return io.TextIOWrapper(
        io.BufferedWriter(Output(fd, "wb", closefd=False)),
        before.encoding if before is not None else None,
        "backslashreplace",  # names may have letters that this encoding lacks
        line_buffering=fd == 2 or os.isatty(fd),
    )


def exit_code_for(error: OSError) -> int | None:
    """What to exit with, if this error comes from the output. `None`: it does not."""
    code = None
    for name, stream in (("standard output", sys.stdout), ("standard error", sys.stderr)):
        raw = getattr(getattr(stream, "buffer", None), "raw", None)
        if not isinstance(raw, Output) or raw.failure is None:
            continue
        failure = raw.failure
        code = code or (NO_READER if failure.errno == errno.EPIPE else FAILED)
        _silence(stream)
        if failure.errno != errno.EPIPE and stream is sys.stdout:
            complain(f"sanic-reaper: {name}: {failure.strerror}")
    return code


def complain(text: str) -> None:
    """A line on stderr, for which nothing else fails: an exit code says the same.

    Names in it may be anybody's: what a terminal would obey is shown as text.
    """
    try:
        print(printable(text), file=sys.stderr)
    except OSError:
        _silence(sys.stderr)


def _silence(stream: TextIO) -> None:
    """What is still to be written goes nowhere, or the interpreter would complain at its end."""
    try:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)
    except (OSError, ValueError):
        pass
