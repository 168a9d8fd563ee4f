"""Makes the three standard streams safe to use.

They can be closed (`>&-`), full (`> /dev/full`), without a reader (`ps | head`), or in an encoding
that lacks letters (`LC_ALL=C`). Then a command exits as other Unix tools do, without a traceback.
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
"""The exit code if the output has no reader any more: that of a tool that SIGPIPE has killed
(128 + 13)."""

FAILED = 2
"""The exit code if the output cannot be written for another reason."""


class Output(io.FileIO):
    """A descriptor that remembers why a write has failed. The writer can be argparse, which hides
    such an error."""

    failure: OSError | None = None

    def write(self, data: object) -> int:
        try:
            return super().write(data)  # type: ignore[arg-type]
        except OSError as error:
            self.failure = error
            raise


def prepare() -> None:
    """Replace stdin, stdout and stderr by streams that a command can rely on.

    The interpreter has `None` in the place of a closed stream. What is printed is lost silently,
    and the next file that is opened would get the number of a standard stream. Here, a closed stdin
    is empty, and each write to a closed stdout fails, as in other tools.
    """
    if sys.stdin is None:
        sys.stdin = open(os.devnull)  # noqa: SIM115
    if sys.stdout is None:
        os.open(os.devnull, os.O_RDONLY)  # gets the lowest free number, 1
    if sys.stderr is None:
        os.open(os.devnull, os.O_WRONLY)
    if sys.stdout is sys.__stdout__:  # otherwise a test has replaced it
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
    """The exit code for an error of the output. `None`: the error has another cause."""
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
    """Print a line on stderr. A failure to print is ignored, because the exit code says the same.

    Control characters are shown as text, because names in the line can come from other users.
    """
    try:
        print(printable(text), file=sys.stderr)
    except OSError:
        _silence(sys.stderr)


def _silence(stream: TextIO) -> None:
    """Redirect a stream to /dev/null, or the interpreter would report an error at its exit."""
    try:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)
    except (OSError, ValueError):
        pass
