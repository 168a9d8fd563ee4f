"""`sanic-reaper demo`: hurt a real server, without and with the Reaper, and count what is left.

For each row of the table `examples/slow_start.py` runs twice: as plain Sanic, and with the Reaper.
Both get the same signal in the same state and the same time to settle. Then the processes that
still live are counted. Whatever plain Sanic leaves is killed here, by process id and creation time,
also when the demo itself is interrupted.

Both servers of a row start at once, which saves half of the time. But they are hurt one after the
other, the Reaper's first: a plain main process that spins on a core must not disturb the clock.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from types import FrameType
from typing import IO
from urllib.request import ProxyHandler, build_opener
from uuid import uuid4

import psutil

from sanic_reaper import __version__

WORKERS = 2  # as in slow_start.py
DELAY = 60  # seconds that a worker loads in the rows that hurt a start: none of them ends by itself
START_LIMIT = 20.0  # seconds until a server must be in the state that its row asks for
SETTLE = 2.0  # seconds after the signal until what still lives counts as left behind
SPINS = 20.0  # per cent of a core above which a main process that only waits is busy for nothing

# Main looks for its workers' acks ten times a second, and nothing tells from outside when it has
# seen the last one. A server that has answered for this long is past that.
ACK_TIME = 0.3

MARKER = "DEMO_SERVER"  # the environment variable that tells which server a process belongs to


# --- What is tried, and what comes of it ----------------------------------------------------------


@dataclass(frozen=True)
class Row:
    """One line of the table: main gets this signal in this state."""

    name: str
    event: str
    state: str
    signal: signal.Signals
    to_group: bool = False
    serving: bool = False


STARTING, SERVING = "in start-up", "while serving"
ROWS = (
    Row("sigterm-startup", "SIGTERM", STARTING, signal.SIGTERM),
    Row("ctrl-c-startup", "Ctrl+C", STARTING, signal.SIGINT, to_group=True),
    Row("sigkill-startup", "SIGKILL", STARTING, signal.SIGKILL),
    Row("sighup-startup", "SIGHUP", STARTING, signal.SIGHUP),
    Row("sigkill-serving", "SIGKILL", SERVING, signal.SIGKILL, serving=True),
    Row("sigterm-serving", "SIGTERM", SERVING, signal.SIGTERM, serving=True),
)


@dataclass(frozen=True)
class Leftover:
    """A process that a server left behind, as `ps` shows it."""

    pid: int
    ppid: int
    state: str  # R running, S sleeping, T stopped, Z defunct
    cpu: float  # per cent of a core since the signal
    role: str
    command: str


@dataclass(frozen=True)
class Outcome:
    """What one server left behind."""

    started: bool  # False: it never came to the state in which its row would hurt it
    left: int = 0  # processes that still live
    port_held: bool = False
    main: str = "gone"  # or "spins", "idle"
    cpu: float = 0.0  # per cent of a core that those left use up
    gone_after: float | None = None  # seconds; None: not gone
    exit_code: int | None = None  # of main, negative for a signal; None: main still lives
    processes: tuple[Leftover, ...] = ()  # those left, and the defunct among them
    output: str = ""  # the last words of a server that did not start

    @property
    def clean(self) -> bool:
        return self.started and not self.left and not self.port_held


@dataclass(frozen=True)
class Result:
    row: Row
    plain: Outcome
    reaper: Outcome


# --- Processes: who belongs to a server, who still lives ------------------------------------------


class Family:
    """The processes of one server, each remembered from the moment it was first seen.

    A `psutil.Process` is a process id *and* a creation time, so a stranger who is given the number
    of a dead member is neither counted nor killed.
    """

    def __init__(self, marker: str) -> None:
        self.marker = marker
        self.members: set[psutil.Process] = set()

    def look(self) -> None:
        """Take in the newcomers: who carries the marker, or has a living parent in the family.

        An orphan is known by the first, a child with a cleaned environment by the second.
        """
        parents = {process.pid for process in self.living()}
        for pid in psutil.pids():
            with suppress(psutil.Error, OSError):
                process = psutil.Process(pid)
                if process.ppid() in parents or self.is_marked(process):
                    self.members.add(process)

    def is_marked(self, process: psutil.Process) -> bool:
        return process.environ().get(MARKER, "").startswith(self.marker)

    def living(self) -> list[psutil.Process]:
        return [process for process in self.members if is_alive(process)]

    def wait_until_gone(self, deadline: float) -> float | None:
        """Return the time at which nobody lived any more, or None at the deadline."""
        while (now := time.monotonic()) < deadline:
            if not self.living():
                self.look()  # one may have been born while the others died
                if not self.living():
                    return now
            time.sleep(0.002)
        return None

    def kill(self) -> None:
        """Kill everyone, and look again until nobody is left: the dying may still fork."""
        deadline = time.monotonic() + 5
        self.look()
        while (living := self.living()) and time.monotonic() < deadline:
            for process in living:
                with suppress(psutil.Error):
                    process.kill()
            time.sleep(0.01)
            self.look()


def is_alive(process: psutil.Process) -> bool:
    """A zombie does not live: it has no memory, no port and no code, only an unread exit status."""
    try:
        return process.is_running() and process.status() not in DEFUNCT
    except psutil.NoSuchProcess:
        return False


DEFUNCT = (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD)
LETTERS = {psutil.STATUS_RUNNING: "R", psutil.STATUS_STOPPED: "T"} | dict.fromkeys(DEFUNCT, "Z")


def state_of_main(left: Sequence[Leftover]) -> str:
    for process in left:
        if process.role == "main":
            return "spins" if process.cpu > SPINS else "idle"
    return "gone"


def describe(process: psutil.Process, role: str, cpu: float) -> Leftover:
    try:
        state = LETTERS.get(process.status(), "S")
        return Leftover(process.pid, process.ppid(), state, cpu, role, command_of(process))
    except psutil.NoSuchProcess:  # it went while we looked
        return Leftover(process.pid, 0, "Z", cpu, role, "<gone>")


def command_of(process: psutil.Process) -> str:
    """The command line, with paths cut to names: what matters must fit on a line."""
    with suppress(psutil.Error):
        words = [Path(word).name if os.path.isabs(word) else word for word in process.cmdline()]
        if words:
            return " ".join(words)
    return f"[{process.name()}] <defunct>"


def role_of(process: psutil.Process) -> str:
    """What a process is to its server, as far as that can be seen from outside."""
    with suppress(psutil.Error):
        command = " ".join(process.cmdline())
        if process.name() == "reaper-watchdog":
            return "watchdog"
        if "resource_tracker" in command:
            return "resource tracker"
        if worker := process.environ().get("SANIC_WORKER_NAME"):
            return worker.removeprefix("Sanic-")
        if "spawn_main" in command:
            return "SyncManager"
    return ""


def cpu_seconds(process: psutil.Process) -> float:
    try:
        times = process.cpu_times()
    except psutil.Error:
        return 0.0
    return float(times.user + times.system)


# --- One server, and one row of two servers -------------------------------------------------------


@dataclass(frozen=True)
class Stage:
    """What all servers of one demo have in common."""

    program: Path
    start_method: str
    marker: str


class Server:
    """slow_start.py, in a session of its own, so that a Ctrl+C of the demo does not reach it."""

    def __init__(self, row: Row, stage: Stage, *, reaper: bool, port: int) -> None:
        self.row = row
        self.port = port
        self.family = Family(f"{stage.marker}-{row.name}-{reaper}")
        self.answers_since: float | None = None
        self.output: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - closed in __exit__
        settings = {
            MARKER: self.family.marker,
            "SANIC_CUSTOM_DELAY": "0" if row.serving else str(DELAY),
            "SANIC_CUSTOM_REAPER": "yes" if reaper else "no",
            "SANIC_PORT": str(port),
            "SANIC_START_METHOD": stage.start_method,
        }
        self.main = subprocess.Popen(
            [sys.executable, str(stage.program)],
            env={**environment_without_sanic(), **settings},
            stdin=subprocess.DEVNULL,
            stdout=self.output,
            stderr=self.output,
            start_new_session=True,
        )

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *_: object) -> None:
        self.family.kill()
        self.main.kill()
        self.main.wait()
        self.output.close()

    def is_ready(self) -> bool:
        """Whether the server is in the state in which its row hurts it."""
        self.family.look()
        if not self.row.serving:
            return self.said().count("Loading for") == WORKERS
        if self.said().count("Loaded") < WORKERS or not answers(self.port):
            return False
        self.answers_since = self.answers_since or time.monotonic()
        return time.monotonic() - self.answers_since > ACK_TIME

    def said(self) -> str:
        return os.pread(self.output.fileno(), 1 << 20, 0).decode(errors="replace")

    def hurt(self) -> Outcome:
        """Send the signal, wait until all are gone or the settle time is over, and count."""
        self.family.look()
        used = {process: cpu_seconds(process) for process in self.family.living()}
        struck = time.monotonic()
        if self.row.to_group:
            os.killpg(self.main.pid, self.row.signal)
        else:
            self.main.send_signal(self.row.signal)
        gone = self.family.wait_until_gone(struck + SETTLE)
        shown = self.leftovers(used, time.monotonic() - struck)
        left = [process for process in shown if process.state != "Z"]
        return Outcome(
            started=True,
            left=len(left),
            port_held=is_held(self.port),
            main=state_of_main(left),
            cpu=round(sum((process.cpu for process in left), 0.0), 1),
            gone_after=None if gone is None else round(gone - struck, 3),
            exit_code=self.main.poll(),
            processes=tuple(shown),
        )

    def leftovers(self, used: dict[psutil.Process, float], elapsed: float) -> list[Leftover]:
        """Who is left, in the order of their birth."""
        self.main.poll()  # waited for: a main that is gone shall not look defunct for our sake
        self.family.look()
        left = []
        for process in sorted(self.family.members, key=lambda one: (one.create_time(), one.pid)):
            if process.is_running():
                cpu = max(0.0, cpu_seconds(process) - used.get(process, 0.0)) / elapsed
                role = "main" if process.pid == self.main.pid else role_of(process)
                left.append(describe(process, role, round(100 * cpu, 1)))
        return left


def play(row: Row, stage: Stage, say: Callable[[str], None]) -> Result:
    """Run one row: both servers start, then the Reaper's is hurt, then the plain one."""
    first, second = free_ports(2)
    with (
        Server(row, stage, reaper=True, port=first) as reaper,
        Server(row, stage, reaper=False, port=second) as plain,
    ):
        say("two servers start")
        late = wait_until_ready([reaper, plain])
        say("what does the Reaper leave?")
        with_reaper = did_not_start(reaper) if reaper in late else reaper.hurt()
        say("what does plain Sanic leave?")
        without = did_not_start(plain) if plain in late else plain.hurt()
        return Result(row, plain=without, reaper=with_reaper)


