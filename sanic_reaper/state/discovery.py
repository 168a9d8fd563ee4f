"""Finds the servers of this machine, by the files that they write to their users' directories.

Imports nothing that takes long, such as Sanic: a probe calls this module every few seconds.
"""

from __future__ import annotations

import os
import time
from itertools import islice

from .. import platform, state
from ..untrusted import printable
from . import records, statedir
from .server import Server

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

MOST_FILES = 10_000
"""Maximum number of entries that are read of a user's directory."""

MOST_RUNS = 100
"""Maximum number of runs that are read of another user."""

MOST_BYTES = 4 * 1024 * 1024
"""Maximum number of bytes that are read of another user's files: they must not keep root busy, or
fill its memory."""


FRESH = 60.0
"""Seconds since its last sign of life for which a server of another version counts as running."""


class Unread:
    """A state file that could not be understood.

    Args:
        uid: the user in whose directory the file is.
        path: path of the file.
        why: what is wrong with it, in words.
        age: seconds since its server last wrote something. `None`: unknown.
    """

    def __init__(self, uid: int, path: str, why: str, age: float | None) -> None:
        self.uid, self.path, self.why, self.age = uid, path, why, age

    @property
    def seems_alive(self) -> bool:
        """Whether a server seems to run: a running server writes each second."""
        return self.age is not None and self.age < FRESH

    def __str__(self) -> str:
        return f"{self.path} is not understood: {self.why}"


def servers(uids: Iterable[int] | None = None, unread: list[Unread] | None = None) -> list[Server]:
    """Read the files of all runs, the oldest run first.

    Args:
        uids: the users whose runs are read. `None`: all users whose files this process may see.
        unread: the state files that can't be understood are appended to this list.
    """
    found: dict[tuple[int, str], Server] = {}
    for uid in statedir.users() if uids is None else uids:
        limit = ReadingLimit(uid)
        for path in statedir.places(uid):
            for server in _in_directory(path, limit, [] if unread is None else unread):
                key = (uid, server.run)
                if key not in found or _is_fresher(server, found[key]):
                    found[key] = server
    return sorted(found.values(), key=lambda server: server.began)


def _is_fresher(one: Server, other: Server) -> bool:
    """Whether one record of a run is newer than the other: main can change its directory."""
    return (one.beat or 0.0) > (other.beat or 0.0)


class ReadingLimit:
    """How much of a user's files may still be read. This user's own files are all read."""

    def __init__(self, uid: int) -> None:
        self.uid = uid
        is_own = uid == os.geteuid()
        self.runs = MOST_FILES if is_own else MOST_RUNS
        self.bytes = MOST_FILES * statedir.LONGEST if is_own else MOST_BYTES


def load(path: str, uid: int, run: str) -> Server:
    """Read the files of one run, also if main has moved them to another directory since.

    Args:
        path: the directory where the files were.
        uid: the owner of that directory.
        run: the id of the run.

    Raises:
        OSError: no file can be read, or none can be trusted.
    """
    found, failure = None, None
    for user, place in _where_it_may_be(path, uid):
        try:
            server = _load_from(place, user, run)
        except OSError as error:
            failure = failure or error
            continue
        if server.turns(time.monotonic()):
            return server
        if found is None or _is_fresher(server, found):
            found = server
    if found is None:
        raise failure or OSError("there is no place")
    return found


def _where_it_may_be(path: str, uid: int) -> Iterator[tuple[int, str]]:
    yield uid, path
    for user in dict.fromkeys((uid, os.geteuid())):  # main can have given up being root
        for place in statedir.places(user):
            if (user, place) != (uid, path):
                yield user, place


def _load_from(path: str, uid: int, run: str) -> Server:
    """Raises: OSError."""
    directory = statedir.open_directory(path, uid)
    try:
        return _read(directory, path, ReadingLimit(uid), run)
    except ValueError as error:
        raise OSError(f"{path}/{run}{state.STATE} is not to be understood: {error}") from error
    finally:
        os.close(directory)


def _in_directory(path: str, limit: ReadingLimit, unread: list[Unread]) -> Iterator[Server]:
    try:
        directory = statedir.open_directory(path, limit.uid)
    except OSError:
        return
    try:
        for run in runs_in(directory):
            limit.runs -= 1
            if limit.runs < 0 or limit.bytes < 0:
                return
            try:
                yield _read(directory, path, limit, run)
            except OSError:
                continue  # no longer there, or no file of its user's
            except ValueError as error:
                file = printable(f"{path}/{run}{state.STATE}")
                age = _silence(directory, run)
                unread.append(Unread(limit.uid, file, str(error), age))
    finally:
        os.close(directory)


def runs_in(directory: int) -> list[str]:
    """The ids of the runs that have a state file in an open directory."""
    with os.scandir(directory) as entries:
        names = [entry.name for entry in islice(entries, MOST_FILES)]
    return [
        name.removesuffix(state.STATE)
        for name in names
        if name.endswith(state.STATE) and not name.startswith(".")
    ]


def _read(directory: int, path: str, limit: ReadingLimit, run: str) -> Server:
    """Raises: OSError, ValueError."""

    def content(end: str) -> bytes:
        found = statedir.read(directory, run + end)
        limit.bytes -= len(found)
        if limit.bytes < 0:
            raise OSError(f"user {limit.uid} has written more than is read of another user")
        return found

    def content_if_there(end: str) -> bytes:
        try:
            return content(end)
        except FileNotFoundError:
            return b""

    beat = records.moment(content_if_there(state.BEAT))
    written = state.parse(content(state.STATE))
    log = state.parse(content_if_there(state.END))
    kin = state.parse(content_if_there(state.KIN))
    server = Server(limit.uid, path, written, log, kin, beat)
    if server.run != run:
        raise ValueError("it tells of another run")
    server.observe(platform.row)
    server.silent_for = _silence(directory, run)
    return server


def _silence(directory: int, run: str) -> float | None:
    """Seconds since the main process last wrote a file. `None`: unknown."""
    ages = (statedir.age_of(directory, run + end) for end in (state.BEAT, state.STATE))
    return min((age for age in ages if age is not None), default=None)
