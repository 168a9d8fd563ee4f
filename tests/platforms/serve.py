"""A server starts, answers and stops; another one's main is killed. Nothing may be left of either.

For a machine on which the smoke tests' deadlines mean nothing: an emulated one. It runs in a PID
namespace of its own: whoever is there, other than this process and the first one, was left behind.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from urllib.request import urlopen

PATIENCE = 2400.0
"""Seconds for each step."""

APP = """
from sanic import Sanic, text
from sanic_reaper import Reaper

app = Sanic("Shop")
app.extend(extensions=[Reaper])
app.config.REAPER_STARTUP_TIMEOUT = 2000.0
Sanic.start_method = "METHOD"

@app.get("/")
async def hello(request):
    return text("hello")

if __name__ == "__main__":
    app.run(port=PORT, workers=2, motd=False)
"""


def wait_until(condition: Callable[[], object], what: str) -> None:
    until = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > until:
            raise SystemExit(f"not within {PATIENCE:g} s: {what}")
        time.sleep(0.2)


def left() -> list[int]:
    """The pids of what is left behind. As PID 1, this process reaps orphans."""
    while os.getpid() == 1:
        try:
            if os.waitpid(-1, os.WNOHANG) == (0, 0):
                break
        except ChildProcessError:
            break
    return sorted({int(name) for name in os.listdir("/proc") if name.isdigit()} - {1, os.getpid()})


def serves(server: subprocess.Popen[bytes], port: int) -> bool:
    if server.poll() is not None:
        raise SystemExit(f"the server has ended with {server.returncode} before it has served")
    try:
        return bool(urlopen(f"http://127.0.0.1:{port}/", timeout=60).read() == b"hello")
    except OSError:
        return False


def play(method: str, signum: signal.Signals, expected: int) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    file = Path(os.environ["HOME"], "shop.py")
    file.write_text(APP.replace("METHOD", method).replace("PORT", str(port)))
    began = time.monotonic()
    server = subprocess.Popen([sys.executable, str(file)])
    wait_until(lambda: serves(server, port), "an answer")
    print(f"--- {method}: served after {time.monotonic() - began:.0f} s", flush=True)
    subprocess.run([sys.executable, "-m", "sanic_reaper.cli", "ps"], check=True)
    began = time.monotonic()
    server.send_signal(signum)
    if (code := server.wait(PATIENCE)) != expected:
        raise SystemExit(f"exit code {code} after {signum.name}, not {expected}")
    wait_until(lambda: not left(), "nothing to be left")
    took = time.monotonic() - began
    print(f"--- {method}: {signum.name}, and nothing was left after {took:.0f} s", flush=True)


if __name__ == "__main__":
    for method in sys.argv[1:] or ["spawn", "fork", "forkserver"]:
        play(method, signal.SIGTERM, 0)
        play(method, signal.SIGKILL, -signal.SIGKILL)