def wait_until_ready(servers: Sequence[Server]) -> list[Server]:
    """Wait for all of them, and return those that did not make it."""
    deadline = time.monotonic() + START_LIMIT
    late = list(servers)
    while late := [server for server in late if not server.is_ready()]:
        if time.monotonic() > deadline or all(server.main.poll() is not None for server in late):
            break
        time.sleep(0.05)
    return late


def did_not_start(server: Server) -> Outcome:
    return Outcome(started=False, exit_code=server.main.poll(), output=server.said()[-2000:])


class CannotRun(Exception):
    """Something that the demo needs is missing."""


def find_example() -> Path:
    """slow_start.py lies in the package in an installed wheel, and next to it in a checkout."""
    package = Path(__file__).resolve().parent
    places = [folder / "examples" / "slow_start.py" for folder in (package, package.parent)]
    for place in places:
        if place.is_file():
            return place
    raise CannotRun(f"the example is neither at {places[0]} nor at {places[1]}")


def environment_without_sanic() -> dict[str, str]:
    """Our environment without the settings of a server that the user may run from this shell."""
    return {key: value for key, value in os.environ.items() if not key.startswith("SANIC_")}


def free_ports(count: int) -> list[int]:
    """Free ports of the loopback interface, held all at once so that no two are the same."""
    with ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [int(one.getsockname()[1]) for one in sockets]


