"""How long a clean-up takes, by the number of workers, beside the fastest that there can be."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from matplotlib import pyplot

from benchmarks.drawings import INK, save

COLOURS = {"stuck": "#2f81f7", "idle": "#2da44e"}


def draw(curves: Mapping[str, Sequence[tuple[int, float, float]]]) -> None:
    """Draw docs/pictures/scaling.svg."""
    figure, axes = pyplot.subplots(figsize=(5.2, 3.0))
    for state, points in curves.items():
        workers = [point[0] for point in points]
        for column, style, name in ((1, "-", "the Reaper"), (2, ":", "SIGKILL to each at once")):
            axes.plot(
                workers,
                [point[column] * 1000 for point in points],
                style,
                marker="o",
                markersize=3,
                color=COLOURS[state],
                label=f"{name}, workers {state}",
            )
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.set_xticks([point[0] for point in points], [str(point[0]) for point in points])
    axes.set_xlabel("workers", color=INK)
    axes.set_ylabel("ms until nothing is left", color=INK)
    axes.tick_params(colors=INK, which="both")
    for spine in axes.spines.values():
        spine.set_color("#8b949e")
    axes.grid(color="#8b949e", alpha=0.25, which="both")
    axes.legend(frameon=False)
    save(figure, "scaling.svg")
    pyplot.close(figure)
