"""A real systemd, in namespaces of its own: a box whose commands are services (see `systemd.sh`).

It takes root, an installed systemd and a kernel with cgroup2. The machine's own systemd, if there
is one, is neither asked nor touched.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

from .box import Enclosed, End, closed_to_others
from .census import Process, identify, table, wait_until

SCRIPT = Path(__file__).with_suffix(".sh")
SYSTEMD = Path("/lib/systemd/systemd")
UNIT = Path(__file__).parents[2] / "docs" / "deployment" / "sanic-app.service"
NOBODY = "nobody"


@cache
def why_not() -> str:
    """Why there can be no systemd here. Empty: there can."""
    if os.getuid() != 0:
        return "needs root, to run systemd in namespaces"
    if not SYSTEMD.exists() or not shutil.which("systemctl"):
        return "needs systemd (apt-get install systemd)"
    if "\tcgroup2\n" not in Path("/proc/filesystems").read_text():
        return "needs a kernel with cgroup2"
    if not shutil.which("unshare") or not shutil.which("nsenter"):
        return "needs unshare and nsenter"
    try:
        Systemd().close()
    except AssertionError as error:
        return f"systemd does not run here: {error}"
    return ""


def open_to_all() -> list[str]:
    """Overrides that let any user run our interpreter and our code, even if they stand in the home
    of root: instead of it the service sees an open directory, with nothing but these in it."""
    needed = {Path(sys.base_prefix), Path(sys.prefix), SCRIPT.parents[2]}
    shut = [directory for path in needed for directory in closed_to_others(path)]
    return [
        *(f"TemporaryFileSystem={directory}:mode=755" for directory in {*shut}),
        *(f"BindReadOnlyPaths={path}" for path in needed if {*path.parents} & {*shut}),
    ]


class Service:
    """What was started as a unit: the `Command` of this box."""

    def __init__(self, systemd: Systemd, name: str) -> None:
        self._systemd = systemd
        self.name = name

    def show(self, *names: str) -> list[str]:
        """The values of these properties, in this order."""
        shown = self._systemd.run("systemctl", "show", self.name, f"-p{','.join(names)}").stdout
        values = dict(line.split("=", 1) for line in shown.splitlines())
        return [values[name] for name in names]

    def wait_for(self, within: float, **expected: str) -> None:
        """Wait until these properties have these values. Asks seldom: each time is a process."""
        deadline = time.monotonic() + within
        while (found := self.show(*expected)) != list(expected.values()):
            assert time.monotonic() < deadline, f"not within {within:g} s: {expected}; {found}"
            time.sleep(0.25)

    def ctl(self, verb: str, *options: str, check: bool = True) -> int:
        """`systemctl VERB`; the exit code. Returns when the job is done."""
        return self._systemd.run("systemctl", verb, *options, self.name, check=check).returncode

    @property
    def processes(self) -> list[Process]:
        """Who is in its cgroup, by systemd's own account."""
        return self._systemd.members(f"system.slice/{self.name}")

    def exit_code(self, within: float) -> int:
        self.wait_for(within, MainPID="0")
        return End(int(self.show("ExecMainStatus")[0])).code


