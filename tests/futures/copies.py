"""Copies of installed packages in which something has another name.

A copy that is first on the path of a server takes the place of the installed package. What is not
edited is a link to it, its byte code included.
"""

from __future__ import annotations

import importlib.util
import os
import re
from pathlib import Path

from futures.future import Future


class NothingToRename(AssertionError):
    """An edit finds nothing: what is renamed has gone, or has been renamed."""


def make(future: Future, folder: Path) -> Path:
    """Copy what a future changes; return the directory that is to be put on the path.

    Raises:
        NothingToRename: an edit changes nothing.
    """
    editor = Editor(future)
    for package in future.packages:
        _copy(_origin(package), folder, editor)
    for name, text in future.adds.items():
        (folder / name).write_text(text)
    if editor.unused:
        raise NothingToRename(f"{future}: nothing matches {sorted(editor.unused)}")
    return folder


class Editor:
    """What has been edited so far."""

    def __init__(self, future: Future) -> None:
        everywhere = [(rf"\b{re.escape(old)}\b", new) for old, new in future.renames.items()]
        self._everywhere = everywhere
        self._in_file = [
            (file, one.pattern, one.replacement) for one in future.edits for file in one.files
        ]
        self.unused = {pattern for pattern, _ in everywhere}
        self.unused |= {f"{file}: {pattern}" for file, pattern, _ in self._in_file}

    def edited(self, name: str, text: str) -> str:
        """The text of the copy of a file. `name` is its path, from the name of its package on."""
        for pattern, new in self._everywhere:
            text = self._replaced(pattern, pattern, new, text)
        for file, pattern, new in self._in_file:
            if file == name:
                text = self._replaced(f"{file}: {pattern}", pattern, new, text)
        return text

    def _replaced(self, key: str, pattern: str, new: str, text: str) -> str:
        text, count = re.subn(pattern, new, text, flags=re.MULTILINE)
        if count:
            self.unused.discard(key)
        return text


def _origin(package: str) -> Path:
    spec = importlib.util.find_spec(package)
    assert spec is not None, package
    if spec.submodule_search_locations:
        return Path(next(iter(spec.submodule_search_locations)))
    assert spec.origin is not None, package
    return Path(spec.origin)


def _copy(origin: Path, folder: Path, editor: Editor) -> None:
    """Copy a package or a module."""
    if origin.is_file():
        _copy_file(origin, origin.parent, folder, editor)
        return
    for directory, _, files in os.walk(origin):
        (folder / Path(directory).relative_to(origin.parent)).mkdir(parents=True)
        for file in files:
            _copy_file(Path(directory) / file, origin.parent, folder, editor)


def _copy_file(source: Path, root: Path, folder: Path, editor: Editor) -> None:
    name = source.relative_to(root)
    if source.suffix == ".py":
        text = source.read_text(encoding="utf-8")
        changed = editor.edited(str(name), text)
        if changed != text:
            (folder / name).write_text(changed, encoding="utf-8")
            return
    (folder / name).symlink_to(source)
