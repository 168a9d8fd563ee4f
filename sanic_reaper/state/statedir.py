"""Where servers leave word of themselves, for `sanic-reaper ps` and its like: files in a directory
that nobody but their user can write to.

Whoever reads them may act on them, so nothing is taken on trust: no symbolic link is followed, and
a directory or a file counts only if its owner is who it ought to be. The watchdog writes here too,
so this imports nothing but `os`.
"""

from __future__ import annotations

import os
import stat
import time

from .. import platform
from ..untrusted import whole

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

NAME = "sanic-reaper"

LONGEST = 4 * 1024 * 1024
"""Bytes of a file that are read. What is longer is not ours."""


HOMES = (("/run/user", ""), ("/tmp", f"{NAME}-"))
"""Where root finds the directories of other users, and what stands before the uid in their names.
"""

MOST_UID = 2**32 - 2
"""The highest number that a user can have."""


class Untrusted(OSError):
    """Something lies here that is not ours, or that others can change."""


def places(uid: int) -> list[str]:
    """Directories in which a server of this user may have left something, the best one first.

    A service has no XDG_RUNTIME_DIR, the shell of its user has: so who looks, looks everywhere.
    """
    found = []
    runtime = os.environ.get("XDG_RUNTIME_DIR", "")
    if os.path.isabs(runtime) and uid == os.geteuid():
        found.append(f"{runtime}/{NAME}")
    found.append(f"/run/{NAME}" if uid == 0 else f"/run/user/{uid}/{NAME}")
    for parent in (os.environ.get("TMPDIR", ""), "/tmp"):
        if os.path.isabs(parent):  # else another place after each chdir
            found.append(f"{parent}/{NAME}-{uid}")
    return list(dict.fromkeys(found))


def make(tried: Collection[str] = ()) -> str:
    """The directory of this process's user, which is made where there is none.

    Args:
        tried: directories that won't do.

    Returns:
        Its path.

    Raises:
        OSError: it can be made nowhere; the error is that of the last place. `Untrusted` where
            somebody else has made it.
    """
    if "state" in platform.WITHOUT:
        raise OSError("no place for it")
    error = OSError("no place for it")
    for path in places(os.geteuid()):
        if path in tried:
            continue
        try:
            os.mkdir(path, 0o700)
        except FileExistsError:
            pass
        except OSError as failed:
            error = failed
            continue
        try:
            fd = open_directory(path, os.geteuid(), mend=True)
        except OSError as failed:
            error = failed
            continue
        try:
            writable = os.access(".", os.W_OK, dir_fd=fd)  # not on a read-only file system
        finally:
            os.close(fd)
        if writable:
            return path
        error = OSError(f"{path} can't be written to")
    raise error


def open_directory(path: str, uid: int, mend: bool = False) -> int:
    """A descriptor of the directory.

    Args:
        uid: who has to own it.
        mend: whether to take away what rights others have.

    Raises:
        Untrusted: it is another user's, or others may write to it.
        OSError: there is none, or it may not be read.
    """
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        status = os.fstat(fd)
        if status.st_uid != uid:
            raise Untrusted(f"{path} belongs to user {status.st_uid}, not to {uid}")
        if stat.S_IMODE(status.st_mode) & 0o077:
            if not mend:
                raise Untrusted(f"{path} is open to other users")
            os.fchmod(fd, 0o700)
    except OSError:
        os.close(fd)
        raise
    return fd


def check_owner(path: str, uid: int) -> None:
    """See that a directory is this user's, and no link.

    Raises:
        OSError: it is not; `Untrusted` where it is somebody else's, or a link.
    """
    status = os.lstat(path)
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != uid:
        raise Untrusted(f"{path} is no directory of user {uid}")


