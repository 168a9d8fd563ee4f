"""What all drawings share: SVG that is readable on a light page and on a dark one."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("svg")

INK = "#010203"
"""Stands for the colour of the text, which is dark or light as the reader's page is."""

PICTURES = Path(__file__).parents[1] / "docs" / "pictures"
STYLE = "<style>:root{--ink:#1f2328}@media(prefers-color-scheme:dark){:root{--ink:#e6edf3}}</style>"

mpl.rcParams.update(
    {"svg.fonttype": "none", "svg.hashsalt": "reaper", "text.color": INK, "font.size": 8}
)


def save(figure: Any, name: str) -> None:
    path = PICTURES / name
    figure.savefig(path, bbox_inches="tight", transparent=True, metadata={"Date": None})
    svg = path.read_text().replace(INK, "var(--ink)")
    path.write_text(re.sub(r"(<svg[^>]*>)", rf"\1{STYLE}", svg, count=1))
