"""The tables of the page: how each worker started, and all processes. Of many the remarkable ones
are shown, and the rest is folded away.
"""

from __future__ import annotations

from .markup import DASH, esc, or_dash, style_of
from .process import Process, fate, first_line
from .run_report import RunReport
from .words import clock, duration, how_it_started, steps

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

STARTS = 4
"""Starts of workers that are told. Of more only the slowest, the median and those that failed are;
the others are folded away."""

PROCESSES = 10
"""Rows of the table. Of more those of ordinary workers are folded away."""


def starts(report: RunReport) -> str:
    workers = [one for one in report.workers if steps(one, one.until)]
    if not workers:
        return ""
    remarks: dict[Process, str] = {}
    if len(workers) > STARTS:
        ranked = sorted(workers, key=lambda one: one.seconds_to_up or 0.0)
        ready = [one for one in ranked if one.seconds_to_up is not None]
        if ready:
            remarks = {ready[len(ready) // 2]: "the median", ready[-1]: "the slowest"}
        shown = [one for one in workers if one.seconds_to_up is None]
        shown += sorted(remarks, key=lambda one: one.seconds_to_up or 0.0, reverse=True)
    else:
        shown = workers
    rest = [one for one in workers if one not in shown]
    folded = ""
    if rest:
        times = [one.seconds_to_up or 0.0 for one in rest]
        between = f"up after {duration(min(times))} to {duration(max(times))}"
        folded = _folded(
            f"{len(rest)} more, {between}", f'<div class="starts">{_all(rest, remarks)}</div>'
        )
    return (
        '<section aria-labelledby="starts"><h2 id="starts">How each worker started</h2>'
        f'<div class="starts">{_all(shown, remarks)}</div>{folded}</section>'
    )


def _all(workers: Iterable[Process], remarks: Mapping[Process, str]) -> str:
    return "".join(_start(one, remarks.get(one, "")) for one in workers)


def _start(worker: Process, remark: str) -> str:
    found = "".join(
        f'<li><span class="number">{seconds:.2f} s</span><span>{esc(what)}'
        f"{f' <i>{esc(more)}</i>' if more else ''}"
        f"{f' <code>{esc(where)}</code>' if where else ''}</span></li>"
        for seconds, what, where, more in steps(worker, worker.until)
    )
    words = first_line(how_it_started(worker)) + (f", {remark}" if remark else "")
    return (
        f'<div class="start"><h3>{esc(worker.name)} <span class="pid">{worker.pid}</span> '
        f"<i>{esc(words)}</i></h3><ol>{found}</ol></div>"
    )


def table(report: RunReport) -> str:
    processes = report.processes
    rest = [one for one in processes if _is_ordinary(one)] if len(processes) > PROCESSES else []
    shown = [one for one in processes if one not in rest]
    folded = _folded(f"{len(rest)} more workers, without incident", _rows(rest, report))
    return (
        '<section aria-labelledby="table"><h2 id="table">All processes</h2>'
        f"{_rows(shown, report)}{folded if rest else ''}</section>"
    )


def _is_ordinary(process: Process) -> bool:
    return process.is_worker and not (process.was_hurt or process.marks or process.did_not_start)


def _folded(summary: str, inner: str) -> str:
    return f"<details><summary>{esc(summary)}</summary>{inner}</details>"


NONE = ' class="none"'

_COLUMNS = ("Process", "Role", "Began", "Ready", "EventLine to stop", "Ended", "Requests", "End")
"""Of the table. On a narrow screen each stands before its value."""


def _rows(processes: Iterable[Process], report: RunReport) -> str:
    head = "".join(f'<th scope="col">{name}</th>' for name in _COLUMNS)
    body = "".join(_process(one, report) for one in processes)
    zone = clock(report.wall(report.began), "%z")
    return (
        f"<table><caption>Times of day, {esc(zone)}, as everywhere on this page.</caption>"
        f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
    )


def _process(process: Process, report: RunReport) -> str:
    style = style_of(report)

    def at(moment: float | None) -> str:
        return DASH if moment is None else clock(report.wall(moment), style)

    before = f" <i>in place of {process.before.pid}</i>" if process.before is not None else ""
    cells = [
        process.role,
        *map(at, (process.began, process.ready, process.asked, process.ended)),
        or_dash(process.requests),
        first_line(fate(process)) or DASH,
    ]
    tagged = "".join(
        f'<td data-name="{name}"{NONE if cell == DASH else ""}>{esc(cell)}</td>'
        for name, cell in zip(_COLUMNS[1:], cells, strict=True)
    )
    return (
        f'<tr><th scope="row">{esc(process.name)} <span class="pid">{process.pid}</span>{before}'
        f"</th>{tagged}</tr>"
    )
