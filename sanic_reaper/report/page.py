"""The report of a run as one page that needs nothing else: no network, no script.

It is well-formed XML as well, so that a test can take it apart. All that comes from the run (names,
places, reasons) goes through `esc`.
"""

from __future__ import annotations

from ..model.roles import HELPER, MAIN, SERVICE, WATCHDOG, WORKER
from . import tables
from .drawing import Row, Tick, Window, place, rows, ticks, windows
from .markup import DASH, ENTITIES_OF_LINES, esc, or_dash, style_of
from .process import Process, fate, first_line
from .run_report import RunReport
from .style import CSS
from .words import (
    DATE,
    ZONED,
    EventLine,
    clock,
    counts,
    duration,
    event_lines,
    how_it_stands,
    how_it_started,
    losses,
    lost_requests,
    made_with,
    parts,
    printable,
)

LEGEND = (
    ("import", "import"),
    ("handler", "handler of the start"),
    ("starting", "other start-up"),
    ("background", "background work"),
    ("serving", "serving"),
    ("blocked", "event loop blocked"),
    ("stopping", "stopping"),
    ("running", "helper"),
)
MARKS = (
    ("died", "died, or was killed"),
    ("replaced", "takes another's place"),
    ("slow", "reported as slow"),
    ("orphan", "left something behind"),
)
SHAPES = {
    "killed": "M-4 -4L4 4M-4 4L4 -4",
    "died": "M-4 -4L4 4M-4 4L4 -4",
    "crashloop": "M-4 -4L4 4M-4 4L4 -4",
    "replaced": "M0 -5L5 0L0 5L-5 0Z",
    "recycled": "M0 -5L5 0L0 5L-5 0Z",
    "slow": "M0 -5L5 4H-5Z",
    "orphan": "M-4 -4H4V4H-4Z",
}
"""Of marks: told apart by their shape, not by colour alone."""

BAR = 14
"""Pixels of a bar, of a row:"""
ROW = 22
LONG = 12
"""Rows from which on the axis stands below them as well."""


def page(report: RunReport) -> str:
    """The whole document."""
    title = f"{esc(report.app)} [{report.pid}] - sanic-reaper report"
    body = [
        _header(report),
        _happened(report),
        _lost(report),
        _legend(report),
        *(_time_line(report, window) for window in windows(report)),
        tables.starts(report),
        tables.table(report),
        _footer(report),
    ]
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8"/>\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1"/>\n'
        '<meta name="color-scheme" content="light dark"/>\n'
        f"<title>{title}</title>\n<style>{CSS}</style>\n</head>\n<body>\n{_PATTERNS}\n<main>\n"
        + "\n".join(part for part in body if part)
        + "\n</main>\n</body>\n</html>\n"
    )


_PATTERNS = (
    '<svg width="0" height="0" class="defs" aria-hidden="true" focusable="false"><defs>'
    '<pattern id="slant" width="6" height="6" patternUnits="userSpaceOnUse" '
    'patternTransform="rotate(45)"><rect width="6" height="6" class="ground-blocked"/>'
    '<rect width="2" height="6" class="stripe-blocked"/></pattern>'
    '<pattern id="stop" width="5" height="5" patternUnits="userSpaceOnUse" '
    'patternTransform="rotate(-45)"><rect width="5" height="5" class="ground-stopping"/>'
    '<rect width="1.5" height="5" class="stripe-stopping"/></pattern>'
    "</defs></svg>"
)


# -- the head -------------------------------------------------------------------------------------


def _header(report: RunReport) -> str:
    lost = losses(report)
    colour = ("lossy" if lost else "good") if report.is_in_order else "bad"
    facts = [
        ("Started", clock(report.wall(report.began), ZONED)),
        ("Up" if report.lives else "Ran", duration(report.seconds)),
        (
            "Serving after",
            "never" if report.served is None else duration(report.served - report.began),
        ),
        ("Exit code", "none yet" if report.lives else or_dash(report.code)),
        ("Main", str(report.pid)),
        ("Workers wanted", str(report.wanted)),
        ("Address", report.address or DASH),
        ("Start method", report.method or "default"),
        ("Host", report.host or DASH),
        ("Versions", made_with(report) or DASH),
    ]
    took = report.seconds_of_stop
    if report.outcome == "killed":
        facts.insert(3, ("Nothing left after", _seconds(report.gone, report.died)))
    elif took is not None:
        facts.insert(3, ("Stop took", duration(took)))
    cells = "".join(f"<div><dt>{name}</dt><dd>{esc(value)}</dd></div>" for name, value in facts)
    stuck = "<p><strong>Main's loop does not turn: this may be old.</strong></p>"
    stands, comma, rest = how_it_stands(report).partition(", ")
    return (
        f'<header><p class="kind">sanic-reaper report</p><h1>{esc(report.app)}</h1>'
        f'<p class="outcome {colour}"><b>{esc(stands)}</b>{esc(comma + rest)}'
        f"{f'; <b>{esc(lost)}</b>' if lost else ''}</p>"
        f"{stuck if report.is_stuck else ''}<dl>{cells}</dl></header>"
    )


