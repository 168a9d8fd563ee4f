"""The heat map: servers from left to right, scenarios downwards, what is left as colour."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from matplotlib import pyplot
from matplotlib.patches import Rectangle

from benchmarks.drawings import INK, save

NOTHING, SOME, MANY, UNKNOWN = "#2da44e", "#d29922", "#cf222e", "#8b949e"


def heat_map(data: Mapping[str, Any]) -> None:
    """Draw docs/pictures/comparison.svg."""
    cells = data["cells"]
    rows = list(dict.fromkeys(cell["row"] for cell in cells))
    columns = sorted(
        dict.fromkeys((cell["wrapper"], cell["name"]) for cell in cells),
        key=lambda column: ["", "tini", "sanic-reaper run"].index(column[0]),
    )
    by = {(cell["row"], cell["wrapper"], cell["name"]): cell for cell in cells}
    figure, axes = pyplot.subplots(figsize=(0.42 * len(columns) + 2.4, 0.24 * len(rows) + 2.2))
    for y, row in enumerate(rows):
        for x, column in enumerate(columns):
            _draw(axes, x, y, by.get((row, *column)))
    axes.set_xlim(-0.5, len(columns) - 0.5)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_xticks(range(len(columns)), [name for _, name in columns], rotation=90, color=INK)
    axes.set_yticks(range(len(rows)), rows, color=INK)
    axes.xaxis.tick_top()
    axes.tick_params(length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)
    for wrapper in dict.fromkeys(wrapper for wrapper, _ in columns):
        places = [x for x, column in enumerate(columns) if column[0] == wrapper]
        axes.text(
            sum(places) / len(places),
            len(rows) + 0.4,
            f"under {wrapper}" if wrapper else "by itself",
            ha="center",
            weight="bold",
        )
    save(figure, "comparison.svg")
    pyplot.close(figure)


def _draw(axes: Any, x: int, y: int, cell: Mapping[str, Any] | None) -> None:
    colour, label = UNKNOWN, ""
    if cell is not None and not cell.get("note"):
        left, hurt, never = cell["left"], cell["hurt"], cell["seconds"] is None
        colour = NOTHING if not (left or hurt or never) else SOME if left + hurt <= 2 else MANY
        label = str(left) if left or not never else "never"
        label += "!" if hurt else ""
    axes.add_patch(Rectangle((x - 0.46, y - 0.44), 0.92, 0.88, color=colour, linewidth=0))
    axes.text(x, y, label, ha="center", va="center_baseline", color="white", fontsize=7)
