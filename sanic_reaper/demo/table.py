"""The output of the demo: text and JSON, made from results. Pure."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from textwrap import wrap

from sanic_reaper import __version__

from .patience import SLOW_START, START_LIMIT
from .results import WORKERS, Leftover, Outcome, Result, Row


@dataclass(frozen=True)
class Style:
    """Colours text, or leaves it as it is."""

    colour: bool = False

    def paint(self, code: int, text: str) -> str:
        return f"\x1b[{code}m{text}\x1b[0m" if self.colour else text

    def bold(self, text: str) -> str:
        return self.paint(1, text)

    def dim(self, text: str) -> str:
        return self.paint(2, text)

    def judge(self, outcome: Outcome, text: str) -> str:
        return self.paint(32 if outcome.clean else 31, text)


EVENT = "{:<9}{:<15}"
PLAIN = "{:>4}  {:<6}{:<9}{:>5}{:>8}  "
REAPER = "{:>4}  {:<6}{:>8}"
PROCESS = "{:>8}{:>8}  {:<4}{:>6}  {:<18}{}"


def render_head(start_method: str, style: Style) -> list[str]:
    program = ", ".join(f"{name} {number}" for name, number in versions().items())
    title = f"{program}; {start_method}, {WORKERS} workers"
    plain = PLAIN.format("left", "port", "main", "CPU", "after")
    reaper = REAPER.format("left", "port", "gone in")
    over = "plain Sanic".ljust(len(plain)) + "with the Reaper"
    return [
        style.dim(title),
        "",
        style.bold(EVENT.format("", "") + over),
        style.dim(EVENT.format("main gets", "") + plain + reaper),
    ]


def render_row(result: Result, style: Style) -> str:
    """One line of the table. A cell is padded before it is painted: colours have no width."""
    return (
        EVENT.format(result.row.event, result.row.state)
        + style.judge(result.plain, render_plain(result.plain))
        + style.judge(result.reaper, render_reaper(result.reaper))
    )


def render_plain(outcome: Outcome) -> str:
    if not outcome.started:
        return PLAIN.format("?", "", no_start(outcome), "", "")
    if outcome.is_to_answer:
        main = "silent" if outcome.answers_after is None else "answers"
        return PLAIN.format("", port_of(outcome), main, "", time_of(outcome, outcome.answers_after))
    cpu = f"{outcome.cpu:.0f} %" if outcome.cpu >= 1 else ""
    return PLAIN.format(
        outcome.left, port_of(outcome), outcome.main, cpu, time_of(outcome, outcome.gone_after)
    )


def render_reaper(outcome: Outcome) -> str:
    if not outcome.started:
        return REAPER.format("?", "", no_start(outcome))
    if outcome.is_to_answer:
        return REAPER.format("", port_of(outcome), time_of(outcome, outcome.answers_after))
    return REAPER.format(outcome.left, port_of(outcome), time_of(outcome, outcome.gone_after))


def no_start(outcome: Outcome) -> str:
    """Why a server has not started: it failed, or was too slow."""
    return "failed" if outcome.measured else "too slow"


def time_of(outcome: Outcome, seconds: float | None) -> str:
    """The seconds after which something happened, or for which the demo has waited in vain."""
    return f"> {outcome.waited:.0f} s" if seconds is None else f"{seconds:.2f} s"


def port_of(outcome: Outcome) -> str:
    return "held" if outcome.port_held else "free"


Outcomes = Sequence[tuple[Row, Outcome]]


def render_end(results: Sequence[Result], style: Style, width: int) -> list[str]:
    """The lines below the table: for each side the leftovers of one row, and a verdict."""
    plain = [(result.row, result.plain) for result in results]
    reaper = [(result.row, result.reaper) for result in results]
    asked = any(result.row.to_workers for result in results)
    note = "* all workers are killed; the time is that until the server answers again"
    said = [*speed(results), verdict("Plain Sanic", plain), verdict("The Reaper", reaper)]
    return [
        *([style.dim(note)] if asked else []),
        *render_example("plain Sanic", plain, style, width),
        *render_example("the Reaper", reaper, style, width),
        "",
        *(line for text in said for line in wrap(text, width)),
    ]


def speed(results: Sequence[Result]) -> list[str]:
    """A sentence about the machine, if it is busy or slow."""
    outcomes = [outcome for result in results for outcome in (result.plain, result.reaper)]
    slowest = max((outcome.start for outcome in outcomes if outcome.started), default=0.0)
    said = []
    if slowest >= SLOW_START:
        said.append(
            f"This machine is busy or slow: a server took {slowest:.0f} s to start. So everything "
            "was waited for longer, and the times say more of the machine than of the servers."
        )
    if late := sum(not outcome.measured for outcome in outcomes):
        what = "1 server was" if late == 1 else f"{late} servers were"
        said.append(
            f"This machine is too busy to measure everything: {what} not ready within "
            f"{START_LIMIT:.0f} s."
        )
    return said


def render_example(name: str, outcomes: Outcomes, style: Style, width: int) -> list[str]:
    """The first row in which something was left or the server did not start."""
    for row, outcome in outcomes:
        if not outcome.started:
            said = [style.dim(line) for line in outcome.output.splitlines()]
            return ["", style.bold(f"How {name} did not start ({row.name}):"), *said]
        if outcome.left:
            tree = render_tree(outcome.processes, style, width)
            return ["", style.bold(f"What {name} left after {row.event} {row.state}:"), *tree]
    return []


def verdict(name: str, outcomes: Outcomes) -> str:
    """The results of one side, in sentences. Rows that were not measured do not count."""
    measured = [outcome for _, outcome in outcomes if outcome.measured]
    if not measured:
        return f"{name} was not measured."
    if not all(outcome.started for outcome in measured):
        return f"{name} did not start."
    ending = [outcome for outcome in measured if not outcome.is_to_answer]
    sentences = []
    if ending:
        sentences.append(f"{name} {what_was_left(ending)}")
    for outcome in measured:
        if outcome.is_to_answer:
            sentences.append(f"{'It' if ending else name} {how_it_went_on(outcome)}")
    return " ".join(sentences)


def what_was_left(outcomes: Sequence[Outcome]) -> str:
    dirty = [outcome for outcome in outcomes if not outcome.clean]
    if not dirty:
        slowest = max(outcome.gone_after or 0.0 for outcome in outcomes)
        return f"left nothing, and was gone in {slowest:.2f} s at most."
    left = sum(outcome.left for outcome in dirty)
    what, they = ("1 process", "It has") if left == 1 else (f"{left} processes", "They have")
    return f"left {what}, in {len(dirty)} of {len(outcomes)} rows. {they} been killed."


def how_it_went_on(outcome: Outcome) -> str:
    if outcome.answers_after is None:
        return f"did not answer within {outcome.waited:.0f} s after its workers had died."
    return f"answered again {outcome.answers_after:.2f} s after its workers had died."


def render_tree(processes: Sequence[Leftover], style: Style, width: int) -> list[str]:
    lines = [style.dim(PROCESS.format("PID", "PPID", "STAT", "%CPU", "ROLE", "COMMAND"))]
    for depth, process in walk(processes):
        command = ("  " * (depth - 1) + "\\_ " if depth else "") + process.command
        shown = (process.pid, process.ppid, process.state, process.cpu, process.role)
        line = PROCESS.format(*shown, command)
        lines.append(line if len(line) <= width else line[: width - 3] + "...")
    return lines


def walk(
    processes: Sequence[Leftover], parent: int | None = None
) -> Iterator[tuple[int, Leftover]]:
    """Each process with its depth, parents before children. A process without parent is a root."""
    pids = {process.pid for process in processes}
    for process in processes:
        if process.ppid == parent or (parent is None and process.ppid not in pids):
            yield 0, process
            yield from ((depth + 1, child) for depth, child in walk(processes, process.pid))


def render_json(results: Sequence[Result], start_method: str, seconds: float) -> str:
    return json.dumps(
        {
            "versions": versions(),
            "start_method": start_method,
            "workers": WORKERS,
            "seconds": round(seconds, 1),
            "clean": all(result.reaper.clean for result in results),
            "rows": [
                {
                    "row": result.row.name,
                    "event": result.row.event,
                    "state": result.row.state,
                    "plain": asdict(result.plain),
                    "reaper": asdict(result.reaper),
                }
                for result in results
            ],
        },
        indent=2,
    )


def versions() -> dict[str, str]:
    python = sys.version.split()[0]
    return {"sanic-reaper": __version__, "sanic": version("sanic"), "python": python}
