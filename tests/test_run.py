"""`sanic-reaper run`: real commands, real signals, and a count of what is left."""

from __future__ import annotations

import array
import json
import os
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from signal import (
    SIGALRM,
    SIGCHLD,
    SIGCONT,
    SIGHUP,
    SIGINT,
    SIGKILL,
    SIGPIPE,
    SIGQUIT,
    SIGRTMIN,
    SIGSTOP,
    SIGTERM,
    SIGUSR1,
    SIGWINCH,
    SIGXFSZ,
)
from typing import Any

import pytest
from support.box import Box, container
from support.census import Process, holds, identify, wait_until
from support.marks import methods, smoke_of
from support.programs import by_anybody
from support.server import PLAIN, SCRIPT, SLACK, SUBJECTS, SUPERVISED

ROOT = Path(__file__).parents[1]
RUN = [sys.executable, "-m", "sanic_reaper.cli", "run"]
COMMAND = [sys.executable, "-I", "-S", str(SUBJECTS / "command.py")]
LEAVER = [sys.executable, str(SUBJECTS / "command.py"), "leave"]  # children.py is beside it
NOBODY = 65534
DONE = 30.0
"""Seconds for what takes a moment, on a machine that is busy."""

KILL_THE_SHELL = "kill -{} $$"


class Job:
    """A command line that runs in a box, most often one of `run`."""

    def __init__(self, box: Box, argv: Sequence[str], output: Path, **options: Any) -> None:
        self.box = box
        self._output = output
        self.command = box.start(argv, output=options.pop("terminal", None) or output, **options)

    @property
    def run(self) -> Process:
        return self.command.process

    def output(self) -> str:
        return self._output.read_text(errors="replace") if self._output.exists() else ""

    def lines(self, words: str) -> list[str]:
        return [line for line in self.output().splitlines() if words in line]

    def has_left(self, count: int) -> bool:
        """Whether the last line tells of so many processes, and that none of them is left."""
        what = "1 process" if count == 1 else f"{count} processes"
        return any(line.endswith("none is left") for line in self.lines(f" left {what} behind; "))

    def wait_for(self, words: str, count: int = 1) -> list[str]:
        def enough() -> list[str]:
            found = self.lines(words)
            return found if len(found) >= count else []

        return wait_until(enough, DONE, lambda: f"{count} x {words!r}\n{self.describe()}")

    def wait_ready(self) -> Process:
        """Wait until the command says so, and return it."""
        pid = int(self.wait_for("ready")[0].partition("ready ")[2].split()[0])
        process = self.box.find(pid)
        assert process is not None, self.describe()
        return process

    def wait_end(self, within: float = DONE) -> int:
        """Wait for its end, after which nothing may be left; return its exit code."""
        try:
            code = self.command.exit_code(within)
            self.box.wait_empty(1)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.describe()}") from None
        return code

    def describe(self) -> str:
        return "\n".join([*map(str, self.box.rows()), "output:", self.output()])


@pytest.fixture
def job(new_box: Callable[[], Box], tmp_path: Path) -> Iterator[Callable[..., Job]]:
    """Start command lines; what they have printed is shown at a failure."""
    jobs: list[Job] = []

    def start(*argv: str, box: Box | None = None, **options: Any) -> Job:
        box = box or new_box()
        output = box.folder / f"output-{len(jobs)}"
        env = {**os.environ, "PYTHONPATH": str(ROOT), **options.pop("env", {})}
        jobs.append(Job(box, argv, output, env=env, **options))
        return jobs[-1]

    yield start
    for one in jobs:
        print(f"--- {one.output()}")


