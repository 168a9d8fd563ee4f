"""Let a history happen to a real server in a box, and look at what is left afterwards."""

from __future__ import annotations

import os
import random
import re
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from support.box import Box, isolation
from support.census import Process, Row, descendants, wait_until
from support.http import Ports, get
from support.programs import burning
from support.server import ORPHAN_GRACE, SHUTDOWN_TIMEOUT, SLACK, START, SUPERVISED, Server
from support.strangers import sleeper, take_pid, that_took_pids

from .history import History, Step
from .verdict import DEADLY, Facts, excuse, expected_codes

SCRIPT = 'sleep 900 & "$0" app.py; echo "main ended with $?"; wait'
"""The shell and its job are in main's group and session, and outlive it."""

LOOKALIKE = Path(__file__).with_name("lookalike")
"""Another program with the same command line."""

ENDED = re.compile(r"main ended with (\d+)")
STOPPED = re.compile(r"\[reaper\] stopped ")
"""After this line main puts back the handlers that it had before the server."""
CAPABILITIES = "+dac_override,+dac_read_search"
"""With them an ordinary user reads this Python wherever it lies. Limits bind him all the same."""


@dataclass
class Outcome:
    """What became of a history."""

    history: History
    violations: list[str] = field(default_factory=list)
    excused: list[str] = field(default_factory=list)
    done: Counter[str] = field(default_factory=Counter)
    """Steps that have happened, by verb and target; those whose target was not there are not."""
    stage: str = "none"
    """The stage that was reached before the first step."""
    code: int | None = None
    seconds: float = 0.0
    log: str = ""


def play(history: History, ports: Ports) -> Outcome:
    """Let it happen."""
    outcome, began = Outcome(history), time.monotonic()
    folder = Path(tempfile.mkdtemp(prefix="chaos-"))
    box = Box()
    try:
        with burning(history.burning):
            _Play(history, outcome, box, folder, ports).run()
    except AssertionError as error:
        outcome.violations.append(f"it could not be played: {error}")
    finally:
        box.close()
        shutil.rmtree(folder)
    outcome.seconds = time.monotonic() - began
    return outcome


