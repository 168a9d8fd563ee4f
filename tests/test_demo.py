"""The demo and its example: the text that is printed, and real runs."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.request import ProxyHandler, build_opener
from uuid import uuid4

import psutil
import pytest
from support.programs import burning
from support.terminal import Terminal

from sanic_reaper import __version__
from sanic_reaper import demo as demo_module
from sanic_reaper.demo import servers
from sanic_reaper.demo.results import ROWS, Leftover, Outcome, Result
from sanic_reaper.demo.table import Style, render_end, render_head, render_row, render_tree

EXAMPLE = Path(__file__).parents[1] / "examples" / "slow_start.py"
COMMAND = [sys.executable, "-m", "sanic_reaper.cli"]
MARK = "TEST_DEMO_RUN"

SPINNING = (
    Leftover(10, 1, "R", 55.0, "main", "python slow_start.py"),
    Leftover(11, 10, "S", 36.0, "SyncManager", "python -c spawn_main()"),
    Leftover(12, 11, "S", 0.0, "", "sleep 60"),
    Leftover(13, 10, "Z", 0.0, "", "[python] <defunct>"),
)
LEAK = Outcome(
    started=True,
    waited=2.04,
    left=3,
    port_held=True,
    main="spins",
    cpu=91.0,
    processes=SPINNING,
)
CLEAN = Outcome(started=True, gone_after=0.061, exit_code=0)
NO_START = Outcome(started=False, exit_code=1, output="Traceback\nImportError: no")
TOO_SLOW = Outcome(started=False, exit_code=None, start=120.0)
SILENT = Outcome(started=True, is_to_answer=True, port_held=True, waited=10.04)
GOING_ON = Outcome(started=True, is_to_answer=True, port_held=True, answers_after=0.7)


# --- Text ----------------------------------------------------------------------------------------


def table(*results: Result) -> list[str]:
    """The table without its title, which names versions."""
    lines = [*render_head("spawn", Style())[2:], *(render_row(one, Style()) for one in results)]
    return [line.rstrip() for line in lines]


def test_the_table_shows_what_each_side_left():
    assert table(
        Result(ROWS[0], plain=LEAK, reaper=CLEAN),
        Result(ROWS[5], plain=CLEAN, reaper=LEAK),
        Result(ROWS[1], plain=NO_START, reaper=TOO_SLOW),
        Result(ROWS[-1], plain=SILENT, reaper=GOING_ON),
    ) == [
        "                        plain Sanic                         with the Reaper",
        "main gets               left  port  main       CPU   after  left  port   gone in",
        "SIGTERM  in start-up       3  held  spins     91 %   > 2 s     0  free    0.06 s",
        "SIGTERM  while serving     0  free  gone            0.06 s     3  held     > 2 s",
        "Ctrl+C   in start-up       ?        failed                     ?        too slow",
        "SIGKILL  to workers *         held  silent          > 10 s        held    0.70 s",
    ]


def test_the_head_names_what_was_run():
    title = render_head("fork", Style())[0]
    assert f"sanic-reaper {__version__}" in title
    assert "fork" in title


def test_colours_do_not_move_the_columns():
    result = Result(ROWS[0], plain=LEAK, reaper=CLEAN)
    painted = render_row(result, Style(colour=True))
    assert "\x1b[31m" in painted, "what leaks is red"
    assert "\x1b[32m" in painted, "what is clean is green"
    for code in (31, 32, 0):
        painted = painted.replace(f"\x1b[{code}m", "")
    assert painted == render_row(result, Style())


def test_the_tree_has_children_under_their_parents_and_fits_the_terminal():
    assert render_tree(SPINNING, Style(), width=60) == [
        "     PID    PPID  STAT  %CPU  ROLE              COMMAND",
        "      10       1  R     55.0  main              python sl...",
        "      11      10  S     36.0  SyncManager       \\_ python...",
        "      12      11  S      0.0                      \\_ slee...",
        "      13      10  Z      0.0                    \\_ [pytho...",
    ]


def test_orphans_are_roots():
    orphans = [Leftover(pid, 1, "S", 0.0, "", "worker") for pid in (20, 21)]
    assert [line.split()[-1] for line in render_tree(orphans, Style(), 100)[1:]] == ["worker"] * 2


def said(*results: Result, width: int = 300) -> list[str]:
    """What is said below the table, without the processes that were left."""
    lines = render_end(results, Style(), width)
    return lines[len(lines) - lines[::-1].index("") :]


@pytest.mark.parametrize(
    ("outcomes", "sentence"),
    [
        ([CLEAN, CLEAN], "The Reaper left nothing, and was gone in 0.06 s at most."),
        ([LEAK, LEAK], "The Reaper left 6 processes, in 2 of 2 rows. They have been killed."),
        (
            [dataclasses.replace(LEAK, left=1)],
            "The Reaper left 1 process, in 1 of 1 rows. It has been killed.",
        ),
        ([CLEAN, NO_START], "The Reaper did not start."),
        ([TOO_SLOW], "The Reaper was not measured."),
        ([TOO_SLOW, CLEAN], "The Reaper left nothing, and was gone in 0.06 s at most."),
        ([SILENT], "The Reaper did not answer within 10 s after its workers had died."),
        ([GOING_ON], "The Reaper answered again 0.70 s after its workers had died."),
        (
            [CLEAN, SILENT],
            "The Reaper left nothing, and was gone in 0.06 s at most. "
            "It did not answer within 10 s after its workers had died.",
        ),
    ],
)
def test_the_verdict(outcomes: list[Outcome], sentence: str):
    results = [Result(ROWS[0], CLEAN, outcome) for outcome in outcomes]
    assert said(*results)[-1] == sentence


def test_the_verdict_breaks_between_words():
    lines = said(Result(ROWS[0], LEAK, CLEAN), Result(ROWS[-1], SILENT, GOING_ON), width=60)
    assert lines == [
        "Plain Sanic left 3 processes, in 1 of 1 rows. They have been",
        "killed. It did not answer within 10 s after its workers had",
        "died.",
        "The Reaper left nothing, and was gone in 0.06 s at most. It",
        "answered again 0.70 s after its workers had died.",
    ]


def test_it_says_when_the_machine_is_slow():
    slow = dataclasses.replace(CLEAN, start=14.2)
    assert "a server took 14 s to start" in said(Result(ROWS[0], CLEAN, slow))[0]
    assert said(Result(ROWS[0], CLEAN, TOO_SLOW))[0] == (
        "This machine is too busy to measure everything: 1 server was not ready within 120 s."
    )
    assert len(said(Result(ROWS[0], LEAK, CLEAN))) == 2, "and nothing otherwise"


def test_a_server_that_does_not_start_is_quoted():
    lines = render_end([Result(ROWS[0], LEAK, NO_START)], Style(), 100)
    assert "ImportError: no" in lines
    assert lines[-1] == "The Reaper did not start."


@pytest.mark.parametrize(
    ("outcome", "clean"),
    [
        (CLEAN, True),
        (LEAK, False),
        (NO_START, False),
        (Outcome(started=True, left=0, port_held=True), False),
    ],
)
def test_clean_is_nobody_left_and_the_port_free(outcome: Outcome, clean: bool):
    assert outcome.clean is clean


# --- The command line ----------------------------------------------------------------------------


def run(*arguments: str, **more: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *arguments], capture_output=True, text=True, timeout=600, check=False, **more
    )


def test_version():
    done = run("--version")
    assert (done.returncode, done.stdout) == (0, f"sanic-reaper {__version__}\n")


def test_the_help_lists_commands_and_exit_codes():
    done = run("--help")
    assert done.returncode == 0
    assert "demo" in done.stdout
    assert "130  interrupted" in done.stdout


@pytest.mark.parametrize("arguments", [(), ("nonsense",), ("demo", "--only", "nonsense")])
def test_wrong_usage_is_2(arguments: tuple[str, ...]):
    assert run(*arguments).returncode == 2


def test_the_command_imports_nothing_heavy():
    """Shell completion and `--version` wait for each import."""
    code = "import sys, sanic_reaper.cli; print({'sanic', 'sanic_ext', 'psutil'} & {*sys.modules})"
    assert subprocess.check_output([sys.executable, "-c", code], text=True) == "set()\n"


def test_the_example_is_found_in_a_wheel_and_in_a_checkout(tmp_path, monkeypatch, capsys):
    package = tmp_path / "sanic_reaper"
    monkeypatch.setattr(servers, "__file__", str(package / "demo" / "servers.py"))
    assert demo_module.main([]) == 2
    assert str(package / "examples" / "slow_start.py") in capsys.readouterr().err
    for folder in (tmp_path, package):  # the second is looked at first
        place = folder / "examples" / "slow_start.py"
        place.parent.mkdir(parents=True)
        place.touch()
        assert servers.find_example() == place


# --- Real runs -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def mark() -> Iterator[str]:
    """A mark in the environment of whatever these tests start; nothing with it may live on."""
    mark = uuid4().hex
    yield mark
    for process in marked(mark):
        process.kill()


def marked(mark: str) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get(MARK) == mark:
                found.append(process)
        except (psutil.Error, OSError):
            continue
    return found


def wait_until(condition: Callable[[], object], timeout: float = 20) -> bool:
    deadline = time.monotonic() + timeout
    while not (fulfilled := condition()) and time.monotonic() < deadline:
        time.sleep(0.02)
    return bool(fulfilled)


@pytest.fixture(scope="module")
def demo(mark: str) -> tuple[subprocess.CompletedProcess[str], list[psutil.Process]]:
    """One row of the demo, and who was left after it."""
    done = run("demo", "--json", "--only", "sigkill-startup", env={**os.environ, MARK: mark})
    return done, marked(mark)


def test_plain_sanic_leaks_and_the_reaper_does_not(demo):
    done, _ = demo
    assert done.returncode == 0, done.stdout + done.stderr
    [row] = json.loads(done.stdout)["rows"]
    assert row["plain"]["left"] >= 3, "SyncManager and two workers: else this test tests nothing"
    assert row["plain"]["port_held"]
    assert row["plain"]["gone_after"] is None
    assert row["reaper"]["left"] == 0
    assert not row["reaper"]["port_held"]
    assert 0 < row["reaper"]["gone_after"] < 2


def test_the_demo_itself_leaves_nothing(demo):
    assert demo[1] == []


def test_json_has_the_documented_shape(demo):
    document = json.loads(demo[0].stdout)
    assert {key: type(value) for key, value in document.items()} == {
        "versions": dict,
        "start_method": str,
        "workers": int,
        "seconds": float,
        "clean": bool,
        "rows": list,
    }
    [row] = document["rows"]
    assert {
        "row": "sigkill-startup",
        "event": "SIGKILL",
        "state": "in start-up",
    }.items() <= row.items()
    assert row["plain"].keys() == row["reaper"].keys() == Outcome(True).__dict__.keys()
    process = row["plain"]["processes"][0]
    assert process.keys() == LEAK.processes[0].__dict__.keys()


def test_progress_goes_to_stderr(demo):
    assert "[1/1] SIGKILL in start-up" in demo[0].stderr


def test_on_a_terminal_it_shows_what_it_does_and_the_table_grows(mark: str, terminal: Terminal):
    """Killed workers are to be replaced: who is left there is no leftover, but who answers."""
    command = [*COMMAND, "demo", "--only", "workers-killed", "--start-method", "fork"]
    env = {key: value for key, value in os.environ.items() if key != "NO_COLOR"}
    with open(terminal.path, "r+b", buffering=0) as screen:
        demo = subprocess.Popen(
            command, env={**env, MARK: mark}, stdin=screen, stdout=screen, stderr=screen
        )
    # Read all the time: into a terminal that nobody reads, nobody can write for long.
    assert wait_until(lambda: terminal.shown and demo.poll() is not None, 300), terminal.shown
    text = terminal.shown.decode()
    assert demo.returncode == 0, text
    assert marked(mark) == []
    assert "\r\x1b[K[1/1] SIGKILL to workers *: what does plain Sanic leave?" in text
    assert "\x1b[32m" in text, "the Reaper's half is green"
    assert text.index("plain Sanic") < text.index("[1/1]"), "the head comes first"


@pytest.mark.alone
@pytest.mark.timeout(900)
def test_beside_eight_busy_loops_it_is_slow_and_right(mark: str):
    """The rows in which somebody has to be done with something within a time."""
    rows = ["--only", "sigterm-serving", "--only", "workers-killed"]
    with burning(8):
        done = run("demo", "--json", *rows, env={**os.environ, MARK: mark})
    assert done.returncode == 0, done.stdout + done.stderr
    ending, answering = json.loads(done.stdout)["rows"]
    assert (ending["plain"]["left"], ending["reaper"]["left"]) == (0, 0)
    assert answering["reaper"]["answers_after"]
    assert answering["plain"]["answers_after"] is None
    assert answering["plain"]["waited"] >= 10
    assert marked(mark) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_interrupted_demo_leaves_nothing(mark: str, number: signal.Signals):
    demo = subprocess.Popen(
        [*COMMAND, "demo"],
        env={**os.environ, MARK: mark},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
        # A background job ignores SIGINT, and under nohup SIGHUP too: then the demo does as well.
        preexec_fn=lambda: signal.signal(number, signal.SIG_DFL),
    )
    assert wait_until(lambda: len(marked(mark)) > 4), "the servers of the first row are starting"
    demo.send_signal(number)
    output, _ = demo.communicate(timeout=20)
    assert demo.returncode == 130, output
    assert b"Traceback" not in output
    assert marked(mark) == []


@pytest.mark.parametrize("reaper", ["yes", "no"])
def test_the_example_starts_serves_and_stops(mark: str, reaper: str, tmp_path: Path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    settings = {
        "SANIC_CUSTOM_DELAY": "0.1",
        "SANIC_CUSTOM_REAPER": reaper,
        "SANIC_PORT": str(port),
        MARK: mark,
    }
    log = tmp_path / "log"
    with log.open("wb") as output:
        server = subprocess.Popen(
            [sys.executable, EXAMPLE],
            env={**os.environ, **settings},
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    try:
        assert wait_until(lambda: log.read_text().count("Loading for 0.1 s") == 2)
        assert wait_until(lambda: b"Hello from process" in get(port))
        if reaper == "yes":
            server.terminate()
            server.wait(20)
    finally:
        # Plain Sanic's main may crash at a signal, and stay: a call to its SyncManager in the midst
        # of another.
        for process in marked(mark):
            process.kill()
        server.wait(20)
    if reaper == "yes":
        assert server.returncode == 0, log.read_text()
        assert "Traceback" not in log.read_text()


def get(port: int) -> bytes:
    try:
        with build_opener(ProxyHandler({})).open(f"http://127.0.0.1:{port}", timeout=1) as answer:
            return answer.read()
    except OSError:
        return b""
