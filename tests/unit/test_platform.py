"""The fallback says the same of a process as the kernel's own files do; and of none, nothing."""

from __future__ import annotations

import ctypes
import errno
import os
import signal
import subprocess
import sys
import threading

import pytest
from support.census import wait_until
from support.programs import program, said_by

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")

if sys.platform == "linux":
    from sanic_reaper.platform import fallback, linux, linux_proc
    from sanic_reaper.platform.base import mark_of

    BACKENDS = [linux, fallback]
    backends = pytest.mark.parametrize("backend", BACKENDS, ids=["linux", "fallback"])

BUSY = "import time\nwhile time.process_time() < 0.3: pass\nprint(flush=True)\ntime.sleep(60)"
TICK = 0.02
"""Seconds by which two readings of a clock that counts hundredths may differ."""


@pytest.fixture
def busy():
    """A process that has used a third of a second."""
    with program(BUSY) as process:
        yield process


def test_both_say_the_same_of_a_process(busy):
    ours, theirs = linux.row(busy.pid), fallback.row(busy.pid)
    assert (ours.pid, ours.ppid, ours.name) == (theirs.pid, theirs.ppid, theirs.name)
    assert theirs.ppid == os.getpid()
    assert linux.uid(busy.pid) == fallback.uid(busy.pid) == os.geteuid()
    assert linux.resident(busy.pid) == pytest.approx(fallback.resident(busy.pid), rel=0.05)
    assert linux.cpu_seconds(busy.pid) == pytest.approx(fallback.cpu_seconds(busy.pid), abs=TICK)
    assert 0.25 < fallback.cpu_seconds(busy.pid) < 10
    # psutil reckons from the second in which the machine was booted.
    assert linux.age(ours.start) == pytest.approx(fallback.age(theirs.start), abs=1.1)
    assert fallback.table()[busy.pid].start == theirs.start
    assert linux.environ(busy.pid).strip(b"\0") == fallback.environ(busy.pid)


@pytest.mark.parametrize(("signum", "state"), [(signal.SIGSTOP, "T"), (signal.SIGKILL, "Z")])
def test_both_see_one_that_is_stopped_or_dead(busy, signum, state):
    for backend in BACKENDS:
        backend.send(busy.pid, None, signum)
        wait_until(lambda: backend.row(busy.pid).state == state, 5, str(backend))  # noqa: B023


@backends
def test_of_a_process_that_is_gone_nothing_is_said(backend, busy):
    busy.kill()
    busy.wait()
    assert backend.row(busy.pid) is None
    assert busy.pid not in backend.table()
    assert backend.uid(busy.pid) is None
    assert backend.environ(busy.pid) == b""
    assert backend.resident(busy.pid) == 0
    assert backend.cpu_seconds(busy.pid) == 0.0


@backends
def test_one_that_has_just_begun_has_no_age_below_zero(backend):
    assert backend.age(backend.row(os.getpid()).start + 10**9) == 0.0


@backends
def test_the_next_signal_that_comes(backend):
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})
    try:
        assert backend.next_signal({signal.SIGUSR1}, 0.05) is None
        signal.pthread_kill(threading.get_ident(), signal.SIGUSR1)  # no other thread blocks it
        arrival = backend.next_signal({signal.SIGUSR1}, 5.0)
        assert arrival.signum == signal.SIGUSR1
        assert arrival.sender in (0, os.getpid())
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


PR_GET_PDEATHSIG = 2


@pytest.fixture
def armed_for():
    """What the kernel would send this process; nothing, afterwards."""

    def ask() -> int:
        found = ctypes.c_int()
        ctypes.CDLL(None).prctl(PR_GET_PDEATHSIG, ctypes.byref(found), 0, 0, 0)
        return found.value

    yield ask
    linux.parent_death_signal(0)
    assert ask() == 0


@pytest.mark.parametrize("way", ["what ctypes is made of", "ctypes"])
def test_a_parent_death_signal(monkeypatch, armed_for, way):
    if way == "ctypes":
        monkeypatch.setattr(linux, "_call_in_libc", lambda *_: None)
    linux.parent_death_signal(signal.SIGUSR1)
    assert armed_for() == signal.SIGUSR1
    with pytest.raises(OSError, match="prctl") as raised:
        linux.parent_death_signal(4711)
    assert raised.value.errno == errno.EINVAL


def test_a_function_that_libc_does_not_have():
    assert linux._call_in_libc("no_such_function") is None


# -- small files below /proc ----------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 1, 4095, 4096, 4097, 8192, 4096 + 65536, 200_000])
def test_a_file_is_read_to_its_end(tmp_path, size):
    content = os.urandom(size)
    (tmp_path / "file").write_bytes(content)
    before = os.listdir("/proc/self/fd")
    assert linux_proc._read(f"{tmp_path}/file") == content
    assert os.listdir("/proc/self/fd") == before


FAMILY = """
import os, sys
reading, writing = os.pipe()
for _ in range(int(sys.argv[1])):
    if os.fork() == 0:
        os.close(writing)
        os.read(reading, 1)  # ends with the parent
        os._exit(0)
print(flush=True)
os.read(reading, 1)
"""


def test_all_children_of_one_that_has_many():
    """The kernel gives out no more of their list at once than fits a page, and mostly less."""
    number = 1000
    with program(FAMILY, str(number)) as process:
        rows = linux.table().values()
        children = {row.pid for row in rows if row.ppid == process.pid}
        assert len(children) == number
        assert set(linux_proc._children(process.pid)) == children
        assert set(linux.subtree([process.pid])) == children | {process.pid}


