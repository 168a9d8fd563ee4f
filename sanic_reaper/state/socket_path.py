"""Paths of Unix sockets: an address holds some hundred bytes of one, a user's directory may take
more (XDG_RUNTIME_DIR, TMPDIR)."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

LONGEST = 100
"""Bytes of a path that fit into an address everywhere. Linux takes 107, macOS 103."""


@contextmanager
def short_path(directory: str, name: str) -> Iterator[str]:
    """A path of a socket that fits into an address, for as long as this lasts.

    A long one leads through a descriptor of the directory, and needs `/proc`.

    Raises:
        OSError: the directory is a link, or can't be opened.
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
