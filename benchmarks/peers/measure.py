"""One cell of the comparison: a server in a box, hurt, and what is left of it."""

from __future__ import annotations

import os
import re
import shutil
import signal
import tempfile
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from support.box import Box
from support.census import Process, Row, wait_until
from support.http import Exchange, Ports, can_bind, get

from benchmarks.peers.scenarios import Scenario
from benchmarks.peers.servers import GRACE, WORKERS, Peer

APPS = Path(__file__).with_name("apps")
SCRIPT = 'sleep 900 & "$@"; echo "ended with $?"; wait'
"""The shell that launches the server, with another job of its own: both are to live on."""

START = 20.0
"""Seconds until the workers are where the scenario wants them."""

SETTLE = 0.5
LIMIT = GRACE + 4.0
"""Seconds after which what is there is left for good."""

AGAIN = 15.0
"""Seconds within which two workers are to answer again."""

FOREIGN = ("SANIC_", "PEER_", "PYTHONDONTWRITEBYTECODE")
"""Variables that would change the servers, or have them compile every module at each start."""

ENDED = re.compile(r"ended with (\d+)")


@dataclass
class Cell:
    """What came out.

    Attributes:
        left: processes that are there at the limit, zombies and a main that hangs among them.
        seconds: until nothing was left, or until two workers answered again.
        port: seconds until the port could be bound again.
        code: the exit code that a shell sees; `None`: it has not ended.
        lost: requests in flight that were not answered.
        hurt: bystanders that were killed.
        busy: whether what is left takes the processor's time.
        note: why there is no figure.
    """

    left: int = 0
    seconds: float | None = None
    port: float | None = None
    code: int | None = None
    lost: int = 0
    hurt: int = 0
    busy: bool = False
    note: str = ""

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def measure(peer: Peer, wrapper: list[str], scenario: Scenario, ports: Ports) -> Cell:
    """Start it, hurt it, look."""
    folder = Path(tempfile.mkdtemp(prefix="peer-"))
    box = Box()
    try:
        return _Measurement(peer, wrapper, scenario, box, folder, ports.take()).run()
    finally:
        box.close()
        shutil.rmtree(folder)