def write(path: str, name: str, content: bytes) -> tuple[int, int]:
    """Put a file in its place as a whole: who reads it sees the old one or the new one.

    Returns:
        What `file_id` tells of it from now on.

    Raises:
        OSError: a full disk, for example. The old one is still there then.
    """
    directory = open_directory(path, os.geteuid())
    try:
        draft = f".{name}.{os.getpid()}"
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
        fd = os.open(draft, flags, 0o600, dir_fd=directory)
        try:
            _write_all(fd, content)
            status = os.fstat(fd)
        except OSError:
            os.unlink(draft, dir_fd=directory)
            raise
        finally:
            os.close(fd)
        os.rename(draft, name, src_dir_fd=directory, dst_dir_fd=directory)
    finally:
        os.close(directory)
    return status.st_dev, status.st_ino


def file_id(path: str, name: str) -> tuple[int, int] | None:
    """Device and inode of a file: another one has others. `None`: there is none."""
    try:
        status = os.lstat(f"{path}/{name}")
    except OSError:
        return None
    return status.st_dev, status.st_ino


def append(path: str, name: str, content: bytes) -> None:
    """Add to a file, which is made where there is none.

    Raises:
        OSError: it can't be, or has become longer than a reader takes.
    """
    directory = open_directory(path, os.geteuid())
    try:
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
        fd = os.open(name, flags, 0o600, dir_fd=directory)
        try:
            if os.fstat(fd).st_size + len(content) > LONGEST:
                raise OSError(f"{name} is long enough")
            _write_all(fd, content)
        finally:
            os.close(fd)
    finally:
        os.close(directory)


def open_for_appending(path: str, name: str) -> int:
    """A descriptor of a file that is made anew, and that whoever may can also read and empty.

    Raises:
        OSError: it can't be made.
    """
    directory = open_directory(path, os.geteuid())
    try:
        flags = os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
        return os.open(name, flags, 0o600, dir_fd=directory)
    finally:
        os.close(directory)


def _write_all(fd: int, content: bytes) -> None:
    while content:
        content = content[os.write(fd, content) :]


def read(directory: int, name: str) -> bytes:
    """The content of a file.

    Raises:
        Untrusted: it is no ordinary file of the directory's own user, or much too long.
        OSError: it can't be read.
    """
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    fd = os.open(name, flags, dir_fd=directory)
    try:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode) or status.st_uid != os.fstat(directory).st_uid:
            raise Untrusted(f"{name} is no file of this user's")
        if status.st_size > LONGEST:
            raise Untrusted(f"{name} is too long")
        parts, left = [], LONGEST
        while left > 0 and (part := os.read(fd, min(left, 65536))):
            parts.append(part)
            left -= len(part)  # somebody may go on writing
        return b"".join(parts)
    finally:
        os.close(fd)


def age_of(directory: int, name: str) -> float | None:
    """Seconds since a file was written, by the clock on the wall. `None`: there is none.

    The clock may be set: a moment that is far in the future counts as one that is far in the past.
    """
    try:
        status = os.stat(name, dir_fd=directory, follow_symlinks=False)
    except OSError:
        return None
    return abs(time.time() - status.st_mtime)


def remove(path: str, *names: str) -> None:
    """Remove files, as far as they are there and can be."""
    try:
        directory = open_directory(path, os.geteuid())
    except OSError:
        return
    for name in names:
        try:
            os.unlink(name, dir_fd=directory)
        except OSError:
            pass
    os.close(directory)


def users() -> Iterator[int]:
    """Whose servers this process may see: its own user's, and for root those of all."""
    own = os.geteuid()
    yield own
    if own != 0:
        return
    found = {own}
    for parent, prefix in HOMES:
        try:
            with os.scandir(parent) as entries:
                found.update(filter(None, (_user_of(entry, prefix) for entry in entries)))
        except OSError:
            continue
    yield from sorted(found - {own})


def _user_of(entry: os.DirEntry[str], prefix: str) -> int | None:
    """Whose directory this is. Its name says so, and its owner: anybody may make one in /tmp, and
    call it what he likes."""
    try:
        uid = whole(entry.name.removeprefix(prefix), 0, MOST_UID)
        is_his = entry.name.startswith(prefix) and entry.stat(follow_symlinks=False).st_uid == uid
    except (OSError, ValueError):
        return None
    return uid if is_his else None
