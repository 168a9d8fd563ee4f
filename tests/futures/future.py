"""What a future is: something of Sanic, sanic-ext or CPython that has another name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

SANIC = ("sanic", "sanic_ext")


class Edit(NamedTuple):
    """A change of some files."""

    pattern: str
    """A regular expression. `^` is the beginning of a line."""
    replacement: str
    files: Sequence[str]
    """Paths such as `sanic/worker/manager.py`. Each must have something that matches."""


def edit(pattern: str, replacement: str, *files: str) -> Edit:
    return Edit(pattern, replacement, files)


@dataclass(frozen=True)
class Future:
    name: str
    """What is renamed, in a few words."""
    renames: Mapping[str, str] = field(default_factory=dict)
    """Names that get another one, wherever they stand in the copied packages."""
    edits: Sequence[Edit] = ()
    """Changes where a name alone says too little."""
    adds: Mapping[str, str] = field(default_factory=dict)
    """More modules on the server's path: name of the file, and text."""
    packages: Sequence[str] = SANIC
    """What is copied: packages and modules."""
    method: str = ""
    """The start method, where the future concerns one alone."""
    config: Mapping[str, Any] = field(default_factory=dict)
    """Keys of the app's that have the renamed thing used."""
    line: str = ""
    """What the one warning must match, as a regular expression. Empty: nothing is lost, and nobody
    is warned."""
    is_vital: bool = False
    """Whether Sanic's own manager runs the workers. One error says so."""
    limit: str = "handler"
    """Which limit ends a start that hangs: that of a `handler`, of the whole `start`, or `Sanic`'s
    own, which is 30 s."""
    tolerated: str = "^$"
    """What further lines may match: consequences of what the one warning has said."""
    since: str = ""
    """The oldest release of Sanic that it applies to, such as `25.12`. Empty: the oldest that is
    supported."""
    until: str = ""
    """The newest release of Sanic that it applies to. Empty: the newest that is supported."""
    always: bool = False
    """Whether each of the tests is always run with it, and not the first one alone."""

    def __str__(self) -> str:
        return self.name

    def applies_to(self, release: str) -> bool:
        """Whether it is a future of this release of Sanic, such as `24.12.1`."""
        first, last = self.since or release, self.until or release
        return _numbers(first) <= _numbers(release) <= _numbers(last)


def _numbers(release: str) -> list[int]:
    return [int(part) for part in release.split(".")[:2]]


def rename(name: str, new: str, **more: Any) -> Future:
    """One name, wherever it stands. It is the future's too, and the warning must have it."""
    return Future(name, renames={name: new}, **{"line": rf"\b{name}\b", **more})


def vital(name: str, new: str, **more: Any) -> Future:
    return rename(name, new, is_vital=True, **more)