class _Measurement:
    def __init__(
        self,
        peer: Peer,
        wrapper: list[str],
        scenario: Scenario,
        box: Box,
        folder: Path,
        port: int,
    ) -> None:
        self.scenario = scenario
        self.box = box
        self.port = port
        self.ready = folder / "ready"
        self.ready.mkdir()
        self.output = folder / "output"
        self.wrapper = wrapper
        server = [word.replace("PORT", str(port)) for word in peer.argv]
        env = {
            **{k: v for k, v in os.environ.items() if not k.startswith(FOREIGN)},
            **peer.env,
            "PEER_PORT": str(port),
            "PEER_READY": str(self.ready),
            "PEER_START": scenario.state.start,
            "PEER_CHILDREN": str(scenario.state.children),
            "TMPDIR": str(box.tmp),
            "XDG_RUNTIME_DIR": str(box.folder),
        }
        argv = ["sh", "-c", SCRIPT, "sh", *wrapper, *server]
        self.shell = box.start(argv, env=env, cwd=APPS, output=self.output).process
        self.first = wait_until(self._find_first, START, "the server to run")
        self.job = next(p for p in self._children(self.shell) if p.command == ["sleep", "900"])
        self.cell = Cell()
        self.flying: list[Exchange] = []
        """Requests that are under way,"""
        self.in_time: list[Exchange] = []
        """and such as a graceful stop has time for."""

    def run(self) -> Cell:
        try:
            self._reach_the_state()
        except AssertionError as error:
            self.cell.note = str(error).splitlines()[0]
            return self.cell
        if self.scenario.ends:
            self._hurt()
            self._wait_for_the_end()
        else:
            self._see_it_recover()
        return self.cell

    # -- who is who -------------------------------------------------------------------------------

    def _children(self, parent: Process) -> list[Process]:
        return [row.process for row in self.box.rows() if row.ppid == parent.pid]

    def _find_first(self) -> Process | None:
        """What the shell has started: the server's main process, or what it is run under."""
        found = [p for p in self._children(self.shell) if p.command[:1] not in (["sh"], [])]
        servers = [p for p in found if p.command != ["sleep", "900"]]
        return servers[0] if len(found) > len(servers) > 0 else None

    def _main(self) -> Process:
        if not self.wrapper:
            return self.first
        return wait_until(
            lambda: next(
                (p for p in self._children(self.first) if p.command[:1] != ["tini"]), None
            ),
            START,
            "main under its wrapper",
        )

    def _server(self) -> list[Row]:
        """Everything but the shell and its job."""
        others = (self.shell, self.job)
        return [row for row in self.box.rows() if row.process not in others]

    def _signs(self, prefix: str = "") -> set[int]:
        """The pids of those that have left a file of this kind."""
        pattern = re.compile(prefix + r"(\d+)")
        found = (pattern.fullmatch(path.name) for path in self.ready.iterdir())
        return {int(match[1]) for match in found if match is not None}

    def _workers(self) -> list[Process]:
        found = (self.box.find(pid) for pid in self._signs())
        return [process for process in found if process is not None and process.alive]

    # -- what is done to it -----------------------------------------------------------------------

    def _reach_the_state(self) -> None:
        self.main = self._main()
        state = self.scenario.state
        if state.start in ("raise", "exit"):
            return
        wait_until(lambda: len(self._signs()) >= WORKERS, START, "the workers to get there")
        if state.start:
            return
        wait_until(lambda: get(self.port)[0] == 200, START, "an answer")
        time.sleep(SETTLE)  # main may not have heard yet that its workers serve: no peer says so
        if state.request.startswith("/"):
            wait_until(self._block_one_more, START, "all workers to block")
        if state.stopped:
            for worker in self._workers():
                worker.freeze()

    def _block_one_more(self) -> bool:
        """Some servers give a connection to a worker that does not accept it any more."""
        before = len(self._signs("block-"))
        self.flying.append(Exchange(self.port, self.scenario.state.request))
        with suppress(AssertionError):
            wait_until(lambda: len(self._signs("block-")) > before, 0.5, "it to block")
        return len(self._signs("block-")) >= WORKERS

    def _hurt(self) -> None:
        event, state = self.scenario.event, self.scenario.state
        if event is not None and not (state.start or state.request or state.stopped):
            self.in_time = [Exchange(self.port, "/slow", GRACE) for _ in range(2 * WORKERS)]
            wait_until(lambda: len(self._signs("slow-")) > 0, START, "a request to be in flight")
        self.began = time.monotonic()
        if event is None:
            return
        if event.whom == "group":
            group = self.main.look()
            for row in self._server():
                if group is not None and row.group == group.group:
                    row.process.send(event.signum)
        else:
            (self.first if event.whom == "init" else self.main).send(event.signum)

    def _wait_for_the_end(self) -> None:
        cell = self.cell

        def is_over() -> bool:
            if cell.port is None and can_bind(self.port):
                cell.port = time.monotonic() - self.began
            return not self._server() and not self._server()

        # A start that fails has first to come so far.
        limit = LIMIT + (START if self.scenario.event is None else 0)
        with suppress(AssertionError):
            wait_until(is_over, limit, "nothing to be left")
            cell.seconds = time.monotonic() - self.began
        left = self._server()
        cell.left = len(left)
        cell.busy = bool(left) and self._take_time(left)
        if found := ENDED.search(self.output.read_text(errors="replace")):
            cell.code = int(found[1])
        cell.hurt = sum(not process.alive for process in (self.shell, self.job))
        cell.lost = sum(not _is_answered(exchange) for exchange in self.in_time)

    def _take_time(self, rows: list[Row]) -> bool:
        before = sum(row.process.cpu_seconds for row in rows if row.process.alive)
        time.sleep(0.5)
        return sum(row.process.cpu_seconds for row in rows if row.process.alive) - before > 0.2

    def _see_it_recover(self) -> None:
        began = time.monotonic()
        if self.scenario.state.request:
            self.flying = [Exchange(self.port, "/block")]
            wait_until(lambda: self._signs("block-"), START, "it to block")
            [pid] = self._signs("block-")
            victim = self.box.find(pid)
        else:
            victim = self._workers()[0]
            victim.send(signal.SIGKILL)
        assert victim is not None

        def has_two_again() -> bool:
            workers = {worker.inner_pid for worker in self._workers() if worker != victim}
            return len(workers) >= WORKERS and get(self.port, timeout=1)[0] == 200

        with suppress(AssertionError):
            wait_until(has_two_again, AGAIN, "two workers")
            self.cell.seconds = time.monotonic() - began
        self.cell.left = sum(row.state == "Z" for row in self._server())


def _is_answered(exchange: Exchange) -> bool:
    try:
        return exchange.answer()[0] == 200
    except OSError:  # what is left holds the connection, and says nothing
        return False
