"""The `sanic-reaper` command, run beside a server: in its box, as its user or another one."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, NamedTuple

from .box import Box

COMMAND = [sys.executable, "-m", "sanic_reaper.cli"]
LONGEST = 30.0
"""Seconds that one may take on a busy machine."""


class Said(NamedTuple):
    """What a command has printed, and how it ended."""

    code: int
    text: str

    @property
    def data(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.text)
        return found


def run(
    box: Box,
    env: dict[str, str],
    output: Path,
    *arguments: str,
    uid: int | None = None,
    cwd: Path | None = None,
) -> Said:
    """Run it to its end."""
    output.unlink(missing_ok=True)
    command = box.start(
        [*COMMAND, *arguments], output=output, env=env, uid=uid, cwd=cwd or Path("/")
    )
    code = command.exit_code(LONGEST)
    return Said(code, output.read_text())