def is_held(port: int) -> bool:
    """Whether the next server would find the port taken; it binds as Sanic does."""
    with socket.socket() as one:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            one.bind(("127.0.0.1", port))
        except OSError:
            return True
        return False


def answers(port: int) -> bool:
    without_proxy = build_opener(ProxyHandler({}))
    try:
        with without_proxy.open(f"http://127.0.0.1:{port}/", timeout=1) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


# --- Rendering: text from results, and nothing else -----------------------------------------------


@dataclass(frozen=True)
class Style:
    """Colours, or none."""

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
PLAIN = "{:>4}  {:<6}{:<8}{:>5}    "
REAPER = "{:>4}  {:<6}{:>8}"
PROCESS = "{:>8}{:>8}  {:<4}{:>6}  {:<18}{}"


def render_head(start_method: str, style: Style) -> list[str]:
    program = ", ".join(f"{name} {number}" for name, number in versions().items())
    title = f"{program}; {start_method}, {WORKERS} workers"
    plain = PLAIN.format("left", "port", "main", "CPU")
    reaper = REAPER.format("left", "port", "gone in")
    over = f"plain Sanic, after {SETTLE:g} s".ljust(len(plain)) + "with the Reaper"
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
        return PLAIN.format("?", "", "no start", "")
    cpu = f"{outcome.cpu:.0f} %" if outcome.cpu >= 1 else ""
    return PLAIN.format(outcome.left, port_of(outcome), outcome.main, cpu)


