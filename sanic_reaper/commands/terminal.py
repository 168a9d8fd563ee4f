"""How all commands print text and JSON."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping, Sequence

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

SCHEMA = 1
"""Version of the JSON output. Added keys do not change it. Every other change raises it."""

NOTHING_FOUND = 1
"""The exit code if there is nothing to show."""
USAGE = 2
"""The exit code for wrong usage."""


def printable(text: str) -> str:
    """A text without control characters. Names and reasons can come from other users."""
    return "".join(char if char.isprintable() else "?" for char in text)


def print_json(kind: str, content: Mapping[str, Any], in_one_line: bool = False) -> None:
    """Print a JSON object with its `schema` and its `kind`."""
    import json  # not above: plain text does not need it

    indent = None if in_one_line else 2
    print(json.dumps({"schema": SCHEMA, "kind": kind, **content}, indent=indent))


def seconds(value: float) -> str:
    """A duration in seconds, as text with a suitable unit."""
    if value < 10:
        return f"{value:.1f} s"
    if value < 120:
        return f"{value:.0f} s"
    if value < 2 * 3600:
        return f"{value / 60:.0f} min"
    if value < 2 * 86400:
        return f"{value / 3600:.0f} h"
    return f"{value / 86400:.0f} d"


def size(number: float) -> str:
    """A number of bytes, as text with a suitable unit."""
    for unit in ("B", "KB", "MB"):
        if number < 1024:
            return f"{number:.0f} {unit}"
        number /= 1024
    return f"{number:.1f} GB"


_COLOURS = {"red": "31", "green": "32", "yellow": "33", "dim": "2", "bold": "1"}


def painter() -> Callable[[str, str], str]:
    """A function that colours text. It does nothing if stdout is no terminal or NO_COLOR is set."""
    if not sys.stdout.isatty() or os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        return lambda text, colour: text
    return lambda text, colour: f"\x1b[{_COLOURS[colour]}m{text}\x1b[0m" if colour else text


def width() -> int:
    """Number of columns of the terminal. A large number if stdout is no terminal."""
    try:
        return os.get_terminal_size(sys.stdout.fileno()).columns
    except (OSError, ValueError):
        return 10_000


def height() -> int:
    """Number of lines of the terminal. A large number if stdout is no terminal."""
    try:
        return os.get_terminal_size(sys.stdout.fileno()).lines or 10_000
    except (OSError, ValueError):
        return 10_000


def columns(rows: Sequence[Sequence[str]], right: frozenset[int] = frozenset()) -> list[str]:
    """The lines of a table. The last column has no fixed width.

    Args:
        rows: the cells.
        right: numbers of the columns that are aligned to the right.
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        cells = [
            cell.rjust(widths[at]) if at in right else cell.ljust(widths[at])
            for at, cell in enumerate(row[:-1])
        ]
        lines.append("  ".join([*cells, row[-1]]).rstrip())
    return lines