class _Play:
    """One history while it happens."""

    def __init__(
        self, history: History, outcome: Outcome, box: Box, folder: Path, ports: Ports
    ) -> None:
        self.history = history
        self.outcome = outcome
        self.box = box
        self.folder = folder
        self.ports = ports
        self.dice = random.Random(history.seed)
        self.patience = 1.0 + history.burning / 2
        self.facts = Facts()
        self.strangers: dict[Process, str] = {}
        """Everybody whom the server has not started, and what they are called."""
        self.requests: list[threading.Thread] = []
        self.second: Server | None = None
        self.uid: int | None = None
        """Of the server, where it is not ours."""

    def run(self) -> None:
        self._stranger("of the same user, older", sleeper(self.box, self.folder / "sleeper"))
        if self.history.second:
            self._start_second()
        self._launch()
        self._stranger("of the same user, younger", sleeper(self.box, self.folder / "sleeper"))
        self._reach(self.history.until)
        for step in self.history.steps:
            time.sleep(step.after)
            self._do(step)
        self._end()
        self._judge()

    # -- the scene --------------------------------------------------------------------------------

    def _stranger(self, name: str, process: Process) -> None:
        self.strangers[process] = name

    def _start_second(self) -> None:
        folder = self.folder / "second"
        folder.mkdir()
        subject = SUPERVISED.with_(method="fork", workers=1)
        self.second = Server(self.box, subject, folder, self.ports.take())
        with suppress(AssertionError):
            self.second.wait_serving()

    def _launch(self) -> None:
        argv = [sys.executable, "app.py"]
        lookalike = self.box.start(argv, output=self.folder / "lookalike", cwd=LOOKALIKE)
        self._stranger("with the same command line", lookalike.process)
        subject, env = self.history.subject, {}
        if subject.config.get("INSPECTOR"):
            subject = subject.with_config(INSPECTOR_PORT=self.ports.take())
        self.watched = self.box.folder / "watched"
        if subject.run.get("reload_dir"):
            self.watched.mkdir()
            subject = subject.with_(run={**subject.run, "reload_dir": str(self.watched)})
        if self.history.small_disk and self._is_root_here():
            self._run("mount", "-t", "tmpfs", "-o", "size=256k,mode=1777", "tmpfs", self.box.tmp)
            env["XDG_RUNTIME_DIR"] = str(self.box.tmp)
        argv = ["sh", "-c", SCRIPT, sys.executable]
        if self.history.ordinary_user and os.getuid() == 0:
            self.uid = uid = 20_000 + self.ports.take()  # whom nobody else is meanwhile
            argv = [
                "setpriv",
                f"--reuid={uid}",
                f"--regid={uid}",
                "--clear-groups",
                f"--inh-caps={CAPABILITIES}",
                f"--ambient-caps={CAPABILITIES}",
                *argv,
            ]
        self.server = Server(self.box, subject, self.folder, self.ports.take(), argv=argv, env=env)
        self.shell = self.server.command.process
        self._stranger("the shell that has launched it", self.shell)
        self.main = wait_until(self._find_main, START, "main to run")
        [job] = [row.process for row in self._children_of(self.shell) if row.name == "sleep"]
        self._stranger("in the same group and session", job)

    def _is_root_here(self) -> bool:
        """Whether a disk may be mounted in the box, and a pid be chosen."""
        return isolation()[0] == "PID namespace"

    def _find_main(self) -> Process | None:
        found = [row.process for row in self._children_of(self.shell)]
        mains = [process for process in found if process.command[1:] == ["app.py"]]
        jobs = [process for process in found if process.command == ["sleep", "900"]]
        return mains[0] if mains and jobs else None

    def _children_of(self, parent: Process) -> list[Row]:
        return [row for row in self.box.rows() if row.ppid == parent.pid]

    def _run(self, *argv: object, uid: int | None = None) -> int:
        """A command in the box, to its end."""
        output = self.box.folder / "commands"
        command = self.box.start([*map(str, argv)], output=output, cwd=Path("/"), uid=uid)
        return command.exit_code(START)

    def _reach(self, stage: str) -> None:
        event = {"served": "after_server_start", "serving": "all acked"}.get(stage, stage)

        def reached() -> bool:
            if stage == "launched" or self.server.events(event):
                self.outcome.stage = stage
                return True
            return self._code() is not None or not self.shell.alive

        # Under the Reaper a start has a limit, after which it is of no use to wait for more.
        within = 8 * self.patience if self.history.subject.reaper else START
        with suppress(AssertionError):
            wait_until(reached, within, stage)

    def _code(self) -> int | None:
        found = ENDED.search(self.server.output())
        return int(found[1]) if found else None

    # -- what happens -----------------------------------------------------------------------------

    def _do(self, step: Step) -> None:
        doing = {
            "signal": self._signal,
            "request": self._request,
            "recycle pid": self._recycle,
            "limit": self._limit,
            "fill disk": self._fill,
            "free disk": self._free,
            "save": self._save,
        }[step.verb]
        if doing(step):
            target = re.sub(r"\d+$", "N", step.target)
            self.outcome.done[f"{step.verb} {target} {step.value.split(' ')[0]}".strip()] += 1

    def _signal(self, step: Step) -> bool:
        signum = signal.Signals[step.value]
        processes = self._who(step.target)
        for process in processes:
            self._note(process, signum)
            process.send(signum)
            if process == self.main and STOPPED.search(self.server.output()):
                self.facts.late.add(int(signum))
        return bool(processes)

    def _note(self, process: Process, signum: signal.Signals) -> None:
        """What the verdict will have to know of this blow."""
        now = time.clock_gettime(time.CLOCK_BOOTTIME)
        fatal = signum in DEADLY
        if process == self.main:
            self.facts.sent_to_main.add(int(signum))
            if not self.server.events("main_process_start"):
                self.facts.early.add(int(signum))
            if fatal:
                self.facts.killed_at = min(self.facts.killed_at, now)
                self.facts.unguarded |= not self._who("watchdog")
        elif fatal and process in self._who("watchdog") and not self.main.alive:
            self.facts.unguarded = True

    def _who(self, target: str) -> list[Process]:
        """The living processes that are meant."""
        rows = {row.process: row for row in self.box.rows() if row.state not in "ZX"}
        if target == "main":
            return [self.main] if self.main in rows else []
        mine = {row.process for row in descendants(self.main)} & rows.keys()
        if target == "group":
            group = row.group if (row := self.main.look()) else -1
            return [p for p, row in rows.items() if row.group == group and p not in self.strangers]
        if target == "watchdog":
            return [p for p in self.server.watchdogs if p in mine]
        if target == "any worker's child":
            found = [p for p in mine if rows[p].name == "sleep"]
        elif target in ("resource tracker", "fork server"):
            word = target.replace(" ", "_" if "tracker" in target else "")
            found = [p for p in mine if word in " ".join(p.command)]
        else:
            named = self._named()
            if target.startswith("worker "):
                prefix = f"Sanic-Server-{target.split()[1]}-"
                return [p for p in mine if named.get(p, "").startswith(prefix)][-1:]
            wanted = {"worker": "Sanic-Server", "SyncManager": "SyncManager"}.get(target)
            found = [
                p
                for p in mine
                if p in named
                and (named[p].startswith(wanted) if wanted else "Server" not in named[p])
            ]
        return [self.dice.choice(sorted(found))] if found else []

    def _named(self) -> dict[Process, str]:
        """Whoever has said something, by the name under which `multiprocessing` runs it."""
        found: dict[Process, str] = {}
        for event in self.server.events():
            process = self.box.find(event.pid, event.start)
            if process is not None:
                found[process] = event.name
            for name, identity in event.more.get("family", {}).items():
                if (process := self.box.find(*identity)) is not None:
                    found[process] = name
            if event.event == "sync manager" and (process := self.box.find(*event.more["of"])):
                found[process] = "SyncManager-1"
        return found

    def _request(self, step: Step) -> bool:
        """Sent, and answered or not: nobody waits for it."""
        if not self.server.events("after_server_start"):
            return False
        thread = threading.Thread(target=get, args=(self.server.port, step.target), daemon=True)
        thread.start()
        self.requests.append(thread)
        return True

    def _recycle(self, step: Step) -> bool:
        """Kill one of the server's, and have a stranger take its pid."""
        found = self._who(step.target)
        if not self._is_root_here() or not found:
            return False
        pid = found[0].inner_pid
        found[0].send(signal.SIGKILL)
        try:
            wait_until(lambda: found[0].look() is None, 3, "it to be reaped")
            stranger = take_pid(self.box, self.folder / "stranger", pid, within=2)
        except AssertionError:
            return False
        self._stranger(f"that has the pid of a dead {step.target}", stranger)
        return True

    def _limit(self, step: Step) -> bool:
        found = self._who(step.target)
        if not found:
            return False
        what, spare = step.value.split()
        try:
            if what == "NOFILE":
                taken = len(os.listdir(f"/proc/{found[0].pid}/fd"))
                self.facts.starved |= step.target in ("main", "watchdog")
            else:
                taken = sum(len(os.listdir(f"/proc/{row.pid}/task")) for row in self.box.rows())
        except FileNotFoundError:
            return False
        limit = f"--{what.lower()}={taken + int(spare)}"
        return self._run("prlimit", limit, "--pid", found[0].inner_pid, uid=self.uid) == 0

    def _fill(self, step: Step) -> bool:
        if not self._is_root_here():
            return False
        self._run("sh", "-c", f"cat /dev/zero > {self.box.tmp}/filler; chmod 666 {self.box.tmp}/*")
        return True

    def _free(self, step: Step) -> bool:
        self._run("rm", "-f", f"{self.box.tmp}/filler")
        return True

    def _save(self, step: Step) -> bool:
        """What a person with an editor does to a server with `--reload`."""
        if not self.watched.exists():
            return False
        (self.watched / "saved.py").write_text(f"# {time.monotonic()}\n")
        return True

    # -- how it ends ------------------------------------------------------------------------------

    def _end(self) -> None:
        end = self.history.end
        time.sleep(end.after)
        self._do(end)
        if end.value != "SIGKILL":
            self._note(self.main, signal.SIGCONT)
            self.main.send(signal.SIGCONT)  # or it would never know
        within = (SHUTDOWN_TIMEOUT + SLACK) * self.patience
        with suppress(AssertionError):
            wait_until(lambda: self._code() is not None, within, "main to end")
        self.outcome.code = self._code()
        if self.outcome.code is None:
            self._violated(f"main has not ended within {within:g} s of {end}")

    def _judge(self) -> None:
        self._wait_for_others_to_go()
        code = self.outcome.code
        if code is not None and code not in (codes := expected_codes(self.history, self.facts)):
            self._violated(f"main has ended with {code}, which is not one of {sorted(codes)}")
        for process, name in self.strangers.items():
            if not process.alive:
                self._violated(f"a stranger {name} is dead")
        if self.second is not None:
            self._judge_second(self.second)
        for thread in self.requests:
            thread.join(6)
        self.outcome.log = self.server.output()
        if self.outcome.violations:
            self.outcome.log = self.server.describe()

    def _wait_for_others_to_go(self) -> None:
        within = (max(ORPHAN_GRACE, SHUTDOWN_TIMEOUT) + SLACK) * self.patience
        with suppress(AssertionError):
            wait_until(lambda: not self._left() and not self._left(), within, "others to go")
        if self._left() and (self.facts.unguarded or self.facts.starved):
            # Nobody was there to end them: they are for the sweep, which the next start makes.
            self.server.ask("sweep", "--yes", "--all-apps")
            self.outcome.done["sweep"] += 1
        for row in self._left():
            why = excuse(row, row.process.environ, self.facts)
            if why and self.history.subject.reaper:
                self.outcome.excused.append(f"{row}: {why}")
            else:
                self._violated(f"left: {row}")

    def _left(self) -> list[Row]:
        """Whatever is neither a stranger nor of the second server, nor meant to stay."""
        rows = self.box.rows()
        spared = {process.pid for process in (*self.strangers, *that_took_pids(self.box))}
        if self.second is not None:
            spared.add(self.second.command.process.pid)
        detached = {row.pid for row in rows if "sanic_reaper_detached" in row.process.environ}
        spared |= detached
        while more := {row.pid for row in rows if row.ppid in spared} - spared - {self.main.pid}:
            spared |= more
        return [row for row in rows if row.pid not in spared]

    def _judge_second(self, second: Server) -> None:
        try:
            if second.get()[0] != 200:
                self._violated("the second server does not answer any more")
            second.send(signal.SIGTERM)
            if (code := second.exit_code()) != 0:
                self._violated(f"the second server has ended with {code}")
        except AssertionError as error:
            self._violated(f"the second server: {error}")

    def _violated(self, what: str) -> None:
        self.outcome.violations.append(what)