def execute(*argv: str, **options: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(argv, capture_output=True, text=True, timeout=30, **options)


# -- how it ends ----------------------------------------------------------------------------------


@pytest.mark.smoke
def test_exit_codes(tmp_path):
    text = tmp_path / "text"
    text.write_text("no program")
    no_program = tmp_path / "no-program"
    no_program.write_bytes(b"\1\2\3")
    no_program.chmod(0o755)
    table = {
        ("true",): 0,
        ("sh", "-c", "exit 3"): 3,
        ("sh", "-c", "exit 255"): 255,
        ("sh", "-c", KILL_THE_SHELL.format("TERM")): 128 + SIGTERM,
        ("sh", "-c", KILL_THE_SHELL.format("KILL")): 128 + SIGKILL,
        ("sh", "-c", KILL_THE_SHELL.format("ALRM")): 128 + SIGALRM,
        ("no-such-command",): 127,
        (str(tmp_path / "nothing"),): 127,
        (str(text),): 126,
        (str(tmp_path),): 126,
        (str(no_program),): 126,
    }
    for command, code in table.items():
        done = execute(*RUN, "--", *command)
        assert done.returncode == code, (command, done)
        assert bool(done.stderr) == (code in (126, 127)), "only what is wrong is said"
    assert execute(*RUN).returncode == 2
    assert "no COMMAND is given" in execute(*RUN, "--").stderr
    assert "--grace SECONDS" in execute(*RUN, "--help").stdout
    assert execute(*RUN, "--", "echo", "--help", "--", "-x").stdout == "--help -- -x\n"


# -- what the command is given --------------------------------------------------------------------

GIVEN = """\
import os, signal, sys
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR2, signal.SIGRTMIN})
for signum in (signal.SIGHUP, signal.SIGCHLD, signal.SIGINT):
    signal.signal(signum, signal.SIG_IGN)
for signum in (signal.SIGPIPE, signal.SIGXFSZ, signal.SIGQUIT):
    signal.signal(signum, signal.SIG_DFL)
os.execvp(sys.argv[1], sys.argv[1:])
"""
SHOWN = {
    "signals": ("grep", "-E", "Sig(Blk|Ign|Cgt)", "/proc/self/status"),
    "environment": ("env",),
    "descriptors": ("ls", "/proc/self/fd"),
    "limits": ("cat", "/proc/self/limits"),
    "folder": ("pwd",),
    "file mode mask": ("grep", "Umask", "/proc/self/status"),
}


@pytest.mark.parametrize("variables", [{}, {"LANG": "C"}, {"LC_ALL": "C"}, {"NOTIFY_SOCKET": "@x"}])
def test_the_command_gets_what_run_was_given(variables):
    """Its signals, its environment, its descriptors: as if it were started without."""
    variables = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), **variables}
    launcher = [sys.executable, "-c", GIVEN]
    with open(os.devnull) as more:
        options = {"env": variables, "pass_fds": [more.fileno()], "umask": 0o27}
        for what, command in SHOWN.items():
            bare = execute(*launcher, *command, **options)
            under = execute(*launcher, *RUN, "--", *command, **options)
            assert under.stdout == bare.stdout, what
            assert not under.stderr
            if what == "signals":
                assert re.search("SigIgn:.*10003$", bare.stdout, re.MULTILINE)


def test_a_signal_that_comes_before_the_command_is_not_lost(job):
    """It is pending already when `run` is executed; a process keeps it over an exec, and a fork
    does not pass it on."""
    code = (
        "import os, signal, sys; signal.pthread_sigmask(signal.SIG_BLOCK, {10});"
        "signal.raise_signal(10); os.execvp(sys.argv[1], sys.argv[1:])"
    )
    show = "import signal, time\nwhile not signal.sigpending(): time.sleep(0.01)\nprint('got it')"
    one = job(sys.executable, "-c", code, *RUN, "--", sys.executable, "-c", show)
    assert one.wait_end() == 0
    assert one.lines("got it")


# -- signals --------------------------------------------------------------------------------------

WITHOUT = ["", "proc"]
"""Without /proc, `run` asks for signals as on a system without sigtimedwait(2)."""


@pytest.mark.parametrize("without", smoke_of(WITHOUT, ""))
def test_each_signal_is_passed_on_once_and_to_the_command_alone(job, without):
    argv = [*RUN, "--grace", "0", "--", *COMMAND, "record", "child"]
    one = job(*argv, env={"SANIC_REAPER_WITHOUT": without})
    command = one.wait_ready()
    forwarded = sorted(signal.valid_signals() - {SIGKILL, SIGSTOP, SIGCHLD})
    if without == "proc":  # these could be of our own making, and nobody tells
        forwarded = [signum for signum in forwarded if signum not in (SIGPIPE, SIGXFSZ)]
    assert {SIGTERM, SIGWINCH, SIGRTMIN, signal.SIGSEGV} < set(forwarded)
    for signum in forwarded:
        one.run.send(signum)
        one.wait_for(f"command got {int(signum)}")
    for _ in range(5):
        one.run.send(SIGRTMIN)  # these are queued, all others are not
    one.wait_for(f"got {SIGRTMIN}", 6)
    got = [int(line.split()[-1]) for line in one.lines("command got")]
    assert sorted(got) == sorted([*forwarded, *[SIGRTMIN] * 5])
    assert not one.lines("child got")
    command.send(SIGKILL)
    assert one.wait_end() == 128 + SIGKILL


