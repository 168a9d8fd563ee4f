"""The tables of the documents that are made from tables of the code: settings and roles.

`python -m support.tables`, in `tests`, writes them anew. README has each setting; a page that
shows a few of them keeps those.
"""

from __future__ import annotations

import re
from pathlib import Path

from sanic_reaper.config import KEYS, TABLE, AfterGrace, Setting
from sanic_reaper.model.roles import ROLES

ROLE_HEAD = "| role | process | order in a stop | who stops it |\n|---|---|---|---|\n"
ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
HEAD = "| key | value | default | meaning |\n|---|---|---|---|\n"
_TABLE = re.compile(r"^\| key \|.*\n\|[-|]+\|\n((?:\|.*\n)+)", re.MULTILINE)
_ROLES = re.compile(r"^\| role \|.*\n\|[-|]+\|\n(?:\|.*\n)+", re.MULTILINE)


def documents() -> list[Path]:
    """Each document that has such a table."""
    paths = [README, *sorted(ROOT.glob("docs/**/*.md"))]
    return [path for path in paths if _has_table(path.read_text())]


def _has_table(text: str) -> bool:
    has_settings = any("`REAPER_" in found for found in _TABLE.findall(text))
    return has_settings or _ROLES.search(text) is not None


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

    text = _TABLE.sub(table, path.read_text())
    return _ROLES.sub(lambda _: ROLE_HEAD + "".join(map(line_of_role, ROLES)), text)


def line_of_role(name: str) -> str:
    """A role as a row of a table."""
    role = ROLES[name]
    return f"| `{name}` | {role.meaning} | {role.rank} | {role.stopped_by} |\n"


if __name__ == "__main__":
    for document in documents():
        document.write_text(rewritten(document))
