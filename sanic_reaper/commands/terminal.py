"""What all commands have in common: how text and data reach a terminal, or a program."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping, Sequence

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

SCHEMA = 1
"""Of what `--json` prints. It grows by keys that are added; what else changes raises it."""

NOTHING_FOUND = 1
USAGE = 2


def printable(text: str) -> str:
    """Without what a terminal might obey: names and reasons are other people's words."""
    return "".join(char if char.isprintable() else "?" for char in text)


def print_json(kind: str, content: Mapping[str, Any], in_one_line: bool = False) -> None:
    import json  # not above: plain text does without

    indent = None if in_one_line else 2
    print(json.dumps({"schema": SCHEMA, "kind": kind, **content}, indent=indent))


def seconds(value: float) -> str:
    """A duration, in the unit in which people think of it."""
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
    for unit in ("B", "KB", "MB"):
        if number < 1024:
            return f"{number:.0f} {unit}"
        number /= 1024
    return f"{number:.1f} GB"


_COLOURS = {"red": "31", "green": "32", "yellow": "33", "dim": "2", "bold": "1"}


def painter() -> Callable[[str, str], str]:
    """Colours text where it is read by somebody: on a terminal that is not told otherwise."""
    if not sys.stdout.isatty() or os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        return lambda text, colour: text
    return lambda text, colour: f"\x1b[{_COLOURS[colour]}m{text}\x1b[0m" if colour else text


def width() -> int:
    """How many columns there are; many, where nobody is to see a broken line."""
    try:
        return os.get_terminal_size(sys.stdout.fileno()).columns
    except (OSError, ValueError):
        return 10_000


def height() -> int:
    """How many lines there are; many, where nobody is to see what is scrolled away."""
    try:
        return os.get_terminal_size(sys.stdout.fileno()).lines or 10_000
    except (OSError, ValueError):
        return 10_000


def columns(rows: Sequence[Sequence[str]], right: frozenset[int] = frozenset()) -> list[str]:
    """Rows of a table under each other, the last column as long as it likes."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        cells = [
            cell.rjust(widths[at]) if at in right else cell.ljust(widths[at])
            for at, cell in enumerate(row[:-1])
        ]
        lines.append("  ".join([*cells, row[-1]]).rstrip())
    return lines