@pytest.mark.parametrize("signum", [SIGTERM, SIGHUP, SIGQUIT, SIGUSR1, SIGPIPE, SIGXFSZ])
def test_a_command_that_handles_nothing_dies_of_it(job, signum):
    one = job(*RUN, "--", "sh", "-c", "echo ready $$; exec sleep 600")
    one.wait_ready()
    one.run.send(signum)
    assert one.wait_end() == 128 + signum


def test_a_signal_to_the_whole_job_arrives_once(job):
    """As from `kill %1`, timeout(1), or a supervisor with `stopasgroup`. (One that is queued: of
    the others two in a moment may be one.)"""
    one = job(*RUN, "--", *COMMAND, "record")
    command = one.wait_ready()
    row = one.run.look()
    assert row is not None
    os.killpg(row.group, SIGRTMIN)
    one.wait_for("got")
    assert holds(lambda: len(one.lines("got")) == 1, 0.5)
    command.send(SIGKILL)
    one.wait_end()


NAIVE = [
    *("bash", "-c"),
    f"""trap 'kill -{int(SIGRTMIN)} $!' {int(SIGRTMIN)}; "$@" & wait; wait""",
    "bash",
]
"""An init that passes signals on to a child in its own process group. (By number: bash can have
another C library, in which RTMIN is another signal.)"""


def test_an_init_in_the_same_group_passes_it_on_twice(job):
    """The control."""
    one = job(*NAIVE, *COMMAND, "record")
    command = one.wait_ready()
    row = one.run.look()
    assert row is not None
    os.killpg(row.group, SIGRTMIN)
    one.wait_for("got", 2)
    command.send(SIGKILL)
    one.wait_end()


# -- what is left behind --------------------------------------------------------------------------

LEFT = ["plain", "setsid", "daemon", "cleaned", "stopped", "forked", "cleaned-daemon", "detached"]
NO_SUBREAPER = {"prctl", "proc", "pidfd,prctl,children,proc"}
ONLY_A_SUBREAPER = {"cleaned-daemon", "stopped"}
"""The first comes to nobody else; the second makes the kernel hang up its whole group (setpgid(2),
orphaned process groups), so that it is not ended by us."""


@pytest.mark.parametrize(
    "without",
    smoke_of(["", "pidfd", "children", "prctl", "proc", "pidfd,prctl,children,proc"], "", "proc"),
)
def test_nothing_is_left(job, without):
    names = [name for name in LEFT if name not in ONLY_A_SUBREAPER or without not in NO_SUBREAPER]
    one = job(*RUN, "--", *LEAVER, *names, env={"SANIC_REAPER_WITHOUT": without})
    one.wait_ready()
    wait_until(lambda: len(sleeps(one.box)) == len(names), DONE, one.describe)
    if without in NO_SUBREAPER:
        assert holds(lambda: len(sleeps(one.box)) == len(names), 1.5), "it looks once a second"
    one.run.send(SIGTERM)
    assert one.wait_end() == 7
    assert len(one.lines("SIGTERM to sleep")) == len(names)
    assert len(one.lines("WARNING")) == (without in NO_SUBREAPER), one.output()
    assert one.has_left(len(names))


def test_without_it_all_is_left(job):
    """The control."""
    one = job(*LEAVER, *LEFT)
    one.wait_ready().send(SIGTERM)
    assert one.command.exit_code(DONE) == 7
    assert holds(lambda: len(sleeps(one.box)) == len(LEFT), 1)


