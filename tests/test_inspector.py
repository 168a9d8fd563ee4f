"""The Inspector's commands, asked by the real `sanic inspect`."""

from __future__ import annotations

import json
import subprocess
import sys
from signal import SIGTERM

import pytest
from support.census import wait_until
from support.http import Exchange
from support.marks import methods
from support.server import SUPERVISED

KEY = "a secret"


def inspect(port: int, *words: str, key: str = KEY) -> subprocess.CompletedProcess[str]:
    command = [
        sys.executable,
        "-m",
        "sanic",
        "inspect",
        *words,
        f"--port={port}",
        f"--api-key={key}",
    ]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


def with_inspector(port: int, **options: object):
    subject = SUPERVISED.with_(workers=1, **options)
    return subject.with_config(INSPECTOR=True, INSPECTOR_PORT=port, INSPECTOR_API_KEY=KEY)


@pytest.mark.every_method
@methods
def test_the_inspector_has_a_command_more(launch, ports, method):
    """In an Inspector of the user's own class, which is pickled under spawn."""
    port = ports.take()
    server = launch(with_inspector(port, method=method, own_inspector=True))
    server.wait_serving()
    answers = [""]

    def answers_to(*words: str) -> bool:
        answers.append(inspect(port, *words).stdout)
        return bool(answers[-1])

    wait_until(lambda: answers_to("reaper"), 30, lambda: f"{answers}\n{server.describe()}")
    status = json.loads(answers[-1])
    assert status["app"] == "Subject"
    assert status["live"]["ok"] is True
    assert any(one["name"].startswith("Sanic-Inspector") for one in status["processes"])
    assert answers_to("own")
    assert answers[-1] == "mine\n"
    assert answers_to("dump", "Sanic-Server-0-0")
    assert answers[-1] == "an older command of that name\n"

    refused = inspect(port, "reaper", key="another")
    assert refused.returncode == 1
    assert "401" in refused.stderr
    assert refused.stdout == ""
    assert server.stop() == 0


def test_the_inspector_shows_stacks(launch, ports):
    port = ports.take()
    # Not fork: there Sanic's Inspector has the app and its socket, and may answer by itself.
    server = launch(with_inspector(port, method="spawn"))
    server.wait_serving()
    wait_until(lambda: inspect(port, "reaper").stdout, 30, server.describe)
    Exchange(server.port, "/do/block:20")
    name = server.wait_for("holding")[0].name
    assert "in block" in inspect(port, "dump", name).stdout
    assert "no worker of this server is called nobody" in inspect(port, "dump", "nobody").stdout
    assert "in block" not in inspect(port, "dump", name, key="another").stdout
    shown = inspect(port, "requests").stdout
    assert "GET /do/block:20 " in shown
    assert "runs now" in shown
    assert "in block" in shown
    assert "/do/block" not in inspect(port, "requests", key="another").stdout
    server.send(SIGTERM)
    server.wait_gone()
