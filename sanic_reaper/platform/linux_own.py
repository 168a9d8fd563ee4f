"""Linux, as far as a process asks the kernel about itself: all that a worker loads.

Sources: proc(5), prctl(2), fcntl(2), malloc_trim(3).
"""

from __future__ import annotations

import errno
import os

from .base import SCARCE, WITHOUT, Row, is_hidden

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeVar

    T = TypeVar("T")

SUPPORTED = True
NEEDS_SITE_PACKAGES = False

PR_SET_PDEATHSIG = 1


def read(path: str, in_pieces: bool = False, at: int | None = None) -> bytes:
    """The whole of a small file below /proc, with three system calls and no buffer of Python's.

    Args:
        in_pieces: whether a read may return less than was asked for and than there is: the kernel
            writes a long list entry by entry, and never half of one (seq_file).
        at: a descriptor of the directory that the path begins in.
    """
    where = {} if at is None else {"dir_fd": at}
    fd = sparingly(os.open, path, os.O_RDONLY | os.O_CLOEXEC, **where)
    try:
        content = os.read(fd, 4096)
        while content and (in_pieces or len(content) % 4096 == 0):
            more = os.read(fd, 65536)
            if not more:
                break
            content += more
        return content
    finally:
        os.close(fd)


def _read_own_stat() -> bytes:
    """What others read in /proc of this process.

    An emulator (qemu-user) makes up some files of a process for that process itself, with a
    creation time that can be a tick off. It looks at the path, and not at a descriptor.
    """
    directory = sparingly(os.open, "/proc", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        return read(f"{os.getpid()}/stat", at=directory)
    except OSError as error:
        if error.errno not in SCARCE:
            raise
    finally:
        os.close(directory)
    # That was the last descriptor of all, and one alone reads it as well.
    return read(f"/proc/{os.getpid()}/stat")


reserve: list[int] = []
"""The descriptor that `linux.keep_reserve` has kept, if any."""


def sparingly(call: Callable[..., T], *arguments: object, **options: object) -> T:
    """Call what needs a descriptor, with the last one if need be."""
    try:
        return call(*arguments, **options)
    except OSError as error:
        if error.errno != errno.EMFILE or not reserve:
            raise
    os.close(reserve.pop())
    return call(*arguments, **options)


def check_ended(error: OSError) -> None:
    """Nothing can be read of a process: it has ended, or is hidden from us.

    Raises:
        OSError: it is we who can't read. Whoever took that for an end would forget a process.
    """
    if error.errno in SCARCE:
        raise error


def row(pid: int) -> Row | None:
    try:
        return found_row(pid)
    except OSError:
        return None


def found_row(pid: int) -> Row | None:
    if is_hidden(pid):
        return None
    try:
        stat = _read_own_stat() if pid == os.getpid() else read(f"/proc/{pid}/stat")
    except OSError as error:
        check_ended(error)
        return None
    # The name may itself hold blanks and parentheses: the last one closes it (proc(5)).
    opening, closing = stat.find(b"("), stat.rfind(b")")
    if closing < 0:
        return None
    name = stat[opening + 1 : closing].decode("utf-8", "replace")
    field = stat[closing + 2 :].split()
    state = field[0].decode()
    if state == "Z" and int(field[17]) > 1:
        state = "S"  # only its first thread has ended: it runs on, and can't be reaped
    return Row(pid, int(field[1]), int(field[19]), state, name)


def prctl(option: int, argument: int) -> None:
    if "prctl" in WITHOUT:
        raise OSError(errno.ENOSYS, "no prctl on this system")
    if call_in_libc("prctl", option, argument) == 0:
        return
    try:
        import ctypes  # here, not above: the watchdog never calls this, and it costs 1 MB there
    except ImportError as error:  # a Python built without libffi
        raise OSError(errno.ENOSYS, "no ctypes in this Python") from error

    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(option, ctypes.c_ulong(argument), 0, 0, 0) != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"prctl({option}, {argument}): {os.strerror(code)}")


def call_in_libc(name: str, *arguments: int | bytes) -> int | None:
    """Call a function by what `ctypes` itself is made of: 120 KB less in each worker.

    Returns:
        `None` where this Python's `_ctypes` is another than that of CPython 3.10 to 3.13: it is
        private. It also tells no `errno`, so a failure has to be repeated to be understood.
    """
    try:
        import _ctypes

        libc = _ctypes.dlopen(None, 0)  # type: ignore[arg-type]  # the program itself
        result: int = _ctypes.call_function(_ctypes.dlsym(libc, name), (*arguments, 0, 0, 0))
    except (ImportError, AttributeError, OSError, TypeError):
        return None
    return result


def parent_death_signal(signum: int) -> None:
    """Have the kernel send `signum` when the *thread* that forked this process exits.

    It is not retroactive: a parent that died before sends nothing, so arm first and then look. A
    fork clears it, and so does a change of credentials (prctl(2), PR_SET_PDEATHSIG).
    """
    prctl(PR_SET_PDEATHSIG, signum)


def reader_signal(fd: int, signum: int, pid: int = 0) -> None:
    """Have the kernel send `signum` when the last writer of the pipe `fd` is gone (or writes).

    Needs no thread and no GIL: the pipe's own SIGIO (`O_ASYNC`) under another number (`F_SETSIG`).
    It belongs to the open file, so for as long as any process has that.

    Args:
        pid: to whom. 0: to this process.
    """
    import fcntl

    fcntl.fcntl(fd, fcntl.F_SETOWN, pid or os.getpid())
    fcntl.fcntl(fd, fcntl.F_SETSIG, signum)
    fcntl.fcntl(fd, fcntl.F_SETFL, fcntl.fcntl(fd, fcntl.F_GETFL) | os.O_ASYNC)


def give_back_memory() -> None:
    """Return to the kernel what `free` has only put aside: glibc's malloc_trim(3), else nothing."""
    call_in_libc("malloc_trim", 0)