@pytest.mark.parametrize("how", smoke_of(["root", "user", "PID 1"], "PID 1"))
def test_whoever_runs_it(job, how):
    if how == "user" and os.getuid() != 0:
        pytest.skip("needs root, to become somebody else")
    names = ["daemon", "cleaned-daemon", "deaf"]
    prefix = container() if how == "PID 1" else []
    argv = [*prefix, *RUN, "--grace", "0.5", "--", *LEAVER, *names]
    one = job(*by_anybody(argv), uid=NOBODY) if how == "user" else job(*argv)
    one.wait_for("ready")
    wait_until(lambda: len(sleeps(one.box)) == 3, DONE, one.describe)
    (first_in(one.box) if how == "PID 1" else one.run).send(SIGTERM)
    assert one.wait_end() == 7
    assert one.lines("SIGKILL to sh")


def test_a_hundred_zombies_at_once(job):
    one = job(*RUN, "--", *COMMAND, "orphans", "200")
    command = one.wait_ready()
    assert len(one.box.rows()) == 202
    command.send(SIGUSR1)
    wait_until(lambda: len(one.box.rows()) == 2, DONE, one.describe)
    assert command.alive
    one.run.send(SIGTERM)
    assert one.wait_end() == 128 + SIGTERM


def test_hundreds_that_live(job):
    one = job(*RUN, "--", *COMMAND, "orphans", "300")
    command = one.wait_ready()
    began = time.monotonic()
    command.send(SIGKILL)
    assert one.wait_end() == 128 + SIGKILL
    assert time.monotonic() - began < 5


@pytest.mark.parametrize("grace", ["10", "2"])
def test_more_than_there_are_descriptors(job, grace):
    """Each that is to be ended takes one, as long as there are some.

    The grace begins with the command's end, and a busy machine needs a part of it to find them.
    """
    leave = "for i in $(seq 120); do (trap '' $0; exec sleep 600) & done; echo ready $$; wait"
    limited = ["sh", "-c", 'ulimit -n 64; exec "$@"', "sh"]
    ignored = "TERM" if grace == "2" else "HUP"
    one = job(*limited, *RUN, "--grace", grace, "--", "sh", "-c", leave, ignored)
    command = one.wait_ready()
    wait_until(lambda: len(sleeps(one.box)) == 120, DONE, one.describe)
    command.send(SIGKILL)
    assert one.wait_end() == 128 + SIGKILL
    assert len(one.lines("SIGTERM to sleep")) == 120
    assert len(one.lines("SIGKILL to sleep")) == (120 if ignored == "TERM" else 0)
    assert one.has_left(120)


def test_without_it_zombies_pile_up_in_a_container(job):
    """The control: a command that is PID 1 and no init."""
    one = job(*container(), *COMMAND, "orphans", "20")
    one.wait_for("ready")
    first_in(one.box).send(SIGUSR1)
    one.wait_for("released")
    wait_until(lambda: sum(row.state == "Z" for row in one.box.rows()) == 20, DONE, one.describe)
    assert holds(lambda: sum(row.state == "Z" for row in one.box.rows()) == 20, 0.5)


def test_who_looks_like_a_zombie_and_is_none(job):
    one = job(*RUN, "--", *LEAVER, "headless")
    one.wait_ready()
    wait_until(lambda: any(row.state == "Z" for row in one.box.rows()), DONE, one.describe)
    assert holds(lambda: len(one.box.rows()) == 3, 0.5), "it can't be reaped"
    one.run.send(SIGTERM)
    assert one.wait_end() == 7
    assert one.lines("SIGTERM to sleep")
    assert one.has_left(1)


def first_in(box: Box) -> Process:
    """PID 1 of the namespace that was made in the box."""
    return next(row.process for row in box.rows() if row.process.inner_pid == 1)


def sleeps(box: Box) -> list[Process]:
    """What `leave` has left: each of them ends up as a sleep."""
    return [row.process for row in box.rows() if row.name == "sleep" and row.state not in "ZX"]


HELPERS = [sys.executable, str(SUBJECTS / "command.py"), "helpers"]


def helpers(box: Box) -> list[Process]:
    """Python's resource tracker and fork server: of what lives, those that name the module."""
    found = [row.process for row in box.rows() if row.state not in "ZX"]
    modules = "multiprocessing.resource_tracker", "multiprocessing.forkserver"
    return [one for one in found if any(name in " ".join(one.command) for name in modules)]


