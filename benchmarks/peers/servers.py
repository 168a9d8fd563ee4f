"""The servers that are compared, each with its own best settings for a grace of two seconds."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version

GRACE = 2
WORKERS = 2


@dataclass(frozen=True)
class Peer:
    """One server.

    Attributes:
        name: as the table shows it.
        package: whose version is shown with it.
        argv: its command line; `PORT` is replaced.
        env: variables beside those of every app.
        alone: whether it is not measured under a wrapper, since another one of the same kind is.
    """

    name: str
    package: str
    argv: Sequence[str]
    env: Mapping[str, str] = field(default_factory=dict)
    alone: bool = False

    @property
    def title(self) -> str:
        return f"{self.name} {version(self.package)}"


def _module(name: str, *options: str) -> list[str]:
    return [sys.executable, "-m", name, *options]


def _sanic(name: str, reaper: str, method: str, alone: bool = False) -> Peer:
    env = {"PEER_REAPER": reaper, "PEER_METHOD": method, "PEER_GRACE": str(GRACE)}
    package = "sanic-reaper" if reaper == "yes" else "sanic"
    return Peer(name, package, [sys.executable, "sanic_app.py"], env, alone)


def _gunicorn(worker: str, *more: str) -> list[str]:
    return _module(
        "gunicorn",
        f"--worker-class={worker}",
        f"--workers={WORKERS}",
        "--bind=127.0.0.1:PORT",
        f"--graceful-timeout={GRACE}",
        # How long a worker may be silent. Its start counts, so it can't be as short as the grace.
        "--timeout=5",
        "--no-control-socket",
        *more,
        "asgi_app:app",
    )


PEERS = [
    _sanic("Reaper, spawn", "yes", "spawn"),
    _sanic("Reaper, fork", "yes", "fork", alone=True),
    _sanic("Reaper, forkserver", "yes", "forkserver", alone=True),
    _sanic("Sanic", "no", "spawn"),
    Peer("gunicorn, asgi", "gunicorn", _gunicorn("asgi", "--asgi-lifespan=on")),
    Peer(
        "gunicorn, uvicorn",
        "gunicorn",
        _gunicorn("uvicorn_worker.UvicornWorker"),
        alone=True,
    ),
    Peer(
        "uvicorn",
        "uvicorn",
        _module(
            "uvicorn",
            f"--workers={WORKERS}",
            "--port=PORT",
            f"--timeout-graceful-shutdown={GRACE}",
            f"--timeout-worker-healthcheck={GRACE}",
            "--lifespan=on",
            "--no-access-log",
            "asgi_app:app",
        ),
    ),
    Peer(
        "granian",
        "granian",
        _module(
            "granian",
            "--interface=asgi",
            f"--workers={WORKERS}",
            "--port=PORT",
            f"--workers-kill-timeout={GRACE}",
            "--respawn-failed-workers",
            "--respawn-interval=0.1",
            "asgi_app:app",
        ),
    ),
    Peer(
        "hypercorn",
        "hypercorn",
        _module(
            "hypercorn",
            f"--workers={WORKERS}",
            "--bind=127.0.0.1:PORT",
            f"--graceful-timeout={GRACE}",
            "asgi_app:app",
        ),
    ),
]

WRAPPERS: dict[str, Sequence[str]] = {
    "": (),
    "tini": ("tini", "-s", "--"),
    "sanic-reaper run": (sys.executable, "-m", "sanic_reaper.cli", "run", f"--grace={GRACE}", "--"),
}
"""What the whole server is run under."""
