"""The tables of settings in the documents, made from the rows of `sanic_reaper.config`.

`python -m support.settings`, in `tests`, writes them anew. README has each setting; a page that
shows a few of them keeps those.
"""

from __future__ import annotations

import re
from pathlib import Path

from sanic_reaper.config import KEYS, TABLE, AfterGrace, Setting

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
HEAD = "| key | value | default | meaning |\n|---|---|---|---|\n"
_TABLE = re.compile(r"^\| key \|.*\n\|[-|]+\|\n((?:\|.*\n)+)", re.MULTILINE)


def documents() -> list[Path]:
    """Each document that has a table of settings."""
    paths = [README, *sorted(ROOT.glob("docs/**/*.md"))]
    return [path for path in paths if "| `REAPER_" in path.read_text() and _tables(path)]


def _tables(path: Path) -> list[str]:
    return [found for found in _TABLE.findall(path.read_text()) if "`REAPER_" in found]


def line_of(row: Setting) -> str:
    """A setting as a row of a table."""
    return f"| `{row.key}` | {row.kind.column} | {_default_of(row)} | {row.meaning} |\n"


def _default_of(row: Setting) -> str:
    if isinstance(row.default, AfterGrace):
        return f"`GRACEFUL_SHUTDOWN_TIMEOUT` + {row.default.margin:g}"
    return f'`"{row.default}"`' if isinstance(row.default, str) else f"`{row.default}`"


def rewritten(path: Path) -> str:
    """A document with its tables as they should be."""
    lines = {row.key: line_of(row) for row in TABLE}

    def table(found: re.Match[str]) -> str:
        keys = re.findall(r"^\| `(REAPER_\w+)`", found[1], re.MULTILINE)
        if not keys:
            return found[0]
        wanted = KEYS if path == README else [key for key in keys if key in lines]
        return HEAD + "".join(lines[key] for key in wanted)

    return _TABLE.sub(table, path.read_text())


if __name__ == "__main__":
    for document in documents():
        document.write_text(rewritten(document))
