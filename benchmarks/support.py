"""The servers under measurement: started apart, watched by pidfd, and removed for certain."""

from __future__ import annotations

import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil

APP = Path(__file__).with_name("app.py")
WATCHDOG = "reaper-watchdog"
SETTLE = 0.5
"""Seconds between the last worker's sign of life and the first measurement."""


class BenchmarkError(Exception):
    """A server did not do what the measurement needs; its log is part of the message."""


@dataclass(frozen=True)
class Shape:
    """What kind of server to start."""

    reaper: bool
    method: str = "spawn"
    state: str = "idle"
    workers: int = 2
    without: str = ""
    routes: int = 0
    """How many more than the smallest app has."""

    def environment(self, port: int, ready: Path) -> dict[str, str]:
        """Ours, without what would change the server: another's settings, or the order to compile
        every module anew at each start, when an installed package is compiled once."""
        foreign = ("SANIC_", "BENCH_", "PYTHONDONTWRITEBYTECODE")
        env = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
        env["BENCH_REAPER"] = "yes" if self.reaper else "no"
        env["BENCH_METHOD"] = self.method
        env["BENCH_STATE"] = self.state
        env["BENCH_WORKERS"] = str(self.workers)
        env["BENCH_PORT"] = str(port)
        env["BENCH_READY"] = str(ready)
        env["BENCH_ROUTES"] = str(self.routes)
        if self.without:
            env["SANIC_REAPER_WITHOUT"] = self.without
        return env


@dataclass
class Server:
    """One running server and the place where its signs of life and its log go."""

    shape: Shape
    port: int
    folder: Path
    popen: subprocess.Popen[bytes]
    fds: dict[int, str] = field(default_factory=dict)
    """pidfd -> name, for each process of the tree; filled by `take_hold`."""
    members: list[psutil.Process] = field(default_factory=list)

    def wait_ready(self, limit: float = 60.0) -> None:
        """Return when every worker is where the shape wants it."""
        deadline = time.monotonic() + limit
        while len(list((self.folder / "ready").iterdir())) < self.shape.workers:
            if self.popen.poll() is not None or time.monotonic() > deadline:
                raise BenchmarkError(f"{self.shape} did not start:\n{self.log()}")
            time.sleep(0.01)

    def log(self) -> str:
        return (self.folder / "log").read_text(errors="replace")

    def tree(self) -> list[psutil.Process]:
        """Main and all its descendants, each with its creation time, so that no stranger is hit."""
        main = psutil.Process(self.popen.pid)
        return [main, *main.children(recursive=True)]

    def take_hold(self) -> None:
        """Open a pidfd on every process, while all of them still live."""
        self.members = self.tree()
        for process in self.members:
            self.fds[os.pidfd_open(process.pid)] = process.name()

    def workers(self) -> list[psutil.Process]:
        """The processes that left a sign of life: the workers, whatever started them."""
        return [psutil.Process(int(entry.name)) for entry in (self.folder / "ready").iterdir()]

    def watchdog(self) -> psutil.Process:
        for child in psutil.Process(self.popen.pid).children():
            if child.name() == WATCHDOG:
                return child
        raise BenchmarkError(f"{self.shape} has no watchdog:\n{self.log()}")

    def remove(self) -> None:
        """End whatever is left, by pid and creation time.

        Main is not reaped before the list is made: as long as its pid is taken, the session that
        carries this number can only be ours.
        """
        found = set(self.members)
        found.update(p for p in psutil.process_iter() if _session(p.pid) == self.popen.pid)
        with suppress(psutil.NoSuchProcess):
            found.update(self.tree())
        left = [process for process in found if _lives(process)]
        for process in left:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        self.popen.wait()
        psutil.wait_procs(left, timeout=10)
        while self.fds:
            os.close(self.fds.popitem()[0])


def tidy_when_ended() -> None:
    """Let SIGTERM end the benchmark as Ctrl+C does, so that the servers are removed on the way."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))


def _lives(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _session(pid: int) -> int | None:
    try:
        return os.getsid(pid)
    except OSError:
        return None


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def launched(shape: Shape) -> Iterator[Server]:
    """Start a server in a session of its own; on the way out nothing of it is left."""
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        folder, port = Path(name), free_port()
        (folder / "ready").mkdir()
        with (folder / "log").open("wb") as log:
            popen = subprocess.Popen(
                [sys.executable, str(APP)],
                env=shape.environment(port, folder / "ready"),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        server = Server(shape, port, folder, popen)
        try:
            yield server
        finally:
            server.remove()


@contextmanager
def running(*shapes: Shape) -> Iterator[list[Server]]:
    """Several servers side by side, all of them up and settled."""
    with ExitStack() as stack:
        servers = [stack.enter_context(launched(shape)) for shape in shapes]
        for server in servers:
            server.wait_ready()
        time.sleep(SETTLE)
        yield servers


@dataclass(frozen=True)
class Gone:
    """Seconds from the blow until nothing was left, without and with the watchdog itself."""

    served: float
    everything: float
    processes: int


def time_until_gone(server: Server, blow: Callable[[Server], None], limit: float = 30.0) -> Gone:
    """Strike, and watch the pidfds; they turn readable when a process has ended."""
    server.take_hold()
    poller = select.poll()
    for fd in server.fds:
        poller.register(fd, select.POLLIN)
    waiting = set(server.fds)
    ended: dict[int, float] = {}
    start = time.perf_counter()
    blow(server)
    while waiting:
        left = start + limit - time.perf_counter()
        ready = poller.poll(max(0.0, left) * 1000)
        if not ready:
            names = sorted(server.fds[fd] for fd in waiting)
            raise BenchmarkError(f"after {limit:g} s still there: {names}\n{server.log()}")
        now = time.perf_counter() - start
        for fd, _ in ready:
            poller.unregister(fd)
            waiting.discard(fd)
            ended[fd] = now
    served = max(t for fd, t in ended.items() if server.fds[fd] != WATCHDOG)
    return Gone(served, max(ended.values()), len(ended))


def kill_main(server: Server) -> None:
    server.popen.send_signal(signal.SIGKILL)


def stop_main(server: Server) -> None:
    server.popen.send_signal(signal.SIGTERM)


def kill_each(server: Server) -> None:
    """The baseline: nobody can end a tree faster than by killing all of it at once."""
    for fd in server.fds:
        signal.pidfd_send_signal(fd, signal.SIGKILL)


def first_answer(server: Server, limit: float = 60.0) -> float:
    """The moment (`perf_counter`) of the first 200. Main listens early, so mostly it just waits."""
    deadline = time.perf_counter() + limit
    while time.perf_counter() < deadline:
        with suppress(OSError), socket.create_connection(("127.0.0.1", server.port)) as client:
            client.sendall(b"GET / HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n")
            client.settimeout(limit)
            if client.recv(64).startswith(b"HTTP/1.1 200"):
                return time.perf_counter()
        time.sleep(0.001)
    raise BenchmarkError(f"{server.shape} never answered:\n{server.log()}")


def cpu_seconds(pid: int) -> float:
    """The CPU time of a process, all threads, to the nanosecond; `/proc/PID/stat` has 10 ms."""
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e9


def uss(pid: int) -> int:
    """Bytes that would come free if this process ended."""
    return _memory(pid, "Private_Clean:", "Private_Dirty:")


def pss(pid: int) -> int:
    """Its bytes, where those that it shares are counted as so many parts as share them."""
    return _memory(pid, "Pss:")


def _memory(pid: int, *wanted: str) -> int:
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return 1024 * sum(int(line.split()[1]) for line in lines if line.startswith(wanted))