def test_an_environment_that_fills_a_page_is_read():
    """Not one byte more, so that nothing but another look tells that this was all."""
    variables = {"PATH": os.environ["PATH"], "FILLING": ""}
    taken = len("".join(f"{key}={value}\0" for key, value in variables.items()))
    variables["FILLING"] = "x" * (4096 - taken)
    with subprocess.Popen(["sleep", "60"], env=variables) as process:

        def environ() -> bytes:
            """That of the sleep, which has its name a moment before its environment."""
            return linux.environ(process.pid) if linux.row(process.pid).name == "sleep" else b""

        try:
            found = wait_until(environ, 5, "the exec")
        finally:
            process.kill()
    assert len(found) == 4096
    assert found.endswith(b"x\0")


def test_of_a_file_that_turns_out_empty_nothing_is_said(monkeypatch):
    monkeypatch.setattr(linux_proc, "_read", lambda path, at=None: b"")
    assert linux.row(os.getpid()) is None
    assert linux.resident(os.getpid()) == 0
    assert linux.cpu_seconds(2**22 - 1) == 0.0  # of one that is there the kernel has a clock
    assert linux.age(0) == 0.0
    assert linux.oom_kills() is None


V2, V1 = "/sys/fs/cgroup/app/memory.events", "/sys/fs/cgroup/memory/app/memory.oom_control"
EVENTS = "low 0\nhigh 0\nmax 9\noom 4\noom_kill 3\noom_group_kill 7\n"
CONTROL = "oom_kill_disable 0\nunder_oom 0\noom_kill 2\n"
CGROUPS = {
    "v2": ("0::/app\n", {V2: EVENTS}, 3),
    "v1": ("9:cpu,cpuacct:/app\n8:memory:/app\n1:name=systemd:/app\n", {V1: CONTROL}, 2),
    "both, with memory in v1": ("8:memory:/app\n0::/app\n", {V1: CONTROL}, 2),
    "both, told of by v2": ("8:memory:/app\n0::/app\n", {V1: "under_oom 0\n", V2: EVENTS}, 3),
    "a name with a colon": ("0::/app:1\n", {V2.replace("app", "app:1"): EVENTS}, 3),
    "v1 without memory": ("9:cpu,cpuacct:/app\n", {}, None),
    "a kernel that does not count them": ("0::/app\n", {V2: "oom 4\n"}, None),
    "no file for it, as at the root": ("0::/\n", {}, None),
    "no number": ("0::/app\n", {V2: "oom_kill max\n"}, None),
    "in no cgroup": ("", {}, None),
}


@pytest.mark.parametrize("case", CGROUPS)
def test_how_many_the_oom_killer_has_ended(monkeypatch, case):
    own, files, expected = CGROUPS[case]
    files = {"/proc/self/cgroup": own, **files}

    def read(path: str) -> bytes:
        if path not in files:
            raise FileNotFoundError(path)
        return files[path].encode()

    monkeypatch.setattr(linux_proc, "_read", read)
    assert linux.oom_kills() == expected


# -- which of them it is --------------------------------------------------------------------------

WHICH = """
import sys
import psutil  # as this system has it
sys.platform = sys.argv[1]
from sanic_reaper import platform
print(platform.backend.__name__)
"""


@pytest.mark.parametrize(
    ("system", "without", "name"),
    [
        ("linux", "", "linux"),
        ("linux", "proc", "fallback"),
        ("darwin", "", "macos"),
        ("freebsd14", "", "fallback"),
    ],
)
def test_each_system_has_what_is_asked_of_it(system, without, name):
    """All the names, that is: on macOS nothing else of this is tried."""
    env = {**os.environ, "SANIC_REAPER_WITHOUT": without}
    assert said_by(WHICH, system, env=env) == [f"sanic_reaper.platform.{name}"]


HANDLES = """
import signal, time
signal.signal(signal.SIGUSR1, lambda *_: None)
signal.signal(signal.SIGUSR2, signal.SIG_IGN)
print(flush=True)
time.sleep(60)
"""


def test_which_signals_a_process_handles_or_ignores(monkeypatch):
    handled, ignored = 1 << signal.SIGUSR1 - 1, 1 << signal.SIGUSR2 - 1
    both = handled | ignored
    with program(HANDLES) as process:
        assert linux.caught_signals(process.pid) & both == handled
        assert linux.ignored_signals(process.pid) & both == ignored
        assert fallback.caught_signals(process.pid) == fallback.ignored_signals(process.pid) == 0
        monkeypatch.setattr("sanic_reaper.platform.base.WITHOUT", frozenset({"denied"}))
        assert linux.caught_signals(process.pid) == linux.ignored_signals(process.pid) == 0
        assert linux.caught_signals(os.getpid()) != 0, "nobody is hidden from himself"
    monkeypatch.undo()
    assert linux.caught_signals(process.pid) == linux.ignored_signals(process.pid) == 0


def test_a_descriptor_is_known_by_what_is_open_behind_it(tmp_path):
    """The next file that is opened gets its number."""
    (tmp_path / "a").touch()
    (tmp_path / "b").touch()
    fd = os.open(tmp_path / "a", os.O_RDONLY)
    mark = mark_of(fd)
    os.close(fd)
    assert mark_of(fd) is None
    again = os.open(tmp_path / "b", os.O_RDONLY)
    assert (again, mark_of(again) == mark) == (fd, False)
    os.close(again)
    assert mark == ((tmp_path / "a").stat().st_dev, (tmp_path / "a").stat().st_ino)