def _seconds(ended: float | None, began: float | None) -> str:
    return "not known" if ended is None or began is None else duration(ended - began)


def _legend(report: RunReport) -> str:
    kinds = {one.kind for process in report.processes for one in process.segments}
    marks = {one.kind for process in report.processes for one in process.marks}
    if "recycled" in marks:
        marks.add("replaced")
    if marks & {"crashloop", "killed"}:
        marks.add("died")
    items = [
        f'<li><svg width="18" height="12" aria-hidden="true"><rect class="{kind}" y="1" '
        f'width="18" height="10"/></svg>{words}</li>'
        for kind, words in LEGEND
        if kind in kinds
    ]
    items += [
        f'<li><svg width="18" height="12" aria-hidden="true"><g transform="translate(9 6)">'
        f'<path class="mark {kind}" d="{SHAPES[kind]}"/></g></svg>{words}</li>'
        for kind, words in MARKS
        if kind in marks
    ]
    return f'<ul class="legend" aria-label="Legend">{"".join(items)}</ul>'


# -- time lines -----------------------------------------------------------------------------------


def _time_line(report: RunReport, window: Window) -> str:
    found, marks = rows(report, window), ticks(window)
    stop = report.died if report.died is not None else report.stop
    moments = [moment for moment in (report.served, stop) if moment is not None]
    at = [place(window, one) for one in moments if window.began < one < window.ended]
    grid = "".join(_line(tick.x, "grid") for tick in marks) + "".join(_line(x, "now") for x in at)
    began, ended = report.wall(window.began), report.wall(window.ended)
    style = DATE if ended - began > 43200 else "%H:%M:%S"
    drawn = "".join(_row(row, window, grid, report) for row in found)
    hidden = len(report.processes) - len(found)
    left_out = f"; not there then, and left out: {hidden}" if hidden else ""
    return (
        f'<section class="chart" aria-labelledby="{window.key}"><h2 id="{window.key}">'
        f"{esc(window.title)}</h2>"
        f'<p class="caption">{esc(clock(began, style))} to {esc(clock(ended, style))}, '
        f"{esc(duration(window.ended - window.began))}; the axis counts from {esc(window.origin)}"
        f"{left_out}</p>"
        f'<div class="axis">{_axis(marks)}</div>'
        f'<ul class="rows">{drawn}</ul>'
        + (f'<div class="axis">{_axis(marks)}</div>' if len(found) > LONG else "")
        + "</section>"
    )


def _line(x: float, kind: str) -> str:
    return f'<line class="{kind}" x1="{x:g}%" x2="{x:g}%" y2="{ROW}"/>'


def _axis(marks: list[Tick]) -> str:
    shown = []
    for tick in marks:
        anchor = "start" if tick.x < 4 else "end" if tick.x > 96 else "middle"
        shown.append(
            f'<text x="{tick.x:g}%" y="12" text-anchor="{anchor}">{esc(tick.label)}</text>'
        )
    return f'<svg width="100%" height="16" aria-hidden="true">{"".join(shown)}</svg>'


def _row(row: Row, window: Window, grid: str, report: RunReport) -> str:
    process = row.process
    depth = "root" if process.role == MAIN else "leaf" if process.before is None else "again"
    kind = "" if process.role in _OBVIOUS else f"<i>{esc(process.role)}</i> "
    starts = window.key == "start"
    end = _short_start(process) if starts else _short_end(process, report)
    is_bad = process.did_not_start if starts else process.was_hurt
    drawn = svg(row, grid, f"{process.title}: {summary(process, report)}")
    return (
        f'<li class="row {depth}"><span class="who">{kind}<b>{esc(process.name)}</b> '
        f'<span class="pid">{process.pid}</span></span>'
        f'<span class="plot">{drawn}</span>'
        f'<span class="end{" bad" if is_bad else ""}">{esc(end)}</span></li>'
    )


