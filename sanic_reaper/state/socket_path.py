"""Shortens the paths of Unix sockets: an address holds about 100 bytes, and the path of a user's
directory (XDG_RUNTIME_DIR, TMPDIR) can be longer."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

LONGEST = 100
"""Maximum length of a path in bytes that fits into an address on every system. Linux takes 107,
macOS 103."""


@contextmanager
def short_path(directory: str, name: str) -> Iterator[str]:
    """A path of a socket that fits into an address, valid within this context.

    A long path is replaced by one through a descriptor of the directory, which needs `/proc`.

    Raises:
        OSError: the directory is a symbolic link, or can't be opened.
    """
    path = f"{directory}/{name}"
    if len(os.fsencode(path)) <= LONGEST:
        yield path
        return
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{fd}/{name}"
    finally:
        os.close(fd)