def render_reaper(outcome: Outcome) -> str:
    if not outcome.started:
        return REAPER.format("?", "", "no start")
    gone_in = "never" if outcome.gone_after is None else f"{outcome.gone_after:.2f} s"
    return REAPER.format(outcome.left, port_of(outcome), gone_in)


def port_of(outcome: Outcome) -> str:
    return "held" if outcome.port_held else "free"


Outcomes = Sequence[tuple[Row, Outcome]]


def render_end(results: Sequence[Result], style: Style, width: int) -> list[str]:
    """Below the table: what each side left, seen in one row as `ps` shows it, and the verdicts."""
    plain = [(result.row, result.plain) for result in results]
    reaper = [(result.row, result.reaper) for result in results]
    return [
        *render_example("plain Sanic", plain, style, width),
        *render_example("the Reaper", reaper, style, width),
        "",
        render_verdict("Plain Sanic", plain),
        render_verdict("The Reaper", reaper),
    ]


def render_example(name: str, outcomes: Outcomes, style: Style, width: int) -> list[str]:
    """The first row in which something was left, or in which the server did not even start."""
    for row, outcome in outcomes:
        if not outcome.started:
            said = [style.dim(line) for line in outcome.output.splitlines()]
            return ["", style.bold(f"How {name} did not start ({row.name}):"), *said]
        if outcome.left:
            tree = render_tree(outcome.processes, style, width)
            return ["", style.bold(f"What {name} left after {row.event} {row.state}:"), *tree]
    return []


def render_verdict(name: str, outcomes: Outcomes) -> str:
    dirty = [outcome for _, outcome in outcomes if not outcome.clean]
    if not dirty:
        slowest = max(outcome.gone_after or 0 for _, outcome in outcomes)
        return f"{name} left nothing, and was gone in {slowest:.2f} s at most."
    if not all(outcome.started for outcome in dirty):
        return f"{name} did not start."
    left = sum(outcome.left for outcome in dirty)
    where = f"in {len(dirty)} of {len(outcomes)} rows"
    return f"{name} left {left} processes, {where}. They have been killed."


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
    """Each process with its depth, parents before children. Who has lost its parent is a root."""
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
            "settle": SETTLE,
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


# --- The command ----------------------------------------------------------------------------------


