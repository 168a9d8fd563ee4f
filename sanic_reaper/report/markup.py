"""What the parts of the page have in common: safe text, and how moments are written."""

from __future__ import annotations

from .words import DATE, printable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .run_report import RunReport

_ENTITIES = str.maketrans(
    {"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#39;", "\n": " ", "\t": " "}
)
ENTITIES_OF_LINES = {**_ENTITIES, ord("\n"): "\n"}

DASH = "\u2013"
"""Where there is nothing to tell."""


def esc(text: object) -> str:
    """Text as it may stand between tags, and in quotes."""
    return printable(str(text)).translate(_ENTITIES)


def or_dash(value: object) -> str:
    return DASH if value is None else str(value)


def style_of(report: RunReport) -> str:
    """How a moment of the run is written: with the date where it may be another day's."""
    return DATE if report.seconds > 43200 else "%H:%M:%S"
