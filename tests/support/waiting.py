"""The server of `subjects/waiting.py`: what is asked of it, and which line waits where."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from support.census import wait_until
from support.commands import Said
from support.server import START, SUBJECTS, Server

APP = SUBJECTS / "waiting.py"
WORKER = "Sanic-Server-0-0"

Begin = Callable[..., Server]


def line_of(name: str) -> int:
    """The line that waits, by its comment."""
    lines = APP.read_text().splitlines()
    return next(at for at, line in enumerate(lines, 1) if line.endswith(f"# in {name}"))


def asked(server: Server, *arguments: str) -> list[dict[str, Any]]:
    """The requests in flight of all workers, as the command tells."""

    def answer() -> Said | None:
        said = server.ask("requests", *arguments, "--json")
        if said.code == 0:
            return said
        # A worker that a busy machine gives no CPU can't tell in time, and the command says so.
        assert "its requests are not known" in said.text, said.text
        return None

    said = wait_until(answer, START, "an answer of each worker")
    return [request for worker in said.data["workers"] for request in worker["requests"]]


def wait_for_requests(server: Server, count: int) -> list[dict[str, Any]]:
    def enough() -> list[dict[str, Any]]:
        found = asked(server)
        return found if len(found) >= count else []

    return wait_until(enough, START, lambda: f"{count} requests\n{server.describe()}")


def own_lines(request: dict[str, Any]) -> list[int]:
    return [line for file, line, _ in request["frames"] if file == str(APP)]
