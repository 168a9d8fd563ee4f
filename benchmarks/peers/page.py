"""The comparison as a page: a heat map, sums, and every row in which a peer does better."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from benchmarks.peers.scenarios import SCENARIOS
from benchmarks.report import Table

DATA = Path(__file__).with_name("results.json")
OURS = "Reaper"
GO_ON = frozenset(scenario.name for scenario in SCENARIOS if not scenario.ends)
"""Rows after which the server is to hold its port."""
FASTER = 0.25
"""Seconds by which a peer has to be faster to be named: below that it is this machine's mood."""

Cell = Mapping[str, Any]


def load(path: Path = DATA) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def markdown(data: Mapping[str, Any]) -> str:
    """The section of docs/benchmarks.md."""
    cells: list[Cell] = data["cells"]
    bare = [cell for cell in cells if not cell["wrapper"]]
    parts = [
        "## Comparison with other servers",
        "`python -m benchmarks.peers`, and `python -m benchmarks.peers --draw` for this section",
        _INTRODUCTION.format(**data),
        "![What is left: servers and scenarios](pictures/comparison.svg)",
        _sums(cells).markdown(),
        _better(bare),
        "The servers by themselves: processes left, seconds until nothing was left, and requests "
        "in flight that got no answer. *hangs*: the main process has not exited.",
        _rows(bare).markdown(),
    ]
    return "\n\n".join(parts) + "\n"


_INTRODUCTION = """\
Every server has two workers, {grace} s of grace and its own best settings. It runs in a PID
namespace of its own, started by a shell that has one more job. Then it gets a
blow: a signal, or a fault. Measured on {machine},
in {minutes} minutes. Versions: `benchmarks/peers/requirements.lock`.

The numbers are the processes left {limit:g} s after the blow, including zombies and a main process
that hangs. An exclamation mark means that the shell or its job was killed. *SIGTERM* goes where a
service manager would send it, *SIGKILL* to the server's main process, *Ctrl+C* and *hang-up* to
the whole foreground group, as a terminal sends them. (gunicorn reloads on SIGHUP: after a hang-up
it stays on purpose.) `sanic-reaper run` kills what a command leaves. It waits for a command that
does not exit, and then counts as one of the processes left. `tini -s` passes signals on and reaps
zombies. It kills nothing."""


def _of(cells: Iterable[Cell], **fields: object) -> list[Cell]:
    return [cell for cell in cells if all(cell[key] == value for key, value in fields.items())]


def _names(cells: Iterable[Cell], key: str) -> list[str]:
    return list(dict.fromkeys(cell[key] for cell in cells))


def _sums(cells: list[Cell]) -> Table:
    table = Table(
        [
            "server",
            "under",
            "rows with nothing left",
            "processes left",
            "requests lost",
            "bystanders killed",
            "port stays taken",
            "leftovers use CPU",
        ]
    )
    for name in _names(cells, "name"):
        for wrapper in _names(cells, "wrapper"):
            mine = [c for c in _of(cells, name=name, wrapper=wrapper) if not c.get("note")]
            if not mine:
                continue
            clean = sum(_is_clean(cell) for cell in mine)
            sums = [sum(cell[key] for cell in mine) for key in ("left", "lost", "hurt")]
            taken = [cell["port"] is None and cell["row"] not in GO_ON for cell in mine]
            sums += [sum(taken), sum(cell["busy"] for cell in mine)]
            row = [mine[0]["peer"], wrapper or "-", f"{clean} of {len(mine)}", *map(str, sums)]
            table.rows.append(row)
    return table


def _is_clean(cell: Cell) -> bool:
    return not cell["left"] and not cell["hurt"] and cell["seconds"] is not None


def _better(cells: list[Cell]) -> str:
    """Rows in which a peer does better than the best of ours."""
    lines = []
    for row in _names(cells, "row"):
        here = [cell for cell in _of(cells, row=row) if not cell.get("note")]
        ours = [cell for cell in here if cell["name"].startswith(OURS)]
        if not ours:
            continue
        best = min(map(_grade, ours))
        for cell in here:
            grade = _grade(cell)
            if cell in ours or grade[:3] > best[:3]:
                continue
            if grade[:3] < best[:3] or grade[3] < best[3] - FASTER:
                lines.append(
                    f"- {row}: {cell['peer']} {_words(cell)}, ours {_words(min(ours, key=_grade))}"
                )
    if not lines:
        return "**There is no row in which a peer does better.**"
    return "\n".join(["Rows in which a peer does better:", "", *lines, "", _WHY])


_WHY = """\
Why: the Reaper gives blocked requests the whole grace and half a second. After a hang-up of the
terminal it drains as after SIGTERM, instead of dropping all requests. It replaces a worker that
exits, with growing pauses, five times in a minute before that counts as a crash loop
(`REAPER_RESPAWN_LIMIT`)."""


def _grade(cell: Cell) -> tuple[int, int, int, float]:
    """The smaller the better."""
    never = float("inf")
    seconds = never if cell["seconds"] is None else cell["seconds"]
    return cell["hurt"], cell["left"] + (seconds == never), cell["lost"], seconds


def _rows(cells: list[Cell]) -> Table:
    names = _names(cells, "name")
    table = Table(["", *names])
    for row in _names(cells, "row"):
        by = {cell["name"]: cell for cell in _of(cells, row=row)}
        table.rows.append([row, *(_words(by[name]) if name in by else "" for name in names)])
    return table


def _words(cell: Cell) -> str:
    if cell.get("note"):
        return "?"
    when = "never" if cell["seconds"] is None else f"{cell['seconds']:.1f} s"
    lost = f", lost {cell['lost']}" if cell["lost"] else ""
    hung = " (hangs)" if cell["code"] is None and cell["left"] else ""
    return f"{cell['left']}{hung}{'!' if cell['hurt'] else ''}, {when}{lost}"