class Systemd(Enclosed):
    """One systemd, and what it runs. It can be a `Server`'s box.

    Attributes:
        overrides: lines of the section [Service] that the next service has besides the guide's.
        user: who it runs as.
        start_code: what `systemctl start` has returned.
        started_in: how long that took, in seconds.
    """

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="systemd-"))
        self.tmp = self.folder / "tmp"
        self._own = self.folder / "own"
        for directory in (self.tmp, self._own):
            directory.mkdir()
        for directory in (self.folder, self.tmp):
            directory.chmod(0o777)
        self._log = self.folder / "log"
        self._log.touch()
        self.overrides: Sequence[str] = ()
        self.user = "root"
        self.start_code = 0
        self.started_in = 0.0
        self._count = 0
        command = ["unshare", "--mount", "--propagation", "private", "sh", SCRIPT]
        self._popen = subprocess.Popen(
            [*command, self._own],
            stdin=subprocess.PIPE,  # whose end is its end, also when we are killed
            stdout=self._log.open("ab"),
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            self.init = wait_until(self._find_init, 10, self.log)
            wait_until(self._is_up, 10, self.log)
        except BaseException:
            self.close()
            raise

    def _find_init(self) -> Process | None:
        """PID 1, once it has become systemd."""
        rows = table()
        for row in rows.values():
            parent = rows.get(row.ppid)
            if row.name == "systemd" and parent and parent.ppid == self._popen.pid:
                return row.process
        return None

    def _is_up(self) -> bool:
        return "running" in self.run("systemctl", "is-system-running", check=False).stdout

    def log(self) -> str:
        """What went wrong at its start. systemd itself has nowhere to log to."""
        return self._log.read_text(errors="replace")

    def run(self, *command: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a command beside it."""
        assert self.init is not None
        enter = ["nsenter", f"--target={self.init.pid}", "--mount", "--uts", "--ipc", "--pid"]
        done = subprocess.run(
            [*enter, "--cgroup", *command], capture_output=True, text=True, check=False, timeout=60
        )
        assert not check or done.returncode == 0, f"{command}: {done.stderr}\n{self.log()}"
        return done

    def units(self) -> list[str]:
        """The services that were started so far."""
        return [f"app-{number}.service" for number in range(1, self._count + 1)]

    def members(self, cgroup: str) -> list[Process]:
        """Who is in a cgroup of its. The kernel translates the pids for whoever reads them."""
        assert self.init is not None
        root = Path(f"/proc/{self.init.pid}/root/sys/fs/cgroup/{cgroup}")
        try:
            pids = [int(line) for line in (root / "cgroup.procs").read_text().split()]
        except OSError:  # no such cgroup: systemd removes it with its last process
            return []
        found = []
        for pid in pids:
            try:
                found.append(identify(pid))
            except ProcessLookupError:
                continue
        return found

    # -- as a box ---------------------------------------------------------------------------------

    def start(
        self,
        argv: Sequence[str],
        *,
        output: Path,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        session: bool = True,
        uid: int | None = None,
    ) -> Service:
        """Install the guide's unit with this command in it, and `systemctl start` it."""
        self._count += 1
        name = f"app-{self._count}.service"
        unit = self.folder / name
        unit.write_text(self._unit(argv, cwd or Path.cwd(), output, env or {}))
        self.run("cp", str(unit), "/run/systemd/system/")
        self.run("systemctl", "daemon-reload")
        began = time.monotonic()
        self.start_code = self.run("systemctl", "start", name, check=False).returncode
        self.started_in = time.monotonic() - began
        return Service(self, name)

    def _unit(self, argv: Sequence[str], cwd: Path, output: Path, env: Mapping[str, str]) -> str:
        variables = self.folder / f"environment-{self._count}"
        quoted = (
            f"{key}={shlex.quote(value)}\n" for key, value in env.items() if "\n" not in value
        )
        variables.write_text("".join(quoted))
        text = UNIT.read_text()
        for key, value in {
            "User": self.user,
            "WorkingDirectory": str(cwd),
            "ExecStart": shlex.join(argv),
        }.items():
            [line] = [line for line in text.splitlines() if line.startswith(f"{key}=")]
            text = text.replace(line, f"{key}={value}")
        more = [
            f"EnvironmentFile={variables}",
            f"StandardOutput=append:{output}",
            f"StandardError=append:{output}",
            *self.overrides,
        ]
        head, install, tail = text.partition("[Install]")
        return head + "\n".join(more) + "\n\n" + install + tail

    def close(self) -> None:
        """Its PID 1 is killed: the kernel ends everything in the namespace."""
        everything = [row.process for row in self.rows()]
        assert self._popen.stdin is not None
        self._popen.stdin.close()
        self._popen.wait(20)
        wait_until(lambda: not any(p.look() for p in everything), 10, "the kernel to end them")
        shutil.rmtree(self.folder)