@pytest.mark.parametrize("grace", ["0", "10"])
def test_helpers_that_exit_by_themselves_are_waited_for_in_silence(job, grace):
    one = job(*RUN, "--grace", grace, "--", *HELPERS)
    command = one.wait_ready()
    late = helpers(one.box)
    assert len(late) == 2, one.describe()
    for helper in late:
        helper.freeze()
    one.run.send(SIGTERM)
    wait_until(lambda: not command.look(), DONE, one.describe)
    assert holds(lambda: one.run.alive and all(helper.alive for helper in late), 0.5), "it waits"
    for helper in late:
        helper.send(SIGCONT)
    assert one.wait_end() == 7
    [line] = one.output().splitlines()
    assert line.startswith("ready ")


def test_helpers_that_do_not_exit_are_killed_and_reported(job):
    one = job(*RUN, "--grace", "0.2", "--", *HELPERS)
    one.wait_ready()
    for helper in helpers(one.box):
        helper.freeze()
    one.run.send(SIGTERM)
    assert one.wait_end() == 7
    assert len(one.lines("SIGKILL to")) == 2
    assert not one.lines("SIGTERM to")
    assert one.has_left(2)


@pytest.mark.parametrize("what", ["child", "impostor"])
def test_who_has_the_command_line_of_a_helper_and_is_none_is_ended_like_the_rest(job, what):
    """A child of the fork server was forked without exec: it has the fork server's command line."""
    one = job(*RUN, "--grace", "60", "--", *HELPERS, what)
    one.wait_ready()
    assert len(helpers(one.box)) == 3, one.describe()
    one.run.send(SIGTERM)
    assert one.wait_end() == 7
    assert len(one.lines("SIGTERM to python")) == 1, one.output()
    assert one.has_left(1)


@pytest.mark.parametrize("grace", ["0", "0.5", "60"])
def test_grace(job, grace):
    one = job(*RUN, "--grace", grace, "--", *LEAVER, "deaf")
    one.wait_ready().send(SIGTERM)
    if grace == "60":
        one.wait_for("SIGTERM to sh")
        assert holds(lambda: one.run.alive, 1), "the control: it waits"
        one.run.send(SIGTERM)
    assert one.wait_end() == 7
    assert bool(one.lines("SIGTERM to sh")) == (grace != "0")
    assert one.lines("SIGKILL to sh")


def test_the_signal_that_ended_the_command_does_not_cut_the_grace_short(job):
    """Twice in a moment is once: timeout(1) signals its child, and then its child's group."""
    one = job(*RUN, "--grace", "1.2", "--", *LEAVER, "deaf")
    one.wait_ready()
    began = time.monotonic()
    one.run.send(SIGTERM)
    one.run.send(SIGTERM)
    assert one.wait_end() == 7
    assert time.monotonic() - began > 1


def test_who_was_there_before_is_left_alone(job):
    """A shell may have started it and then have become `run`."""
    script = 'sleep 600 & exec "$@"'
    one = job("sh", "-c", script, "sh", *RUN, "--", *LEAVER, "daemon")
    one.wait_ready()
    wait_until(lambda: len(sleeps(one.box)) == 2, DONE, one.describe)
    before = min(sleeps(one.box))
    one.run.send(SIGTERM)
    assert one.command.exit_code(DONE) == 7
    assert [row.process for row in one.box.rows()] == [before]


def test_a_daemon_of_who_was_there_before_is_left_alone(job):
    """It comes to `run` as an orphan. What the command has left, with an environment that is
    cleaned or not, is ended all the same."""
    script = '(sleep 1; setsid --fork sleep 601) & exec "$@"'
    one = job("sh", "-c", script, "sh", *RUN, "--", *LEAVER, "daemon", "cleaned-daemon", "plain")
    one.wait_ready()

    def daemons() -> list[Process]:
        # One that is exiting has no command line any more.
        return [process for process in sleeps(one.box) if "601" in process.command[-1:]]

    wait_until(lambda: daemons() and len(sleeps(one.box)) == 4, DONE, one.describe)
    before = daemons()
    one.run.send(SIGTERM)
    assert one.command.exit_code(DONE) == 7
    assert [row.process for row in one.box.rows()] == before


