"""A server in the background, as Sanic's command makes it, and its user's commands for it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import sanic

from .server import START, SUBJECTS, Server, Subject

SANIC = [sys.executable, "-c", "from sanic.__main__ import main; main()"]
"""What the `sanic` script does, wherever it is installed."""

needs_daemon = pytest.mark.skipif(
    tuple(map(int, sanic.__version__.split(".")[:2])) < (25, 12), reason="Sanic 25.12 and newer"
)


def command_line(launcher: Sequence[str], port: int) -> list[str]:
    options = ["--host=127.0.0.1", f"--port={port}", "--workers=2", "--no-motd"]
    return [*launcher, *options, "--no-access-logs"]


class Daemon:
    """A server in the background. Its launcher has ended when this returns.

    Args:
        folder: where its log is, and its pidfile.
        by_name: whether its pidfile is where Sanic looks for it by the app's name.
    """

    def __init__(
        self,
        launch: Callable[..., Server],
        port: int,
        folder: Path,
        subject: Subject,
        by_name: bool = False,
    ) -> None:
        self._folder = folder
        self._log = folder / "daemon.log"
        self._pidfile = folder / "daemon.pid"
        argv = [
            *command_line([*SANIC, "app:app"], port),
            "--daemon",
            f"--pidfile={'auto' if by_name else self._pidfile}",
            f"--logfile={self._log}",
        ]
        env = {"PYTHONPATH": str(SUBJECTS), "XDG_RUNTIME_DIR": str(folder)}
        self.server = launch(subject, port=port, argv=argv, env=env)
        self.launcher_code = self.server.exit_code(START)

    def run(self, *arguments: str) -> int:
        """Run `sanic ...` beside the daemon; return its exit code."""
        command = self.server.box.start(
            [*SANIC, *arguments],
            env=self.server.env,
            cwd=self._folder,
            output=self._folder / "command.out",
        )
        return command.exit_code(START)

    def kill(self) -> int:
        return self.run("kill", f"--pidfile={self._pidfile}")

    def stop_by_name(self, *options: str) -> int:
        return self.run("app:app", "stop", *options)

    @property
    def is_running(self) -> bool:
        """As `sanic status` tells it."""
        return self.run("status", f"--pidfile={self._pidfile}") == 0

    def log(self) -> str:
        return self._log.read_text()