class Screen:
    """The table on stdout, and on stderr what is being tried.

    On a terminal the table grows, with one line under it that says what is going on. In a log,
    stderr gets a line for each row and stdout the whole table at the end: neither tears the other.
    """

    def __init__(self, rows: int, start_method: str, table: bool) -> None:
        self.rows = rows
        self.start_method = start_method
        self.done: list[Result] = []
        self.table = table
        self.live = sys.stderr.isatty()
        self.grows = table and (self.live or sys.stdout.isatty())
        self.style = Style(sys.stdout.isatty() and not os.environ.get("NO_COLOR"))
        self.width = shutil.get_terminal_size((120, 24)).columns
        if self.grows:
            self.print(render_head(self.start_method, self.style))

    def begin(self, row: Row) -> Callable[[str], None]:
        title = f"[{len(self.done) + 1}/{self.rows}] {row.event} {row.state}"
        if not self.live:
            print(title, file=sys.stderr, flush=True)
        return lambda doing: self.status(f"{title}: {doing}")

    def status(self, text: str) -> None:
        """Replace the line that says what is going on."""
        if self.live:
            print(f"\r\x1b[K{text[: self.width - 1]}", end="", file=sys.stderr, flush=True)

    def add(self, result: Result) -> None:
        self.done.append(result)
        self.status("")
        if self.grows:
            self.print([render_row(result, self.style)])

    def end(self) -> None:
        if self.table and not self.grows:
            self.print(render_head(self.start_method, self.style))
            self.print([render_row(result, self.style) for result in self.done])
        if self.table:
            self.print(render_end(self.done, self.style, self.width))

    def print(self, lines: Sequence[str]) -> None:
        print("\n".join(lines), flush=True)


@contextmanager
def one_interrupt() -> Iterator[None]:
    """Let the first Ctrl+C, SIGTERM or SIGHUP end the demo, and none after it disturb the clean-up.

    A signal that we were started to ignore (nohup, a shell's background job) stays without effect
    on us, but gets a handler: exec resets a handler, while the servers would inherit the ignoring.
    """
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.getsignal(number) for number in numbers}
    ended = False

    def interrupt(number: int, _: FrameType | None) -> None:
        nonlocal ended
        if not ended and before[signal.Signals(number)] is not signal.SIG_IGN:
            ended = True
            raise KeyboardInterrupt

    for number in numbers:
        signal.signal(number, interrupt)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def run(rows: Sequence[Row], start_method: str, as_json: bool) -> int:
    """Play the rows, show them, and return 0 if the Reaper left nothing."""
    began = time.monotonic()
    stage = Stage(find_example(), start_method, marker=uuid4().hex)
    screen = Screen(len(rows), start_method, table=not as_json)
    with one_interrupt():
        try:
            for row in rows:
                screen.add(play(row, stage, screen.begin(row)))
        finally:
            Family(stage.marker).kill()  # who an interrupt caught between its start and its `with`
            screen.status("")
    screen.end()
    if as_json:
        print(render_json(screen.done, start_method, time.monotonic() - began))
    return 0 if all(result.reaper.clean for result in screen.done) else 1


def main(arguments: Sequence[str]) -> int:
    options = build_parser().parse_args(arguments)
    rows = [row for row in ROWS if not options.only or row.name in options.only]
    try:
        return run(rows, options.start_method, options.json)
    except CannotRun as missing:
        print(f"sanic-reaper demo: {missing}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted; whatever was started has been killed", file=sys.stderr)
        raise


def build_parser() -> ArgumentParser:
    parser = ArgumentParser(
        prog="sanic-reaper demo",
        description="Hurt the main process of a real server, as plain Sanic and with the Reaper,\n"
        "count what is left behind, and clean it up. Takes about half a minute.",
        epilog="rows: " + ", ".join(row.name for row in ROWS) + "\n\n"
        "exit codes: 0 the Reaper left nothing, 1 it left something, 2 the demo could not run,\n"
        "130 interrupted",
        formatter_class=RawDescriptionHelpFormatter,
    )
    names = [row.name for row in ROWS]
    parser.add_argument("--json", action="store_true", help="print the results as JSON")
    parser.add_argument(
        "--only", action="append", metavar="ROW", choices=names, help="this row; may be repeated"
    )
    parser.add_argument(
        "--start-method",
        choices=["spawn", "fork", "forkserver"],
        default="spawn",
        help="how Sanic starts its workers (default: spawn)",
    )
    return parser