@pytest.mark.root
@pytest.mark.skipif(os.getuid() != 0, reason="needs root, for a second user")
def test_a_child_whom_it_may_not_signal_is_named(job, new_box):
    box = new_box()
    setuid = box.folder / "setpriv"
    shutil.copy(shutil.which("setpriv") or pytest.skip("needs setpriv"), setuid)
    setuid.chmod(0o4755)
    argv = [*RUN, "--", *LEAVER, "plain", "root"]
    one = job(*by_anybody(argv), box=box, uid=NOBODY, env={"SETUID_SETPRIV": str(setuid)})
    one.wait_ready()
    wait_until(lambda: len(sleeps(one.box)) == 2, DONE, one.describe)
    one.run.send(SIGTERM)
    assert one.command.exit_code(DONE) == 7
    [left] = one.box.rows()
    [line] = one.lines("ERROR")
    assert f"sleep [{left.process.inner_pid}]" in line
    assert "may not be signalled" in line
    assert one.lines("left 2 processes behind; ")
    assert one.lines("1 could not be killed")


@pytest.mark.parametrize("without", ["", "prctl"])
def test_it_is_killed(job, without):
    """The kernel tells the command. Without that (the control) the command lives on."""
    one = job(*RUN, "--", *COMMAND, "record", env={"SANIC_REAPER_WITHOUT": without})
    command = one.wait_ready()
    one.run.send(SIGKILL)
    if without:
        assert holds(lambda: command.alive and not one.lines("got"), 1)
        return
    one.wait_for(f"got {SIGTERM}")
    assert one.command.exit_code(DONE) == -SIGKILL


def test_json(job):
    one = job(*RUN, "--json", "--grace", "0.2", "--", *LEAVER, "deaf", "odd-name")
    pid = one.wait_ready().inner_pid
    one.run.send(SIGTERM)
    assert one.wait_end() == 7
    objects = [json.loads(line) for line in one.output().splitlines() if line.startswith("{")]
    assert {entry["schema"] for entry in objects} == {1}
    signals = [entry for entry in objects if entry["event"] == "signal"]
    assert {(entry["name"], entry["signal"]) for entry in signals} >= {
        ("sh", "SIGTERM"),
        ("sh", "SIGKILL"),
        ("x\\nforged\\x1b[2J", "SIGTERM"),
    }
    assert all("descends from run" in entry["evidence"] for entry in signals)
    (end,) = [entry for entry in objects if entry["event"] == "end"]
    assert (end["pid"], end["code"], end["signal"], end["left"]) == (pid, 7, None, 0)
    failed = execute(*RUN, "--json", "--", "no-such-command")
    assert json.loads(failed.stderr)["message"] == "no-such-command: No such file or directory"


# -- a service manager ----------------------------------------------------------------------------


def test_a_service_manager_hears_the_command_and_means_it(tmp_path):
    """NOTIFY_SOCKET is passed on; who says that it is ready is the command, so that systemd needs
    NotifyAccess=all. Variables that name our pid name the command's."""
    address = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        manager.bind(address)
        manager.settimeout(DONE)
        code = (
            "import os, sys; me = str(os.getpid()); os.environ.update(LISTEN_PID=me,"
            "WATCHDOG_PID=me); os.execvp(sys.argv[1], sys.argv[1:])"
        )
        argv = [sys.executable, "-c", code, *RUN, "--", *COMMAND, "notify"]
        environment = {**os.environ, "NOTIFY_SOCKET": address, "PYTHONPATH": str(ROOT)}
        run = subprocess.Popen(argv, env=environment, stdout=subprocess.PIPE, text=True)
        assert run.stdout is not None
        try:
            message, [(_, _, credentials)], _, _ = manager.recvmsg(64, socket.CMSG_SPACE(12))
            pid = struct.unpack("3i", array.array("B", credentials).tobytes()[:12])[0]
            assert message == b"READY=1"
            assert run.stdout.readline().split() == [
                "ready",
                str(pid),
                "LISTEN_PID",
                "WATCHDOG_PID",
            ]
            assert pid != run.pid
            command = identify(pid)
        finally:
            run.send_signal(SIGTERM)
            run.wait(DONE)
        assert run.returncode == 128 + SIGTERM
        assert not command.alive


