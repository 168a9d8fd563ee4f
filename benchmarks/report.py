"""Figures into words: medians with their spread, targets with a verdict, tables in Markdown."""

from __future__ import annotations

import random
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass
class Table:
    header: Sequence[str]
    rows: list[Sequence[str]] = field(default_factory=list)

    def markdown(self) -> str:
        lines = [self.header, ["---"] * len(self.header), *self.rows]
        return "\n".join("| " + " | ".join(line) + " |" for line in lines)


@dataclass
class Section:
    """One subject: what was done, what came out."""

    title: str
    command: str
    parts: list[str | Table] = field(default_factory=list)

    def markdown(self) -> str:
        texts = [part if isinstance(part, str) else part.markdown() for part in self.parts]
        head = [f"## {self.title}", f"`{self.command}`"]
        return "\n\n".join([*head, *texts]) + "\n"


def verdict(met: bool) -> str:
    return "met" if met else "**missed**"


def spread(values: Sequence[float], scale: float = 1.0, digits: int = 1) -> str:
    """The median, and in brackets the smallest and the largest value."""
    shown = (statistics.median(values), min(values), max(values))
    middle, low, high = (f"{value * scale:.{digits}f}" for value in shown)
    return f"{middle} ({low} to {high})"


def interval(values: Sequence[float]) -> tuple[float, float]:
    """The 95 % interval of the median, by resampling: how far chance alone could move it."""
    dice = random.Random(0)
    medians = sorted(statistics.median(dice.choices(values, k=len(values))) for _ in range(2000))
    return medians[49], medians[-50]