def svg(row: Row, grid: str, title: str) -> str:
    """The bar of one process: an image with a title, and one for each of its parts."""
    bars = []
    for bar in row.bars:
        y, height = _SHAPE.get(bar.kind, ((ROW - BAR) // 2, BAR))
        bars.append(
            f'<rect class="{bar.kind}" x="{bar.x:g}%" y="{y}" width="{bar.width:g}%" '
            f'height="{height}"><title>{esc(bar.label)}: {esc(duration(bar.seconds))}</title>'
            "</rect>"
        )
    points = [
        f'<svg x="{point.x:g}%" y="{ROW // 2}" overflow="visible"><path '
        f'class="mark {esc(point.mark.kind)}" d="{SHAPES.get(point.mark.kind, SHAPES["slow"])}">'
        f"<title>{esc(point.mark.label)}</title></path></svg>"
        for point in row.points
    ]
    return (
        f'<svg width="100%" height="{ROW}" role="img"><title>{esc(title)}</title>'
        f"{grid}{''.join(bars)}{''.join(points)}</svg>"
    )


_OBVIOUS = (MAIN, WATCHDOG, HELPER, SERVICE, WORKER)
"""Roles that the name of a process tells."""

_SHAPE = {"background": (14, 4), "running": (9, 4)}
"""Where a bar begins, and how high it is: what goes on beside something else is low."""


def _short_start(process: Process) -> str:
    seconds = process.seconds_to_up
    if not process.is_worker:
        return ""
    return "not up" if seconds is None else f"up after {duration(seconds)}"


def _short_end(process: Process, report: RunReport) -> str:
    if process.killed:
        return "killed" if process.killer != WATCHDOG else "killed by watchdog"
    if process.ended is None:
        return process.state if report.lives and process.role != MAIN else ""
    if process.exit_code is None:
        return "died" if process.role == MAIN else "ended"
    return first_line(fate(process)).split(",")[0].split(":")[0]


def summary(process: Process, report: RunReport) -> str:
    """A row in words, for who does not see it."""
    parts_ = [f"{process.role}, from {duration(max(0.0, process.began - report.began))} after"]
    parts_[0] += f" the start, for {duration(process.until - process.began)}"
    if process.is_worker:
        parts_.append(first_line(how_it_started(process)))
    parts_.append(first_line(fate(process)) or "no end known")
    return "; ".join(parts_)


# -- what happened, and the tables ----------------------------------------------------------------


def _happened(report: RunReport) -> str:
    start, between, stop = parts(report)
    lines = [*event_lines(report, start), *event_lines(report, between), *event_lines(report, stop)]
    lines += event_lines(report, report.log)
    numbers = "".join(
        f"<div><dt>{esc(words)}</dt><dd>{number}</dd></div>"
        for words, number in counts(report)
        if number
    )
    if numbers:
        numbers = f'<dl class="counts">{numbers}</dl>'
    listed = "".join(_event_of(one, report) for one in lines)
    empty = "<p>Nothing: no worker died, none had to be killed.</p>"
    return (
        '<section aria-labelledby="events"><h2 id="events">What happened</h2>'
        + numbers
        + (f'<ol class="events">{listed}</ol>' if listed else empty)
        + "</section>"
    )


def _event_of(one: EventLine, report: RunReport) -> str:
    moment = report.wall(one.time)
    style = style_of(report)
    first, _, rest = one.words.partition("\n")
    words = f"{f'<i>{esc(one.who)}</i> ' if one.who else ''}{esc(first)}"
    if rest:
        more = printable(rest).translate(ENTITIES_OF_LINES)
        words = f"<details><summary>{words}</summary><pre>{more}</pre></details>"
    name = f'<b class="{"bad" if one.is_bad else "plain"}">{esc(one.name or WATCHDOG)}</b>'
    return f'<li><time>{esc(clock(moment, style))}</time>{name}<div class="what">{words}</div></li>'


def _lost(report: RunReport) -> str:
    found = lost_requests(report)
    if not found:
        return ""
    listed = "".join(
        f'<li><div class="what"><i>{esc(title)}</i> {esc(words)}</div></li>'
        for title, words in found
    )
    head = '<section aria-labelledby="lost"><h2 id="lost">Lost requests</h2>'
    return f'{head}<ol class="events">{listed}</ol></section>'


def _footer(report: RunReport) -> str:
    facts = [f"run {report.run}", f"user {report.uid}", report.directory]
    return f"<footer><p>{esc(', '.join(filter(None, facts)))}</p></footer>"
