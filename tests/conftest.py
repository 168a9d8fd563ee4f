"""Fixtures: boxes and servers, each ended with its test whatever the test has done to it."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from support.box import Box, isolation
from support.census import wait_until
from support.http import Exchange, Ports
from support.marks import repetitions
from support.server import LIMITS, START, SUPERVISED, Server, Subject
from support.terminal import Terminal
from support.waiting import APP, Begin

# On a busy machine a draw of a few bytes can take a second.
settings.register_profile("busy", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("busy")


def pytest_report_header() -> str:
    return f"boxes: {isolation()[0]}" if sys.platform == "linux" else "boxes: none on this system"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--exhaustive",
        action="store_true",
        help="run each case under each start method, not under one of them in turn",
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if not config.getoption("exhaustive"):
        left_out = repetitions(items)
        left_out |= {item for item in items if item.get_closest_marker("exhaustive")}
        if "alone" not in config.option.markexpr:
            left_out |= {item for item in items if item.get_closest_marker("alone")}
        config.hook.pytest_deselected(items=[item for item in items if item in left_out])
        items[:] = [item for item in items if item not in left_out]


@pytest.fixture
def lines():
    """What is logged meanwhile."""
    found: list[str] = []

    class Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            found.append(record.getMessage())

    handler, logger = Keep(), logging.getLogger("sanic.root")
    logger.addHandler(handler)
    yield found
    logger.removeHandler(handler)


@pytest.fixture(scope="session")
def ports() -> Ports:
    return Ports()


@pytest.fixture
def new_box() -> Iterator[Callable[[], Box]]:
    """Boxes that are emptied when the test is over."""
    if sys.platform != "linux":
        pytest.skip("counts processes in /proc")
    boxes: list[Box] = []

    def make() -> Box:
        boxes.append(Box())
        return boxes[-1]

    yield make
    for box in boxes:
        box.close()


@pytest.fixture
def launch(
    new_box: Callable[[], Box], ports: Ports, tmp_path: Path
) -> Iterator[Callable[..., Server]]:
    """Start subjects, each in a folder of its own. What they have printed is shown at a failure."""
    servers: list[Server] = []

    def start(subject: Subject, *, box: Box | None = None, **options: Any) -> Server:
        folder = tmp_path / f"server-{len(servers)}"
        folder.mkdir()
        port = options.pop("port", None) or ports.take()
        servers.append(Server(box or new_box(), subject, folder, port, **options))
        return servers[-1]

    yield start
    for server in servers:
        print(f"--- {server.subject}\n{server.output()}")


@pytest.fixture
def terminal() -> Iterator[Terminal]:
    terminal = Terminal()
    yield terminal
    terminal.close()


@pytest.fixture
def begin(launch) -> Begin:
    """Start `subjects/waiting.py`, and wait until it serves."""

    def start(
        method: str = "fork",
        uvloop: bool = False,
        second: int = 0,
        background: bool = False,
        **config: Any,
    ) -> Server:
        how = {"method": method, "uvloop": uvloop, "second": second, "background": background}
        how["config"] = {**LIMITS, **config}
        server = launch(
            SUPERVISED, argv=[sys.executable, str(APP)], env={"WAITING": json.dumps(how)}
        )
        server.wait_for("serving")
        wait_until(lambda: server.get("/quick")[0] == 200, START, server.describe)
        return server

    return start


@pytest.fixture
def open_() -> Any:
    """Sends a request, and closes the connection at the end of the test."""
    with ExitStack() as connections:

        def send(server: Server, path: str) -> Exchange:
            exchange = Exchange(server.port, path, timeout=60)
            connections.callback(exchange.close)
            return exchange

        yield send
