"""Reads the markers (`marks`) from a raw environment, as /proc/PID/environ shows it. Pure."""

from __future__ import annotations

from .. import untrusted
from ..marks import DETACHED, MAIN, OWNER, RUN


def is_marked(environ: bytes, run: str) -> bool:
    """Whether a raw environment bears the marker of this run."""
    return _has(environ, RUN, run)


def is_detached(environ: bytes, run: str) -> bool:
    """Whether a raw environment says that its process is meant to outlive this run."""
    return run.encode() in _value(environ, DETACHED).split(b",")


def owner(environ: bytes) -> tuple[int, int] | None:
    """The worker or other root process that a raw environment names as its origin, if any."""
    pid, _, start = _text(environ, OWNER).partition(":")
    try:
        return untrusted.identity(pid, start)
    except ValueError:
        return None


def run_of(environ: bytes) -> str:
    """The run that a raw environment belongs to. "" if it bears no marker."""
    return _text(environ, RUN)


class Main:
    """A main process, as a raw environment describes it.

    Attributes:
        identity: pid and creation time of the main process.
        app: name of the app that it serves.
        directory: working directory of the app.
        namespace: PID namespace in which the pid is valid. "" if the environment does not say.
    """

    def __init__(self, identity: tuple[int, int], app: str, directory: str, namespace: str) -> None:
        self.identity, self.app, self.directory = identity, app, directory
        self.namespace = namespace


def main_of(environ: bytes) -> Main | None:
    """The main process that a raw environment names. `None` if it names none."""
    pid, start, app, rest = (*_text(environ, MAIN).split("\t", 3), "", "", "", "")[:4]
    directory, tab, namespace = rest.rpartition("\t")
    try:
        identity = untrusted.identity(pid, start)
    except ValueError:
        return None
    return Main(identity, app, directory if tab else rest, namespace if tab else "")


def _text(environ: bytes, name: str) -> str:
    return _value(environ, name).decode("utf-8", "replace")


def _value(environ: bytes, name: str) -> bytes:
    _, _, rest = (b"\0" + environ).partition(f"\0{name}=".encode())
    return rest.partition(b"\0")[0]


def _has(environ: bytes, name: str, value: str) -> bool:
    return (b"\0" + environ + b"\0").find(f"\0{name}={value}\0".encode()) >= 0