# -- a terminal -----------------------------------------------------------------------------------

CTRL_C, CTRL_Z, CTRL_BACKSLASH = b"\x03", b"\x1a", b"\x1c"
SHELL = ["bash", "--norc", "--noprofile", "-i"]


def on(terminal, job, *argv: str, **options: Any) -> Job:
    """What a job prints goes to the terminal, and what that shows from now on is its output."""
    before = len(terminal.shown)
    one = job(*argv, terminal=terminal.path, **options)
    one.output = lambda: terminal.shown[before:].decode(errors="replace")
    return one


def wait_foreground(one: Job, process: Process) -> None:
    """Wait until its process group has the terminal: a shell says what it continues before that."""

    def has_it() -> bool:
        row = process.look()
        fields = Path(f"/proc/{process.pid}/stat").read_bytes().rpartition(b")")[2].split()
        return row is not None and int(fields[5]) == row.group

    wait_until(has_it, DONE, one.describe)


def run_of(command: Process) -> Process:
    """Its parent."""
    row = command.look()
    assert row is not None
    return identify(row.ppid)


def quoted(*argv: str) -> str:
    return " ".join(argv)


@pytest.mark.smoke
@pytest.mark.parametrize(("keys", "signum"), [(CTRL_C, SIGINT), (CTRL_BACKSLASH, SIGQUIT)])
def test_a_key_arrives_once_at_each_process_of_the_command(job, terminal, keys, signum):
    one = on(terminal, job, *RUN, "--grace", "0", "--", *COMMAND, "record", "child")
    command = one.wait_ready()
    terminal.type(keys)
    one.wait_for(f"got {int(signum)}", 2)
    assert holds(lambda: len(one.lines("got")) == 2, 0.5), one.output()
    assert len(one.lines("child got")) == 1
    command.send(SIGKILL)
    one.wait_end()


def test_a_key_that_suspends_is_dropped_where_nobody_could_go_on(job, terminal):
    """As in `docker run -it`: `run` leads the session. The kernel would drop it too."""
    one = on(terminal, job, *RUN, "--", *COMMAND, "read")
    one.wait_ready()
    terminal.type(CTRL_Z)
    terminal.type(b"hello\n")
    one.wait_for("read hello")
    terminal.type(CTRL_C)
    one.wait_for("got 2")
    terminal.type(b"\x04")
    assert one.wait_end() == 0


def test_job_control(job, terminal):
    """A shell with job control; the command reads from the terminal, so that it has to get it."""
    one = on(terminal, job, *SHELL)
    one.wait_for("bash-")
    terminal.type(quoted(*RUN, "--", *COMMAND, "read").encode() + b"\n")
    command = one.wait_ready()
    terminal.type(b"first\n")
    one.wait_for("read first")
    terminal.type(CTRL_Z)
    one.wait_for("Stopped")
    assert command.stopped
    terminal.type(b"fg\n")
    wait_until(lambda: not command.stopped, DONE, one.describe)
    terminal.type(b"second\n")
    one.wait_for("read second")
    terminal.type(CTRL_Z)
    one.wait_for("Stopped", 2)
    switches = command.switches
    terminal.type(b"bg\n")
    wait_until(lambda: command.switches > switches, DONE, one.describe)
    # It reads, so it is stopped again; and then `run` is, which the shell waits for.
    run = run_of(command)
    wait_until(lambda: command.stopped and run.stopped, DONE, one.describe)
    terminal.type(b"kill %1; fg\n")
    one.wait_for(f"got {SIGTERM}")
    assert holds(lambda: len(one.lines(f"got {SIGTERM}")) == 1, 0.3), "once"
    terminal.type(b"third\n\x04")
    one.wait_for("read third")
    wait_until(lambda: not command.alive, DONE, one.describe)
    terminal.type(b"echo back $((40 + 2)); exit\n")
    one.wait_for("back 42")
    one.wait_end()


