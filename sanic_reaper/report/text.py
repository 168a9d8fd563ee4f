"""The report of a run as text: to be read on a terminal, at three in the morning."""

from __future__ import annotations

from ..model.roles import MAIN, SERVICE, WATCHDOG
from .process import Process, fate
from .run_report import RunReport
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
    steps,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from typing import TypeVar

    T = TypeVar("T")

REQUESTS = 40
"""Maximum number of lines on lost requests."""

WORKERS = 8
"""Of which the start, and the end, is told in full: the slowest, and those that failed."""

STEPS = 8
"""Handlers of one start that are told: the longest."""

LINES = 40
"""Of what happened in between: the last."""

WIDEST = 400
"""Characters of a line of somebody else's words."""


def plain(text: str, colour: str) -> str:
    return text


class Text:
    """The report.

    Args:
        paint: puts a colour around a text (`commands.terminal.painter`).
        full: everything: each worker, each line of a reason.
    """

    def __init__(
        self,
        report: RunReport,
        paint: Callable[[str, str], str] = plain,
        full: bool = False,
    ) -> None:
        self._account = report
        self._paint = paint
        self._full = full

    def __str__(self) -> str:
        sections = [
            self._header(),
            self._start(),
            self._between(),
            self._stop(),
            self._lost(),
            self._counts(),
        ]
        return "\n\n".join("\n".join(section) for section in map(list, sections) if section) + "\n"

    # -- sections ---------------------------------------------------------------------------------

    def _header(self) -> Iterator[str]:
        report, paint = self._account, self._paint
        facts = [f"main [{report.pid}]", report.address, report.method, report.directory]
        where = _one_line("  ".join(filter(None, facts)))
        yield f"{paint(_one_line(report.app), 'bold')}  {where}"
        lost = losses(report)
        colour = ("yellow" if lost else "green") if report.is_in_order else "red"
        stands = paint(self._words(how_it_stands(report)), colour)
        if lost:
            stands += f"; {paint(lost, 'red')}"
        yield (
            f"started {clock(report.wall(report.began), ZONED)}, "
            f"{'up' if report.lives else 'ran'} {duration(report.seconds)}; {stands}"
        )
        ran_on = ", ".join(filter(None, (report.host, made_with(report))))
        if ran_on:
            yield f"on {_one_line(ran_on)}"
        if report.is_stuck:
            yield paint("main's loop does not turn: what stands here may be old", "red")

    def _start(self) -> Iterator[str]:
        report = self._account
        if report.served is not None:
            yield self._title("START", f"serving after {duration(report.served - report.began)}")
        else:
            yield self._title("START", "has never served")
        shown, left_out = _most(report.first_workers, _weight_of_start, self._limit(WORKERS))
        for worker in shown:
            yield from self._start_of(worker)
        if left_out:
            times = [one.seconds_to_up or 0.0 for one in left_out]
            yield (
                f"  and {len(left_out)} more, up after {duration(min(times))} "
                f"to {duration(max(times))} (--full)"
            )
        yield from self._lines(event_lines(report, parts(report)[0]))

    def _start_of(self, worker: Process) -> Iterator[str]:
        words = self._words(how_it_started(worker))
        yield f"  {_one_line(worker.title)}  {self._red(words, worker.did_not_start)}"
        rows, left_out = _most(steps(worker, worker.until), _seconds_of, self._limit(STEPS))
        width = max((len(what) for _, what, _, _ in rows), default=0)
        for seconds, what, place, remark in rows:
            more = "  ".join(filter(None, (place, remark)))
            yield _one_line(
                f"    {duration(seconds):>11}  {what:{min(width, 40)}}  {more}"
            ).rstrip()
        if left_out:
            yield f"    {'':>11}  and {len(left_out)} more (--full)"
        if worker.failure:
            yield from (f"      {line}" for line in self._reason(worker.failure))

    def _between(self) -> Iterator[str]:
        report = self._account
        lines = event_lines(report, parts(report)[1])
        if report.served is None:
            return
        if not lines:
            yield self._title("MEANWHILE", "nothing to tell")
            return
        yield self._title("MEANWHILE", "")
        if not self._full and len(lines) > LINES:
            yield f"  {len(lines) - LINES} earlier ones are left out (--full)"
            lines = lines[-LINES:]
        yield from self._lines(lines)

    def _stop(self) -> Iterator[str]:
        report = self._account
        if report.outcome == "killed":
            yield from self._after_main()
        elif report.stop is not None:
            took = report.seconds_of_stop
            words = f"{duration(took)}" if took is not None else "since the stop"
            yield self._title("STOP", words)
            yield from self._ends(report.stop)
            lines = event_lines(report, parts(report)[2])
            yield from self._lines([one for one in lines if one.event == "orphan.killed"])

    def _ends(self, stop: float) -> Iterator[str]:
        there = [one for one in self._account.processes if one.ended is None or one.ended >= stop]
        there = [one for one in there if one.role not in (MAIN, WATCHDOG, SERVICE)]
        there.sort(key=lambda one: one.until)
        shown, left_out = _most(there, _weight_of_end, self._limit(WORKERS))
        for process in shown:
            yield self._end_of(process, stop)
        if left_out:
            slowest = max(one.until for one in left_out) - stop
            yield f"  and {len(left_out)} more, within {duration(slowest)} (--full)"

    def _end_of(self, process: Process, stop: float) -> str:
        words = self._words(fate(process) or "no word of its end")
        after = "+" + duration(max(0.0, process.until - stop))
        title = f"{process.role} {_one_line(process.title)}"
        return f"  {after:>11}  {title}  {self._red(words, process.was_hurt)}"

    def _after_main(self) -> Iterator[str]:
        report = self._account
        assert report.died is not None
        took = report.seconds_of_stop
        if took is None:
            words = "the watchdog has left no word: it was killed too, or could not write"
        elif report.gone is not None:
            words = f"nothing was left after {duration(took)}"
        else:
            words = f"not over, as far as the watchdog has written ({duration(took)})"
        yield self._title("AFTER MAIN'S DEATH", words)
        for line in report.log:
            after = "+" + duration(max(0.0, line.time - report.died))
            is_bad = line.level in ("WARNING", "ERROR")
            yield f"  {after:>11}  {self._red(self._words(line.words), is_bad)}"

    def _lost(self) -> Iterator[str]:
        """The requests that were lost with workers that were killed."""
        lost = lost_requests(self._account)
        if not lost:
            return
        yield self._title("LOST REQUESTS", "")
        shown = lost[: self._limit(REQUESTS) or None]
        for title, words in shown:
            yield f"  {_one_line(title)}  {self._words(words)}"
        if len(shown) < len(lost):
            yield f"  and {len(lost) - len(shown)} more lines (--full)"

    def _counts(self) -> Iterator[str]:
        report = self._account
        found = [f"{words} {number}" for words, number in counts(report) if number]
        served = sum(one.requests or 0 for one in report.workers)
        if any(one.requests is not None for one in report.workers):
            found.insert(0, f"requests {served} (as far as workers have told)")
        still = report.counters.get("blocked_seconds", 0.0)
        if still >= 1:
            found.append(f"event loops were blocked for {duration(still)}")
        if not found and not any(one.was_hurt for one in report.processes):
            found.append("nothing died, nothing was killed")
        if found:
            yield self._title("COUNTS", "; ".join(found))

    # -- parts of them ----------------------------------------------------------------------------

    def _title(self, name: str, words: str) -> str:
        return f"{self._paint(name, 'bold')}  {self._words(words)}".rstrip()

    def _red(self, text: str, is_bad: bool) -> str:
        return self._paint(text, "red") if is_bad else text

    def _lines(self, lines: Sequence[EventLine]) -> Iterator[str]:
        report = self._account
        day = clock(report.wall(report.began), "%Y-%m-%d")
        width = max((len(one.name) for one in lines), default=0)
        widest = min(40, max((len(one.who) for one in lines), default=0))
        for one in lines:
            moment = report.wall(one.time)
            same = clock(moment, "%Y-%m-%d") == day
            at = clock(moment) if same else clock(moment, DATE)
            first, *rest = self._reason(one.words)
            name = self._red(f"{one.name:{width}}", one.is_bad)
            yield f"  {at}  {name}  {_one_line(one.who):{widest}}  {first}".rstrip()
            yield from (f"      {line}" for line in rest)

    def _words(self, text: str) -> str:
        """On one line."""
        return "; ".join(self._reason(text)) if self._full else self._reason(text)[0]

    def _reason(self, text: str) -> list[str]:
        lines = printable(text).split("\n")
        if self._full:
            return lines
        first = lines[0] if len(lines[0]) <= WIDEST else lines[0][: WIDEST - 1] + "…"
        # Of a stack this one line is what matters; the others follow it.
        sits = [line for line in lines[1:] if line.startswith("    sits in")][:1]
        more = len(lines) - 1 - len(sits)
        if more:
            first += f" (+{more} {'line' if more == 1 else 'lines'}: --full)"
        return [first, *(line.strip()[:WIDEST] for line in sits)]

    def _limit(self, number: int) -> int:
        return 0 if self._full else number


def _one_line(text: str) -> str:
    return printable(text).replace("\n", " ").replace("\t", " ")


def _seconds_of(step: tuple[float, str, str, str]) -> float:
    return step[0]


def _weight_of_start(worker: Process) -> float:
    return float("inf") if worker.did_not_start else worker.seconds_to_up or float("inf")


def _weight_of_end(process: Process) -> float:
    return float("inf") if process.was_hurt else process.until


def _most(items: Sequence[T], weight: Callable[[T], float], number: int) -> tuple[list[T], list[T]]:
    """The heaviest, in the order in which they came, and those that are left out. 0: all."""
    if not number or len(items) <= number:
        return list(items), []
    ranked = sorted(range(len(items)), key=lambda at: weight(items[at]), reverse=True)
    chosen = set(ranked[:number])
    shown = [one for at, one in enumerate(items) if at in chosen]
    return shown, [one for at, one in enumerate(items) if at not in chosen]
