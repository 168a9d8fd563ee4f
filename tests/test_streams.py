"""The commands beside a reader that goes away, a full disk, and closed streams."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from support.commands import COMMAND, LONGEST
from support.server import SUBJECTS, SUPERVISED

COMMANDS = {
    "--help": [],
    "--version": [],
    "ps": [],
    "ps --json": [],
    "ps --watch": [],
    "dump Sanic-Server-0-0": [],
    "sweep": [],
    "sweep --all-apps --json": [],
    "health --live --json": [],
    "report": [],
    "report --json": [],
    "report --html -": [],
    "run --help": [],
    "demo --help": [],
}


WITHOUT_READER = (
    'cd $TMPDIR; mkfifo pipe; true < pipe & exec 3> pipe; rm pipe; wait $!; cd - > /dev/null; "$@"'
)
"""Descriptor 3 is a pipe whose reader has ended before the command begins."""


@pytest.fixture
def beside(launch):
    """Run a command line beside a server; return its exit code, and what it has said on stderr."""
    server = launch(SUPERVISED.with_(method="fork", workers=1))
    server.wait_serving()

    def run(line: str) -> tuple[int, str]:
        output = server.box.folder / "said"
        output.unlink(missing_ok=True)
        shell = ["sh", "-c", f"exec 2>&1; {line}", "sh", *COMMAND]
        command = server.box.start(shell, output=output, env=server.env, cwd=SUBJECTS)
        return command.exit_code(LONGEST), output.read_text()

    yield run
    assert server.stop() == 0


def test_a_reader_that_has_gone_is_no_error_of_ours(beside):
    """Each command in turn beside one server: a start takes longer than they all."""
    for command in COMMANDS:
        code, said = beside(f"{WITHOUT_READER} {command} >&3")
        assert (code, said) == (141, ""), command


def test_a_full_disk_is_an_error_line(beside):
    for command in COMMANDS:
        code, said = beside(f'"$@" {command} > /dev/full')
        assert (code, said) == (
            2,
            "sanic-reaper: standard output: No space left on device\n",
        ), command


def test_closed_streams(beside):
    for command in COMMANDS:
        code, said = beside(f'"$@" {command} <&- >&-')
        assert (code, said) == (2, "sanic-reaper: standard output: Bad file descriptor\n"), command
    # A probe that has nothing to print needs none of them.
    assert beside('"$@" health --live <&- >&- 2>&-') == (0, "")
    assert beside('"$@" health --live --app Nobody 2> /dev/full') == (1, "")
    assert beside('"$@" health --live --app Nobody 2>&-') == (1, "")


def test_the_end_of_a_pipe_that_closes_while_we_write(beside):
    code, said = beside('"$@" report --html - | head -c 10 > /dev/null')
    assert (code, said) == (0, "")


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_letters_that_the_encoding_of_the_output_lacks(tmp_path, encoding):
    """What a process or a directory is called need not be in it: a traceback, and a false verdict,
    as the exit code was 1."""
    printed = tmp_path / "printed"
    program = (
        "from sanic_reaper.commands import streams; streams.prepare(); print('caf\\xe9 \\u2192')"
    )
    with printed.open("wb") as file:
        done = subprocess.run(
            [sys.executable, "-c", program],
            stdout=file,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONIOENCODING": encoding},
        )
    assert (done.returncode, done.stderr) == (0, "")
    expected = {"ascii": b"caf\\xe9 \\u2192", "latin-1": b"caf\xe9 \\u2192"}
    assert printed.read_bytes().strip() == expected.get(encoding, "caf\xe9 \u2192".encode())


def test_the_command_alone_prints_its_help():
    done = subprocess.run(COMMAND, capture_output=True, text=True, timeout=LONGEST)
    helped = subprocess.run([*COMMAND, "--help"], capture_output=True, text=True, timeout=LONGEST)
    assert (done.returncode, done.stdout, done.stderr) == (2, helped.stdout, "")
    assert "commands:" in done.stdout


def test_control_python_itself_complains():
    """Without all this."""
    reading, writing = os.pipe()
    os.close(reading)
    program = [sys.executable, "-c", "print('x')"]
    done = subprocess.run(program, stdout=writing, stderr=subprocess.PIPE, text=True)
    os.close(writing)
    assert done.returncode in (1, 120)
    assert "BrokenPipeError" in done.stderr