def test_ctrl_z_stops_a_command_that_reads_nothing(job, terminal):
    one = on(terminal, job, *SHELL)
    one.wait_for("bash-")
    terminal.type(
        quoted(*RUN, "--", "sh", "-c", "'echo read''y $$; exec sleep 600'").encode() + b"\n"
    )
    command = one.wait_ready()
    terminal.type(CTRL_Z)
    one.wait_for("Stopped")
    assert command.stopped
    terminal.type(b"bg\n")
    wait_until(lambda: not command.stopped, DONE, one.describe)
    terminal.type(b"fg\n")
    wait_foreground(one, run_of(command))
    terminal.type(CTRL_C)
    wait_until(lambda: not command.alive, DONE, one.describe)
    terminal.type(b"echo code $?; exit\n")
    one.wait_for("code 130")
    one.wait_end()


def wait_for_sleep(one: Job) -> None:
    wait_until(lambda: any(row.name == "sleep" for row in one.box.rows()), 10, one.describe)


@pytest.mark.parametrize("dies", [True, False])
def test_a_script_sees_ctrl_c_as_without_it(job, terminal, dies):
    """A shell gives up its script where its child has died of the signal, and only there."""
    trap = "" if dies else "trap 'exit 3' INT; "
    script = f'"$@" -- sh -c "{trap}echo ready \\$\\$; sleep 600"; echo next after $?'
    for runner in (RUN, ["env"]):
        one = on(terminal, job, "bash", "-c", script, "bash", *runner)
        one.wait_ready()
        # A shell that is just about to start it would hear the key, and wait for it all the same.
        wait_for_sleep(one)
        terminal.type(CTRL_C)
        one.wait_end()
        assert bool(one.lines("next after 3")) != dies, one.output()
        assert not one.lines("next after 130")


def test_the_other_end_of_a_pipe_keeps_the_terminal(job, terminal):
    """As `run -- CMD | less` needs it: less reads what a person types."""
    one = on(terminal, job, *SHELL)
    one.wait_for("bash-")
    reader = "(read -r line; echo $line; read -r line </dev/tty; echo typed $line; cat)"
    pipe = f"{quoted(*RUN, '--', *COMMAND, 'record')} | {reader}"
    terminal.type(pipe.encode() + b"\n")
    command = one.wait_ready()
    terminal.type(b"word\n")
    one.wait_for("typed word")
    assert not one.lines("Stopped")
    command.send(SIGKILL)
    terminal.type(b"exit\n")
    one.wait_end()


def test_the_window_is_closed(job, terminal):
    one = on(terminal, job, *RUN, "--", "sh", "-c", "echo ready $$; exec sleep 600")
    one.wait_ready()
    terminal.close()
    assert one.wait_end() == 128 + SIGHUP


# -- servers --------------------------------------------------------------------------------------


def serve_under(launch, prefix: Sequence[str], subject, method: str):
    server = launch(
        subject.with_(method=method), argv=[*prefix, *SCRIPT], env={"PYTHONPATH": str(ROOT)}
    )
    server.wait_serving()
    assert server.get()[0] == 200
    return server


@pytest.mark.parametrize("subject", [SUPERVISED, PLAIN], ids=["Reaper", "plain"])
@methods
def test_a_server_stops(launch, method, subject):
    if subject is PLAIN and method == "forkserver":
        pytest.skip("Sanic alone does not come up")
    server = serve_under(launch, [*RUN, "--"], subject, method)
    server.command.process.send(SIGTERM)
    assert server.exit_code(DONE) == 0
    server.wait_gone(1)
    assert len(server.events("after_server_stop done")) == 2
    assert "Traceback" not in server.output()
    assert "after the end of" not in server.output()
    assert " behind; " not in server.output()


@pytest.mark.parametrize("method", ["spawn", "fork"])
@pytest.mark.parametrize("under", [True, False], ids=["run", "control"])
def test_the_main_process_of_plain_sanic_is_killed(launch, under, method):
    server = serve_under(launch, [*RUN, "--"] if under else [], PLAIN, method)
    server.send(SIGKILL)
    if under:
        assert server.exit_code(DONE + SLACK) == 128 + SIGKILL
        server.wait_gone(1)
    else:
        server.exit_code(DONE)
        assert holds(lambda: len(server.box.rows()) >= 3, 2), "without it they stay"


def test_a_server_in_a_container(launch):
    server = serve_under(launch, [*container(), *RUN, "--"], SUPERVISED, "spawn")
    first_in(server.box).send(SIGTERM)
    assert server.exit_code(DONE) == 0
    server.wait_gone(1)
