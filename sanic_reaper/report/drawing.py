"""Where things stand in a time line. Pure: an `RunReport` in, percentages of a width out.

Percentages, since a time line is as wide as whoever looks at it has room: nothing is scaled, so
letters and marks keep their size on a phone.
"""

from __future__ import annotations

from typing import NamedTuple

from .process import Mark, Process
from .run_report import RunReport

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

SHARE = 0.6
"""A part of the run gets a time line of its own if it is no longer than this share of the whole."""

NARROWEST = 0.25
"""Per cent: what is shorter is still to be seen."""

TICKS = 6
"""About so many."""

_STEPS = (
    *(base * 10**power for power in (-3, -2, -1, 0) for base in (1, 2, 5)),
    *(10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400),
)


class Window(NamedTuple):
    """A stretch of time that is drawn."""

    key: str
    title: str
    began: float
    ended: float
    zero: float
    """What its ticks count from."""
    origin: str
    """What that is, in words."""


class Bar(NamedTuple):
    kind: str
    x: float
    width: float
    label: str
    seconds: float


class Point(NamedTuple):
    mark: Mark
    x: float


class Row(NamedTuple):
    """One process in a window."""

    process: Process
    bars: list[Bar]
    points: list[Point]


class Tick(NamedTuple):
    x: float
    label: str


def windows(report: RunReport) -> list[Window]:
    """The whole run; and its start and its stop, where they are too short to be seen in it."""
    began, until = report.began, max(report.until, report.began + 0.01)
    whole = Window("run", "The whole run", began, until, began, "the start")
    found = [whole]
    start = _end_of_start(report)
    if start is not None and 0 < start - began < SHARE * (until - began):
        end = min(until, began + 1.08 * (start - began))
        found.append(Window("start", "The start", began, end, began, "the start"))
    stop = report.died if report.died is not None else report.stop
    if stop is not None and 0 < until - stop < SHARE * (until - began):
        before = max(began, stop - max(0.08 * (until - stop), 0.01))
        origin = "main's death" if report.died is not None else "the stop"
        title = "After main's death" if report.died is not None else "The stop"
        found.append(Window("stop", title, before, until, stop, origin))
    return found


def _end_of_start(report: RunReport) -> float | None:
    """When it served; or when the last of its first workers was ready, if that is not much later:
    background work may take hours.
    """
    served = report.served
    if served is None:
        return None
    limit = report.began + 4 * (served - report.began)
    ready = [one.ready for one in report.first_workers if one.ready is not None]
    return max([served, *(moment for moment in ready if moment <= limit)])


def rows(report: RunReport, window: Window) -> list[Row]:
    """Those processes that lived in it."""
    return [
        Row(process, list(_bars(process, window)), list(_points(process, window)))
        for process in report.processes
        if process.began <= window.ended and process.until >= window.began
    ]


def place(window: Window, moment: float) -> float:
    """Where a moment is, in per cent of the width."""
    share = (moment - window.began) / (window.ended - window.began)
    return round(100 * min(1.0, max(0.0, share)), 3)


def _bars(process: Process, window: Window) -> Iterator[Bar]:
    for one in process.segments:
        if one.ended < window.began or one.began > window.ended:
            continue
        x, end = place(window, one.began), place(window, one.ended)
        x = min(x, 100 - NARROWEST)
        width = round(max(end - x, NARROWEST), 3)
        yield Bar(one.kind, x, width, one.label, one.ended - one.began)


def _points(process: Process, window: Window) -> Iterator[Point]:
    for mark in process.marks:
        if window.began <= mark.time <= window.ended:
            yield Point(mark, place(window, mark.time))


def ticks(window: Window) -> list[Tick]:
    """At round numbers of seconds, minutes, hours or days from what the window counts from."""
    step = _step(window.ended - window.began)
    first = -int((window.zero - window.began) / step)
    last = int((window.ended - window.zero) / step)
    return [
        Tick(place(window, window.zero + number * step), tick_label(number * step, step))
        for number in range(first, last + 1)
    ]


def _step(seconds: float) -> float:
    for step in _STEPS:
        if seconds / step <= TICKS:
            return step
    days: float = _STEPS[-1]
    while seconds / days > TICKS:
        days *= 2
    return days


def tick_label(seconds: float, step: float) -> str:
    """As short as the step allows: `1.5 s`, `2:30`, `3 h`, `2 d`."""
    sign, amount = ("\u2212" if seconds < 0 else ""), abs(seconds)
    if step < 1:
        digits = 3 if step < 0.01 else 2 if step < 0.1 else 1
        return f"{sign}{amount:.{digits}f} s"
    whole = round(amount)
    if step < 60:
        return f"{sign}{whole} s" if whole < 120 else f"{sign}{whole // 60}:{whole % 60:02}"
    if step < 3600:
        hours, minutes = divmod(whole // 60, 60)
        return f"{sign}{hours}:{minutes:02} h" if hours else f"{sign}{minutes} min"
    if step < 86400:
        days, hours = divmod(whole // 3600, 24)
        return f"{sign}{days} d {hours} h" if days else f"{sign}{hours} h"
    return f"{sign}{whole // 86400} d"
