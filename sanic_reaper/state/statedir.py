"""The directory of the files of a user's runs: finds it, and reads and writes its files safely.

Readers act on these files. So no symbolic link is followed, other users may have no rights in the
directory, and a directory or a file counts only if it has the right owner. The watchdog imports
this module, so it imports no large module.
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
"""Maximum length in bytes of a file that is read. The Reaper writes no longer ones."""


HOMES = (("/run/user", ""), ("/tmp", f"{NAME}-"))
"""Where root searches the directories of other users, and the prefix of the uid in their names."""

MOST_UID = 2**32 - 2
"""The highest uid."""


class Untrusted(OSError):
    """A file or directory has another owner, or other users can change it."""


def places(uid: int) -> list[str]:
    """The directories in which servers of a user write their files, the preferred one first.

    A service has no XDG_RUNTIME_DIR, but the shell of its user has. So a reader must search all.
    """
    found = []
    runtime = os.environ.get("XDG_RUNTIME_DIR", "")
    if os.path.isabs(runtime) and uid == os.geteuid():
        found.append(f"{runtime}/{NAME}")
    found.append(f"/run/{NAME}" if uid == 0 else f"/run/user/{uid}/{NAME}")
    for parent in (os.environ.get("TMPDIR", ""), "/tmp"):
        if os.path.isabs(parent):  # a relative path changes its meaning at each chdir
            found.append(f"{parent}/{NAME}-{uid}")
    return list(dict.fromkeys(found))


def make(tried: Collection[str] = ()) -> str:
    """Find the directory of this process's user, or create it.

    Args:
        tried: directories that can't be used.

    Returns:
        Its path.

    Raises:
        Untrusted: another user has created the last directory that was tried.
        OSError: the last directory that was tried can't be created or written to.
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
    """Open a directory and check who owns it.

    Args:
        uid: the user who must own it.
        mend: whether to remove the rights of other users, instead of raising `Untrusted`.

    Returns:
        Its descriptor.

    Raises:
        Untrusted: another user owns the directory, or other users have rights in it.
        OSError: there is no such directory, or it can't be opened.
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
    """Check that a directory belongs to a user, and is no symbolic link.

    Raises:
        Untrusted: another user owns it, or it is no directory.
        OSError: there is nothing at that path.
    """
    status = os.lstat(path)
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != uid:
        raise Untrusted(f"{path} is no directory of user {uid}")


def write(path: str, name: str, content: bytes) -> tuple[int, int]:
    """Replace a file as a whole: a reader sees the old content or the new one.

    Returns:
        The `file_id` of the new file.

    Raises:
        OSError: the file can't be written; the disk may be full. The old file is still there.
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
    """Device and inode of a file, which identify it. `None`: there is no file."""
    try:
        status = os.lstat(f"{path}/{name}")
    except OSError:
        return None
    return status.st_dev, status.st_ino


def append(path: str, name: str, content: bytes) -> None:
    """Append to a file, which is created if there is none.

    Raises:
        OSError: the file can't be written, or would become longer than `LONGEST`.
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
    """Create an empty file for appending, which can also be read and truncated.

    Returns:
        Its descriptor.

    Raises:
        OSError: the file can't be created.
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
    """Read a file.

    Args:
        directory: descriptor of its directory.
        name: its name.

    Raises:
        Untrusted: it is no regular file of the directory's owner, or longer than `LONGEST`.
        OSError: the file can't be read.
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
            left -= len(part)  # the file can grow while it is read
        return b"".join(parts)
    finally:
        os.close(fd)


def age_of(directory: int, name: str) -> float | None:
    """Seconds since a file was written, by the wall clock. `None`: there is no file.

    The wall clock can be set. A moment far in the future counts like one far in the past.
    """
    try:
        status = os.stat(name, dir_fd=directory, follow_symlinks=False)
    except OSError:
        return None
    return abs(time.time() - status.st_mtime)


def remove(path: str, *names: str) -> None:
    """Remove files. Those that are missing, or can't be removed, are ignored."""
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
    """The uids whose servers this process may see: its own and, for root, those of all users."""
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
    """The user of a directory, by its name and its owner. `None`: they differ.

    Any user can create a directory in /tmp, with any name.
    """
    try:
        uid = whole(entry.name.removeprefix(prefix), 0, MOST_UID)
        is_his = entry.name.startswith(prefix) and entry.stat(follow_symlinks=False).st_uid == uid
    except (OSError, ValueError):
        return None
    return uid if is_his else None
